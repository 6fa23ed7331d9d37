//! Triggers: from a job to a row, and to its first attempt if it may run at once.

use super::drive::Claimed;
use super::error::ExecError;
use super::executor::{Attended, JobExecutor, QueueCare};
use super::model::{ContainerId, JobExecutionId, JobTrigger, TriggerOptions, Triggered};
use crate::causes::with_causes;
use crate::engine::Stdio;
use crate::outcome::End;
use crate::record::{self, Cancelled, Insertion, NewExecution, NotificationKey};
use crate::spec::{JobPolicy, OnConflict, Overrides, ServiceSpec, parse_idempotency_key};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::Instant;

/// What holds for an execution where its job says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inherited {
    pub ttl: Option<Duration>,
    pub keep_last_total: Option<u32>,
    pub global_limit: Option<u32>,
    /// What the runtime was told where it was triggered.
    #[serde(default)]
    pub settings: Option<serde_json::Value>,
    /// The notification that it delivers.
    #[serde(skip)]
    pub delivers: Option<NotificationKey>,
}

impl JobExecutor {
    /// Records an execution of `spec` under the job's name, durably, and returns its id. It starts when its turn
    /// comes, which may be at once; everything that comes after is its result. Relative paths of images in local
    /// files start from this process's current directory, whichever process starts the execution.
    ///
    /// # Errors
    /// [`ExecError::Conflict`], [`ExecError::ShuttingDown`], or the record cannot be written. Nothing is left then,
    /// or an execution that has failed without having started.
    pub async fn trigger(
        &self,
        name: &str,
        spec: &ServiceSpec,
        trigger: JobTrigger,
    ) -> Result<JobExecutionId, ExecError> {
        self.trigger_with(name, spec, trigger, TriggerOptions::default()).await
    }

    /// As [`JobExecutor::trigger`], with what differs this time.
    ///
    /// # Errors
    /// Also a value that a job cannot have.
    pub async fn trigger_with(
        &self,
        name: &str,
        spec: &ServiceSpec,
        trigger: JobTrigger,
        options: TriggerOptions,
    ) -> Result<JobExecutionId, ExecError> {
        Ok(self.trigger_once(name, spec, trigger, options).await?.id)
    }

    /// As [`JobExecutor::trigger_with`], and says whether there is a new execution, which an idempotency key may
    /// prevent.
    ///
    /// # Errors
    /// As [`JobExecutor::trigger_with`]. An idempotency key is an error with a job that sets `delete_on_exit`: with the
    /// execution the key would be forgotten.
    pub async fn trigger_once(
        &self,
        name: &str,
        spec: &ServiceSpec,
        trigger: JobTrigger,
        options: TriggerOptions,
    ) -> Result<Triggered, ExecError> {
        if options.idempotency_key.is_some() {
            spec.policy.check_takes_key()?;
        }
        let config = &self.inner.config;
        let inherited = Inherited {
            ttl: Some(config.retention).filter(|ttl| *ttl != Duration::MAX),
            keep_last_total: config.keep_last,
            global_limit: u32::try_from(config.max_concurrent).ok().filter(|limit| *limit > 0),
            settings: self.runtime().settings(),
            delivers: None,
        };
        self.trigger_inheriting(name, spec, trigger, options, inherited).await
    }

    /// As [`JobExecutor::trigger_once`], with other limits than this executor's own. Nothing is triggered to deliver
    /// a notification that has been delivered before.
    ///
    /// # Errors
    /// As [`JobExecutor::trigger_with`].
    pub(super) async fn trigger_inheriting(
        &self,
        name: &str,
        spec: &ServiceSpec,
        trigger: JobTrigger,
        options: TriggerOptions,
        inherited: Inherited,
    ) -> Result<Triggered, ExecError> {
        if self.is_shutting_down() {
            return Err(ExecError::ShuttingDown { job: name.to_owned() });
        }
        let changes = Overrides {
            name: Some(name.to_owned()),
            args: options.args.clone(),
            env: options.env.clone(),
            hidden_env: options.hidden_env.clone(),
            ..Overrides::default()
        };
        options.idempotency_key.as_deref().map(parse_idempotency_key).transpose()?;
        let job = spec.clone().with(changes)?.with_absolute_images()?;
        let id = JobExecutionId::after(self.record().newest()?.as_deref());
        let new = self.new_execution(&id, &job, trigger, &options, inherited);
        let is_left_to_others = matches!(self.inner.config.queue, QueueCare::Elsewhere(_));
        if is_left_to_others || options.stdio != Stdio::Detached || options.notices.is_some() {
            self.attended().insert(id.0.clone(), Attended { stdio: options.stdio, notices: options.notices });
        }
        if new.delete_on_exit {
            // Before anybody can see it: it may end, and be forgotten, before its caller begins to wait.
            self.inner.waiters.hold(&id);
        }
        let inserted = self.insert(&new).await;
        if !matches!(inserted, Ok(Insertion::Claimed | Insertion::Waiting | Insertion::Replacing { .. })) {
            self.attended().remove(id.as_str());
            self.inner.waiters.let_go(&id);
        }
        let inserted = inserted?;
        if matches!(inserted, Insertion::Claimed | Insertion::Waiting | Insertion::Replacing { .. }) {
            self.remember_triggered(&id);
        }
        let claimed = match inserted {
            Insertion::Claimed => true,
            Insertion::Waiting => false,
            Insertion::Existing { id } => {
                // Whoever recorded it may still be waiting for that himself.
                self.make_durable().await?;
                return Ok(Triggered { id: JobExecutionId(id), is_new: false });
            }
            Insertion::Delivered => return Ok(Triggered { id, is_new: false }),
            Insertion::Conflict { with } => {
                let limit = limit(&job.policy).unwrap_or(1);
                let with = with.into_iter().map(JobExecutionId).collect();
                return Err(ExecError::Conflict { job: job.name, limit, with });
            }
            Insertion::Replacing { cancel, cancelled, claimed } => {
                self.replace(cancel, cancelled).await;
                claimed
            }
        };
        self.inner.changes.notify();
        if claimed {
            let claimed = Claimed {
                id: id.clone(),
                container: ContainerId::new(&id, 1),
                attempt: 1,
                job,
                spent: Duration::ZERO,
                claimed_at: Instant::now(),
                scheduled_for: options.scheduled_for,
                settings: new.settings,
            };
            self.drive_new(claimed).await?;
        } else {
            if let Err(error) = self.make_durable().await {
                let message = "the record could not be written to the disk".to_owned();
                self.end_waiting(&self.row(&id)?, End::Host { message })?;
                return Err(error);
            }
            // What it waits for may have ended meanwhile.
            self.kick()?;
            self.hand_over()?;
        }
        Ok(Triggered { id, is_new: true })
    }

