//! Reading a container's log as a stream.

use super::OciRuntime;
use crate::engine::{ContainerState, LogEntry, LogEvent, LogQuery, LogStream, RuntimeError};
use crate::id::ContainerId;
use crate::log::{LogWatch, Pass, Reader};
use crate::sys::readable;
use futures_util::stream::{self, StreamExt};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use tokio::io::unix::AsyncFd;

/// Wakes a follower.
struct Watch {
    log: LogWatch,
    log_grew: AsyncFd<OwnedFd>,
    /// `None` when it is gone, or never was.
    supervisor: Option<AsyncFd<OwnedFd>>,
}

struct Following {
    runtime: OciRuntime,
    container: ContainerId,
    reader: Reader,
    query: LogQuery,
    watch: Option<Watch>,
    /// What is being read, a batch at a time, with the missed bytes that its entries have told of.
    pass: Option<(Pass, u64)>,
    /// Read and not given yet.
    events: VecDeque<LogEvent>,
    ended: bool,
}

/// The log at `path` as a stream.
///
/// # Errors
/// A log that cannot be opened.
pub(super) fn open(
    runtime: OciRuntime,
    container: ContainerId,
    path: &Path,
    query: LogQuery,
) -> Result<LogStream, RuntimeError> {
    let mut reader = Reader::open(path)?;
    if let Some(bytes) = query.last_bytes {
        reader.skip_to_last(bytes)?;
    }
    let stream = stream::try_unfold(Following::new(runtime, container, reader, query), async |mut following| {
        let event = following.next().await?;
        Ok(event.map(|event| (event, following)))
    });
    Ok(stream.boxed())
}

impl Following {
    fn new(runtime: OciRuntime, container: ContainerId, reader: Reader, query: LogQuery) -> Following {
        let events = VecDeque::new();
        Following { runtime, container, reader, query, watch: None, pass: None, events, ended: false }
    }

    async fn next(&mut self) -> Result<Option<LogEvent>, RuntimeError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if self.pass.is_none() {
                if self.ended {
                    return Ok(None);
                }
                if self.query.follow {
                    self.wait().await?;
                }
            }
            self.read()?;
        }
    }

    /// Waits until there may be something new; the first time not at all.
    async fn wait(&mut self) -> Result<(), RuntimeError> {
        let failed = || RuntimeError::io("watch the log of", self.container.as_str());
        let Some(watch) = &mut self.watch else {
            // First the watch, then the first reading: nothing is written unseen between them.
            let log = self.reader.watch()?;
            let log_grew = log.as_fd().try_clone_to_owned().and_then(readable::watch).map_err(failed())?;
            let supervisor = self.runtime.supervisor(&self.container)?;
            let supervisor = supervisor.map(readable::watch).transpose().map_err(failed())?;
            // One that waits for its start has not written who it is yet.
            let is_over = supervisor.is_none()
                && !matches!(self.runtime.look(&self.container)?, ContainerState::Created | ContainerState::Running(_));
            self.watch = Some(Watch { log, log_grew, supervisor });
            self.ended = is_over;
            return Ok(());
        };
        let gone = async {
            match &watch.supervisor {
                Some(supervisor) => supervisor.readable().await.map(drop),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            grown = watch.log_grew.readable() => {
                grown.map_err(failed())?.clear_ready();
                watch.log.drain()?;
            }
            // It may have died without ending the log. What it wrote is read once more.
            ended = gone => {
                ended.map_err(failed())?;
                self.ended = true;
            }
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), RuntimeError> {
        let capacity = self.reader.capacity();
        let (mut pass, mut told) = match self.pass.take() {
            Some(begun) => begun,
            None => (self.reader.begin()?, 0),
        };
        let events = &mut self.events;
        let is_done = self.reader.read_batch(&mut pass, &mut |record| {
            told += record.missed_before;
            events.push_back(LogEvent::Entry(LogEntry::new(&record, capacity)));
        })?;
        if !is_done {
            self.pass = Some((pass, told));
            return Ok(());
        }
        let progress = pass.progress();
        self.events.push_back(LogEvent::CaughtUp { missed: progress.missed_bytes - told });
        self.ended |= progress.ended || !self.query.follow;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
