//! Telling others of ends: `on_failure` and `on_success` of jobs.
//!
//! What is to be told is recorded in the transaction that ends the execution, and forgotten when it was
//! delivered, so that no death of a process loses it: it is delivered at least once. A request carries the header
//! [`post::KEY_HEADER`], by which its receiver can tell a repetition; a job is run once, for its execution is recorded
//! in the transaction that forgets the notification. Executors and settlers deliver
//! what is due, whoever has ended the execution; one that takes a notification on has it for [`LEASE`].

mod chain;
mod document;
mod post;

use super::drive::Claimed;
use super::error::ExecError;
use super::executor::{JobExecutor, QueueCare};
use super::model::{JobExecutionId, JobTrigger, TriggerOptions, Undelivered};
use super::trigger::Inherited;
use crate::causes::with_causes;
use crate::outcome::Outcome;
use crate::record::{NewNotification, Notification, Status};
use crate::spec;
use chain::Cause;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Deliveries under way at once, by one executor.
pub(super) const SENDERS: u32 = 8;

/// How long a process has to deliver what it has taken on, before others do.
const LEASE: SignedDuration = SignedDuration::from_secs(60);

/// Tries of one notification.
const MOST_TRIES: u32 = 8;

/// The wait after the first try; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

/// The longest wait that a receiver may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

/// Whom to tell, as recorded.
#[derive(Debug, Serialize, Deserialize)]
struct Target {
    /// What a job that is run has as its trigger.
    cause: Cause,
    notification: spec::Notification,
    inherited: Inherited,
    /// Which one of the spec it is, as `on_failure[2]`.
    #[serde(default)]
    place: Option<String>,
}

/// What a delivery led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Done,
    /// It may go well another time, at the earliest after this long.
    Again {
        problem: String,
        after: Duration,
    },
    Never {
        problem: String,
    },
    /// It is for another process.
    Left,
}

