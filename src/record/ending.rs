//! Starting and ending attempts.

use super::error::{Failure, RecordError};
use super::model::{AfterAttempt, Attempt, Cancel, Cancelled, Ended, Status};
use super::outbox::{self, NewNotification};
use super::row::{
    ATTEMPT_COLUMNS, append_notes, counter, duration_nanoseconds, from_json, nanoseconds, source_name, to_json,
};
use super::store::{Durability, Record, next_revision, not_found, status_of};
use crate::outcome::{End, FIRST_ATTEMPT, OUTCOME_VERSION, Outcome, Stopped, Usage};
use crate::sys::process::ProcessIdentity;
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};
use std::time::Duration;

/// What goes into the record together with the end of an attempt.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ending<'a> {
    /// What is to be told of an end that is final and the outcome's own.
    pub notifications: &'a [NewNotification],
    /// The process that the next attempt is reserved for. Without one, that stays as it is.
    pub reserved_for: Option<&'a ProcessIdentity>,
    /// Who was seen to prepare the attempt. When it is not pending with that owner any more, nothing is changed:
    /// somebody who has since died may have started it first.
    pub preparer: Option<&'a ProcessIdentity>,
}

impl Record {
    /// Pending → active for this attempt, with what is known by now: `supervisor` is the process that may
    /// start it from now on. False when nothing may be started: somebody cancelled it, or it is not claimed for
    /// this attempt.
    ///
    /// # Errors
    /// [`RecordError::NotFound`], or the database cannot be written.
    pub fn activate(
        &self,
        id: &str,
        attempt: u32,
        image_digest: &str,
        container_id: &str,
        supervisor: &ProcessIdentity,
    ) -> Result<bool, RecordError> {
        let owner = to_json(id, "owner", supervisor)?;
        self.transaction("activate the execution", Durability::Process, |transaction| {
            let changed = transaction
                .prepare_cached(
                    "UPDATE executions SET status = 'active', image_digest = ?3, container_id = ?4, owner = ?5, \
                     revision = ?6 WHERE id = ?1 AND status = 'pending' AND owner IS NOT NULL AND attempt = ?2",
                )?
                .execute(params![id, attempt, image_digest, container_id, owner, next_revision(transaction)?])?;
            if changed == 0 && status_of(transaction, id)?.is_none() {
                return Err(not_found(id).into());
            }
            Ok(changed == 1)
        })
    }

    /// Records the end of an attempt, durably, and in the same transaction what follows: the execution is
    /// terminal, or waits for its next attempt. Idempotent: an attempt that has ended or that nobody has claimed,
    /// or an `outcome` of another one, changes nothing. When a cancel was requested no attempt follows: the execution
    /// ends as cancelled, and the attempt keeps its own end.
    ///
    /// # Errors
    /// [`RecordError::NotFound`], or the database cannot be written; nothing is changed then.
    pub fn end_attempt(
        &self,
        id: &str,
        attempt: u32,
        outcome: &Outcome,
        then: AfterAttempt,
    ) -> Result<Ended, RecordError> {
        self.end_attempt_with(id, attempt, outcome, then, &Ending::default())
    }

    /// As [`Record::end_attempt`], in the same transaction with the rest of the [`Ending`].
    ///
    /// # Errors
    /// As [`Record::end_attempt`].
    pub fn end_attempt_with(
        &self,
        id: &str,
        attempt: u32,
        outcome: &Outcome,
        then: AfterAttempt,
        ending: &Ending<'_>,
    ) -> Result<Ended, RecordError> {
        let reserved_for = ending.reserved_for.map(|process| to_json(id, "reservation", process)).transpose()?;
        let preparer = ending.preparer.map(|process| to_json(id, "owner", process)).transpose()?;
        self.transaction_with_reserve("record the end of the attempt", Durability::Host, |transaction| {
            let live = Live::find(transaction, id)?.ok_or_else(|| not_found(id))?;
            let is_under_way = !live.status.is_terminal() && !live.is_waiting;
            let is_as_seen = preparer.is_none() || (live.status == Status::Pending && live.owner == preparer);
            if !is_under_way || !is_as_seen || live.attempt != attempt || outcome.attempt != attempt {
                return Ok(Ended::AlreadyOver);
            }
            insert_attempt(transaction, id, &live, outcome)?;
            match then {
                AfterAttempt::Final => {
                    end(transaction, id, &live, outcome)?;
                    outbox::insert(transaction, id, ending.notifications)?;
                }
                AfterAttempt::Retry { .. } if live.cancel_requested => {
                    let how = Stopped::BetweenAttempts { next: attempt.saturating_add(1) };
                    let cancelled = Outcome { end: End::Cancelled { how }, ..outcome.clone() };
                    end(transaction, id, &live, &cancelled)?;
                }
                AfterAttempt::Retry { at, now, spent } => {
                    transaction
                        .prepare_cached(
                            "UPDATE executions SET status = 'pending', attempt = ?2, owner = NULL, \
                             container_id = NULL, retry_at = ?3, waiting_since = ?4, spent = ?5, revision = ?6, \
                             reserved_for = ifnull(?7, reserved_for) WHERE id = ?1",
                        )?
                        .execute(params![
                            id,
                            attempt.saturating_add(1),
                            nanoseconds(at),
                            nanoseconds(now),
                            duration_nanoseconds(spent),
                            next_revision(transaction)?,
                            reserved_for,
                        ])?;
                    return Ok(Ended::Waiting);
                }
            }
            Ok(Ended::Final)
        })
    }

