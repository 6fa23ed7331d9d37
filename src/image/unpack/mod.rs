//! The unpacker: a process of its own that applies one layer's tar, read from its standard input, to
//! one directory, and has access to nothing else.
//!
//! Contract: the front starts `coracle --role=unpack DIRECTORY PARENT MAPPINGS` with an empty
//! environment, writes the tar to its stdin and closes that. The unpacker enters the user namespace
//! (when rootless), makes the directory its root, gives up every capability it does not need and all
//! descriptors but the standard ones, reads the stream to its end and writes one line of JSON, a
//! [`Report`], to stdout. It dies with the thread that started it. Neither digests nor compression are
//! its business; the front must not believe a word of the report before it has checked the digests.

mod apply;
mod archive;
mod error;
mod name;
mod pax;
mod sparse;

pub use apply::{OPAQUE_ROOTFUL, OPAQUE_ROOTLESS, UnpackStats};
pub use error::{IdKind, Malformed, Refusal, UnpackError};

use crate::plan::IdMappings;
use crate::sys::{capabilities, process, userns};
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
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

/// Starts an unpacker for `directory`, which exists and is empty. Its stdin and stdout are pipes.
///
/// The calling thread must outlive it: the kernel kills it with that thread.
///
/// # Errors
/// When the process cannot be started.
#[expect(clippy::disallowed_methods, reason = "the unpacker is a role of ours")]
pub fn spawn(binary: &Path, directory: &Path, mappings: Option<&IdMappings>) -> io::Result<Child> {
    Command::new(binary)
        .arg(ROLE)
        .arg(directory)
        .arg(std::process::id().to_string())
        .arg(serde_json::to_string(&mappings)?)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

/// The role: `DIRECTORY PARENT MAPPINGS`, the latter as JSON, `null` for root. Must run before this
/// process has a second thread.
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

fn run(arguments: impl Iterator<Item = OsString>, input: impl Read) -> Result<UnpackStats, UnpackError> {
    let confine = |message: String| UnpackError::Confine { message };
    let (directory, parent, mappings) =
        parse(arguments).ok_or_else(|| confine("usage: DIRECTORY PARENT MAPPINGS".into()))?;
    confine_to(&directory, parent, mappings.as_ref()).map_err(confine)?;
    apply::apply(&mut archive::Archive::new(input), mappings.as_ref())
}

fn parse(mut arguments: impl Iterator<Item = OsString>) -> Option<(PathBuf, i32, Option<IdMappings>)> {
    let directory = PathBuf::from(arguments.next()?);
    let parent = arguments.next()?.to_str()?.parse().ok()?;
    let mappings = serde_json::from_str(arguments.next()?.to_str()?).ok()?;
    Some((directory, parent, mappings))
}

/// Leaves this process with the directory and the standard streams as all it can reach.
fn confine_to(directory: &Path, parent: i32, mappings: Option<&IdMappings>) -> Result<(), String> {
    fn step<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> String {
        move |error| format!("{what}: {error}")
    }
    nix::unistd::chdir(directory).map_err(step("enter the layer's directory"))?;
    if let Some(mappings) = mappings {
        userns::enter(mappings, CloneFlags::empty()).map_err(|error| match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })?;
    }
    // After the last change of credentials, which would clear it.
    process::set_parent_death_signal(Signal::SIGKILL).map_err(step("follow the parent"))?;
    if nix::unistd::getppid().as_raw() != parent {
        return Err("the parent is gone".into());
    }
    process::close_all_except(&[]).map_err(step("close descriptors"))?;
    nix::unistd::chroot(".").map_err(step("make the layer's directory the root"))?;
    nix::unistd::chdir("/").map_err(step("enter the new root"))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    nix::sys::prctl::set_no_new_privs().map_err(step("set no_new_privs"))?;
    let mut keep = vec![
        capabilities::CHOWN,
        capabilities::DAC_OVERRIDE,
        capabilities::FOWNER,
        capabilities::FSETID,
        capabilities::SETFCAP,
    ];
    if mappings.is_none() {
        // For devices and, the only use of CAP_SYS_ADMIN here, attributes of the class `trusted`.
        keep.extend([capabilities::MKNOD, capabilities::SYS_ADMIN]);
    }
    capabilities::keep_only(&keep).map_err(step("give up capabilities"))
}
