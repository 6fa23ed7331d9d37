//! Reading what executions write.

use super::error::ExecError;
use super::executor::JobExecutor;
use super::model::{ContainerId, JobExecution, JobExecutionId};
use super::waiters::Waiting;
use crate::causes::with_causes;
use crate::engine::{LogEvent, LogQuery, LogStream, RuntimeError};
use crate::log::LogStream as Stream;
use crate::record::{Execution, Status};
use futures_util::StreamExt;
use futures_util::stream;
use std::collections::VecDeque;
use std::time::Duration;

/// How often a log is looked for that a supervisor is about to begin.
const LOG_POLL: Duration = Duration::from_millis(20);

/// Bytes of a log that are read at least to show its end.
const SOME: u64 = 1 << 20;

/// A log that is being followed. While it is, the execution is not forgotten by itself.
struct Following {
    executor: JobExecutor,
    id: JobExecutionId,
    log: LogStream,
    waiting: Waiting,
}

impl JobExecutor {
    /// What the newest attempt wrote, oldest first. Following an execution that has no log yet waits until there
    /// is one or will be none, and like [`JobExecutor::wait`] keeps the execution from being forgotten by itself until
    /// the log has been read to its end or is dropped. Who follows holds the executor like a clone of it.
    ///
    /// # Errors
    /// [`ExecError::NoLog`] when there is none; a log that cannot be read.
    pub async fn logs(&self, id: &JobExecutionId, query: LogQuery) -> Result<LogStream, ExecError> {
        self.read_log(id, None, query).await
    }

    /// What an attempt wrote; as [`JobExecutor::logs`].
    ///
    /// # Errors
    /// As [`JobExecutor::logs`].
    pub async fn logs_of_attempt(
        &self,
        id: &JobExecutionId,
        attempt: u32,
        query: LogQuery,
    ) -> Result<LogStream, ExecError> {
        self.read_log(id, Some(attempt), query).await
    }

    /// Of the newest attempt when there is none given.
    async fn read_log(
        &self,
        id: &JobExecutionId,
        attempt: Option<u32>,
        query: LogQuery,
    ) -> Result<LogStream, ExecError> {
        if !query.follow {
            let row = self.row(id)?;
            return self.open_log(&row, attempt.unwrap_or(row.attempt), query).await;
        }
        // From before the first look: what there is then stays until it has been read.
        let waiting = self.inner.waiters.enter(id);
        match self.log_to_follow(id, attempt, query).await {
            Ok(log) => {
                let following = Following { executor: self.clone(), id: id.clone(), log, waiting };
                Ok(stream::unfold(Some(following), async |following| {
                    let mut following = following?;
                    match following.log.next().await {
                        Some(event) => Some((event, Some(following))),
                        None => {
                            let Following { executor, id, waiting, .. } = following;
                            executor.stop_following(&id, waiting).await;
                            None
                        }
                    }
                })
                .boxed())
            }
            Err(error) => {
                self.stop_following(id, waiting).await;
                Err(error)
            }
        }
    }

    /// Waits until there is a log or will be none.
    async fn log_to_follow(
        &self,
        id: &JobExecutionId,
        attempt: Option<u32>,
        query: LogQuery,
    ) -> Result<LogStream, ExecError> {
        let mut changes = self.inner.changes.watch();
        loop {
            // Asked first: an attempt that has ended by now writes no log any more.
            let row = self.row(id)?;
            let number = attempt.unwrap_or(row.attempt);
            let may_come = !row.status.is_terminal() && number >= row.attempt;
            match self.open_log(&row, number, query).await {
                Err(ExecError::NoLog { .. }) if may_come => {}
                result => return result,
            }
            // Its supervisor begins the log without a word to the record.
            tokio::select! {
                () = changes.changed() => {}
                () = tokio::time::sleep(LOG_POLL), if row.status == Status::Active => {}
            }
        }
    }

    async fn open_log(&self, row: &Execution, attempt: u32, query: LogQuery) -> Result<LogStream, ExecError> {
        let no_log = || ExecError::NoLog { id: JobExecutionId(row.id.clone()) };
        let container = if attempt == row.attempt {
            row.container_id.clone()
        } else {
            let attempts = self.record().attempts(&row.id)?;
            attempts.into_iter().find(|it| it.number == attempt).and_then(|attempt| attempt.container_id)
        };
        match self.runtime().logs(&ContainerId(container.ok_or_else(no_log)?), query).await {
            Err(RuntimeError::NoLog { .. }) => Err(no_log()),
            result => Ok(result?),
        }
    }

    /// Whoever settled the execution may have left it to this one to forget it.
    async fn stop_following(&self, id: &JobExecutionId, waiting: Waiting) {
        drop(waiting);
        match self.record().get(id.as_str()) {
            Ok(Some(row)) if row.status.is_terminal() && row.delete_on_exit => self.depart(id).await,
            // It is forgotten by whoever settles it.
            Ok(_) => {}
            Err(error) => tracing::warn!(error = with_causes(&error), %id, "an execution is forgotten later"),
        }
    }

    pub(super) async fn log_tail(&self, execution: &JobExecution) -> Result<Option<String>, ExecError> {
        let Some(container) = &execution.container_id else { return Ok(None) };
        let limit = self.inner.config.max_log_size;
        // More than that, for lines of our own may be among them.
        let query = LogQuery { last_bytes: Some(limit.saturating_mul(2).max(SOME)), ..LogQuery::default() };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut log = match self.runtime().logs(container, query).await {
            Ok(log) => log,
            Err(RuntimeError::NoLog { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (mut tail, mut is_cut) = (VecDeque::new(), false);
        while let Some(event) = log.next().await {
            let LogEvent::Entry(entry) = event? else { continue };
            if entry.stream == Stream::System {
                continue;
            }
            tail.extend(&entry.bytes);
            is_cut |= tail.len() > limit;
            tail.drain(..tail.len().saturating_sub(limit));
        }
        let mut tail = Vec::from(tail);
        if is_cut {
            // The cut may be inside of a character, of which at most three bytes are left.
            let inside = tail.iter().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count();
            tail.drain(..inside);
        }
        let mut text = String::from_utf8_lossy(&tail).into_owned();
        // What stands for a byte that is no UTF-8 is longer than that.
        text.drain(..text.ceil_char_boundary(text.len().saturating_sub(limit)));
        Ok(Some(text))
    }
}
