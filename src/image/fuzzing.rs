//! What the fuzz targets (`fuzz/`) call: the parsers of foreign input, as bare functions. Not part of the
//! public interface; only with the feature `fuzzing`.

use super::manifest::{self, Document};
use super::platform::{self, Platform};
use super::unpack::{self, UnpackError, UnpackStats};
use crate::naming::ImageName;
use crate::plan::{IdMap, IdMappings};
use std::io;

/// Applies `tar` to the root directory of the calling thread, which the caller has confined, as a user's
/// unpacker with a single mapping would.
///
/// # Errors
/// As the unpacker's.
pub fn apply(tar: &[u8], largest: u64) -> Result<UnpackStats, UnpackError> {
    let root = || vec![IdMap { container: 0, host: 0, count: 1 }];
    unpack::apply(tar, Some(&IdMappings { uids: root(), gids: root() }), Some(largest))
}

/// Removes everything below the root directory of the calling thread.
///
/// # Errors
/// The kernel's.
pub fn clear() -> io::Result<()> {
    for entry in std::fs::read_dir("/")? {
        crate::sys::tree::remove_at(nix::fcntl::AT_FDCWD, entry?.path().as_os_str())?;
    }
    Ok(())
}

/// Parses a manifest or an index and does with it what a pull does, without a network.
pub fn documents(document: &[u8], config: &[u8]) {
    let platform = Platform { os: "linux".into(), architecture: "arm64".into(), variant: None };
    match manifest::parse(document) {
        Ok(Document::Manifest(manifest)) => {
            // Refusing is as good as accepting; what is accepted must be consistent.
            if let (Ok(_), Ok((_, layers))) =
                (manifest::config_of(&manifest), manifest::parse_config(&manifest, config))
            {
                assert_eq!(layers.len(), manifest.layers().len());
            }
        }
        Ok(Document::Index(index)) => {
            if let Ok(chosen) = platform::choose(index.manifests(), &platform) {
                assert!(index.manifests().contains(chosen));
                drop(manifest::digest_of(chosen));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Parses a name; what is accepted is read again the same from how it is written.
pub fn reference(text: &str) {
    match ImageName::parse(text) {
        Ok(name) => assert_eq!(ImageName::parse(&name.to_string()).as_ref(), Ok(&name), "{text:?} became {name}"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    drop(text.parse::<Platform>());
}
