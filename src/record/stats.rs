//! The record in numbers. No call reads the rows of more executions than are live or asked for; the others are
//! counted in indexes.

use super::error::RecordError;
use super::model::Status;
use super::row::timestamp;
use super::store::Record;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;
use std::time::Duration;

/// All executions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    pub executions: u64,
    /// Of them, with this status.
    pub pending: u64,
    pub active: u64,
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
    /// Of the pending ones, those that no process has taken on.
    pub waiting: u64,
    /// Attempts of all of them; one that is waited for counts.
    pub attempts: u64,
    pub oldest_waiting: Option<OldestWaiting>,
}

/// The execution that has waited longest in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldestWaiting {
    pub id: String,
    pub job: String,
    pub created_at: Timestamp,
}

/// The executions of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobTotals {
    pub job: String,
    pub executions: u64,
    /// Those that wait for their turn or their next attempt.
    pub waiting: u64,
    /// Those that are claimed or active.
    pub occupied: u64,
}

/// What a waiting execution waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueuePosition {
    /// Executions that hold the places that it needs.
    pub running: u64,
    /// Executions that wait and are older.
    pub waiting: u64,
}

impl Record {
    /// Numbers of all executions, of one moment.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn totals(&self) -> Result<Totals, RecordError> {
        self.read("count the executions", |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let mut totals =
                Totals { executions: number(&snapshot, "SELECT count(*) FROM executions")?, ..Totals::default() };
            totals.attempts = totals.executions
                + number(&snapshot, "SELECT ifnull(sum(attempt - 1), 0) FROM executions WHERE attempt > 1")?;
            let count =
                |condition: &str| number(&snapshot, &format!("SELECT count(*) FROM executions WHERE {condition}"));
            // In the words of the indexes of these.
            let live = count("status IN ('pending', 'active')")?;
            let unsuccessful = count("status IN ('failed', 'cancelled')")?;
            totals.completed = totals.executions.saturating_sub(live + unsuccessful);
            totals.cancelled = count("status = 'cancelled'")?;
            totals.failed = unsuccessful.saturating_sub(totals.cancelled);
            totals.active = count("status IN ('pending', 'active') AND status = 'active'")?;
            totals.pending = live.saturating_sub(totals.active);
            totals.waiting = count("place = 'waiting'")?;
            totals.oldest_waiting = snapshot
                .prepare_cached(
                    "SELECT id, job_name, created_at FROM executions WHERE id = \
                     (SELECT min(id) FROM executions WHERE place = 'waiting')",
                )?
                .query_row([], |row| {
                    Ok(OldestWaiting { id: row.get(0)?, job: row.get(1)?, created_at: timestamp(row.get(2)?) })
                })
                .optional()?;
            Ok(totals)
        })
    }

    /// Numbers of each job, those with the newest executions first, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn job_totals(&self, limit: usize) -> Result<Vec<JobTotals>, RecordError> {
        self.read("count the executions", |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let mut live: BTreeMap<(String, String), u64> = snapshot
                .prepare_cached(
                    "SELECT job_name, place, count(*) FROM executions WHERE place IN ('waiting', 'occupied') \
                     GROUP BY place, job_name",
                )?
                .query_map([], |row| Ok(((row.get(0)?, row.get(1)?), unsigned(row.get(2)?))))?
                .collect::<rusqlite::Result<_>>()?;
            let mut take = |job: &str, place: &str| live.remove(&(job.to_owned(), place.to_owned())).unwrap_or(0);
            let mut jobs: Vec<(String, u64, String)> = snapshot
                .prepare_cached("SELECT job_name, count(*), max(id) FROM executions GROUP BY job_name")?
                .query_map([], |row| Ok((row.get(0)?, unsigned(row.get(1)?), row.get(2)?)))?
                .collect::<rusqlite::Result<_>>()?;
            jobs.sort_unstable_by(|(.., one), (.., other)| other.cmp(one));
            jobs.truncate(limit);
            let totals = jobs.into_iter().map(|(job, executions, _)| {
                let (waiting, occupied) = (take(&job, "waiting"), take(&job, "occupied"));
                JobTotals { job, executions, waiting, occupied }
            });
            Ok(totals.collect())
        })
    }

    /// Numbers of one job.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn totals_of(&self, job: &str) -> Result<JobTotals, RecordError> {
        self.read("count the executions", |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let count = |condition: &str| {
                let sql = format!("SELECT count(*) FROM executions WHERE job_name = ?1{condition}");
                snapshot.prepare_cached(&sql)?.query_row([job], |row| row.get(0).map(unsigned))
            };
            Ok(JobTotals {
                job: job.to_owned(),
                executions: count("")?,
                waiting: count(" AND place = 'waiting'")?,
                occupied: count(" AND place = 'occupied'")?,
            })
        })
    }

    /// How the newest `limit` executions of a job ended that have ended, newest first, and how long their last
    /// attempts took.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn recent_ends(&self, job: &str, limit: u32) -> Result<Vec<(Status, Duration)>, RecordError> {
        self.read("read the executions", |connection| {
            let rows: Vec<(String, u64)> = connection
                .prepare_cached(
                    "SELECT status, ifnull(elapsed, 0) FROM executions \
                     WHERE job_name = ?1 AND status IN ('completed', 'failed', 'cancelled') ORDER BY id DESC LIMIT ?2",
                )?
                .query_map(params![job, limit], |row| Ok((row.get(0)?, unsigned(row.get(1)?))))?
                .collect::<rusqlite::Result<_>>()?;
            let read =
                |(status, elapsed): (String, u64)| Some((Status::parse(&status)?, Duration::from_nanos(elapsed)));
            Ok(rows.into_iter().filter_map(read).collect())
        })
    }

    /// What an execution waits for; `None` when it does not wait, or waits for a time.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn queue_position(&self, id: &str) -> Result<Option<QueuePosition>, RecordError> {
        self.read("look at the queue", |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let waits: Option<(String, Option<u64>)> = snapshot
                .prepare_cached(
                    "SELECT job_name, max_concurrent FROM executions \
                     WHERE id = ?1 AND place = 'waiting' AND retry_at IS NULL",
                )?
                .query_row([id], |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.map(unsigned))))
                .optional()?;
            let Some((job, limit)) = waits else { return Ok(None) };
            let ahead = |job: Option<&str>| -> rusqlite::Result<QueuePosition> {
                let count = |place: &str, before: Option<&str>| {
                    snapshot
                        .prepare_cached(
                            "SELECT count(*) FROM executions WHERE place = ?1 AND (?2 IS NULL OR job_name = ?2) \
                             AND (?3 IS NULL OR id < ?3)",
                        )?
                        .query_row(params![place, job, before], |row| row.get(0).map(unsigned))
                };
                Ok(QueuePosition { running: count("occupied", None)?, waiting: count("waiting", Some(id))? })
            };
            let own = ahead(Some(&job))?;
            if own.waiting > 0 || limit.is_some_and(|limit| own.running >= limit) {
                return Ok(Some(own));
            }
            // Its own job leaves room: it is the limit over all jobs.
            Ok(Some(ahead(None)?))
        })
    }

    /// Bytes of the database, its write-ahead log included; in memory those of its pages.
    ///
    /// # Errors
    /// When they cannot be looked at.
    pub fn size(&self) -> Result<u64, RecordError> {
        self.read("measure the database", |connection| {
            let pages = number(connection, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")?;
            Ok(pages + self.log_size())
        })
    }
}

fn number(connection: &Connection, sql: &str) -> rusqlite::Result<u64> {
    connection.prepare_cached(sql)?.query_row([], |row| row.get(0).map(unsigned))
}

/// Counts and lengths of time are never negative.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
