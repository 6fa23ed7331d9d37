//! The queue: starting what may run, and seeing to it that this happens.

use super::drive::Claimed;
use super::error::ExecError;
use super::executor::{Inner, JobExecutor, QueueCare};
use super::keepers::Keepers;
use super::model::JobExecutionId;
use super::settle::outcome;
use crate::causes::with_causes;
use crate::outcome::{End, Stopped};
use crate::record::{AfterAttempt, Execution};
use crate::sys::process::ProcessIdentity;
use jiff::Timestamp;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Executions whose time in the queue is over that are ended at once.
const BATCH: u32 = 100;

/// How long the queue is left alone when the record cannot be used.
const PAUSE: Duration = Duration::from_secs(1);

impl JobExecutor {
    /// Starts everything that may run now, each in a task of its own, and ends what has waited too long.
    ///
    /// # Errors
    /// When the record cannot be used.
    pub(super) fn kick(&self) -> Result<(), ExecError> {
        self.kick_at(self.now())?;
        if let Err(error) = self.send_notifications() {
            // The queue does not wait for what is told of it.
            tracing::warn!(error = with_causes(&error), "notifications are left to others");
        }
        Ok(())
    }

    /// As [`JobExecutor::kick`]. How long until something that waits is due by itself; `None`: nothing does. Both
    /// go by one look at the clock: what becomes due between two would be neither started nor waited for.
    ///
    /// # Errors
    /// When the record cannot be used, be it for notifications alone: what is due stays so, and whoever calls this
    /// has to look again after a while.
    pub(super) fn kick_and_next_due(&self) -> Result<Option<Duration>, ExecError> {
        let now = self.now();
        self.kick_at(now)?;
        self.send_notifications()?;
        // One that is due already is being sent, or waits for that; the end of each sending is told.
        let notification = self.record().next_notification_after(now)?;
        let due = [self.record().next_due(now)?, notification].into_iter().flatten().min();
        Ok(due.map(|due| due.duration_since(now).try_into().unwrap_or(Duration::ZERO)))
    }

    /// As [`JobExecutor::kick`], but for notifications.
    ///
    /// # Errors
    /// When the record cannot be used.
    pub(super) fn kick_at(&self, now: Timestamp) -> Result<(), ExecError> {
        loop {
            let overdue = self.record().overdue(now, BATCH)?;
            for row in &overdue {
                self.expire(row)?;
            }
            if overdue.len() < BATCH as usize {
                break;
            }
        }
        if let QueueCare::Elsewhere(leave) = &self.inner.config.queue {
            let own: Vec<String> = self.attended().keys().cloned().collect();
            for id in own {
                if let Some(row) = self.record().claim(&id, &self.inner.me, now, &holds_its_turn)? {
                    self.drive_row(row)?;
                }
            }
            let is_due = |due| due <= now;
            if self.record().next_notification()?.is_some_and(is_due)
                || self.record().is_claimable(now, &holds_its_turn)?
            {
                leave();
            }
            return Ok(());
        }
        while let Some(row) = self.record().claim_next(&self.inner.me, now, &holds_its_turn)? {
            if !self.drive_row(row)? {
                // It may have gone back to the queue. The end of its task is told, and a reason to look again.
                break;
            }
        }
        Ok(())
    }

    /// True when its task lives.
    fn drive_row(&self, row: Execution) -> Result<bool, ExecError> {
        let (id, attempt) = (row.id.clone(), row.attempt);
        match Claimed::from_row(row) {
            Ok(claimed) => return Ok(self.drive(claimed, None)),
            Err(error) => {
                let end = End::Host { message: with_causes(&error) };
                let outcome = outcome(end, attempt, self.now(), Duration::ZERO);
                // What it was to tell is as unreadable as the rest.
                self.record().end_attempt(&id, attempt, &outcome, AfterAttempt::Final)?;
            }
        }
        Ok(true)
    }

