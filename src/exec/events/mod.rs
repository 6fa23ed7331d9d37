//! Hearing of what becomes of executions, of any process.

use super::error::ExecError;
use super::executor::JobExecutor;
use super::model::{JobExecution, JobExecutionId, StatusChange};
use futures_util::stream::{self, Stream};
use std::collections::VecDeque;

/// Rows that are read at once.
const BATCH: u32 = 64;

impl JobExecutor {
    /// The changes of status of all executions of the root, of every process, from this call on. Each execution's
    /// own come in their order, each status once per attempt, the terminal one once and when it is durable; an
    /// init step that begins is a further [`Initializing`](super::JobStatus::Initializing) with its name. What was
    /// too short to be seen is told from what is on record. The stream holds the executor like a clone of it, and
    /// ends after an error.
    ///
    /// Must be called, and polled, in a tokio runtime with time and I/O.
    pub fn subscribe(&self) -> impl Stream<Item = Result<StatusChange, ExecError>> + Send + 'static + use<> {
        let watcher = self.inner.changes.watch();
        let revision = self.record().revision();
        let state = (self.clone(), watcher, revision, VecDeque::new());
        stream::try_unfold(state, async |(executor, mut watcher, revision, mut found)| {
            let mut last = revision?;
            loop {
                if let Some(change) = found.pop_front() {
                    return Ok(Some((change, (executor, watcher, Ok(last), found))));
                }
                for row in executor.record().changes_since(last, BATCH)? {
                    last = row.revision;
                    let at = row.completed_at.unwrap_or(row.created_at);
                    let execution = JobExecution::new(row, None);
                    found.push_back(StatusChange {
                        id: JobExecutionId(execution.id.0),
                        job_name: execution.job_name,
                        attempt: execution.attempt,
                        status: execution.status,
                        step: execution.step,
                        trigger: execution.trigger,
                        at,
                    });
                }
                if found.is_empty() {
                    watcher.changed().await;
                }
            }
        })
    }
}