impl JobExecutor {
    /// What is to be told when an attempt has ended like this and no other follows. Those that are not told have
    /// a note in the outcome.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub(super) fn notifications_of(
        &self,
        attempt: &Claimed,
        outcome: &mut Outcome,
    ) -> Result<Vec<NewNotification>, ExecError> {
        let (event, wanted) = match Status::of(&outcome.end) {
            Status::Completed => (chain::Event::OnSuccess, &attempt.job.policy.on_success),
            Status::Failed => (chain::Event::OnFailure, &attempt.job.policy.on_failure),
            _ => return Ok(Vec::new()),
        };
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let Some(row) = self.record().get(attempt.id.as_str())? else { return Ok(Vec::new()) };
        let attempts = self.record().attempts(attempt.id.as_str())?;
        let document = document::of(&row, &attempts, outcome);
        let jobs = wanted.iter().filter(|notification| matches!(notification, spec::Notification::Job { .. }));
        let cause = Cause::after(&row.trigger, event, &attempt.id, jobs.count());
        let mut notifications = Vec::new();
        for (index, notification) in wanted.iter().enumerate() {
            if let spec::Notification::Job { name } = notification
                && let Some(excess) = cause.excess()
            {
                outcome.notes.push(format!("{}: the job {name} is not run: {excess}", event.as_str()));
                continue;
            }
            let target = Target {
                cause: cause.clone(),
                notification: notification.clone(),
                inherited: Inherited {
                    ttl: row.ttl,
                    keep_last_total: row.keep_last_total,
                    global_limit: row.global_limit,
                    settings: row.settings.clone(),
                    delivers: None,
                },
                place: Some(place(event, index, wanted.len())),
            };
            let target = serde_json::to_value(target).unwrap_or_default();
            notifications.push(NewNotification { target, document: document.clone(), due_at: self.now() });
        }
        Ok(notifications)
    }

    /// Delivers what is due, each in a task of its own, unless others see to that.
    ///
    /// # Errors
    /// When the record cannot be used; what is due stays so.
    pub(super) fn send_notifications(&self) -> Result<(), ExecError> {
        if !matches!(self.inner.config.queue, QueueCare::Here) {
            return Ok(());
        }
        while let Ok(permit) = self.inner.senders.clone().try_acquire_owned() {
            let now = self.now();
            let until = now.checked_add(LEASE).unwrap_or(Timestamp::MAX);
            let Some(due) = self.record().take_notification(now, until)? else { break };
            let this = self.clone();
            tokio::spawn(async move {
                if let Err(error) = this.send(due).await {
                    // It is due again when the lease is over.
                    tracing::warn!(error = with_causes(&error), "a notification is left to others");
                }
                drop(permit);
                this.inner.changes.notify();
            });
        }
        Ok(())
    }

    /// What is told of an execution and has not been delivered.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub(super) fn undelivered(&self, id: &JobExecutionId) -> Result<Vec<Undelivered>, ExecError> {
        let notifications = self.record().notifications(id.as_str())?;
        let undelivered = notifications.into_iter().map(|notification| {
            let target = serde_json::from_value::<Target>(notification.target).ok();
            Undelivered {
                target: target.as_ref().map_or_else(|| "unknown".to_owned(), |target| shown(&target.notification)),
                place: target.and_then(|target| target.place),
                tries: notification.tries,
                due_at: notification.due_at,
                problem: notification.problem,
            }
        });
        Ok(undelivered.collect())
    }

    async fn send(&self, due: Notification) -> Result<(), ExecError> {
        match self.deliver(&due).await {
            Delivery::Done => self.record().deliver_notification(&due)?,
            Delivery::Left => {}
            Delivery::Again { problem, after } => {
                let now = self.now();
                let again = next_try(due.tries, after).map(|wait| later(now, wait));
                self.record().fail_notification(&due, &problem, now, again)?;
            }
            Delivery::Never { problem } => self.record().fail_notification(&due, &problem, self.now(), None)?,
        }
        Ok(())
    }

    /// One try.
    pub(super) async fn deliver(&self, due: &Notification) -> Delivery {
        let target: Target = match serde_json::from_value(due.target.clone()) {
            Ok(target) => target,
            Err(error) => return Delivery::Never { problem: format!("it is not one of this version: {error}") },
        };
        let key = format!("{}-{}", due.execution_id, due.ordinal);
        match target.notification {
            spec::Notification::Post { url, headers } => {
                post::deliver(&url, &headers, &key, due.document.to_string(), self.now()).await
            }
            spec::Notification::Job { name } => {
                let options = TriggerOptions {
                    env: document::environment(&due.document),
                    idempotency_key: Some(format!("notification-{key}")),
                    ..TriggerOptions::default()
                };
                // With the execution it is gone, which may be forgotten before this process could say that it is done.
                let inherited = Inherited { delivers: Some(due.key()), ..target.inherited };
                self.run_job(&name, target.cause, options, inherited).await
            }
        }
    }

    async fn run_job(&self, name: &str, cause: Cause, options: TriggerOptions, inherited: Inherited) -> Delivery {
        let job = match self.get_job_spec(name).await {
            Ok(Some(job)) => job,
            Ok(None) => return Delivery::Never { problem: format!("no job {name} is registered") },
            Err(error) => return again(&error),
        };
        let trigger = JobTrigger::Internal { reason: cause.to_string() };
        match self.trigger_inheriting(name, &job, trigger, options, inherited).await {
            Ok(_) => Delivery::Done,
            Err(ExecError::ShuttingDown { .. }) => Delivery::Left,
            Err(error @ ExecError::Value(_)) => Delivery::Never { problem: with_causes(&error) },
            Err(error) => again(&error),
        }
    }
}

/// Where the spec has it, counted as in the paths of its errors.
fn place(event: chain::Event, index: usize, count: usize) -> String {
    match count {
        1 => event.as_str().to_owned(),
        _ => format!("{}[{index}]", event.as_str()),
    }
}

/// Without what may be a secret.
fn shown(notification: &spec::Notification) -> String {
    match notification {
        spec::Notification::Job { name } => format!("job {name}"),
        spec::Notification::Post { url, .. } => spec::origin(url),
    }
}

fn again(error: &ExecError) -> Delivery {
    Delivery::Again { problem: with_causes(error), after: Duration::ZERO }
}

/// How long after a failed try the next one is due, when `before` have failed before it and the receiver asks for
/// a wait; `None`: there is none.
fn next_try(before: u32, asked: Duration) -> Option<Duration> {
    let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(before)).min(LONGEST_WAIT);
    (before + 1 < MOST_TRIES).then(|| wait.max(asked.min(LONGEST_ASKED)))
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_spaced_out_and_end() {
        let waits: Vec<_> = (0..8).map(|before| next_try(before, Duration::ZERO).map(|wait| wait.as_secs())).collect();
        assert_eq!(waits, [Some(1), Some(2), Some(4), Some(8), Some(16), Some(32), Some(64), None]);
        assert_eq!(next_try(0, Duration::from_secs(100)), Some(Duration::from_secs(100)));
        assert_eq!(next_try(0, Duration::MAX), Some(LONGEST_ASKED));
        assert_eq!(next_try(7, Duration::from_secs(100)), None);
    }
}
