//! From outcome to record: the one way in which an attempt ends, for fronts, for settlers and for whoever
//! finds a lost container. Every step may be done again, by any number of processes at once.

use super::drive::Claimed;
use super::error::ExecError;
use super::executor::JobExecutor;
use super::model::{ContainerId, JobExecutionId};
use super::retry::{self, next_attempt};
use crate::causes::with_causes;
use crate::engine::{ContainerState, Removal};
use crate::outcome::{End, OUTCOME_VERSION, Outcome, Usage};
use crate::record::{AfterAttempt, Ended, Ending, Execution, NewNotification, Status};
use crate::sys::process::ProcessIdentity;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

impl JobExecutor {
    /// Folds the outcome of an attempt into the record: cleans up what is left, and records the end or when
    /// the next attempt is due. Then starts what may run now.
    ///
    /// # Errors
    /// When the record cannot be written; the attempt is then as it was, to be settled later.
    pub(super) async fn end(&self, attempt: &Claimed, outcome: Outcome) -> Result<(), ExecError> {
        self.end_if_prepared_by(None, attempt, outcome).await
    }

    /// As [`JobExecutor::end`]; with a preparer only while the attempt is that process's to prepare.
    ///
    /// # Errors
    /// As [`JobExecutor::end`].
    pub(super) async fn end_if_prepared_by(
        &self,
        preparer: Option<&ProcessIdentity>,
        attempt: &Claimed,
        mut outcome: Outcome,
    ) -> Result<(), ExecError> {
        if let (End::Deadline { after, .. }, Some(deadline)) = (&mut outcome.end, attempt.job.policy.deadline) {
            // The runtime knew only what was left of it.
            *after = deadline;
        }
        self.clean_up(&attempt.container, &mut outcome).await;
        let then = self.after(attempt, &outcome);
        let notifications = match then {
            AfterAttempt::Final => self.notifications_of(attempt, &mut outcome)?,
            AfterAttempt::Retry { .. } => Vec::new(),
        };
        let over = Over {
            id: &attempt.id,
            container: &attempt.container,
            job: &attempt.job.name,
            is_leaving: attempt.job.policy.delete_on_exit,
            outcome: &outcome,
            then,
            notifications: &notifications,
            preparer,
        };
        let announced = match self.fold(over).await? {
            Ended::Waiting => then,
            Ended::AlreadyOver => self.retry_by_another(attempt)?,
            Ended::Final => AfterAttempt::Final,
        };
        self.announce_retry(attempt, &outcome.end, announced);
        Ok(())
    }

    /// First clean up, then record: nobody looks again at what is terminal.
    async fn clean_up(&self, container: &ContainerId, outcome: &mut Outcome) {
        if let Err(error) = self.runtime().remove(container, Removal::Leftovers).await {
            outcome.notes.push(format!("not everything could be removed: {}", with_causes(&error)));
        }
    }

    /// Records the end, and does what comes after that.
    ///
    /// # Errors
    /// As [`JobExecutor::end`].
    async fn fold(&self, over: Over<'_>) -> Result<Ended, ExecError> {
        let Over { id, container, job, is_leaving, outcome, then, notifications, preparer } = over;
        // Others leave it here until this is done, and this process waits for it when it ends.
        let under_way = is_leaving.then(|| self.inner.preparing.subscribe());
        let attended = is_leaving.then(|| self.inner.waiters.enter(id));
        // Its caller is here, and hears of the next attempt as of this one.
        let reserved_for = self.attended().contains_key(id.as_str()).then_some(&self.inner.me);
        let ending = Ending { notifications, reserved_for, preparer };
        let ended = self.record().end_attempt_with(id.as_str(), outcome.attempt, outcome, then, &ending)?;
        // Both before the supervisor is told that it is not needed: should this process be killed by then, that
        // one becomes the settler.
        if let Err(error) = self.kick() {
            // This one is recorded. Whoever ends or opens next does it.
            tracing::warn!(error = with_causes(&error), "what waits is left waiting");
        }
        if ended == Ended::Waiting
            && let Err(error) = self.hand_over()
        {
            // It is tried again when this process ends in order.
            tracing::warn!(error = with_causes(&error), "nobody sees to what waits if this process is killed");
        }
        // The record has it. Left behind by a crash right here, it goes with the execution.
        let extent = if ended == Ended::Final { Removal::AllButLogs } else { Removal::Outcome };
        if let Err(error) = self.runtime().remove(container, extent).await {
            tracing::debug!(%error, "left behind");
        }
        if ended != Ended::Waiting {
            self.forget_unless_own(id);
        }
        drop(attended);
        self.inner.changes.notify();
        if ended == Ended::Final {
            if is_leaving {
                self.depart(id).await;
            }
            self.tidy(Some(job));
        }
        drop(under_way);
        Ok(ended)
    }

    /// What follows an attempt that somebody else has ended.
    ///
    /// # Errors
    /// When the record cannot be read.
    fn retry_by_another(&self, attempt: &Claimed) -> Result<AfterAttempt, ExecError> {
        let row = self.record().get(attempt.id.as_str())?.filter(|row| row.attempt == attempt.attempt + 1);
        let now = self.now();
        // It may have begun meanwhile.
        let retry = row.map(|row| AfterAttempt::Retry { at: row.retry_at.unwrap_or(now), now, spent: row.spent });
        Ok(retry.unwrap_or(AfterAttempt::Final))
    }

