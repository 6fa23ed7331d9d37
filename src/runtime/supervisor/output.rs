//! From the job's pipes to the ring and, for a foreground run, to the caller's own streams.

use crate::log::{LogStream, RingWriter};
use crate::sys::sink::{NonBlockingSink, WriteOutcome};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes read at once, and the pipe's size: the default of pipe(7), so that one read can empty it.
const CHUNK: usize = 64 * 1024;

/// The caller's stdout or stderr, and what it has not taken yet.
pub struct Caller {
    sink: Option<NonBlockingSink>,
    pending: Vec<u8>,
    sent: usize,
    error: Option<io::Error>,
}

impl Caller {
    pub fn new(sink: Option<NonBlockingSink>) -> Caller {
        Caller { sink, pending: Vec::new(), sent: 0, error: None }
    }

    /// Why bytes were lost on the way to the caller; that it closed its end is no reason to complain.
    pub fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    /// True while bytes wait for the caller to read.
    pub fn is_blocked(&self) -> bool {
        self.sent < self.pending.len()
    }

    /// The descriptor to wait on while blocked.
    pub fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        self.sink.as_ref().filter(|_| self.is_blocked()).and_then(NonBlockingSink::poll_fd)
    }

    /// Writes what is pending as far as it goes. A caller that closed its end is left alone from then on.
    pub fn flush(&mut self) {
        while self.is_blocked() {
            let Some(sink) = &mut self.sink else { break };
            match sink.try_write(&self.pending[self.sent..]) {
                Ok(WriteOutcome::Wrote(count)) => self.sent += count,
                Ok(WriteOutcome::WouldBlock) => return,
                Ok(WriteOutcome::Closed) => self.sink = None,
                // A full disk of the caller's is not the job's concern; the ring goes on.
                Err(error) => {
                    self.sink = None;
                    self.error = Some(error);
                }
            }
        }
        self.pending.clear();
        self.sent = 0;
    }

    /// Gives up on the caller.
    pub fn abandon(&mut self) {
        self.sink = None;
        self.flush();
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.sink.is_some() {
            self.pending.extend_from_slice(bytes);
            self.flush();
        }
    }
}

/// The read end of one of the job's two pipes.
pub struct JobPipe {
    pub stream: LogStream,
    /// `None` after end of file.
    pipe: Option<OwnedFd>,
}

impl JobPipe {
    /// Both ends: ours, which never waits, and the job's.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(stream: LogStream) -> io::Result<(JobPipe, OwnedFd)> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok((JobPipe { stream, pipe: Some(read) }, write))
    }

    pub fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// The descriptor to wait on, while there is a reason to read.
    pub fn wait_fd(&self, caller: &Caller) -> Option<BorrowedFd<'_>> {
        // Not reading is what makes a slow reader slow down the job, as in any pipeline.
        self.pipe.as_ref().filter(|_| !caller.is_blocked()).map(AsFd::as_fd)
    }

    /// Moves one chunk. True when there was one.
    pub fn pump(
        &mut self,
        buffer: &mut Buffer,
        ring: &mut Option<RingWriter>,
        process: Option<u16>,
        caller: &mut Caller,
    ) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        match nix::unistd::read(pipe, &mut buffer.0) {
            Ok(0) => {
                self.pipe = None;
                false
            }
            Ok(count) => {
                let bytes = &buffer.0[..count];
                if let Some(ring) = ring {
                    ring.append(self.stream, process, jiff::Timestamp::now(), bytes);
                }
                caller.push(bytes);
                true
            }
            Err(Errno::EAGAIN | Errno::EINTR) => false,
            Err(_) => {
                // A pipe gives no other error; were there one, it would never end.
                self.pipe = None;
                false
            }
        }
    }
}

/// One buffer for both streams.
pub struct Buffer(Box<[u8]>);

impl Buffer {
    pub fn new() -> Buffer {
        Buffer(vec![0; CHUNK].into_boxed_slice())
    }
}
