//! Which capabilities a job has.

use super::error::BundleError;
use super::host::HostFacts;
use crate::spec::{CAPABILITIES, Security};
use std::collections::BTreeSet;

/// podman's `default_capabilities`
/// (<https://github.com/containers/common/blob/main/docs/containers.conf.5.md>).
const DEFAULT: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The bounding set, which is also what root in the container gets, and notes for the user.
pub(super) fn bounding(security: &Security, host: &HostFacts) -> Result<(BTreeSet<String>, Vec<String>), BundleError> {
    let held = |name: &str| {
        let number = CAPABILITIES.iter().position(|known| *known == name).and_then(|number| u8::try_from(number).ok());
        number.is_some_and(|number| host.capabilities.contains(&number))
    };
    let dropped = |name: &&str| !security.cap_drop.iter().any(|drop| drop == name);
    let mut notes = Vec::new();
    if wants_all(security) {
        // All that there is to give; and device access, which nothing limits, only when asked for by name.
        notes.push("capabilities: ALL does not include CAP_MKNOD".into());
        let all = CAPABILITIES.iter().copied().filter(dropped).filter(|name| held(name) && *name != "CAP_MKNOD");
        return Ok((all.map(str::to_owned).collect(), notes));
    }
    let mut set: BTreeSet<String> =
        DEFAULT.iter().copied().filter(dropped).filter(|name| held(name)).map(str::to_owned).collect();
    for name in &security.cap_add {
        if name == "CAP_MKNOD" && host.rootless.is_none() {
            return Err(BundleError::Mknod);
        }
        if !held(name) {
            return Err(BundleError::CapabilityMissing { capability: name.clone() });
        }
        set.insert(name.clone());
    }
    Ok((set, notes))
}

fn wants_all(security: &Security) -> bool {
    CAPABILITIES.iter().all(|name| security.cap_add.iter().any(|add| add == name))
}

/// What a user other than root gets: only what the job adds by name, as with podman, in all sets, so
/// that it survives execve(2).
pub(super) fn added(security: &Security, bounding: &BTreeSet<String>) -> BTreeSet<String> {
    security.cap_add.iter().filter(|name| bounding.contains(*name)).cloned().collect()
}