    /// Ends an execution that waits in the queue for the outcome's attempt, durably; no attempt is recorded. False
    /// when it does not wait for that any more: somebody has claimed or ended it.
    ///
    /// # Errors
    /// As [`Record::end_attempt`].
    pub fn end_waiting(&self, id: &str, outcome: &Outcome) -> Result<bool, RecordError> {
        self.end_waiting_telling(id, outcome, &[])
    }

    /// As [`Record::end_waiting`], and in the same transaction records what is to be told of it.
    ///
    /// # Errors
    /// As [`Record::end_attempt`].
    pub fn end_waiting_telling(
        &self,
        id: &str,
        outcome: &Outcome,
        notifications: &[NewNotification],
    ) -> Result<bool, RecordError> {
        self.transaction_with_reserve("record the end of the execution", Durability::Host, |transaction| {
            let live = Live::find(transaction, id)?.ok_or_else(|| not_found(id))?;
            let is_as_seen = live.is_waiting && live.attempt == outcome.attempt;
            if is_as_seen {
                end(transaction, id, &live, outcome)?;
                outbox::insert(transaction, id, notifications)?;
            }
            Ok(is_as_seen)
        })
    }

    /// Cancels an execution, durably: one that is pending is terminal at once; for one that is active it is
    /// noted, so that no attempt follows, and whoever asked has to tell its supervisor. Idempotent.
    ///
    /// # Errors
    /// As [`Record::end_attempt`].
    pub fn cancel(&self, id: &str, now: Timestamp) -> Result<Cancel, RecordError> {
        self.transaction("cancel the execution", Durability::Host, |transaction| {
            let live = Live::find(transaction, id)?.ok_or_else(|| not_found(id))?;
            match live.status {
                Status::Pending => Ok(Cancel::Cancelled(cancel_pending(transaction, id, now)?)),
                Status::Active => {
                    request_cancel(transaction, id)?;
                    Ok(Cancel::Active)
                }
                over => Ok(Cancel::Over(over)),
            }
        })
    }

    /// The attempts of an execution that have ended, first to last. None for an unknown execution.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn attempts(&self, id: &str) -> Result<Vec<Attempt>, RecordError> {
        self.read("read the attempts", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE execution_id = ?1 ORDER BY number"
                ))?
                .query_and_then([id], Attempt::read)?
                .collect()
        })
    }
}

/// Writes down that an active execution is to be cancelled, unless that was done before.
pub(super) fn request_cancel(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    let is_new =
        "SELECT EXISTS (SELECT 1 FROM executions WHERE id = ?1 AND status = 'active' AND NOT cancel_requested)";
    if transaction.prepare_cached(is_new)?.query_row([id], |row| row.get(0))? {
        transaction
            .prepare_cached("UPDATE executions SET cancel_requested = 1, revision = ?2 WHERE id = ?1")?
            .execute(params![id, next_revision(transaction)?])?;
    }
    Ok(())
}

/// Cancels an execution that the caller has found to be pending. An attempt that was being prepared is
/// recorded as cancelled too.
pub(super) fn cancel_pending(transaction: &Transaction<'_>, id: &str, now: Timestamp) -> Result<Cancelled, Failure> {
    let live = Live::find(transaction, id)?.ok_or_else(|| not_found(id))?;
    let outcome = Outcome {
        version: OUTCOME_VERSION,
        attempt: live.attempt,
        end: End::Cancelled { how: Stopped::BeforeStart },
        started_at: None,
        completed_at: now,
        elapsed: Duration::ZERO,
        usage: Usage::default(),
        notes: Vec::new(),
    };
    if !live.is_waiting {
        insert_attempt(transaction, id, &live, &outcome)?;
    }
    if live.attempt == FIRST_ATTEMPT {
        end(transaction, id, &live, &outcome)?;
    } else {
        let how = Stopped::BetweenAttempts { next: live.attempt };
        end(transaction, id, &live, &Outcome { end: End::Cancelled { how }, ..outcome })?;
    }
    // One that cannot be read is as good as none.
    let preparer = live.owner.and_then(|owner| from_json(id, "owner", &owner).ok());
    Ok(Cancelled { id: id.to_owned(), attempt: live.attempt, preparer })
}

