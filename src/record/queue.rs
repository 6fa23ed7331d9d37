//! The queue: inserting executions, and claiming those whose turn it is.

use super::ending;
use super::error::{Failure, RecordError};
use super::model::{Execution, Insertion, NewExecution, OnConflict};
use super::outbox;
use super::row::{COLUMNS, duration_nanoseconds, nanoseconds, timestamp, to_json};
use super::store::{Durability, Record, next_revision};
use super::turn::{IN_QUEUE, IsAlive, Limits, QUEUE_END, is_turn_of, latest, may_begin, next};
use crate::sys::process::ProcessIdentity;
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};

impl Record {
    /// Records a new execution, in one transaction with what its policy says about others of its job. With
    /// `claim` it is at once that process's to prepare, if nothing older of the job waits for its turn and the
    /// limits leave room. An older one that is reserved for another process counts as waiting whether or not
    /// that process is alive; [`Record::claim_next`] looks closer.
    ///
    /// It survives the death of any process at once, and that of the host after [`Record::make_durable`],
    /// which must come before anything runs or is promised.
    ///
    /// # Errors
    /// When the id is taken, or the database cannot be written.
    pub fn insert(
        &self,
        new: &NewExecution,
        claim: Option<&ProcessIdentity>,
        now: Timestamp,
    ) -> Result<Insertion, RecordError> {
        let texts = Texts::of(new, claim)?;
        let durability = match new.on_conflict {
            // It may make others terminal.
            OnConflict::Replace => Durability::Host,
            OnConflict::Queue | OnConflict::Forbid | OnConflict::Allow => Durability::Process,
        };
        self.transaction("record the execution", durability, |transaction| {
            if let Some(id) = same_key(transaction, new)? {
                if let Some(notification) = &new.delivers {
                    outbox::deliver(transaction, notification)?;
                }
                return Ok(Insertion::Existing { id });
            }
            if let Some(notification) = &new.delivers
                && !outbox::is_there(transaction, notification)?
            {
                return Ok(Insertion::Delivered);
            }
            let live = match (new.on_conflict, new.max_concurrent) {
                (OnConflict::Forbid | OnConflict::Replace, Some(most)) => {
                    let mut live = live_of(transaction, &new.job_name)?;
                    let beyond = (live.len() + 1).saturating_sub(most as usize);
                    match new.on_conflict {
                        // The oldest, as many as make room.
                        OnConflict::Replace => live.truncate(beyond),
                        _ if beyond == 0 => live.clear(),
                        _ => {}
                    }
                    live
                }
                _ => Vec::new(),
            };
            if new.on_conflict == OnConflict::Forbid && !live.is_empty() {
                return Ok(Insertion::Conflict { with: live.into_iter().map(|row| row.id).collect() });
            }
            let replaces = !live.is_empty();
            let (mut cancel, mut cancelled) = (Vec::new(), Vec::new());
            for Occupant { id, is_active } in live {
                if is_active {
                    // Should this process die now, whoever next opens the store tells them.
                    ending::request_cancel(transaction, &id)?;
                    cancel.push(id);
                } else {
                    cancelled.push(ending::cancel_pending(transaction, &id, now)?);
                }
            }
            let mut claim = claim.filter(|_| cancel.is_empty());
            if let Some(me) = claim
                && !may_begin(transaction, new, me, now)?
            {
                claim = None;
            }
            insert_row(transaction, new, &texts, claim.is_some())?;
            if let Some(notification) = &new.delivers {
                outbox::deliver(transaction, notification)?;
            }
            let claimed = claim.is_some();
            Ok(match (replaces, claimed) {
                (true, _) => Insertion::Replacing { cancel, cancelled, claimed },
                (false, true) => Insertion::Claimed,
                (false, false) => Insertion::Waiting,
            })
        })
    }

