//! Who may change the files of an execution: whoever holds its directory, by flock(2).
//!
//! The front that prepares an attempt holds it until the plan is written, the supervisor from its start until the
//! outcome is written, whoever removes files while he does. So a supervisor whose front has died cannot write
//! into an attempt that another process prepares by then, and one who is late to settle an attempt cannot remove
//! what belongs to the next. The kernel lets go for those that die.

use crate::state_dir::ExecutionDir;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

/// An execution's directory, held until this is dropped.
#[derive(Debug)]
pub struct Hold {
    _directory: Flock<File>,
}

impl Hold {
    /// Waits for whoever holds it: a moment, unless a supervisor does.
    ///
    /// # Errors
    /// The file system's; `ENOENT` when the directory is not there, or not any more.
    pub fn wait(directory: &ExecutionDir) -> io::Result<Hold> {
        loop {
            match Flock::lock(open(directory)?, FlockArg::LockExclusive) {
                Ok(held) => return checked(directory, held),
                Err((_, Errno::EINTR)) => {}
                Err((_, error)) => return Err(error.into()),
            }
        }
    }

    /// `None` when another process holds it.
    ///
    /// # Errors
    /// As [`Hold::wait`].
    pub fn attempt(directory: &ExecutionDir) -> io::Result<Option<Hold>> {
        match Flock::lock(open(directory)?, FlockArg::LockExclusiveNonblock) {
            Ok(held) => checked(directory, held).map(Some),
            Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => Ok(None),
            Err((_, error)) => Err(error.into()),
        }
    }
}

fn open(directory: &ExecutionDir) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(directory.path())
}

/// Whoever held it before may have removed it.
fn checked(directory: &ExecutionDir, held: Flock<File>) -> io::Result<Hold> {
    let (ours, there) = (held.metadata()?, std::fs::symlink_metadata(directory.path())?);
    if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(Hold { _directory: held })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_held_by_one_and_not_when_it_is_gone() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = ExecutionDir::from_path(scratch.path().join("e"));
        assert_eq!(Hold::wait(&directory).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::create_dir(directory.path()).unwrap();
        let held = Hold::wait(&directory).unwrap();
        assert!(Hold::attempt(&directory).unwrap().is_none());
        let late = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| Hold::wait(&directory));
            std::fs::remove_dir(directory.path()).unwrap();
            drop(held);
            waiting.join().unwrap()
        });
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
