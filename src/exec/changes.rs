//! Hearing that the record has changed, in this process and in others, without polling.

use crate::sys::readable;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// When the record is looked at again after another process wrote to its log: a commit is visible to others only
/// a moment after the write that can be heard. When it takes longer, the end of it is heard as well.
const ECHOES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(100)];

/// How often the record is looked at where the kernel has no watch left.
const POLL: Duration = Duration::from_millis(100);

/// Where changes are told.
#[derive(Debug)]
pub(super) struct Changes {
    local: watch::Sender<()>,
    /// `None`: nobody else can change it.
    database: Option<PathBuf>,
}

/// Hears of changes from when it was made.
pub(super) struct Watcher {
    local: watch::Receiver<()>,
    foreign: Foreign,
}

enum Foreign {
    None,
    Watched {
        inotify: Inotify,
        readable: AsyncFd<OwnedFd>,
        echoes: VecDeque<Duration>,
    },
    /// There are too many watches on this host.
    Polled,
}

impl Changes {
    pub fn new(database: Option<PathBuf>) -> Changes {
        Changes { local: watch::Sender::new(()), database }
    }

    /// Tells the watchers of this process. Those of others hear of the write itself.
    pub fn notify(&self) {
        self.local.send_replace(());
    }

    /// Hears of changes that this process makes.
    pub fn watch_own(&self) -> Watcher {
        Watcher { local: self.local.subscribe(), foreign: Foreign::None }
    }

    /// Hears of changes that any process makes.
    pub fn watch(&self) -> Watcher {
        let local = self.local.subscribe();
        let Some(database) = &self.database else { return Watcher { local, foreign: Foreign::None } };
        let foreign = watch_files(database).unwrap_or_else(|error| {
            tracing::debug!(%error, "the record is polled");
            Foreign::Polled
        });
        Watcher { local, foreign }
    }
}

impl Watcher {
    /// Waits until there may be something new. What is found then may be what was there before.
    pub async fn changed(&mut self) {
        let Watcher { local, foreign } = self;
        tokio::select! {
            // The sender is as old as the executor that whoever waits holds.
            _ = local.changed() => {}
            () = foreign.changed() => {}
        }
    }
}

impl Foreign {
    async fn changed(&mut self) {
        match self {
            Foreign::None => std::future::pending().await,
            Foreign::Polled => tokio::time::sleep(POLL).await,
            Foreign::Watched { inotify, readable, echoes } => {
                let echo = echoes.front().copied();
                let echoed = async {
                    match echo {
                        Some(after) => tokio::time::sleep(after).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    // A wait that cannot fail on a descriptor of our own; were it to, this becomes polling.
                    _ = heard(inotify, readable) => *echoes = ECHOES.into(),
                    () = echoed => drop(echoes.pop_front()),
                }
            }
        }
    }
}

/// Returns when the record's files were written to.
async fn heard(inotify: &Inotify, readable: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        let Ok(mut guard) = readable.readable().await else {
            // Tokio is being shut down (<https://docs.rs/tokio/latest/tokio/io/unix/struct.AsyncFd.html>), and waits
            // for tasks that do not wait themselves.
            return std::future::pending().await;
        };
        guard.clear_ready();
        let mut is_ours = false;
        loop {
            match inotify.read_events() {
                Ok(events) => {
                    let ours = |name: &std::ffi::OsString| name.as_bytes().starts_with(b"coracle.db");
                    // Without a name: events were lost.
                    is_ours |= events.iter().any(|event| event.name.as_ref().is_none_or(ours));
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if is_ours {
            return Ok(());
        }
    }
}

/// The directory is watched, not the files: some of them come and go.
fn watch_files(database: &Path) -> io::Result<Foreign> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let directory = database.parent().unwrap_or(Path::new("."));
    // A commit that is complete changes an attribute; an older version only writes.
    let heard = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_MOVED_TO;
    inotify.add_watch(directory, heard)?;
    let readable = readable::watch(inotify.as_fd().try_clone_to_owned()?)?;
    Ok(Foreign::Watched { inotify, readable, echoes: VecDeque::new() })
}
