//! Waiting for a log to grow, without polling: inotify(7).

use super::LogError;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// nix reads 4096 bytes at a time; an event of a watched file (without a name) has 16.
const EVENTS_PER_READ: usize = 256;

/// Becomes readable when a log was written to, and when its writer closed it or died.
///
/// Two ways to wait: [`LogWatch::wait_readable`], or the file descriptor in an event loop (it is
/// non-blocking, fit for tokio's `AsyncFd`) with [`LogWatch::drain`] after each wake. In both: make the
/// watch, `read_new`, wait, `read_new`, wait, … No growth is missed that way.
#[derive(Debug)]
pub struct LogWatch {
    inotify: Inotify,
    path: PathBuf,
}

/// Why [`LogWatch::wait_readable`] returned. All empty: the time is over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wake {
    /// The log was written to or closed.
    pub log: bool,
    /// Indices of the extra file descriptors that are readable, hung up or broken.
    pub extra: Vec<usize>,
}

impl LogWatch {
    pub(super) fn new(file: &File, path: &Path) -> Result<LogWatch, LogError> {
        let failed = |errno: Errno| match errno {
            Errno::EMFILE | Errno::ENOSPC => {
                LogError::TooManyWatches { path: path.to_owned(), source: io::Error::from(errno) }
            }
            _ => LogError::Io { action: "watch the log", path: path.to_owned(), source: io::Error::from(errno) },
        };
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(failed)?;
        // The very file that is open, whatever has its name by now. IN_ATTRIB: it was removed.
        let open_file = format!("/proc/self/fd/{}", file.as_raw_fd());
        let events = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_ATTRIB;
        inotify.add_watch(open_file.as_str(), events).map_err(failed)?;
        Ok(LogWatch { inotify, path: path.to_owned() })
    }

    /// Takes the pending events, so that the file descriptor is readable again only after a further
    /// write. True when there were any.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn drain(&self) -> Result<bool, LogError> {
        let mut any = false;
        loop {
            match self.inotify.read_events() {
                // Fewer events than fit: that emptied the queue. Going on until EAGAIN instead could keep
                // us here under a flood.
                Ok(events) if events.len() < EVENTS_PER_READ => return Ok(true),
                Ok(_) => any = true,
                Err(Errno::EAGAIN) => return Ok(any),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.failed("read events of", errno)),
            }
        }
    }

    /// Blocks until the log was written to or closed since the last wake, one of `extra` is readable
    /// (a pidfd: the process ended), or `timeout` is over (`None`: forever).
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn wait_readable(&self, extra: &[BorrowedFd<'_>], timeout: Option<Duration>) -> Result<Wake, LogError> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut fds = vec![PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        fds.extend(extra.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)));
        loop {
            let remaining = deadline.map_or(PollTimeout::NONE, |deadline| {
                // Rounded up to milliseconds: not awake before the time. Too long for poll: wait forever.
                let remaining = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
                PollTimeout::try_from(remaining).unwrap_or(PollTimeout::MAX)
            });
            match poll(&mut fds, remaining) {
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.failed("wait for", errno)),
            }
        }
        let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        let extra = fds[1..].iter().enumerate().filter(|(_, fd)| ready(fd)).map(|(index, _)| index).collect();
        let log = ready(&fds[0]) && self.drain()?;
        Ok(Wake { log, extra })
    }

    fn failed(&self, action: &'static str, errno: Errno) -> LogError {
        LogError::Io { action, path: self.path.clone(), source: io::Error::from(errno) }
    }
}

impl AsFd for LogWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl AsRawFd for LogWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.inotify.as_fd().as_raw_fd()
    }
}
