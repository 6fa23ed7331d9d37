//! Writing to a stdout or stderr that others share, without ever blocking on it.
//!
//! O_NONBLOCK belongs to the open file description, which the caller's shell and everyone else in the
//! pipeline share: setting it there breaks them. So each kind of file gets another way.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat, major};
use nix::unistd::{isatty, write};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Device numbers: <https://docs.kernel.org/admin-guide/devices.html>. `/dev/null`, `/dev/zero`,
/// `/dev/full`, …
const MEMORY_DEVICES: u64 = 1;
/// `/dev/tty`, `/dev/console`, `/dev/ptmx`: opened again, these may be another terminal.
const ALTERNATE_TTY_DEVICES: u64 = 5;

/// A pipe that poll(2) calls writable takes this much: <https://man7.org/linux/man-pages/man7/pipe.7.html>.
const PIPE_BUF: usize = libc::PIPE_BUF;

/// A destination for output that belongs to somebody else.
///
/// | what it is | how it is written |
/// |---|---|
/// | pipe, FIFO, terminal | opened again through `/proc/self/fd`, with O_NONBLOCK |
/// | socket | send(2) with MSG_DONTWAIT |
/// | regular file, block device, `/dev/null` and the like | write(2): they never block for long; the offset and O_APPEND stay shared |
/// | the first kind when it cannot be opened again; anything else | write(2) of up to PIPE_BUF (4096) bytes after poll(2) says it is writable |
///
/// The last way can block when another process writes to the same full pipe at that very moment, or on
/// a terminal that has less room than PIPE_BUF.
///
/// SIGPIPE must be ignored in this process (Rust's runtime does that).
#[derive(Debug)]
pub struct NonBlockingSink {
    fd: OwnedFd,
    method: Method,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    /// A description of our own with O_NONBLOCK.
    NonBlocking,
    Send,
    Plain,
    Polled,
}

/// What became of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// This many bytes were taken, at least one unless there were none.
    Wrote(usize),
    /// Nothing was taken; try again when [`NonBlockingSink::poll_fd`] is writable (POLLOUT), or broken.
    WouldBlock,
    /// Nobody will ever read it: the reader closed it, the terminal hung up.
    Closed,
}

impl NonBlockingSink {
    /// Takes over `fd`, of any kind. Never fails: at worst the writes do.
    pub fn new(fd: OwnedFd) -> NonBlockingSink {
        let method = match fstat(&fd) {
            Ok(stat) => match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
                SFlag::S_IFIFO => Method::NonBlocking,
                SFlag::S_IFSOCK => Method::Send,
                SFlag::S_IFREG | SFlag::S_IFBLK => Method::Plain,
                SFlag::S_IFCHR => match major(stat.st_rdev) {
                    MEMORY_DEVICES => Method::Plain,
                    ALTERNATE_TTY_DEVICES => Method::Polled,
                    _ if isatty(&fd).unwrap_or(false) => Method::NonBlocking,
                    _ => Method::Polled,
                },
                _ => Method::Polled,
            },
            // It cannot be looked at, so nothing is known of it.
            Err(_) => Method::Polled,
        };
        match method {
            Method::NonBlocking => match open_again(&fd) {
                Ok(own) => NonBlockingSink { fd: own, method },
                // No /proc, no right to open it (another user's pipe), or no reader any more.
                Err(_) => NonBlockingSink { fd, method: Method::Polled },
            },
            method => NonBlockingSink { fd, method },
        }
    }

    /// Writes what can be written now, perhaps a part of `bytes`.
    ///
    /// # Errors
    /// Those of write(2) and send(2) that are no [`WriteOutcome`]: a full disk, a file that is not open
    /// for writing.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<WriteOutcome> {
        if bytes.is_empty() {
            return Ok(WriteOutcome::Wrote(0));
        }
        loop {
            match self.write_once(bytes) {
                Ok(written) => return Ok(WriteOutcome::Wrote(written)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(WriteOutcome::WouldBlock),
                Err(Errno::EPIPE | Errno::ECONNRESET | Errno::ENXIO) => return Ok(WriteOutcome::Closed),
                // A terminal that hung up; on a disk it is a real error.
                Err(Errno::EIO) if self.method != Method::Plain => return Ok(WriteOutcome::Closed),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// What to poll for POLLOUT after [`WriteOutcome::WouldBlock`]; `None` for a file that is always
    /// ready (epoll refuses those).
    pub fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        (self.method != Method::Plain).then(|| self.fd.as_fd())
    }

    fn write_once(&self, bytes: &[u8]) -> nix::Result<usize> {
        match self.method {
            Method::NonBlocking | Method::Plain => write(&self.fd, bytes),
            Method::Send => send(self.fd.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
            Method::Polled => {
                let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)];
                if poll(&mut fds, PollTimeout::ZERO)? == 0 {
                    return Err(Errno::EAGAIN);
                }
                write(&self.fd, &bytes[..bytes.len().min(PIPE_BUF)])
            }
        }
    }
}

/// Another description of the same pipe or terminal, only for writing and only for us.
fn open_again(fd: &OwnedFd) -> io::Result<OwnedFd> {
    let access = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL)?) & OFlag::O_ACCMODE;
    if access == OFlag::O_RDONLY {
        // Not to be written to; do not get around that.
        return Err(Errno::EBADF.into());
    }
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    Ok(File::options().write(true).custom_flags(flags.bits()).open(path)?.into())
}

#[cfg(test)]
mod tests;
