//! Hearing that containers of this host have come further: their keepers replace a file in the directory of the
//! container.

use crate::id::ContainerId;
use crate::state_dir::{ContainerDir, StateDir};
use crate::sys::readable;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use tokio::io::unix::AsyncFd;

/// The directories that are watched.
pub struct Stages {
    state: StateDir,
    /// From the first directory on. `None` again, and for good, where the kernel has no watch left: what nobody
    /// hears of is told when it has ended.
    inotify: Option<(Inotify, AsyncFd<OwnedFd>)>,
    /// By execution, with the container.
    watches: HashMap<String, (String, WatchDescriptor)>,
}

/// Which executions may have come further.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Of(Vec<String>),
    /// Words were lost.
    All,
}

impl Stages {
    pub fn new(root: &Path) -> Stages {
        Stages { state: StateDir::from_parts(root.into(), root.into()), inotify: None, watches: HashMap::new() }
    }

    /// Watches the container of an execution from now on. Look at it after this call.
    pub fn watch(&mut self, id: &str, container: Option<&str>) {
        let Some(container) = container else { return };
        if self.watches.get(id).is_some_and(|(watched, _)| watched == container) {
            return;
        }
        self.forget(id);
        match self.try_watch(container) {
            Ok(watch) => drop(self.watches.insert(id.to_owned(), (container.to_owned(), watch))),
            Err(error) => tracing::debug!(%error, id, "the stages of an execution are not watched"),
        }
    }

    fn try_watch(&mut self, container: &str) -> io::Result<WatchDescriptor> {
        if self.inotify.is_none() {
            let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
            let readable = readable::watch(inotify.as_fd().try_clone_to_owned()?)?;
            self.inotify = Some((inotify, readable));
        }
        let (inotify, _) = self.inotify.as_ref().ok_or(Errno::ENOSYS)?;
        let flags = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR | AddWatchFlags::IN_DONT_FOLLOW;
        Ok(inotify.add_watch(self.state.container(&ContainerId(container.to_owned())).path(), flags)?)
    }

    pub fn forget(&mut self, id: &str) {
        if let Some((_, watch)) = self.watches.remove(id)
            && let Some((inotify, _)) = &self.inotify
        {
            // It goes by itself with the directory.
            let _ = inotify.rm_watch(watch);
        }
    }

    /// Waits until an execution may have come further.
    pub async fn changed(&mut self) -> Heard {
        let Some((inotify, readable)) = &self.inotify else { return std::future::pending().await };
        match heard(inotify, readable, &self.watches).await {
            Ok(heard) => heard,
            Err(error) => {
                tracing::debug!(%error, "the stages of executions are not watched any more");
                self.inotify = None;
                self.watches.clear();
                Heard::All
            }
        }
    }
}

async fn heard(
    inotify: &Inotify,
    readable: &AsyncFd<OwnedFd>,
    watches: &HashMap<String, (String, WatchDescriptor)>,
) -> io::Result<Heard> {
    let state = ContainerDir::from_path(PathBuf::new()).state();
    loop {
        let mut guard = readable.readable().await?;
        guard.clear_ready();
        let mut of = Vec::new();
        loop {
            match inotify.read_events() {
                Ok(events) => {
                    for event in events {
                        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                            return Ok(Heard::All);
                        }
                        if event.name.as_deref().is_some_and(|name| Path::new(name) == state) {
                            of.extend(
                                watches.iter().find(|(_, (_, watch))| *watch == event.wd).map(|(id, _)| id.clone()),
                            );
                        }
                    }
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !of.is_empty() {
            return Ok(Heard::Of(of));
        }
    }
}