/// An execution, as far as its end depends on it.
struct Live {
    status: Status,
    is_waiting: bool,
    attempt: u32,
    cancel_requested: bool,
    ttl: Option<i64>,
    notes: String,
    container_id: Option<String>,
    /// As stored.
    owner: Option<String>,
}

impl Live {
    fn find(transaction: &Transaction<'_>, id: &str) -> Result<Option<Live>, Failure> {
        let row = transaction
            .prepare_cached(
                "SELECT status, place IS 'waiting', attempt, cancel_requested, ttl, notes, container_id, owner \
                 FROM executions WHERE id = ?1",
            )?
            .query_row([id], |row| {
                let status: String = row.get(0)?;
                let live = |status| {
                    Ok(Live {
                        status,
                        is_waiting: row.get(1)?,
                        attempt: row.get(2)?,
                        cancel_requested: row.get(3)?,
                        ttl: row.get(4)?,
                        notes: row.get(5)?,
                        container_id: row.get(6)?,
                        owner: row.get(7)?,
                    })
                };
                Status::parse(&status).map(live).transpose()
            })
            .optional()?;
        match row {
            None => Ok(None),
            Some(Some(live)) => Ok(Some(live)),
            Some(None) => Err(RecordError::Unreadable { id: id.to_owned(), column: "status", source: None }.into()),
        }
    }
}

fn reason(end: &End) -> Option<String> {
    (Status::of(end) != Status::Completed).then(|| end.to_string())
}

fn insert_attempt(transaction: &Transaction<'_>, id: &str, live: &Live, outcome: &Outcome) -> Result<(), Failure> {
    let usage = &outcome.usage;
    transaction
        .prepare_cached(&format!(
            "INSERT INTO attempts ({ATTEMPT_COLUMNS}) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
        ))?
        .execute(params![
            id,
            outcome.attempt,
            outcome.started_at.map(nanoseconds),
            nanoseconds(outcome.completed_at),
            duration_nanoseconds(outcome.elapsed),
            outcome.end.job_exit_code(),
            to_json(id, "end", &outcome.end)?,
            reason(&outcome.end),
            usage.peak_memory.map(counter),
            usage.peak_memory_source.map(source_name),
            usage.cpu_user.map(duration_nanoseconds),
            usage.cpu_system.map(duration_nanoseconds),
            usage.oom_kills.map(counter),
            to_json(id, "notes", &outcome.notes)?,
            live.container_id,
        ])?;
    Ok(())
}

/// Makes an execution that is not terminal terminal: the one place that does.
fn end(transaction: &Transaction<'_>, id: &str, live: &Live, outcome: &Outcome) -> Result<(), Failure> {
    let usage = &outcome.usage;
    let completed_at = nanoseconds(outcome.completed_at);
    transaction
        .prepare_cached(
            "UPDATE executions SET status = ?2, started_at = ?3, completed_at = ?4, elapsed = ?5, exit_code = ?6, \
             outcome_end = ?7, reason = ?8, peak_memory = ?9, peak_memory_source = ?10, cpu_user = ?11, \
             cpu_system = ?12, oom_kills = ?13, notes = ?14, expires_at = ?15, revision = ?16, owner = NULL, \
             retry_at = NULL, waiting_since = NULL, settings = NULL WHERE id = ?1",
        )?
        .execute(params![
            id,
            Status::of(&outcome.end).as_str(),
            outcome.started_at.map(nanoseconds),
            completed_at,
            duration_nanoseconds(outcome.elapsed),
            outcome.end.job_exit_code(),
            to_json(id, "end", &outcome.end)?,
            reason(&outcome.end),
            usage.peak_memory.map(counter),
            usage.peak_memory_source.map(source_name),
            usage.cpu_user.map(duration_nanoseconds),
            usage.cpu_system.map(duration_nanoseconds),
            usage.oom_kills.map(counter),
            append_notes(id, &live.notes, &outcome.notes)?,
            live.ttl.map(|ttl| completed_at.saturating_add(ttl)),
            next_revision(transaction)?,
        ])?;
    Ok(())
}
