//! Driving one claimed attempt through the runtime.

use super::error::ExecError;
use super::executor::JobExecutor;
use super::model::{ContainerId, JobExecutionId};
use super::settle::outcome;
use crate::causes::with_causes;
use crate::engine::{CreateRequest, Created, Removal};
use crate::outcome::{End, Outcome, Stopped};
use crate::record::{Execution, RecordError, Status};
use crate::spec::{Retry, ServiceSpec};
use jiff::Timestamp;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long an attempt is prepared before others may interrupt it: a cached image takes less.
const UNDISTURBED: Duration = Duration::from_millis(20);

/// How long after a failure of the record or the runtime they are tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// How often the end of an attempt that did not begin is tried to be recorded before a program that ends leaves that
/// to whoever next opens the store.
const TRIES: u32 = 10;

/// An attempt that this process has claimed.
#[derive(Debug, Clone)]
pub(super) struct Claimed {
    pub id: JobExecutionId,
    /// From 1.
    pub attempt: u32,
    pub job: ServiceSpec,
    /// By earlier attempts and the waits after them.
    pub spent: Duration,
    /// When this process took it on.
    pub claimed_at: Instant,
    pub scheduled_for: Option<Timestamp>,
    /// What the runtime was told where the execution was triggered.
    pub settings: Option<serde_json::Value>,
    /// That of the attempt, made or to be made.
    pub container: ContainerId,
}

impl Claimed {
    /// # Errors
    /// [`ExecError::Spec`].
    pub fn from_row(row: Execution) -> Result<Claimed, ExecError> {
        let container = Claimed::container_of(&row);
        let job = serde_json::from_value(row.spec)
            .map_err(|source| ExecError::Spec { what: format!("execution {}", row.id), source })?;
        let id = JobExecutionId(row.id);
        Ok(Claimed {
            container,
            id,
            attempt: row.attempt,
            job,
            spent: row.spent,
            claimed_at: Instant::now(),
            scheduled_for: row.scheduled_for,
            settings: row.settings,
        })
    }

    /// That of the attempt; a new one where the record has none.
    pub fn container_of(row: &Execution) -> ContainerId {
        let container = row.container_id.clone().filter(|_| row.status == Status::Active);
        container.map_or_else(|| ContainerId::new(&JobExecutionId(row.id.clone()), row.attempt), ContainerId)
    }

    /// What is left of the execution's deadline.
    fn remaining(&self) -> Option<Duration> {
        self.job.policy.deadline.map(|deadline| deadline.saturating_sub(self.spent))
    }

    /// What the job sees beside its own environment.
    fn env(&self) -> Vec<(String, String)> {
        let scheduled = self.scheduled_for.map(|time| ("CORACLE_SCHEDULED_TIME".to_owned(), time.to_string()));
        [
            ("CORACLE_EXECUTION_ID".to_owned(), self.id.0.clone()),
            ("CORACLE_JOB_NAME".to_owned(), self.job.name.clone()),
            ("CORACLE_ATTEMPT".to_owned(), self.attempt.to_string()),
        ]
        .into_iter()
        .chain(scheduled)
        .collect()
    }
}

/// Why an attempt does not run.
enum NotBegun {
    /// It was cancelled, or is another process's by now.
    Lost,
    End(End),
    /// Its record might not survive the death of the host.
    NotDurable,
    Failed(ExecError),
}

/// What is to be done with an attempt that does not run.
enum Left {
    GivenUp,
    Ended(Box<Outcome>),
    /// The record could not be used.
    Unrecorded,
}

impl From<ExecError> for NotBegun {
    fn from(error: ExecError) -> NotBegun {
        NotBegun::Failed(error)
    }
}

/// An attempt whose task lives. One that is dropped half-way, because the program's tokio runtime ends or the
/// runtime of containers panics, goes back to the queue if it is not active yet.
struct Driving {
    executor: JobExecutor,
    id: JobExecutionId,
    attempt: u32,
    is_over: bool,
}

impl Driving {
    fn new(executor: &JobExecutor, claimed: &Claimed) -> Driving {
        let (id, attempt) = (claimed.id.clone(), claimed.attempt);
        executor.driven().insert((id.clone(), attempt));
        Driving { executor: executor.clone(), id, attempt, is_over: false }
    }

