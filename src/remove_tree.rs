//! Removal of trees that may hold files of subordinate ids, which their owner on the host cannot touch.
//!
//! What the caller may remove is removed in this process. For the rest the binary is started once
//! more in a role of its own that enters the user namespace first: entering it takes a process with
//! one thread.

use crate::plan::IdMappings;
use crate::sys;
use nix::sched::CloneFlags;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// First argument of the role; see [`main`].
pub const ROLE: &str = "--role=remove-tree";

/// A tree could not be removed; part of it may be gone.
#[derive(Debug, thiserror::Error)]
pub enum RemoveTreeError {
    #[error("failed to remove {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("failed to run {} to remove {}", binary.display(), path.display())]
    Run { binary: PathBuf, path: PathBuf, source: io::Error },
    #[error("failed to remove {} in the user namespace: {message}", path.display())]
    Role { path: PathBuf, message: String },
}

/// Removes the file or directory `path` with everything in it; nothing there is success. Blocks.
/// `mappings` are those that the tree was made under: `None` for root's own trees.
///
/// # Errors
/// See [`RemoveTreeError`]. Calling it again goes on where it stopped.
#[expect(clippy::disallowed_methods, reason = "a role of ours")]
pub fn remove_tree(binary: &Path, path: &Path, mappings: Option<&IdMappings>) -> Result<(), RemoveTreeError> {
    let mappings = match (sys::tree::remove(path), mappings) {
        (Ok(()), _) => return Ok(()),
        (Err(error), Some(mappings)) if error.kind() == io::ErrorKind::PermissionDenied && !mappings.is_single() => {
            mappings
        }
        (Err(source), _) => return Err(RemoveTreeError::Io { path: path.to_owned(), source }),
    };
    let failed = |source| RemoveTreeError::Run { binary: binary.to_owned(), path: path.to_owned(), source };
    let output = Command::new(binary)
        .arg(ROLE)
        .arg(serde_json::to_string(mappings).map_err(|error| failed(error.into()))?)
        .arg(path)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let message = if said.trim().is_empty() { output.status.to_string() } else { said.trim().to_owned() };
    Err(RemoveTreeError::Role { path: path.to_owned(), message })
}

/// The role: `MAPPINGS PATH`, mappings as JSON. Must run before this process has a second thread.
/// Errors go to stderr, with exit code 1.
pub fn main(arguments: impl Iterator<Item = OsString>) -> i32 {
    match run(arguments) {
        Ok(()) => 0,
        Err(message) => {
            // The exit code tells it too, should the starter not read.
            let _ = writeln!(io::stderr(), "{message}");
            1
        }
    }
}

fn run(mut arguments: impl Iterator<Item = OsString>) -> Result<(), String> {
    let (Some(mappings), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("usage: --role=remove-tree MAPPINGS PATH".into());
    };
    let mappings = mappings.to_str().and_then(|text| serde_json::from_str::<IdMappings>(text).ok());
    let mappings = mappings.ok_or("the mappings are not valid")?;
    sys::userns::enter(&mappings, CloneFlags::empty()).map_err(|error| with_source(&error))?;
    sys::tree::remove(Path::new(&path)).map_err(|error| error.to_string())
}

fn with_source(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
