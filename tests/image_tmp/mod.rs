//! Shared by the integration tests. Not every test binary uses everything.
#![allow(dead_code, reason = "each test binary compiles this module for itself and uses a part of it")]

pub mod layout;
pub mod registry;

use coracle::plan::{IdMap, IdMappings};
use std::path::PathBuf;

/// The program under test.
pub fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_coracle"))
}

/// Says that a test does not run here, which in CI is a failure.
pub fn skip(feature: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI must have: {feature}");
    eprintln!("skipped: this test needs {feature}");
}

/// The ids that containers of this user may have: as root also a single mapping, which exercises the
/// user namespace; as another user subordinate ids, where there are any, and a single one.
pub fn all_mappings() -> Vec<Option<IdMappings>> {
    let single = |id: u32| vec![IdMap { container: 0, host: id, count: 1 }];
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let single = Some(IdMappings { uids: single(uid.as_raw()), gids: single(gid.as_raw()) });
    if uid.is_root() {
        return vec![None, single];
    }
    match coracle::sys::userns::host_mappings().unwrap() {
        (several, None) => vec![Some(several), single],
        (_, Some(note)) => {
            skip(&format!("subordinate ids ({note})"));
            vec![single]
        }
    }
}