    /// Its end is recorded, or somebody else's to record.
    fn finish(mut self) {
        self.is_over = true;
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        let Driving { executor, id, attempt, is_over } = self;
        executor.driven().remove(&(id.clone(), *attempt));
        if !*is_over && let Err(error) = executor.record().release(id.as_str(), &executor.inner.me) {
            tracing::warn!(error = with_causes(&error), %id, "an attempt is left until this process ends");
        }
        executor.inner.changes.notify();
    }
}

impl JobExecutor {
    /// Drives the first attempt of an execution recorded a moment ago, in a task of its own. Returns when its
    /// record is durable.
    ///
    /// # Errors
    /// When it cannot be made durable; it ends as failed then, without having started.
    pub(super) async fn drive_new(&self, claimed: Claimed) -> Result<(), ExecError> {
        let (tell, durable) = oneshot::channel();
        self.drive(claimed, Some(tell));
        // Without an answer, the runtime is being shut down.
        durable.await.unwrap_or(Ok(()))
    }

    /// Drives an attempt in a task of its own: to its end, if this process lives that long. False when the task is
    /// over by now, as at once where tokio is being shut down.
    pub(super) fn drive(&self, claimed: Claimed, durable: Option<oneshot::Sender<Result<(), ExecError>>>) -> bool {
        let preparing = self.inner.preparing.subscribe();
        let driving = Driving::new(self, &claimed);
        let task = tokio::spawn(async move {
            let this = &driving.executor;
            let (mut claimed, is_new) = (claimed, durable.is_some());
            let begun = this.begin(&claimed, durable).await;
            // Nobody else tells of one that has not begun: who waits for what is being prepared waits for that too.
            let mut untold = begun.is_err().then_some(preparing);
            let begun = begun.map_err(|why| match why {
                NotBegun::Lost => Left::GivenUp,
                NotBegun::End(end) => {
                    let elapsed = claimed.claimed_at.elapsed();
                    Left::Ended(Box::new(outcome(end, claimed.attempt, this.now(), elapsed)))
                }
                NotBegun::NotDurable => {
                    if is_new {
                        // Whoever triggered it has been told that it does not run.
                        claimed.job.policy.retry = Retry::default();
                    }
                    let end = End::Host { message: "the record could not be written to the disk".to_owned() };
                    let elapsed = claimed.claimed_at.elapsed();
                    Left::Ended(Box::new(outcome(end, claimed.attempt, this.now(), elapsed)))
                }
                NotBegun::Failed(error) => {
                    tracing::warn!(error = with_causes(&error), id = %claimed.id, "an attempt goes back to the queue");
                    Left::Unrecorded
                }
            });
            // Nobody else does it while this process lives; if that ends, whoever next opens the store finds it so.
            let mut tries = 0;
            while let Err(error) = this.conclude(&claimed, begun.as_ref().err()).await {
                tracing::warn!(error = with_causes(&error), id = %claimed.id, "tried again later");
                if matches!(error, ExecError::Record(RecordError::NotFound { .. })) {
                    break;
                }
                tries += 1;
                if tries == TRIES {
                    untold = None;
                }
                tokio::time::sleep(PAUSE).await;
            }
            driving.finish();
            drop(untold);
        });
        !task.is_finished()
    }

    /// Prepares the attempt, records it as active and starts it.
    async fn begin(
        &self,
        claimed: &Claimed,
        durable: Option<oneshot::Sender<Result<(), ExecError>>>,
    ) -> Result<(), NotBegun> {
        // The sync goes on while the container is made; nothing runs before it is done.
        let syncing = self.clone();
        let synced = tokio::spawn(async move {
            let synced = syncing.make_durable().await;
            let is_synced = synced.is_ok();
            // Whoever asked may have given up waiting.
            durable.map(|tell| tell.send(synced));
            is_synced
        });
        let (digest, created) = tokio::select! {
            prepared = self.prepare(claimed) => prepared?,
            () = self.lost(claimed) => return Err(NotBegun::Lost),
        };
        if !synced.await.unwrap_or(false) {
            return Err(NotBegun::NotDurable);
        }
        let keeper = created.keeper.as_ref().unwrap_or(&self.inner.me);
        let (id, container) = (claimed.id.as_str(), claimed.container.as_str());
        let record = self.record();
        if !record.activate(id, claimed.attempt, &digest, container, keeper).map_err(ExecError::from)? {
            return Err(NotBegun::Lost);
        }
        self.inner.changes.notify();
        self.runtime().start(&claimed.container).await.map_err(|error| {
            NotBegun::End(End::NotCreated { stage: "start the container".into(), message: with_causes(&error) })
        })?;
        self.inner.changes.notify();
        Ok(())
    }

