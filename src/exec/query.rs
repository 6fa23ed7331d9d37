//! Finding, watching and forgetting executions.

use super::changes::Watcher;
use super::error::ExecError;
use super::executor::{JobExecutor, QueueCare};
use super::keepers::Keepers;
use super::model::{ContainerId, JobExecution, JobExecutionId, ListQuery};
use super::queue::wait;
use crate::engine::{Activity, ContainerState, Removal};
use crate::record::{Execution, LabelFilter, Query, Status};
use crate::spec::ValueError;
use crate::sys::readable;

impl JobExecutor {
    /// The execution whose id begins with `prefix`.
    ///
    /// # Errors
    /// None or several do; an empty one is the start of no id in particular.
    pub async fn resolve(&self, prefix: &str) -> Result<JobExecutionId, ExecError> {
        if prefix.is_empty() {
            return Err(ValueError::Empty { what: "the id of an execution" }.into());
        }
        let mut ids = self.record().find_prefix(prefix)?;
        match ids.len() {
            0 => Err(ExecError::NotFound { prefix: prefix.to_owned() }),
            1 => Ok(JobExecutionId(ids.remove(0))),
            _ => Err(ExecError::Ambiguous { prefix: prefix.to_owned(), ids }),
        }
    }

    pub(super) fn row(&self, id: &JobExecutionId) -> Result<Execution, ExecError> {
        self.record().get(id.as_str())?.ok_or_else(|| ExecError::NotFound { prefix: id.to_string() })
    }

    async fn with_activity(&self, mut row: Execution) -> JobExecution {
        while row.status == Status::Active {
            let live = self.activity(&row).await;
            if live.is_some() {
                return JobExecution::new(row, live, self.now());
            }
            // Its end may have been recorded since: nothing goes back to what it was before.
            match self.record().get(&row.id) {
                Ok(Some(newer)) if newer.revision != row.revision => row = newer,
                _ => break,
            }
        }
        JobExecution::new(row, None, self.now())
    }

    async fn activity(&self, row: &Execution) -> Option<Activity> {
        let container = ContainerId(row.container_id.clone()?);
        match self.runtime().state(&container).await {
            Ok(ContainerState::Running(activity)) => Some(activity),
            // Its end is about to be recorded.
            Ok(ContainerState::Ended(outcome)) => {
                outcome.started_at.map(|at| Activity::Main { started_at: Some(at), keeper: None })
            }
            // Between two looks or after a crash there is nothing to show.
            _ => None,
        }
    }

    /// One execution as it is now, with its attempts but without its log.
    ///
    /// # Errors
    /// [`ExecError::NotFound`], or the record cannot be read.
    pub async fn execution(&self, id: &JobExecutionId) -> Result<JobExecution, ExecError> {
        let mut execution = self.with_activity(self.row(id)?).await;
        execution.attempts = self.record().attempts(id.as_str())?;
        execution.undelivered = self.undelivered(id)?;
        Ok(execution)
    }

    /// One execution as it is now, with the end of its log; `None` when there is none of that id.
    ///
    /// # Errors
    /// When the record or the log cannot be read.
    pub async fn get_execution(&self, id: &JobExecutionId) -> Result<Option<JobExecution>, ExecError> {
        let mut execution = match self.execution(id).await {
            Ok(execution) => execution,
            Err(ExecError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        execution.logs = self.log_tail(&execution).await?;
        Ok(Some(execution))
    }

    /// Executions of a job, newest first, ended ones too.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn list_executions(&self, job: &str) -> Result<Vec<JobExecution>, ExecError> {
        self.query(&ListQuery { job: Some(job.to_owned()), all: true, ..ListQuery::default() }).await
    }

    /// All executions, newest first, ended ones too.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn list_all_executions(&self) -> Result<Vec<JobExecution>, ExecError> {
        self.query(&ListQuery { all: true, ..ListQuery::default() }).await
    }

    /// Executions, newest first. A page begins after the last one of the page before; see [`ListQuery::before`].
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn query(&self, query: &ListQuery) -> Result<Vec<JobExecution>, ExecError> {
        let mut recorded = Query {
            job: query.job.clone(),
            statuses: query.statuses.iter().map(|status| status.recorded()).collect(),
            only_active: !query.all && query.statuses.is_empty(),
            labels: query.labels.iter().map(|label| label_filter(label)).collect(),
            created_after: query.since,
            created_before: query.until,
            before_id: query.before.as_ref().map(|id| id.0.clone()),
            limit: query.limit,
            ..Query::default()
        };
        let limit = query.limit.unwrap_or(usize::MAX);
        let mut found = Vec::new();
        // The record does not know the two live stages apart, so a page of it may hold fewer that match.
        loop {
            let rows = self.record().list(&recorded)?;
            let is_last = rows.len() < limit;
            recorded.before_id = rows.last().map(|row| row.id.clone());
            for row in rows {
                let execution = self.with_activity(row).await;
                if query.statuses.is_empty() || query.statuses.contains(&execution.status.filter()) {
                    found.push(execution);
                }
            }
            if is_last || found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
        }
    }

