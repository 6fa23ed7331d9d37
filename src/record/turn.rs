//! Whose turn it is: limits, and the order of those that wait.

use super::error::{Failure, RecordError};
use super::model::{NewExecution, OnConflict};
use super::row::timestamp;
use crate::sys::process::ProcessIdentity;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Row, Transaction};

/// Tells whether a process still runs, and may hold others up. It is asked inside a transaction and must not wait for
/// anything.
pub type IsAlive<'a> = &'a dyn Fn(&ProcessIdentity) -> bool;

/// A look at the clock may be this much older than what others have recorded since: whoever looked had to wait for the
/// database, or for a processor. Only a time beyond that means that the clock was set back.
pub(super) const OLD_LOOK: SignedDuration = SignedDuration::from_mins(1);

/// When the time in the queue ends, and for which executions it does; as in the index.
pub(super) const QUEUE_END: &str = "created_at + queue_deadline";
pub(super) const IN_QUEUE: &str = "queue_deadline IS NOT NULL AND place = 'waiting' AND attempt = 1";

/// Whether a new execution may begin at once.
pub(super) fn may_begin(
    transaction: &Transaction<'_>,
    new: &NewExecution,
    me: &ProcessIdentity,
    now: Timestamp,
) -> Result<bool, Failure> {
    if new.reserved_for.as_ref().is_some_and(|process| process != me) {
        return Ok(false);
    }
    let first = match head(transaction, &new.job_name, me, now, &|_| true)? {
        Head::None => true,
        Head::Reserved(first) | Head::Ready(first) => new.id < first.id,
    };
    let limits = Limits::of(new);
    if !first || !has_room(transaction, &new.job_name, limits)? {
        return Ok(false);
    }
    // The room that all jobs have in common may be an older one's, which nobody has started yet.
    Ok(limits.global.is_none() || !is_behind(transaction, &new.id, me, now, &|_| true)?)
}

/// Whether an older execution of any job may begin.
fn is_behind(
    transaction: &Transaction<'_>,
    id: &str,
    me: &ProcessIdentity,
    now: Timestamp,
    is_alive: IsAlive<'_>,
) -> Result<bool, Failure> {
    Ok(firsts(transaction, me, now, is_alive)?.iter().any(|first| *first.row.id < *id))
}

/// Whether an execution that waits may begin.
pub(super) fn is_turn_of(
    transaction: &Transaction<'_>,
    id: &str,
    job: &str,
    me: &ProcessIdentity,
    now: Timestamp,
    is_alive: IsAlive<'_>,
) -> Result<bool, Failure> {
    let limits = match head(transaction, job, me, now, is_alive)? {
        Head::Ready(row) if row.id == id => row.limits,
        _ => return Ok(false),
    };
    Ok(has_room(transaction, job, limits)?
        && (limits.global.is_none() || !is_behind(transaction, id, me, now, is_alive)?))
}

/// The first of a job that waits for its turn, when the limits leave room for it.
struct First {
    row: Waiting,
    /// It waits for another process to begin it.
    is_reserved: bool,
}

/// Those of all jobs, oldest first.
fn firsts(
    transaction: &Transaction<'_>,
    me: &ProcessIdentity,
    now: Timestamp,
    is_alive: IsAlive<'_>,
) -> Result<Vec<First>, Failure> {
    let mut firsts = Vec::new();
    for job in waiting_jobs(transaction)? {
        let (row, is_reserved) = match head(transaction, &job, me, now, is_alive)? {
            Head::None => continue,
            Head::Reserved(row) => (row, true),
            Head::Ready(row) => (row, false),
        };
        if has_room(transaction, &job, row.limits)? {
            firsts.push(First { row, is_reserved });
        }
    }
    firsts.sort_unstable_by(|one, other| one.row.id.cmp(&other.row.id));
    Ok(firsts)
}

/// The oldest that `me` may begin. One that goes by the limit of all jobs leaves the room to an older one, which
/// may have to wait for another process to begin it.
pub(super) fn next(
    transaction: &Transaction<'_>,
    me: &ProcessIdentity,
    now: Timestamp,
    is_alive: IsAlive<'_>,
) -> Result<Option<String>, Failure> {
    let mut is_behind = false;
    for First { row, is_reserved } in firsts(transaction, me, now, is_alive)? {
        if is_reserved {
            is_behind = true;
        } else if !is_behind || row.limits.global.is_none() {
            return Ok(Some(row.id));
        }
    }
    Ok(None)
}

