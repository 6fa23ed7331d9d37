//! The file's side of a transfer: our own code as a process of the job, in its container, with its user,
//! limits and filter. It knows no network; the object's side is the step role, at the other end of a pipe.

use super::report::{self, Report, Verdict};
use crate::plan::Program;
use crate::sys::process;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const DONE: u8 = 0;
const FAILED: u8 = 1;
/// Exit code when the other side has gone before the end, which knows why.
pub const OTHER_SIDE: u8 = 2;

/// The file cannot be read or written.
#[derive(Debug, thiserror::Error)]
enum TransferError {
    #[error("failed to {action} {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("failed to {action} {}: it is not a regular file", path.display())]
    NotAFile { action: &'static str, path: PathBuf },
    /// The other side is gone, and tells why itself.
    #[error("the other side is gone")]
    OtherSide,
}

/// Moves the data and returns the exit code.
pub fn run(program: &Program, supervisor: BorrowedFd<'_>) -> u8 {
    // A reader that is gone shows as EPIPE.
    process::ignore_write_signals();
    let moved = match program {
        Program::Command => return FAILED,
        Program::Receive { path } => receive(Path::new(path), supervisor),
        Program::Send { path } => send(Path::new(path)),
    };
    match moved {
        Ok(()) => DONE,
        Err(TransferError::OtherSide) => OTHER_SIDE,
        Err(error) => {
            let report = Report::NotTransferred { message: error.to_string() };
            // The supervisor is gone when this fails, and with it the need to know.
            let _ = report::send(supervisor, &report, &[]);
            FAILED
        }
    }
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> TransferError + 'a {
    move |source| TransferError::File { action, path: path.to_owned(), source }
}

/// Standard input becomes the file at `path`, which takes the place of a file or link there. Its missing
/// parent directories are made.
fn receive(path: &Path, supervisor: BorrowedFd<'_>) -> Result<(), TransferError> {
    let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
        return Err(TransferError::NotAFile { action: "write", path: path.to_owned() });
    };
    if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(TransferError::NotAFile { action: "replace", path: path.to_owned() });
    }
    DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(failed("create the directory", parent))?;
    // One name, so that tries that were killed leave one file at most; of a length that every file system takes.
    let partial = path.with_file_name(format!(".{:08x}.coracle-part", crc32fast::hash(name.as_bytes())));
    let received = write(&partial, path).and_then(|()| match report::receive_verdict(supervisor) {
        Verdict::Complete => std::fs::rename(&partial, path).map_err(failed("create", path)),
        Verdict::Broken => Err(TransferError::OtherSide),
    });
    if received.is_err() {
        // It may never have been made; the first error is the one to report.
        let _ = std::fs::remove_file(&partial);
    }
    received
}

/// Standard input becomes the file `partial`, of which nobody has heard: errors name what it is to become.
fn write(partial: &Path, path: &Path) -> Result<(), TransferError> {
    match std::fs::remove_file(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("create", path)(error)),
        _ => {}
    }
    let mut file =
        File::options().write(true).create_new(true).mode(0o644).open(partial).map_err(failed("create", path))?;
    let mut data = standard(&io::stdin())?;
    io::copy(&mut data, &mut file).map_err(failed("write", path))?;
    Ok(())
}

/// The file at `path` goes to standard output.
fn send(path: &Path) -> Result<(), TransferError> {
    // Opening a pipe must not wait for its other end.
    let mut file =
        File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed("open", path))?;
    if !file.metadata().map_err(failed("look at", path))?.is_file() {
        return Err(TransferError::NotAFile { action: "read", path: path.to_owned() });
    }
    let mut data = standard(&io::stdout())?;
    match io::copy(&mut file, &mut data) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(TransferError::OtherSide),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Past the buffer of the standard library: pipe and file are moved by the kernel.
fn standard(stream: &impl AsFd) -> Result<File, TransferError> {
    let pipe = stream.as_fd().try_clone_to_owned().map_err(failed("use", Path::new("the data pipe")))?;
    Ok(File::from(pipe))
}