    /// As [`Record::insert`](record::Record::insert). What stands in its way is looked at first: nobody else may have
    /// seen that it is over.
    ///
    /// # Errors
    /// When the record cannot be written.
    async fn insert(&self, new: &NewExecution) -> Result<Insertion, ExecError> {
        let inserted = self.record().insert(new, Some(&self.inner.me), new.created_at)?;
        let Insertion::Conflict { with } = &inserted else { return Ok(inserted) };
        let mut is_changed = false;
        for id in with {
            if let Some(row) = self.record().get(id)? {
                is_changed |= self.reconcile_one(row).await?;
            }
        }
        if is_changed {
            return Ok(self.record().insert(new, Some(&self.inner.me), new.created_at)?);
        }
        Ok(inserted)
    }

    fn new_execution(
        &self,
        id: &JobExecutionId,
        job: &ServiceSpec,
        trigger: JobTrigger,
        options: &TriggerOptions,
        inherited: Inherited,
    ) -> NewExecution {
        let policy = &job.policy;
        let is_attached = options.stdio != Stdio::Detached;
        NewExecution {
            id: id.0.clone(),
            job_name: job.name.clone(),
            deployment: job.deployment.clone(),
            trigger,
            image: job.image.name.clone(),
            spec: serde_json::to_value(job).unwrap_or_default(),
            labels: job.labels.clone(),
            created_at: self.now(),
            notes: Vec::new(),
            idempotency_key: options.idempotency_key.clone(),
            max_concurrent: limit(policy),
            global_limit: inherited.global_limit,
            on_conflict: match policy.on_conflict {
                OnConflict::Queue => record::OnConflict::Queue,
                OnConflict::Forbid => record::OnConflict::Forbid,
                OnConflict::Replace => record::OnConflict::Replace,
                OnConflict::Allow => record::OnConflict::Allow,
            },
            queue_deadline: policy.queue_deadline,
            reserved_for: is_attached.then(|| self.inner.me.clone()),
            ttl: policy.retention.ttl.or(inherited.ttl).filter(|ttl| *ttl != Duration::MAX),
            keep_last: policy.retention.keep_last,
            keep_last_total: inherited.keep_last_total,
            delete_on_exit: policy.delete_on_exit,
            scheduled_for: options.scheduled_for,
            settings: inherited.settings,
            delivers: inherited.delivers,
        }
    }

    /// Cancels those that a new execution replaces, but for those that have been cancelled with its trigger. It
    /// starts when they have ended.
    async fn replace(&self, ids: Vec<String>, cancelled: Vec<Cancelled>) {
        for cancelled in cancelled {
            // What is left goes with the execution.
            if let Err(error) = self.after_cancel(&cancelled).await {
                tracing::warn!(error = with_causes(&error), id = cancelled.id, "something is left behind");
            }
        }
        for id in ids {
            // One that has ended by now, or whose supervisor cannot be told, does not keep others from it.
            if let Err(error) = self.cancel(&JobExecutionId(id.clone())).await {
                tracing::debug!(%error, id, "not replaced");
            }
        }
    }

    /// Waits until everything recorded so far would survive the death of the host.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) async fn make_durable(&self) -> Result<(), ExecError> {
        let record = self.inner.record.clone();
        match tokio::task::spawn_blocking(move || record.make_durable()).await {
            Ok(synced) => Ok(synced?),
            // The runtime is being shut down; so is whoever waits for this.
            Err(_) => Ok(()),
        }
    }
}

/// A job that says what to do about others has a limit.
fn limit(policy: &JobPolicy) -> Option<u32> {
    let has_one = matches!(policy.on_conflict, OnConflict::Forbid | OnConflict::Replace);
    policy.max_concurrent.or(has_one.then_some(1))
}
