//! The socket between a front and the supervisor it started, which the supervisor has as its stdin.
//!
//! Single bytes, in this order: the front sends [`HELLO`] (with the job's stdin as a descriptor
//! where the user wants one), then, once the record is durable, [`GO`]; the supervisor sends [`ENDED`]
//! when all is over and the outcome on disk, if that takes it; the front answers [`SETTLED`] when it has recorded
//! it. End of file from a front before `GO` means that nothing must run; after it, that the supervisor sees to the
//! record itself. End of file from a supervisor after `ENDED` means that this is no concern of the front's any more:
//! it may have become the settler.

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

pub const HELLO: u8 = b'h';
pub const GO: u8 = b'g';
pub const ENDED: u8 = b'e';
pub const SETTLED: u8 = b's';
/// From a front at any time: stop the job with its own grace period.
pub const CANCEL: u8 = b'c';
/// From a front at any time: kill the job; before `GO`, that it will not be started.
pub const KILL: u8 = b'k';

/// Sends one byte, with a descriptor or none.
///
/// # Errors
/// `EPIPE` when the other side is gone.
pub fn send(socket: BorrowedFd<'_>, byte: u8, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let raw: Vec<RawFd> = descriptor.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&[byte])], control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives one byte, waiting for it; `None` at the end of the stream.
///
/// # Errors
/// The kernel's; `EAGAIN` on a socket that does not wait.
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(u8, Option<OwnedFd>)>> {
    let mut byte = [0];
    let mut control = nix::cmsg_space!([RawFd; 1]);
    let (length, descriptor) = loop {
        let mut parts = [IoSliceMut::new(&mut byte)];
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC) {
            Ok(message) => {
                let mut descriptor = None;
                for part in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(raw) = part {
                        descriptor = raw.into_iter().map(crate::sys::process::adopt).next_back();
                    }
                }
                break (message.bytes, descriptor);
            }
            Err(nix::errno::Errno::EINTR) => {}
            // A front that was killed with unread bytes in its socket.
            Err(nix::errno::Errno::ECONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    };
    Ok((length == 1).then_some((byte[0], descriptor)))
}