    /// Makes the oldest waiting execution that may begin the one that `me` prepares. None may that is in
    /// backoff, overdue, reserved for another process, younger than one of its job whose turn comes first, or for
    /// which a limit of its own leaves no room; nor one with a global limit that is younger than one of another job
    /// which may begin and is reserved for another process. What is in backoff, overdue, or reserved for a process that
    /// is gone, holds up no younger one. When the clock was set back to more than a minute before a backoff began, the
    /// backoff is over.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub fn claim_next(
        &self,
        me: &ProcessIdentity,
        now: Timestamp,
        is_alive: IsAlive<'_>,
    ) -> Result<Option<Execution>, RecordError> {
        let action = "claim an execution";
        // Most looks find nothing, and need not keep others from writing.
        let waits = self.read(action, |connection| {
            let sql = "SELECT EXISTS (SELECT 1 FROM executions WHERE place = 'waiting')";
            Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, bool>(0))?)
        })?;
        if !waits {
            return Ok(None);
        }
        let owner = to_json("", "owner", me)?;
        self.transaction(action, Durability::Process, |transaction| {
            let Some(id) = next(transaction, me, now, is_alive)? else { return Ok(None) };
            take(transaction, &id, &owner).map(Some)
        })
    }

    /// Claims this execution and gives it, if it waits and may begin by the rules of [`Record::claim_next`].
    ///
    /// # Errors
    /// As [`Record::claim_next`].
    pub fn claim(
        &self,
        id: &str,
        me: &ProcessIdentity,
        now: Timestamp,
        is_alive: IsAlive<'_>,
    ) -> Result<Option<Execution>, RecordError> {
        let owner = to_json(id, "owner", me)?;
        self.transaction("claim the execution", Durability::Process, |transaction| {
            let job: Option<String> = transaction
                .prepare_cached("SELECT job_name FROM executions WHERE id = ?1 AND place = 'waiting'")?
                .query_row([id], |row| row.get(0))
                .optional()?;
            let Some(job) = job else { return Ok(None) };
            if !is_turn_of(transaction, id, &job, me, now, is_alive)? {
                return Ok(None);
            }
            take(transaction, id, &owner).map(Some)
        })
    }

    /// Puts an execution that `from` was preparing back into the queue; the attempt does not count. False when
    /// it is not that process's any more.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn release(&self, id: &str, from: &ProcessIdentity) -> Result<bool, RecordError> {
        let owner = to_json(id, "owner", from)?;
        self.transaction("release the execution", Durability::Process, |transaction| {
            let changed = transaction
                .prepare_cached(
                    "UPDATE executions SET owner = NULL WHERE id = ?1 AND status = 'pending' AND owner = ?2",
                )?
                .execute([id, &owner])?;
            Ok(changed == 1)
        })
    }

    /// Forgets that an execution is reserved, when it waits and still is for `holder`: any process may claim it
    /// from then on.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn unreserve(&self, id: &str, holder: &ProcessIdentity) -> Result<bool, RecordError> {
        let holder = to_json(id, "reservation", holder)?;
        self.transaction("release the execution", Durability::Process, |transaction| {
            let changed = transaction
                .prepare_cached(
                    "UPDATE executions SET reserved_for = NULL \
                     WHERE id = ?1 AND place = 'waiting' AND reserved_for = ?2",
                )?
                .execute([id, &holder])?;
            Ok(changed == 1)
        })
    }

    /// Whether [`Record::claim_next`] would find something for a process that nothing is reserved for.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn is_claimable(&self, now: Timestamp, is_alive: IsAlive<'_>) -> Result<bool, RecordError> {
        self.read("look for what may begin", |connection| {
            let transaction = connection.unchecked_transaction()?;
            let nobody = ProcessIdentity { pid: 0, start_time: 0, boot_id: String::new() };
            Ok(next(&transaction, &nobody, now, is_alive)?.is_some())
        })
    }

    /// The first moment after `now` at which a backoff or a queue deadline ends. What is due already is seen by
    /// [`Record::claim_next`] and [`Record::overdue`].
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, RecordError> {
        self.read("look for what is due", |connection| {
            let due: Option<i64> = connection
                .prepare_cached(&format!(
                    "SELECT min(due) FROM (\
                     SELECT min(retry_at) AS due FROM executions WHERE retry_at > ?1 AND waiting_since <= ?2 \
                     UNION ALL \
                     SELECT min({QUEUE_END}) FROM executions {QUEUE_INDEX} WHERE {IN_QUEUE} AND {QUEUE_END} > ?1)"
                ))?
                .query_row([now, latest(now)].map(nanoseconds), |row| row.get(0))?;
            Ok(due.map(timestamp))
        })
    }

    /// Executions that wait for their first attempt although their queue deadline has passed, at most `limit`:
    /// [`Record::end_waiting`] is to end them. Nobody can claim them.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn overdue(&self, now: Timestamp, limit: u32) -> Result<Vec<Execution>, RecordError> {
        self.read("look for what is overdue", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM executions {QUEUE_INDEX} WHERE {IN_QUEUE} AND {QUEUE_END} <= ?1 \
                     ORDER BY {QUEUE_END} LIMIT ?2"
                ))?
                .query_and_then(params![nanoseconds(now), limit], Execution::read)?
                .collect()
        })
    }
}

