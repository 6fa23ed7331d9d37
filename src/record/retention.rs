//! Forgetting executions, and giving their room back.

use super::error::RecordError;
use super::row::nanoseconds;
use super::store::{Durability, Record, not_found, status_of};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

/// Rows that one transaction removes at most, and pages that one gives back: others get their turn in between.
const BATCH: usize = 256;

/// Free pages of a database without incremental vacuum from which on it is written anew, if they are half of
/// it: 4 MiB of pages of 4 KiB.
const WORTH_REWRITING: i64 = 1024;

/// `PRAGMA auto_vacuum` (<https://sqlite.org/pragma.html#pragma_auto_vacuum>).
const AUTO_VACUUM_INCREMENTAL: i64 = 2;

impl Record {
    /// Ids of ended executions whose time to live is over at `now`, those that ended first at the head, at most
    /// `limit`. While the clock is set back nothing expires early: it counts from the recorded end.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn expired(&self, now: Timestamp, limit: u32) -> Result<Vec<String>, RecordError> {
        self.read("look for what is expired", |connection| {
            Ok(connection
                .prepare_cached("SELECT id FROM executions WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2")?
                .query_map(params![nanoseconds(now), limit], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Ids of ended executions of the job besides its newest `keep_last` ended ones, oldest first, at most
    /// `limit`. The number is that of the job's newest execution that has one; none, and all are kept.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn beyond_keep_last(&self, job: &str, limit: u32) -> Result<Vec<String>, RecordError> {
        self.read("look for what is not kept", |connection| {
            let kept: Option<u32> = connection
                .prepare_cached(
                    "SELECT keep_last FROM executions WHERE job_name = ?1 AND keep_last IS NOT NULL \
                     ORDER BY id DESC LIMIT 1",
                )?
                .query_row([job], |row| row.get(0))
                .optional()?;
            let Some(kept) = kept else { return Ok(Vec::new()) };
            // What is live is left out by a short list from its index: no row is read.
            Ok(connection
                .prepare_cached(
                    "WITH live AS (SELECT id FROM executions \
                     WHERE place IN ('waiting', 'occupied') AND job_name = ?1) \
                     SELECT id FROM executions WHERE job_name = ?1 AND id NOT IN live AND id <= (\
                     SELECT id FROM executions WHERE job_name = ?1 AND id NOT IN live \
                     ORDER BY id DESC LIMIT 1 OFFSET ?2) ORDER BY id LIMIT ?3",
                )?
                .query_map(params![job, kept, limit], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?)
        })
    }

    /// As [`Record::beyond_keep_last`], for the executions of all jobs and `kept`, or `keep_last_total` without it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn beyond_total(&self, kept: Option<u32>, limit: u32) -> Result<Vec<String>, RecordError> {
        self.read("look for what is not kept", |connection| {
            let recorded = || {
                connection
                    .prepare_cached(
                        "SELECT keep_last_total FROM executions WHERE keep_last_total IS NOT NULL \
                         ORDER BY id DESC LIMIT 1",
                    )?
                    .query_row([], |row| row.get(0))
                    .optional()
            };
            let kept: Option<u32> = if kept.is_some() { kept } else { recorded()? };
            let Some(kept) = kept else { return Ok(Vec::new()) };
            Ok(connection
                .prepare_cached(
                    "WITH live AS (SELECT id FROM executions WHERE status IN ('pending', 'active')) \
                     SELECT id FROM executions WHERE id NOT IN live AND id <= (\
                     SELECT id FROM executions WHERE id NOT IN live ORDER BY id DESC LIMIT 1 OFFSET ?1) \
                     ORDER BY id LIMIT ?2",
                )?
                .query_map(params![kept, limit], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Removes a terminal execution from the record.
    ///
    /// # Errors
    /// [`RecordError::NotTerminal`], [`RecordError::NotFound`], or the database cannot be written.
    pub fn remove(&self, id: &str) -> Result<(), RecordError> {
        self.transaction_with_reserve("remove the execution", Durability::Process, |transaction| {
            match status_of(transaction, id)? {
                None => Err(not_found(id).into()),
                Some(status) if !status.is_terminal() => {
                    Err(RecordError::NotTerminal { id: id.to_owned(), status }.into())
                }
                Some(_) => {
                    delete(transaction, id)?;
                    Ok(())
                }
            }
        })
    }

    /// Removes those of these executions that are terminal, and says how many it were; others stay, and unknown
    /// ids do no harm. Up to 256 go in one transaction.
    ///
    /// # Errors
    /// When the database cannot be written; earlier transactions stay.
    pub fn remove_many(&self, ids: &[&str]) -> Result<usize, RecordError> {
        let mut removed = 0;
        for batch in ids.chunks(BATCH) {
            removed += self.transaction_with_reserve("remove executions", Durability::Process, |transaction| {
                let mut removed = 0;
                for id in batch {
                    removed += delete(transaction, id)?;
                }
                Ok(removed)
            })?;
        }
        Ok(removed)
    }

    /// Gives the room of what was removed back to the file system, in small transactions. The file shrinks when
    /// its write-ahead log is folded in, which this does as far as no reader needs it.
    ///
    /// A database made by schema 2 or older cannot do that: when half of it is free, and that is worth it, it is
    /// written anew once, in one transaction that takes as much room again for a while, and can from then on.
    ///
    /// # Errors
    /// When the database cannot be written; it stays as it was.
    pub fn reclaim(&self) -> Result<(), RecordError> {
        let action = "give back room";
        let pragma = |connection: &Connection, name: &str| {
            connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0))
        };
        let is_incremental =
            self.read(action, |connection| Ok(pragma(connection, "auto_vacuum")? == AUTO_VACUUM_INCREMENTAL))?;
        if is_incremental {
            let mut free = i64::MAX;
            loop {
                let left = self.read(action, |connection| {
                    // Each row that is asked for frees a page.
                    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({BATCH})"))?;
                    let mut rows = statement.query([])?;
                    while rows.next()?.is_some() {}
                    Ok(pragma(connection, "freelist_count")?)
                })?;
                // Others may remove more meanwhile; they reclaim it themselves.
                if left == 0 || left >= free {
                    break;
                }
                free = left;
            }
        } else {
            self.read(action, |connection| {
                let free = pragma(connection, "freelist_count")?;
                if free >= WORTH_REWRITING && free * 2 >= pragma(connection, "page_count")? {
                    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM")?;
                }
                Ok(())
            })?;
        }
        self.read(action, |connection| {
            // What it cannot fold in now, a later commit does.
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
            Ok(())
        })
    }

    /// What SQLite's own check of every page and index finds wrong, in its words; empty for a sound database.
    /// Reads all of it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn integrity_check(&self) -> Result<Vec<String>, RecordError> {
        self.read("check the database", |connection| {
            let mut lines: Vec<String> = connection
                .prepare("PRAGMA integrity_check")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            lines.retain(|line| line != "ok");
            Ok(lines)
        })
    }
}

fn delete(connection: &Connection, id: &str) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("DELETE FROM executions WHERE id = ?1 AND status IN ('completed', 'failed', 'cancelled')")?
        .execute([id])
}
