//! Driving one claimed attempt through the runtime.

use super::error::ExecError;
use super::executor::JobExecutor;
use super::model::{ContainerId, JobExecutionId};
use super::settle::outcome;
use crate::causes::with_causes;
use crate::engine::{CreateRequest, Created, Removal};
use crate::outcome::{End, Stopped};
use crate::record::{Execution, Status};
use crate::spec::ServiceSpec;
use jiff::Timestamp;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long an attempt is prepared before others may interrupt it: a cached image takes less.
const UNDISTURBED: Duration = Duration::from_millis(20);

/// An attempt that this process has claimed.
#[derive(Debug, Clone)]
pub(super) struct Claimed {
    pub id: JobExecutionId,
    /// From 1.
    pub attempt: u32,
    pub job: ServiceSpec,
    /// By earlier attempts and the waits after them.
    pub spent: Duration,
    pub scheduled_for: Option<Timestamp>,
    /// That of the attempt, made or to be made.
    pub container: ContainerId,
}

impl Claimed {
    /// # Errors
    /// [`ExecError::Spec`].
    pub fn from_row(row: Execution) -> Result<Claimed, ExecError> {
        let job = serde_json::from_value(row.spec)
            .map_err(|source| ExecError::Spec { what: format!("execution {}", row.id), source })?;
        let id = JobExecutionId(row.id);
        let container = row.container_id.filter(|_| row.status == Status::Active);
        let container = container.map_or_else(|| ContainerId::new(&id, row.attempt), ContainerId);
        Ok(Claimed { container, id, attempt: row.attempt, job, spent: row.spent, scheduled_for: row.scheduled_for })
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
    Failed(ExecError),
}

impl From<ExecError> for NotBegun {
    fn from(error: ExecError) -> NotBegun {
        NotBegun::Failed(error)
    }
}

impl JobExecutor {
    /// Drives the first attempt of an execution recorded a moment ago, in a task of its own. Returns when its
    /// record is durable.
    ///
    /// # Errors
    /// When it cannot be made durable; it is not started then.
    pub(super) async fn drive_new(&self, claimed: Claimed) -> Result<(), ExecError> {
        let (tell, durable) = oneshot::channel();
        self.drive(claimed, Some(tell));
        // Without an answer, the runtime is being shut down.
        durable.await.unwrap_or(Ok(()))
    }

    /// Drives an attempt in a task of its own: to its end, if this process lives that long.
    pub(super) fn drive(&self, claimed: Claimed, durable: Option<oneshot::Sender<Result<(), ExecError>>>) {
        let preparing = self.inner.preparing.subscribe();
        let this = self.clone();
        tokio::spawn(async move {
            let began = Instant::now();
            let begun = this.begin(&claimed, durable).await;
            drop(preparing);
            let ended = match begun {
                Ok(()) => this.see_to_end(&claimed).await,
                Err(NotBegun::Lost) => this.give_up(&claimed).await,
                Err(NotBegun::End(end)) => {
                    let outcome = outcome(end, claimed.attempt, this.now(), began.elapsed());
                    this.end(&claimed, outcome).await
                }
                Err(NotBegun::Failed(error)) => Err(error),
            };
            if let Err(error) = ended {
                // The row says what it said before: whoever waits or opens the store next finds that its
                // owner is gone, and goes on.
                tracing::warn!(error = with_causes(&error), id = %claimed.id, "an attempt is left to others");
            }
            this.inner.changes.notify();
        });
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
            let message = "the record could not be written to the disk".to_owned();
            return Err(NotBegun::End(End::Host { message }));
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
        let began = Instant::now();
        let limit = claimed.remaining();
        let attended = self.attended().get(claimed.id.as_str()).cloned().unwrap_or_default();
        let tell = |notes: &[String]| {
            if let Some(notices) = &attended.notices {
                notes.iter().for_each(|note| notices(note));
            }
        };
        let prepare = async {
            let job = &claimed.job;
            let image = self.runtime().pull(&job.image).await.map_err(|error| {
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
                deadline: limit.map(|limit| limit.saturating_sub(began.elapsed())),
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

    async fn see_to_end(&self, claimed: &Claimed) -> Result<(), ExecError> {
        let outcome = self.runtime().wait(&claimed.container).await?;
        self.end(claimed, outcome).await
    }

    /// Removes what was prepared for an attempt that is not to run.
    async fn give_up(&self, claimed: &Claimed) -> Result<(), ExecError> {
        self.attended().remove(claimed.id.as_str());
        self.runtime().remove(&claimed.container, Removal::Outcome).await?;
        self.kick()
    }
}
