//! From the job's pipes to the ring and, for a foreground run, to the caller's own streams.

use crate::log::{LogStream, RingWriter};
use crate::sys::pipe;
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
    /// It has closed its end, which nobody has been told yet.
    is_closed: bool,
}

impl Caller {
    pub fn new(sink: Option<NonBlockingSink>) -> Caller {
        Caller { sink, pending: Vec::new(), sent: 0, error: None, is_closed: false }
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
                Ok(WriteOutcome::Closed) => {
                    self.sink = None;
                    self.is_closed = true;
                }
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

    /// Gives up on the caller, who may have left something unread.
    fn abandon(&mut self) {
        if self.is_blocked() && self.error.is_none() {
            self.error = Some(io::Error::other("it was not read any more"));
        }
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
    stream: LogStream,
    /// `None` after end of file.
    pipe: Option<OwnedFd>,
}

impl JobPipe {
    /// Both ends: ours, which never waits, and the job's.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(stream: LogStream) -> io::Result<(JobPipe, OwnedFd)> {
        let (read, write) = pipe::new()?;
        fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok((JobPipe { stream, pipe: Some(read) }, write))
    }

    pub fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// The descriptor to wait on, while there is a reason to read.
    pub fn wait_fd(&self, output: &Output) -> Option<BorrowedFd<'_>> {
        // Not reading is what makes a slow reader slow down the job, as in any pipeline.
        self.pipe.as_ref().filter(|_| !output.caller(self.stream).is_blocked()).map(AsFd::as_fd)
    }

    /// Moves one chunk. True when there was one.
    pub fn pump(&mut self, output: &mut Output) -> bool {
        if self.wait_fd(output).is_none() {
            return false;
        }
        let Some(pipe) = &self.pipe else { return false };
        match nix::unistd::read(pipe, &mut output.buffer) {
            Ok(0) => {
                self.pipe = None;
                false
            }
            Ok(count) => {
                output.take(self.stream, count);
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

/// Where the job's output goes.
pub struct Output {
    /// `None` when no log can be kept.
    pub ring: Option<RingWriter>,
    /// stdout and stderr of whoever waits.
    pub callers: [Caller; 2],
    /// The step that writes now, as the log has it; `None` for the main process.
    pub process: Option<u16>,
    /// Of the step that writes now.
    pub last_line: LastLine,
    /// One for all pipes.
    buffer: Box<[u8]>,
}

impl Output {
    pub fn new(ring: Option<RingWriter>, callers: [Caller; 2]) -> Output {
        let buffer = vec![0; CHUNK].into_boxed_slice();
        Output { ring, callers, process: None, last_line: LastLine::default(), buffer }
    }

    /// The caller's stream that goes with one of the job's.
    pub fn caller(&self, stream: LogStream) -> &Caller {
        &self.callers[caller_index(stream)]
    }

    /// True while bytes wait for a caller to read.
    pub fn is_blocked(&self) -> bool {
        self.callers.iter().any(Caller::is_blocked)
    }

    /// Nobody who waits is waited for any more.
    pub fn abandon_callers(&mut self) {
        self.callers.iter_mut().for_each(Caller::abandon);
    }

    /// A line of our own for the log.
    pub fn say(&mut self, text: &str) {
        if let Some(ring) = &mut self.ring {
            let line = format!("{text}\n");
            ring.append(LogStream::System, self.process, jiff::Timestamp::now(), line.as_bytes());
        }
    }

    /// As [`Output::say`], and to whoever waits on a terminal where nothing else may be seen for long.
    pub fn tell(&mut self, text: &str) {
        self.say(text);
        self.tell_caller(text);
    }

    fn tell_caller(&mut self, text: &str) {
        self.callers[caller_index(LogStream::Stderr)].push(format!("coracle: note: {text}\n").as_bytes());
    }

    /// `count` bytes of the buffer.
    fn take(&mut self, stream: LogStream, count: usize) {
        let bytes = &self.buffer[..count];
        if let Some(ring) = &mut self.ring {
            ring.append(stream, self.process, jiff::Timestamp::now(), bytes);
        }
        if self.process.is_some() {
            self.last_line.push(stream, bytes);
        }
        self.callers[caller_index(stream)].push(bytes);
        if stream == LogStream::Stdout && std::mem::take(&mut self.callers[0].is_closed) {
            // Else a command in a pipe would go on without a word when the others have ended.
            self.tell_caller("nobody reads standard output any more; the job goes on, and the log has the rest");
        }
    }
}

fn caller_index(stream: LogStream) -> usize {
    usize::from(stream != LogStream::Stdout)
}

/// Bytes of a last line that are kept: enough for the reason of a failure.
const MAX_LINE: usize = 256;

/// The last line of a step's output that is not blank.
#[derive(Debug, Default)]
pub struct LastLine {
    /// stdout and stderr.
    unfinished: [Vec<u8>; 2],
    finished: Vec<u8>,
}

impl LastLine {
    fn push(&mut self, stream: LogStream, bytes: &[u8]) {
        let line = &mut self.unfinished[caller_index(stream)];
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            line.extend(piece.iter().take(MAX_LINE.saturating_sub(line.len())));
            if piece.ends_with(b"\n") {
                if !line.trim_ascii().is_empty() {
                    self.finished.clone_from(line);
                }
                line.clear();
            }
        }
    }

    /// The line as text, and none from here on. What could move a terminal's cursor is replaced.
    pub fn take(&mut self) -> Option<String> {
        let LastLine { unfinished: [stdout, stderr], finished } = std::mem::take(self);
        let line = [stderr, stdout, finished].into_iter().find(|line| !line.trim_ascii().is_empty())?;
        let printable = |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
        Some(String::from_utf8_lossy(line.trim_ascii()).chars().map(printable).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(pieces: &[(LogStream, &[u8])]) -> Option<String> {
        let mut last = LastLine::default();
        pieces.iter().for_each(|(stream, bytes)| last.push(*stream, bytes));
        last.take()
    }

    #[test]
    fn the_last_line_that_says_something_is_found() {
        use LogStream::{Stderr, Stdout};
        assert_eq!(last(&[]), None);
        assert_eq!(last(&[(Stdout, b"\n  \n")]), None);
        assert_eq!(last(&[(Stdout, b"one\ntw"), (Stdout, b"o\n\n")]).unwrap(), "two");
        assert_eq!(last(&[(Stderr, b"why\n"), (Stdout, b"later\n")]).unwrap(), "later");
        assert_eq!(last(&[(Stdout, b"done\n"), (Stderr, b"no newline")]).unwrap(), "no newline");
    }

    #[test]
    fn a_line_is_cut_and_cannot_drive_a_terminal() {
        let long = [b'x'; 3 * MAX_LINE];
        assert_eq!(last(&[(LogStream::Stdout, &long)]).unwrap().len(), MAX_LINE);
        assert_eq!(last(&[(LogStream::Stdout, b"\x1b[2Jgone\xff\r\n")]).unwrap(), "\u{fffd}[2Jgone\u{fffd}");
    }
}