    /// Executions of the root that are claimed or run, of any process.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn active_execution_count(&self) -> Result<usize, ExecError> {
        Ok(self.record().occupied()?)
    }

    /// True while the execution is not terminal.
    ///
    /// # Errors
    /// As [`JobExecutor::execution`].
    pub async fn is_live(&self, id: &JobExecutionId) -> Result<bool, ExecError> {
        Ok(!self.row(id)?.status.is_terminal())
    }

    /// Waits for the end of an execution that anyone started, through all of its attempts. Keeps the queue going
    /// meanwhile.
    ///
    /// # Errors
    /// As [`JobExecutor::execution`]; when it has to be settled and that fails.
    pub async fn wait(&self, id: &JobExecutionId) -> Result<JobExecution, ExecError> {
        let waiting = self.inner.waiters.enter(id);
        let ended = self.wait_for_end(id).await;
        drop(waiting);
        self.seen(id, ended).await
    }

    async fn wait_for_end(&self, id: &JobExecutionId) -> Result<(JobExecution, bool), ExecError> {
        // What this executor drives changes by its doing alone.
        let mut changes = self.inner.changes.watch_own();
        let mut hears_others = false;
        let mut keepers = Keepers::default();
        loop {
            // Read after the watch was made: no change is missed between them.
            let row = self.row(id)?;
            if row.status.is_terminal() {
                return Ok((self.execution(id).await?, row.delete_on_exit));
            }
            if self.driven().contains(&(id.clone(), row.attempt)) {
                changes.changed().await;
            } else if !hears_others {
                changes = self.inner.changes.watch();
                hears_others = true;
            } else if !self.reconcile_one(row.clone()).await? {
                self.wait_for_others(&row, &mut changes, &mut keepers).await?;
            }
        }
    }

    /// Waits until there may be something new of an execution that this executor does not drive now.
    async fn wait_for_others(
        &self,
        row: &Execution,
        changes: &mut Watcher,
        keepers: &mut Keepers,
    ) -> Result<(), ExecError> {
        let mut due = None;
        if let (Status::Pending, QueueCare::Elsewhere(_)) = (row.status, &self.inner.config.queue) {
            self.attend_keepers(keepers).await?;
            due = self.kick_and_next_due()?;
        }
        let owner_ends = async {
            // Its own end is not to be waited for.
            let owner = row.owner.as_ref().filter(|owner| **owner != self.inner.me);
            match owner.map(|owner| owner.open().and_then(|pidfd| pidfd.map(readable::watch).transpose())) {
                // A pidfd becomes readable when its process ends (pidfd_open(2)).
                Some(Ok(Some(pidfd))) => drop(pidfd.readable().await),
                Some(Ok(None)) => {}
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changes.changed() => {}
            () = owner_ends => {}
            () = keepers.ended() => {}
            () = wait(due) => {}
        }
        Ok(())
    }

    /// Waits until an execution that this process triggered needs it no more: it runs, waits for its turn, or has
    /// ended.
    ///
    /// # Errors
    /// As [`JobExecutor::execution`].
    pub async fn launched(&self, id: &JobExecutionId) -> Result<JobExecution, ExecError> {
        let waiting = self.inner.waiters.enter(id);
        let launched = self.wait_for_launch(id).await;
        drop(waiting);
        self.seen(id, launched).await
    }

    async fn wait_for_launch(&self, id: &JobExecutionId) -> Result<(JobExecution, bool), ExecError> {
        let mut changes = self.inner.changes.watch_own();
        loop {
            let row = self.row(id)?;
            if row.status != Status::Pending || row.owner.as_ref() != Some(&self.inner.me) {
                let is_leaving = row.status.is_terminal() && row.delete_on_exit;
                return Ok((self.execution(id).await?, is_leaving));
            }
            changes.changed().await;
        }
    }

    /// What somebody has waited for, and who may have been the last: with true, it is to be forgotten.
    async fn seen(
        &self,
        id: &JobExecutionId,
        waited: Result<(JobExecution, bool), ExecError>,
    ) -> Result<JobExecution, ExecError> {
        match waited {
            Ok((execution, is_leaving)) => {
                if is_leaving {
                    self.depart(id).await;
                }
                Ok(execution)
            }
            // This executor has forgotten it before the call began.
            Err(ExecError::NotFound { prefix }) => self.remembered(id).ok_or(ExecError::NotFound { prefix }),
            Err(error) => Err(error),
        }
    }

    /// Forgets a terminal execution with its logs. Those who wait for its end see it first, if they do so soon.
    ///
    /// # Errors
    /// [`ExecError::NotEnded`] for a live one.
    pub async fn remove(&self, id: &JobExecutionId) -> Result<(), ExecError> {
        let row = self.row(id)?;
        if !row.status.is_terminal() {
            let status = self.with_activity(row).await.status.to_string();
            return Err(ExecError::NotEnded { id: id.clone(), status });
        }
        let _alone = self.after_waiters(id).await?;
        // First the files: a crash in between leaves a record that can be removed again.
        self.runtime().remove(&ContainerId::new(id, row.attempt), Removal::Everything).await?;
        self.record().remove(id.as_str())?;
        self.inner.changes.notify();
        Ok(())
    }
}

/// `NAME` or `NAME=VALUE`.
fn label_filter(text: &str) -> LabelFilter {
    match text.split_once('=') {
        Some((name, value)) => LabelFilter { name: name.to_owned(), value: Some(value.to_owned()) },
        None => LabelFilter { name: text.to_owned(), value: None },
    }
}
