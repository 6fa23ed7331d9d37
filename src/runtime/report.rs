//! What launcher, pid 1 and the job's own process tell the supervisor: one datagram each on a
//! CLOEXEC `SOCK_SEQPACKET` pair, so that a message is whole or absent whoever dies. The other way goes a
//! [`Verdict`] alone.

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Longest message; error texts are cut to fit well below it.
const MAX_MESSAGE: usize = 16 * 1024;
/// Longest text in a message: JSON writes a control character as six bytes.
const MAX_TEXT: usize = 2 * 1024;
/// Namespaces that one message can carry: user, mount, cgroup, network.
const MAX_DESCRIPTORS: usize = 4;

/// One step of a start, in the order in which they come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// From the first launcher: its namespaces are ready; the descriptors come along, in the order
    /// in which setns(2) must enter them.
    Namespaces,
    /// From a launcher: the container's init exists, with this pid in the supervisor's namespace,
    /// and waits for the gate.
    Created { pid: i32 },
    /// From anyone before the job's program runs: it cannot be started.
    Failed { stage: String, message: String },
    /// From the job's process: execve(2) failed.
    NotExecutable { command: String, errno: i32 },
    /// From our own program in place of the job's: the file of a transfer cannot be read or written.
    NotTransferred { message: String },
    /// From pid 1: the job's main process ended with this raw wait status.
    Ended { status: i32 },
}

/// Both ends: the supervisor's, which only receives, and the one that children inherit.
///
/// # Errors
/// The kernel's.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
    Ok((ours, theirs))
}

/// Sends one report with descriptors.
///
/// # Errors
/// `EPIPE` when the supervisor is gone; more descriptors than [`receive`] has room for, which the kernel would drop.
pub fn send(socket: BorrowedFd<'_>, report: &Report, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if descriptors.len() > MAX_DESCRIPTORS {
        let message = format!("{} descriptors in one report, which takes {MAX_DESCRIPTORS}", descriptors.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let mut report = report.clone();
    if let Report::Failed { message: text, .. }
    | Report::NotExecutable { command: text, .. }
    | Report::NotTransferred { message: text } = &mut report
    {
        truncate(text);
    }
    let bytes = serde_json::to_vec(&report)?;
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&bytes)], control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

fn truncate(text: &mut String) {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

/// What a receive found.
#[derive(Debug)]
pub enum Received {
    Report(Report, Vec<OwnedFd>),
    /// Nothing now.
    WouldBlock,
    /// Every sender is gone.
    Closed,
}

/// Receives one report without waiting.
///
/// # Errors
/// The kernel's, and a message that is none of ours.
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Received> {
    let mut buffer = vec![0; MAX_MESSAGE];
    let mut control = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let result = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC);
    let (length, descriptors) = match result {
        Ok(message) => {
            let mut descriptors = Vec::new();
            for part in message.cmsgs()? {
                if let ControlMessageOwned::ScmRights(raw) = part {
                    descriptors.extend(raw.into_iter().map(crate::sys::process::adopt));
                }
            }
            (message.bytes, descriptors)
        }
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(Received::WouldBlock),
        Err(nix::errno::Errno::ECONNRESET) => return Ok(Received::Closed),
        Err(error) => return Err(error.into()),
    };
    if length == 0 {
        return Ok(Received::Closed);
    }
    Ok(Received::Report(serde_json::from_slice(&buffer[..length])?, descriptors))
}

/// The failure as a report, sent on a best-effort basis: whoever fails has nobody else to tell.
pub fn send_failure(socket: &impl AsFd, stage: &str, error: &dyn std::fmt::Display) {
    let report = Report::Failed { stage: stage.to_owned(), message: error.to_string() };
    // The supervisor is gone when this fails, and with it the need to know.
    let _ = send(socket.as_fd(), &report, &[]);
}

/// What the supervisor says of data that has come to its end: whether that was the end of the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Complete,
    Broken,
}

const COMPLETE: u8 = b'c';
const BROKEN: u8 = b'b';

/// Tells it to the process that receives the data; one that is gone needs none.
pub fn send_verdict(socket: BorrowedFd<'_>, verdict: Verdict) {
    let byte = [if verdict == Verdict::Complete { COMPLETE } else { BROKEN }];
    // It fails when the receiver has ended, which tells the supervisor all that it can know.
    let _ = nix::sys::socket::send(socket.as_raw_fd(), &byte, MsgFlags::MSG_NOSIGNAL);
}

/// Waits for it. A supervisor that is gone has not said that the data is complete.
pub fn receive_verdict(socket: BorrowedFd<'_>) -> Verdict {
    let mut byte = [0];
    loop {
        match nix::sys::socket::recv(socket.as_raw_fd(), &mut byte, MsgFlags::empty()) {
            Ok(1) if byte[0] == COMPLETE => return Verdict::Complete,
            Err(nix::errno::Errno::EINTR) => {}
            Ok(_) | Err(_) => return Verdict::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_and_descriptors_arrive_whole_and_in_order() {
        let (ours, theirs) = pair().unwrap();
        assert!(matches!(receive(ours.as_fd()).unwrap(), Received::WouldBlock));
        let null = std::fs::File::open("/dev/null").unwrap();
        send(theirs.as_fd(), &Report::Namespaces, &[null.as_fd(), null.as_fd()]).unwrap();
        send_failure(&theirs, "create the container", &"ä".repeat(MAX_TEXT));
        drop(theirs);
        let Received::Report(Report::Namespaces, descriptors) = receive(ours.as_fd()).unwrap() else { panic!() };
        assert_eq!(descriptors.len(), 2);
        let Received::Report(Report::Failed { stage, message }, _) = receive(ours.as_fd()).unwrap() else { panic!() };
        assert_eq!(stage, "create the container");
        assert!(message.ends_with('…') && message.len() <= MAX_TEXT + 4);
        assert!(matches!(receive(ours.as_fd()).unwrap(), Received::Closed));
    }

    #[test]
    fn more_descriptors_than_arrive_are_refused() {
        let (_ours, theirs) = pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let many = [null.as_fd(); MAX_DESCRIPTORS + 1];
        assert!(send(theirs.as_fd(), &Report::Namespaces, &many).is_err());
        send(theirs.as_fd(), &Report::Namespaces, &many[1..]).unwrap();
    }

    #[test]
    fn only_a_supervisor_that_says_so_makes_data_complete() {
        let (ours, theirs) = pair().unwrap();
        send_verdict(ours.as_fd(), Verdict::Complete);
        send_verdict(ours.as_fd(), Verdict::Broken);
        assert_eq!(receive_verdict(theirs.as_fd()), Verdict::Complete);
        assert_eq!(receive_verdict(theirs.as_fd()), Verdict::Broken);
        drop(ours);
        assert_eq!(receive_verdict(theirs.as_fd()), Verdict::Broken);
    }
}
