//! The unpacker: a process of its own that applies one layer's tar, read from its standard input, to
//! one directory, and has access to nothing else.
//!
//! Contract: the front starts `coracle --role=unpack DIRECTORY PARENT MAPPINGS LARGEST` with an empty
//! environment, writes the tar to its stdin and closes that. The unpacker enters the user namespace
//! (when rootless), makes the directory its root, gives up every capability and every system call it does
//! not need, all descriptors but the standard ones and most of its memory. Only then it reads the stream,
//! to its end, and writes one line of JSON, a [`Report`], to stdout. It dies with the thread that started
//! it, and at any other system call. Neither digests nor compression are
//! its business; the front must not believe a word of the report before it has checked the digests.

mod apply;
mod archive;
mod confine;
mod error;
mod name;
mod pax;
mod sparse;

pub use apply::{OPAQUE_ROOTFUL, OPAQUE_ROOTLESS, UnpackStats};
pub use error::{IdKind, Malformed, Refusal, UnpackError};

use crate::plan::IdMappings;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// First argument of the role; see [`main`].
pub const ROLE: &str = "--role=unpack";

/// What the unpacker says when it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    Done(UnpackStats),
    Failed(UnpackError),
}

/// Starts an unpacker for `directory`, which exists and is empty. Its stdin and stdout are pipes. `largest`
/// bounds in bytes what it makes of a small archive: the apparent size of files with holes, and 4 KiB for
/// each file or directory.
///
/// The calling thread must outlive it: the kernel kills it with that thread.
///
/// # Errors
/// When the process cannot be started.
#[expect(clippy::disallowed_methods, reason = "the unpacker is a role of ours")]
pub fn spawn(
    binary: &Path,
    directory: &Path,
    mappings: Option<&IdMappings>,
    largest: Option<u64>,
) -> io::Result<Child> {
    Command::new(binary)
        .arg(ROLE)
        .arg(directory)
        .arg(std::process::id().to_string())
        .arg(serde_json::to_string(&mappings)?)
        .arg(serde_json::to_string(&largest)?)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

/// The role: `DIRECTORY PARENT MAPPINGS LARGEST`, the latter two as JSON, `null` for root and for no bound.
/// Must run before this process has a second thread.
pub fn main(arguments: impl Iterator<Item = OsString>) -> i32 {
    let report = match run(arguments, io::stdin().lock()) {
        Ok(stats) => Report::Done(stats),
        Err(error) => Report::Failed(error),
    };
    let exit_code = if matches!(report, Report::Done(_)) { 0 } else { 1 };
    let line = serde_json::to_string(&report).unwrap_or_default();
    // Without a report the front takes the layer as failed, which is all there is left to do.
    let _ = writeln!(io::stdout(), "{line}");
    exit_code
}

/// Applies `tar` to the root directory of the calling thread, which is confined already.
#[cfg(feature = "fuzzing")]
pub(super) fn apply(
    tar: &[u8],
    mappings: Option<&IdMappings>,
    largest: Option<u64>,
) -> Result<UnpackStats, UnpackError> {
    apply::apply(&mut archive::Archive::new(tar), mappings, largest)
}

fn run(arguments: impl Iterator<Item = OsString>, input: impl Read) -> Result<UnpackStats, UnpackError> {
    let confine = |message: String| UnpackError::Confine { message };
    let Arguments { directory, parent, mappings, largest } =
        Arguments::parse(arguments).ok_or_else(|| confine("usage: DIRECTORY PARENT MAPPINGS LARGEST".into()))?;
    confine::confine(&directory, parent, mappings.as_ref(), largest).map_err(confine)?;
    apply::apply(&mut archive::Archive::new(input), mappings.as_ref(), largest)
}

struct Arguments {
    directory: PathBuf,
    parent: i32,
    mappings: Option<IdMappings>,
    largest: Option<u64>,
}

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = OsString>) -> Option<Arguments> {
        let directory = PathBuf::from(arguments.next()?);
        let parent = arguments.next()?.to_str()?.parse().ok()?;
        let mappings = serde_json::from_str(arguments.next()?.to_str()?).ok()?;
        let largest = serde_json::from_str(arguments.next()?.to_str()?).ok()?;
        Some(Arguments { directory, parent, mappings, largest })
    }
}