    async fn prepare(&self, claimed: &Claimed) -> Result<(String, Created), NotBegun> {
        let limit = claimed.remaining();
        let attended = self.attended().get(claimed.id.as_str()).cloned().unwrap_or_default();
        // Image and container may both say what they lack of the host.
        let mut told: Vec<String> = Vec::new();
        let mut tell = |notes: &[String]| {
            for note in notes {
                if let Some(notices) = attended.notices.as_ref().filter(|_| !told.contains(note)) {
                    notices(note);
                    told.push(note.clone());
                }
            }
        };
        let prepare = async {
            let job = &claimed.job;
            let image = self.runtime().pull(&job.image, claimed.settings.as_ref()).await.map_err(|error| {
                NotBegun::End(End::Image { image: job.image.name.clone(), message: with_causes(&error) })
            })?;
            tell(&image.notes);
            let digest = image.digest.clone();
            let request = CreateRequest {
                execution: &claimed.id,
                attempt: claimed.attempt,
                container: &claimed.container,
                job,
                env: claimed.env(),
                image,
                settings: claimed.settings.as_ref(),
                deadline: limit.map(|limit| limit.saturating_sub(claimed.claimed_at.elapsed())),
                max_log_size: job.logs.max_size,
                stdio: attended.stdio,
            };
            let created = self.runtime().create(request).await.map_err(|error| {
                NotBegun::End(End::NotCreated { stage: "create the container".into(), message: with_causes(&error) })
            })?;
            tell(&created.notes);
            Ok((digest, created))
        };
        let Some(limit) = limit else { return prepare.await };
        tokio::time::timeout(limit, prepare).await.unwrap_or_else(|_| {
            let after = claimed.job.policy.deadline.unwrap_or_default();
            Err(NotBegun::End(End::Deadline { after, how: Stopped::BeforeStart }))
        })
    }

    /// Returns when the attempt is no longer this process's to prepare.
    async fn lost(&self, claimed: &Claimed) {
        tokio::time::sleep(UNDISTURBED).await;
        let mut changes = self.inner.changes.watch();
        loop {
            let row = self.record().get(claimed.id.as_str());
            // A record that cannot be read says nothing; the activation will.
            if let Ok(row) = row
                && !row.is_some_and(|row| row.attempt == claimed.attempt && row.status == Status::Pending)
            {
                return;
            }
            changes.changed().await;
        }
    }

    /// Sees an attempt that runs to its end, or does what is left to do for one that does not. May be tried again.
    async fn conclude(&self, claimed: &Claimed, left: Option<&Left>) -> Result<(), ExecError> {
        let container = &claimed.container;
        match left {
            None => {
                let outcome = self.runtime().wait(container).await?;
                self.end(claimed, outcome).await
            }
            Some(Left::GivenUp) => {
                // The record has its end already; what is left goes with the execution.
                if let Err(error) = self.give_up(claimed).await {
                    tracing::warn!(error = with_causes(&error), id = %claimed.id, "something is left behind");
                }
                Ok(())
            }
            Some(Left::Ended(outcome)) => self.end(claimed, Outcome::clone(outcome)).await,
            Some(Left::Unrecorded) => {
                // Whoever makes the container anew removes what is left of this one.
                if let Err(error) = self.runtime().remove(container, Removal::Outcome).await {
                    tracing::debug!(%error, "left behind");
                }
                Ok(self.record().release(claimed.id.as_str(), &self.inner.me).map(drop)?)
            }
        }
    }

    /// Removes what was prepared for an attempt that is not to run.
    async fn give_up(&self, claimed: &Claimed) -> Result<(), ExecError> {
        self.attended().remove(claimed.id.as_str());
        self.runtime().remove(&claimed.container, Removal::Outcome).await?;
        self.kick()
    }
}