/// From one name to the next in the index: DISTINCT would go through every row that waits
/// (<https://www.sqlite.org/lang_with.html>).
fn waiting_jobs(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<String>> {
    transaction
        .prepare_cached(
            "WITH RECURSIVE job (name) AS (\
             SELECT min(job_name) FROM executions WHERE place = 'waiting' \
             UNION ALL \
             SELECT (SELECT min(job_name) FROM executions WHERE place = 'waiting' AND job_name > job.name) \
             FROM job WHERE job.name IS NOT NULL) \
             SELECT name FROM job WHERE name IS NOT NULL",
        )?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// How many executions may be occupied when one begins, itself included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub job: Option<u32>,
    pub global: Option<u32>,
}

impl Limits {
    pub fn of(new: &NewExecution) -> Limits {
        Limits { job: new.max_concurrent.filter(|_| new.on_conflict != OnConflict::Allow), global: new.global_limit }
    }
}

fn has_room(transaction: &Transaction<'_>, job: &str, limits: Limits) -> rusqlite::Result<bool> {
    if let Some(most) = limits.job {
        let occupied: i64 = transaction
            .prepare_cached("SELECT count(*) FROM executions WHERE place = 'occupied' AND job_name = ?1")?
            .query_row([job], |row| row.get(0))?;
        if occupied >= i64::from(most) {
            return Ok(false);
        }
    }
    if let Some(most) = limits.global {
        let occupied: i64 = transaction
            .prepare_cached("SELECT count(*) FROM executions WHERE place = 'occupied'")?
            .query_row([], |row| row.get(0))?;
        return Ok(occupied < i64::from(most));
    }
    Ok(true)
}

/// What others may have recorded before anybody may say that the clock was set back since.
pub(super) fn latest(now: Timestamp) -> Timestamp {
    now.saturating_add(OLD_LOOK).expect("a duration is no calendar unit")
}

/// A waiting row, as far as its turn depends on it.
#[derive(Debug)]
struct Waiting {
    id: String,
    /// When its time in the queue ends.
    queue_end: Option<Timestamp>,
    retry_at: Option<Timestamp>,
    waiting_since: Option<Timestamp>,
    reserved_for: Option<ProcessIdentity>,
    limits: Limits,
}

impl Waiting {
    fn read(row: &Row<'_>) -> Result<Waiting, Failure> {
        let id: String = row.get(0)?;
        let reserved_for: Option<String> = row.get(3)?;
        let reserved_for = reserved_for.map(|text| serde_json::from_str(&text)).transpose().map_err(|source| {
            RecordError::Unreadable { id: id.clone(), column: "reservation", source: Some(source) }
        })?;
        Ok(Waiting {
            id,
            retry_at: row.get::<_, Option<i64>>(1)?.map(timestamp),
            waiting_since: row.get::<_, Option<i64>>(2)?.map(timestamp),
            reserved_for,
            limits: Limits { job: row.get(4)?, global: row.get(5)? },
            queue_end: row.get::<_, Option<i64>>(6)?.map(timestamp),
        })
    }

    /// It is to be ended, and not begun.
    fn is_overdue(&self, now: Timestamp) -> bool {
        self.queue_end.is_some_and(|end| end <= now)
    }

    fn is_in_backoff(&self, now: Timestamp) -> bool {
        let was_set_back = self.waiting_since.is_some_and(|since| latest(now) < since);
        !was_set_back && self.retry_at.is_some_and(|at| now < at)
    }
}

/// Whose turn it is among the waiting executions of a job.
enum Head {
    /// Nobody's.
    None,
    /// Another process's, which is alive.
    Reserved(Waiting),
    Ready(Waiting),
}

fn head(
    transaction: &Transaction<'_>,
    job: &str,
    me: &ProcessIdentity,
    now: Timestamp,
    is_alive: IsAlive<'_>,
) -> Result<Head, Failure> {
    let mut statement = transaction.prepare_cached(&format!(
        "SELECT id, retry_at, waiting_since, reserved_for, max_concurrent, global_limit, \
         iif({IN_QUEUE}, {QUEUE_END}, NULL) FROM executions \
         WHERE place = 'waiting' AND job_name = ?1 ORDER BY id"
    ))?;
    for row in statement.query_and_then([job], Waiting::read)? {
        let row = row?;
        if row.is_in_backoff(now) || row.is_overdue(now) {
            continue;
        }
        match &row.reserved_for {
            Some(process) if process != me => {
                if is_alive(process) {
                    return Ok(Head::Reserved(row));
                }
            }
            _ => return Ok(Head::Ready(row)),
        }
    }
    Ok(Head::None)
}
