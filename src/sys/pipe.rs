//! Pipes, and putting their ends where another program looks for them.

#![allow(unsafe_code)] // dup2 onto a number

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Bytes that a pipe holds without asking for more (pipe(7)).
const DEFAULT_ROOM: usize = 64 * 1024;
/// Above every number that a program of ours is told to use.
const HIGH: RawFd = 10;

/// The read end and the write end, both CLOEXEC.
///
/// # Errors
/// The kernel's.
pub fn new() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC)?)
}

/// As [`new`]; takes `bytes` that nobody reads yet.
///
/// # Errors
/// The kernel's: `EPERM` above `/proc/sys/fs/pipe-max-size`, 1 MiB unless the host was told otherwise.
pub fn with_room(bytes: usize) -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = new()?;
    if bytes > DEFAULT_ROOM {
        let wanted = i32::try_from(bytes).map_err(io::Error::other)?;
        fcntl(&write, FcntlArg::F_SETPIPE_SZ(wanted))?;
    }
    Ok((read, write))
}

/// A CLOEXEC duplicate with a number that [`place`] is not used for.
///
/// # Errors
/// The kernel's.
pub fn high_duplicate(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(HIGH))?;
    Ok(super::process::adopt(number))
}

/// Makes `number` a duplicate of `fd` that an execve keeps, in place of whatever had it before.
///
/// Only for a process that is about to do one last thing: an owner of what had the number must not use it
/// afterwards.
///
/// # Errors
/// The kernel's.
pub fn place(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // dup2(2) onto itself would leave it CLOEXEC.
    let fd = high_duplicate(fd)?;
    // SAFETY: integers; the contract above makes the callers leave what had the number alone.
    Errno::result(unsafe { libc::dup2(fd.as_fd().as_raw_fd(), number) }).map(drop).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};

    #[test]
    fn a_pipe_takes_as_much_as_it_was_made_for() {
        let text = vec![b'x'; 3 * DEFAULT_ROOM];
        let (read, write) = with_room(text.len()).unwrap();
        // Would wait for ever without the room.
        File::from(write).write_all(&text).unwrap();
        let mut got = Vec::new();
        File::from(read).read_to_end(&mut got).unwrap();
        assert_eq!(got, text);
    }

    #[test]
    fn duplicates_are_out_of_the_way() {
        let (read, _write) = new().unwrap();
        assert!(high_duplicate(read.as_fd()).unwrap().as_raw_fd() >= HIGH);
    }
}
