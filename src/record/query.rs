//! Reading the record.

use super::error::RecordError;
use super::row::{COLUMNS, Execution, Status};
use super::store::Record;
use rusqlite::{OptionalExtension, ToSql};
use std::fmt::Write;

/// Which executions to list; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pub job: Option<String>,
    /// Empty: every status.
    pub statuses: Vec<Status>,
    /// Only pending and active ones, on top of `statuses`.
    pub only_active: bool,
    /// The newest so many.
    pub limit: Option<usize>,
}

/// Most ids that [`Record::find_prefix`] returns.
const PREFIX_MATCHES: usize = 10;

impl Record {
    /// The execution with exactly this id.
    ///
    /// # Errors
    /// When the database or the row cannot be read.
    pub fn get(&self, id: &str) -> Result<Option<Execution>, RecordError> {
        self.read("read the execution", |connection| {
            connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM executions WHERE id = ?1"))?
                .query_row([id], Execution::read)
                .optional()
        })?
        .transpose()
    }

    /// Ids that start with `prefix`, oldest first, at most ten of them. Letter case does not matter.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn find_prefix(&self, prefix: &str) -> Result<Vec<String>, RecordError> {
        let from = prefix.to_ascii_lowercase();
        // Ids consist of hexadecimal digits and hyphens, all of which sort before `g`.
        let to = format!("{from}g");
        self.read("look up the execution", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT id FROM executions WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT {PREFIX_MATCHES}"
                ))?
                .query_map([&from, &to], |row| row.get(0))?
                .collect()
        })
    }

    /// Executions, newest first.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn list(&self, query: &Query) -> Result<Vec<Execution>, RecordError> {
        let mut sql = format!("SELECT {COLUMNS} FROM executions WHERE true");
        let mut parameters: Vec<&dyn ToSql> = Vec::new();
        if let Some(job) = &query.job {
            sql.push_str(" AND job_name = ?1");
            parameters.push(job);
        }
        if !query.statuses.is_empty() {
            let names: Vec<_> = query.statuses.iter().map(|status| format!("'{status}'")).collect();
            write!(sql, " AND status IN ({})", names.join(", ")).expect("writing to a string cannot fail");
        }
        if query.only_active {
            sql.push_str(" AND status IN ('pending', 'active')");
        }
        sql.push_str(" ORDER BY id DESC");
        if let Some(limit) = query.limit {
            write!(sql, " LIMIT {limit}").expect("writing to a string cannot fail");
        }
        self.read("list the executions", |connection| {
            connection
                .prepare_cached(&sql)?
                .query_map(&*parameters, Execution::read)?
                .collect::<rusqlite::Result<Vec<_>>>()
        })?
        .into_iter()
        .collect()
    }

    /// Every execution that is pending or active, newest first.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn non_terminal(&self) -> Result<Vec<Execution>, RecordError> {
        self.list(&Query { only_active: true, ..Query::default() })
    }
}
