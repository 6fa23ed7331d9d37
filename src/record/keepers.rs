//! The processes that executions depend on.

use super::error::{Failure, RecordError};
use super::model::Execution;
use super::row::{COLUMNS, from_json, to_json};
use super::store::Record;
use crate::sys::process::ProcessIdentity;

/// Left to itself, SQLite takes the index of everything that waits.
const RESERVED_INDEX: &str = "INDEXED BY executions_reserved";

impl Record {
    /// Executions with an owner, or reserved for a process: those that somebody has to look after. One that cannot
    /// be read is left out.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn attended(&self) -> Result<Vec<Execution>, RecordError> {
        self.read("list the executions", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM executions WHERE place = 'occupied' \
                     UNION ALL \
                     SELECT {COLUMNS} FROM executions {RESERVED_INDEX} WHERE place = 'waiting' AND reserved_for IS NOT NULL"
                ))?
                .query_and_then([], Execution::read)?
                .filter_map(readable)
                .collect()
        })
    }

    /// How many executions are claimed or run.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn occupied(&self) -> Result<usize, RecordError> {
        self.read("count the executions", |connection| {
            let sql = "SELECT count(*) FROM executions WHERE place = 'occupied'";
            let count: i64 = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
            Ok(usize::try_from(count).unwrap_or_default())
        })
    }

    /// The processes whose death changes what may begin: while something waits, or a further attempt is being
    /// prepared, those that have claimed or keep an execution and those that one is reserved for. Else none. One that
    /// cannot be read is left out.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn keepers(&self) -> Result<Vec<ProcessIdentity>, RecordError> {
        self.read("look for who keeps the executions", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT id, owner AS process FROM executions WHERE place = 'occupied' AND owner IS NOT NULL \
                     AND (EXISTS (SELECT 1 FROM executions WHERE place = 'waiting') \
                     OR EXISTS (SELECT 1 FROM executions WHERE place = 'occupied' AND status = 'pending' AND attempt > 1)) \
                     UNION ALL \
                     SELECT id, reserved_for FROM executions {RESERVED_INDEX} \
                     WHERE place = 'waiting' AND reserved_for IS NOT NULL"
                ))?
                .query_and_then([], |row| {
                    let (id, process): (String, String) = (row.get(0)?, row.get(1)?);
                    Ok(from_json(&id, "owner", &process)?)
                })?
                .filter_map(readable)
                .collect()
        })
    }

    /// Whether a process other than `me` could die and leave something undone that nobody would see: it prepares
    /// an attempt, so that there is no supervisor yet, and something that is reserved for nobody waits for its turn
    /// meanwhile, or the attempt is not the first; or such an attempt waits for that process. Without `me`: any
    /// process.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn depends_on_preparers(&self, me: Option<&ProcessIdentity>) -> Result<bool, RecordError> {
        let me = me.map(|me| to_json("", "owner", me)).transpose()?;
        self.read("look for who prepares executions", |connection| {
            Ok(connection
                .prepare_cached(&format!(
                    "SELECT EXISTS (SELECT 1 FROM executions WHERE place = 'occupied' AND status = 'pending' \
                     AND owner IS NOT ?1 AND (attempt > 1 OR EXISTS (\
                     SELECT 1 FROM executions WHERE place = 'waiting' AND reserved_for IS NULL))) \
                     OR EXISTS (SELECT 1 FROM executions {RESERVED_INDEX} WHERE place = 'waiting' AND attempt > 1 \
                     AND reserved_for IS NOT NULL AND reserved_for IS NOT ?1)"
                ))?
                .query_row([me], |row| row.get(0))?)
        })
    }
}

/// Without what an unreadable row has: what is wrong with one says nothing about others.
fn readable<T>(row: Result<T, Failure>) -> Option<Result<T, Failure>> {
    match row {
        Err(Failure::Record(error @ RecordError::Unreadable { .. })) => {
            tracing::warn!(%error, "an execution is left as it is");
            None
        }
        row => Some(row),
    }
}