/// Left to itself, SQLite takes the index of everything that waits, and sorts.
const QUEUE_INDEX: &str = "INDEXED BY executions_queue_deadline";

/// What of a new execution is stored as text.
struct Texts {
    spec: String,
    labels: String,
    notes: String,
    reserved_for: Option<String>,
    owner: Option<String>,
}

impl Texts {
    fn of(new: &NewExecution, claim: Option<&ProcessIdentity>) -> Result<Texts, RecordError> {
        let id = new.id.as_str();
        Ok(Texts {
            spec: new.spec.to_string(),
            labels: to_json(id, "labels", &new.labels)?,
            notes: to_json(id, "notes", &new.notes)?,
            reserved_for: new.reserved_for.as_ref().map(|process| to_json(id, "reservation", process)).transpose()?,
            owner: claim.map(|process| to_json(id, "owner", process)).transpose()?,
        })
    }
}

fn same_key(transaction: &Transaction<'_>, new: &NewExecution) -> rusqlite::Result<Option<String>> {
    let Some(key) = &new.idempotency_key else { return Ok(None) };
    transaction
        .prepare_cached("SELECT id FROM executions WHERE job_name = ?1 AND idempotency_key = ?2")?
        .query_row([&new.job_name, key], |row| row.get(0))
        .optional()
}

/// An execution that is not terminal.
struct Occupant {
    id: String,
    is_active: bool,
}

/// The executions of a job that are not terminal, oldest first.
fn live_of(transaction: &Transaction<'_>, job: &str) -> rusqlite::Result<Vec<Occupant>> {
    transaction
        .prepare_cached(
            "SELECT id, status = 'active' FROM executions \
             WHERE place IN ('waiting', 'occupied') AND job_name = ?1 ORDER BY id",
        )?
        .query_map([job], |row| Ok(Occupant { id: row.get(0)?, is_active: row.get(1)? }))?
        .collect()
}

fn insert_row(
    transaction: &Transaction<'_>,
    new: &NewExecution,
    texts: &Texts,
    is_claimed: bool,
) -> rusqlite::Result<()> {
    let (kind, detail) = new.trigger.columns();
    let created_at = nanoseconds(new.created_at);
    // Their sum is a time of its own.
    let longest_wait = i64::MAX - created_at.max(0);
    let limits = Limits::of(new);
    transaction
        .prepare_cached(
            "INSERT INTO executions (id, job_name, deployment, status, trigger_kind, trigger_detail, image, spec, \
             labels, owner, created_at, notes, idempotency_key, max_concurrent, global_limit, queue_deadline, \
             reserved_for, ttl, keep_last, keep_last_total, delete_on_exit, scheduled_for, revision, settings) \
             VALUES (?1, ?2, ?3, 'pending', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, \
             ?19, ?20, ?21, ?22, ?23)",
        )?
        .execute(params![
            new.id,
            new.job_name,
            new.deployment,
            kind,
            detail,
            new.image,
            texts.spec,
            texts.labels,
            texts.owner.as_ref().filter(|_| is_claimed),
            created_at,
            texts.notes,
            new.idempotency_key,
            limits.job,
            limits.global,
            new.queue_deadline.map(|wait| duration_nanoseconds(wait).min(longest_wait)),
            texts.reserved_for,
            new.ttl.map(duration_nanoseconds),
            new.keep_last,
            new.keep_last_total,
            new.delete_on_exit,
            new.scheduled_for.map(nanoseconds),
            next_revision(transaction)?,
            new.settings.as_ref().map(ToString::to_string),
        ])
        .map(drop)
}

/// The row as it is then; when that cannot be read, nobody has taken it.
fn take(transaction: &Transaction<'_>, id: &str, owner: &str) -> Result<Execution, Failure> {
    transaction
        .prepare_cached(
            "UPDATE executions SET owner = ?2, retry_at = NULL, waiting_since = NULL \
             WHERE id = ?1 AND place = 'waiting'",
        )?
        .execute([id, owner])?;
    transaction
        .prepare_cached(&format!("SELECT {COLUMNS} FROM executions WHERE id = ?1"))?
        .query_row([id], |row| Ok(Execution::read(row)))?
}
