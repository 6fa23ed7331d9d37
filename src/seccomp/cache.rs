//! Compiled filters as files, so that each is compiled once per state root.

use super::{Architecture, cache_key, compile};
use crate::sys::file::write_atomic;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

/// A filter cannot be provided.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    #[error(
        "the seccomp profile does not know this machine's architecture ({}); \
         only jobs with security_opt: [seccomp=unconfined] run here",
        std::env::consts::ARCH
    )]
    UnknownArchitecture,
    #[error("failed to {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

/// The filter of [`compile`] for this host, as a file in `directory` that holds an array of
/// `struct sock_filter`.
///
/// The file's name is `seccomp-KEY-CONTENT.bpf`: the first half of [`cache_key`], and the SHA-256 of
/// its bytes. A file whose content does not match its name is written anew, never used. Any number
/// of processes may call this at once.
///
/// # Errors
/// See [`SeccompError`].
pub fn cached(directory: &Path, capabilities: &BTreeSet<String>) -> Result<PathBuf, SeccompError> {
    let architecture = Architecture::host().ok_or(SeccompError::UnknownArchitecture)?;
    let key = cache_key(capabilities, architecture);
    let prefix = format!("seccomp-{}-", &key[..key.len() / 2]);
    if let Some(path) = find(directory, &prefix)? {
        return Ok(path);
    }
    let bytes = compile(capabilities, architecture).bytes();
    let path = directory.join(format!("{prefix}{}.bpf", sha256_hex(&bytes)));
    write_atomic(&path, &bytes).map_err(|source| SeccompError::Io { action: "write", path: path.clone(), source })?;
    Ok(path)
}

/// The first file with this prefix whose content is what its name says.
fn find(directory: &Path, prefix: &str) -> Result<Option<PathBuf>, SeccompError> {
    let list_error = |source| SeccompError::Io { action: "list", path: directory.to_owned(), source };
    for entry in std::fs::read_dir(directory).map_err(list_error)? {
        let entry = entry.map_err(list_error)?;
        let name = entry.file_name();
        let hash = name.to_str().and_then(|name| name.strip_prefix(prefix)?.strip_suffix(".bpf"));
        let Some(hash) = hash else { continue };
        match std::fs::read(entry.path()) {
            Ok(bytes) if sha256_hex(&bytes) == hash => return Ok(Some(entry.path())),
            Ok(_) => {}
            // Swept away by another process since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(SeccompError::Io { action: "read", path: entry.path(), source }),
        }
    }
    Ok(None)
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
        hex
    })
}