    /// Forgets what a trigger of this process said of an execution, unless this is the process that may start it:
    /// somebody else may have recorded that a further attempt is to follow, and it waits for this process.
    pub(super) fn forget_unless_own(&self, id: &JobExecutionId) {
        let me = Some(&self.inner.me);
        let is_own = match self.record().get(id.as_str()) {
            Ok(Some(row)) => !row.status.is_terminal() && (row.reserved_for.as_ref() == me || row.owner.as_ref() == me),
            Ok(None) => false,
            // It may be; that it is not does no harm.
            Err(_) => true,
        };
        if !is_own {
            self.attended().remove(id.as_str());
        }
    }

    /// Tells whoever triggered it here that there will be a further attempt.
    fn announce_retry(&self, attempt: &Claimed, end: &End, then: AfterAttempt) {
        let AfterAttempt::Retry { at, now, .. } = then else { return };
        let notices = self.attended().get(attempt.id.as_str()).and_then(|attended| attended.notices.clone());
        if let Some(notices) = notices {
            let wait: Duration = at.duration_since(now).try_into().unwrap_or_default();
            let wait = Duration::from_millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            let (failed, most) = (attempt.attempt, attempt.job.policy.retry.max_attempts);
            notices(&format!("attempt {failed} failed: {end}; next in {wait:?} ({} of {most})", failed + 1));
        }
    }

    fn after(&self, attempt: &Claimed, outcome: &Outcome) -> AfterAttempt {
        // Preparing counts, where it was seen from here.
        let spent = attempt.spent.saturating_add(outcome.elapsed.max(attempt.claimed_at.elapsed()));
        let delay = next_attempt(retry::Ended {
            policy: &attempt.job.policy,
            end: &outcome.end,
            attempt: attempt.attempt,
            spent,
            random: fastrand::f64(),
        });
        let Some(delay) = delay else { return AfterAttempt::Final };
        let now = self.now();
        // Beyond the calendar: as late as it goes.
        let at = SignedDuration::try_from(delay).ok().and_then(|delay| now.checked_add(delay).ok());
        AfterAttempt::Retry { at: at.unwrap_or(Timestamp::MAX), now, spent: spent.saturating_add(delay) }
    }

    /// Settles an attempt whose container nobody looks after any more, or may have been started although its
    /// preparer is all that is known.
    ///
    /// # Errors
    /// As [`JobExecutor::end`].
    pub(super) async fn settle_lost(&self, row: Execution) -> Result<(), ExecError> {
        let preparer = preparer(&row);
        let container = &Claimed::container_of(&row);
        let mut outcome = match self.runtime().state(container).await? {
            ContainerState::Ended(outcome) => outcome,
            _ => {
                let message = match preparer {
                    Some(_) => "the host went down while it was being started; it may have run",
                    None => "it ended without a word; it was killed, or the host went down",
                };
                let end = End::SupervisorLost { message: message.to_owned() };
                outcome(end, row.attempt, self.now(), Duration::ZERO)
            }
        };
        if matches!(outcome.end, End::SupervisorLost { .. }) && outcome.elapsed.is_zero() {
            // Nobody knows when it ended: now at the latest. Its time counts against the deadline.
            outcome.elapsed = row.owner.as_ref().and_then(ProcessIdentity::age).unwrap_or_default();
        }
        match Claimed::from_row(row.clone()) {
            Ok(attempt) => self.end_if_prepared_by(preparer, &attempt, outcome).await,
            Err(unreadable) => self.end_unreadable(&row, outcome, &unreadable).await,
        }
    }

    /// As [`JobExecutor::end`], for an execution whose spec is not of this version: with no further attempt, and
    /// without telling anybody.
    ///
    /// # Errors
    /// As [`JobExecutor::end`].
    pub(super) async fn end_unreadable(
        &self,
        row: &Execution,
        mut outcome: Outcome,
        unreadable: &ExecError,
    ) -> Result<(), ExecError> {
        outcome.notes.push(format!("it is neither tried again nor told of: {}", with_causes(unreadable)));
        let container = &Claimed::container_of(row);
        self.clean_up(container, &mut outcome).await;
        let over = Over {
            id: &JobExecutionId(row.id.clone()),
            container,
            job: &row.job_name,
            is_leaving: row.delete_on_exit,
            outcome: &outcome,
            then: AfterAttempt::Final,
            notifications: &[],
            preparer: preparer(row),
        };
        self.fold(over).await.map(drop)
    }
}

/// Who prepares the attempt, if somebody does.
fn preparer(row: &Execution) -> Option<&ProcessIdentity> {
    row.owner.as_ref().filter(|_| row.status == Status::Pending)
}

/// An attempt that is over.
struct Over<'a> {
    id: &'a JobExecutionId,
    container: &'a ContainerId,
    /// The name of the job.
    job: &'a str,
    /// The execution is to be forgotten at its end.
    is_leaving: bool,
    outcome: &'a Outcome,
    then: AfterAttempt,
    notifications: &'a [NewNotification],
    preparer: Option<&'a ProcessIdentity>,
}

/// That of an attempt of which the runtime has none.
pub(super) fn outcome(end: End, attempt: u32, now: Timestamp, elapsed: Duration) -> Outcome {
    Outcome {
        version: OUTCOME_VERSION,
        attempt,
        end,
        started_at: None,
        completed_at: now,
        elapsed,
        usage: Usage::default(),
        notes: Vec::new(),
    }
}
