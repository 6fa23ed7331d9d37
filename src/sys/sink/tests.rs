use super::{Method, NonBlockingSink, WriteOutcome};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Writes until there is no room; returns what was taken.
fn fill(sink: &mut NonBlockingSink) -> Vec<u8> {
    let mut taken = Vec::new();
    loop {
        let bytes: Vec<u8> = (taken.len()..taken.len() + 7000).map(|offset| (offset % 251) as u8).collect();
        match sink.try_write(&bytes).expect("no error") {
            WriteOutcome::Wrote(written) => taken.extend_from_slice(&bytes[..written]),
            WriteOutcome::WouldBlock => return taken,
            WriteOutcome::Closed => panic!("closed"),
        }
        assert!(taken.len() < 100 << 20, "takes everything");
    }
}

fn is_writable(sink: &NonBlockingSink) -> bool {
    let mut fds = [PollFd::new(sink.poll_fd().expect("can be polled"), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO).expect("polled") == 1
}

/// What a caller relies on: a full destination does not block, goes on when read, and is whole.
fn check_backpressure(sink: &mut NonBlockingSink, mut reader: impl Read) {
    let taken = fill(sink);
    assert!(!taken.is_empty() && !is_writable(sink));
    let mut read = vec![0; taken.len()];
    reader.read_exact(&mut read).expect("read");
    assert!(read == taken, "bytes changed on the way");
    assert!(is_writable(sink));
    assert_eq!(sink.try_write(b"on").expect("no error"), WriteOutcome::Wrote(2));
    assert_eq!(sink.try_write(b"").expect("no error"), WriteOutcome::Wrote(0));
    let mut rest = [0; 2];
    reader.read_exact(&mut rest).expect("read");
    assert_eq!(&rest, b"on");
    drop(reader);
    assert_eq!(sink.try_write(b"gone").expect("no error"), WriteOutcome::Closed);
    assert!(is_writable(sink), "a broken one must wake its writer");
}

fn is_nonblocking(fd: impl AsFd) -> bool {
    OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL).expect("flags")).contains(OFlag::O_NONBLOCK)
}

#[test]
fn a_pipe_never_blocks_and_keeps_its_flags() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let shared = writer.try_clone().expect("duplicated");
    let mut sink = NonBlockingSink::new(writer.into());
    assert_eq!(sink.method, Method::NonBlocking);
    assert!(!is_nonblocking(&shared));
    check_backpressure(&mut sink, reader);
    assert!(!is_nonblocking(&shared));
}

#[test]
fn a_pipe_that_cannot_be_opened_again_never_blocks() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    check_backpressure(&mut NonBlockingSink { fd: writer.into(), method: Method::Polled }, reader);
}

#[test]
fn a_pipe_whose_reader_is_gone_is_closed() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut sink = NonBlockingSink::new(writer.into());
    assert_eq!(sink.try_write(b"x").expect("no error"), WriteOutcome::Closed);
}

#[test]
fn the_readers_end_of_file_comes_with_the_sink() {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut sink = NonBlockingSink::new(writer.into());
    assert_eq!(sink.try_write(b"all").expect("no error"), WriteOutcome::Wrote(3));
    drop(sink);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("read");
    assert_eq!(text, "all");
}

#[test]
fn the_reading_end_of_a_pipe_is_not_written_to() {
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let error = NonBlockingSink::new(reader.into()).try_write(b"x");
    // Not writable at all, or never ready: both keep the bytes out.
    assert!(matches!(error, Err(_) | Ok(WriteOutcome::WouldBlock)), "{error:?}");
}

#[test]
fn a_socket_never_blocks_and_keeps_its_flags() {
    let (reader, writer) = UnixStream::pair().expect("sockets");
    let shared = writer.try_clone().expect("duplicated");
    let mut sink = NonBlockingSink::new(writer.into());
    check_backpressure(&mut sink, reader);
    assert!(!is_nonblocking(&shared));
}

#[test]
fn a_file_shares_offset_and_append_mode_with_its_owner() {
    for append in [false, true] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("out");
        std::fs::write(&path, if append { "before " } else { "" }).expect("written");
        let mut owner = File::options().write(true).append(append).open(&path).expect("opened");
        let mut sink = NonBlockingSink::new(OwnedFd::from(owner.try_clone().expect("duplicated")));
        assert!(sink.poll_fd().is_none());
        owner.write_all(b"owner ").expect("written");
        assert_eq!(sink.try_write(b"sink ").expect("no error"), WriteOutcome::Wrote(5));
        if append {
            owner.seek(SeekFrom::Start(0)).expect("sought");
        }
        owner.write_all(b"owner").expect("written");
        let text = std::fs::read_to_string(&path).expect("read");
        assert_eq!(text, if append { "before owner sink owner" } else { "owner sink owner" });
    }
}

#[test]
fn a_terminal_never_blocks_and_hangs_up() {
    let pty = nix::pty::openpty(None, None).expect("a pty");
    let shared = pty.slave.try_clone().expect("duplicated");
    let mut sink = NonBlockingSink::new(pty.slave);
    assert_eq!(sink.method, Method::NonBlocking);
    let taken = fill(&mut sink);
    assert!(!taken.is_empty() && !is_nonblocking(&shared));
    let mut master = File::from(pty.master);
    assert!(master.read(&mut [0; 4096]).expect("read") > 0);
    drop(master);
    assert_eq!(sink.try_write(b"gone").expect("no error"), WriteOutcome::Closed);
}

#[test]
fn a_full_device_is_an_error_and_the_null_device_takes_all() {
    let open = |path| OwnedFd::from(File::options().write(true).open(path).expect("opened"));
    let error = NonBlockingSink::new(open("/dev/full")).try_write(b"x").expect_err("full");
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    let mut null = NonBlockingSink::new(open("/dev/null"));
    assert_eq!(null.try_write(&[0; 100_000]).expect("no error"), WriteOutcome::Wrote(100_000));
}