    fn expire(&self, row: &Execution) -> Result<(), ExecError> {
        let after = row.queue_deadline.unwrap_or_default();
        self.end_waiting(row, End::Deadline { after, how: Stopped::InQueue })
    }

    /// Ends an execution that waits, if it still does.
    ///
    /// # Errors
    /// When the record cannot be used.
    pub(super) fn end_waiting(&self, row: &Execution, end: End) -> Result<(), ExecError> {
        let mut outcome = outcome(end, row.attempt, self.now(), Duration::ZERO);
        let notifications = match Claimed::from_row(row.clone()) {
            Ok(attempt) => self.notifications_of(&attempt, &mut outcome)?,
            // What it was to tell is as unreadable as the rest.
            Err(_) => Vec::new(),
        };
        if self.record().end_waiting_telling(&row.id, &outcome, &notifications)? {
            self.tidy(Some(&row.job_name));
        }
        self.forget_unless_own(&JobExecutionId(row.id.clone()));
        self.inner.changes.notify();
        Ok(())
    }

    /// Keeps the queue going until the last clone of this executor is dropped.
    pub(super) fn attend_queue(&self) {
        let executor = Arc::downgrade(&self.inner);
        let mut changes = self.inner.changes.watch();
        tokio::spawn(async move {
            let mut keepers = Keepers::default();
            while let Some(due) = attend_once(&executor, &mut keepers).await {
                tokio::select! {
                    () = changes.changed() => {}
                    () = keepers.ended() => {}
                    () = wait(due) => {}
                }
            }
        });
    }

    /// Whether something waits for its time, for somebody to start it, or for a process that may die.
    ///
    /// # Errors
    /// When the record cannot be used.
    pub(super) fn leaves_work(&self) -> Result<bool, ExecError> {
        let now = self.now();
        Ok(self.needs_care(now, None)? || self.record().is_claimable(now, &holds_its_turn)?)
    }

    /// Whether something waits for a time after `now`, to be told, or for a process but `me` that leaves nobody
    /// behind when it dies.
    pub(super) fn needs_care(&self, now: Timestamp, me: Option<&ProcessIdentity>) -> Result<bool, ExecError> {
        let record = self.record();
        Ok(record.next_due(now)?.is_some()
            || record.next_notification()?.is_some()
            || record.depends_on_preparers(me)?)
    }

    /// Where others see to the queue: has them do so from now on if anything needs it, for this process may be
    /// killed at any moment.
    ///
    /// # Errors
    /// When the record cannot be used.
    pub(super) fn hand_over(&self) -> Result<(), ExecError> {
        if let QueueCare::Elsewhere(leave) = &self.inner.config.queue
            && self.leaves_work()?
        {
            leave();
        }
        Ok(())
    }
}

/// How long to wait for the next look, `Some(None)`: until something changes. `None`: the executor is gone.
async fn attend_once(executor: &Weak<Inner>, keepers: &mut Keepers) -> Option<Option<Duration>> {
    let executor = JobExecutor { inner: executor.upgrade()? };
    let attended = async {
        executor.attend_keepers(keepers).await?;
        let due = executor.kick_and_next_due()?;
        executor.attend_held()?;
        Ok::<_, ExecError>([due, executor.attend_expiry()?].into_iter().flatten().min())
    };
    Some(attended.await.unwrap_or_else(|error| {
        tracing::warn!(error = with_causes(&error), "the queue is looked at again later");
        Some(PAUSE)
    }))
}

pub(super) async fn wait(due: Option<Duration>) {
    match due {
        Some(due) => tokio::time::sleep(due).await,
        None => std::future::pending().await,
    }
}

/// Whether what is reserved for a process is waited for. One that is stopped, as by Ctrl-Z, keeps its reservation
/// and not its turn.
fn holds_its_turn(process: &ProcessIdentity) -> bool {
    is_alive(process) && !process.is_stopped()
}

/// A process that cannot be looked at is not given up.
pub(super) fn is_alive(process: &ProcessIdentity) -> bool {
    !matches!(process.open(), Ok(None))
}
