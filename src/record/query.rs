//! Reading the record.

use super::error::{Failure, RecordError};
use super::model::{Execution, Status, TriggerKind};
use super::row::{COLUMNS, nanoseconds};
use super::store::Record;
use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, params, params_from_iter};
use std::fmt::Write;

/// Which executions to list; the default is all. Every condition has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pub job: Option<String>,
    /// Empty: every status.
    pub statuses: Vec<Status>,
    /// Only pending and active ones, on top of `statuses`.
    pub only_active: bool,
    pub labels: Vec<LabelFilter>,
    pub trigger: Option<TriggerKind>,
    /// Created then or later.
    pub created_after: Option<Timestamp>,
    /// Created earlier than this.
    pub created_before: Option<Timestamp>,
    /// Ended then or later.
    pub completed_after: Option<Timestamp>,
    /// Ended earlier than this.
    pub completed_before: Option<Timestamp>,
    /// Only those older than this one: with the last id of a page, the next page. The id itself need not exist.
    pub before_id: Option<String>,
    /// The newest so many.
    pub limit: Option<usize>,
}

/// A label that an execution has to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFilter {
    pub name: String,
    /// `None`: any value.
    pub value: Option<String>,
}

/// Most ids that [`Record::find_prefix`] returns.
const PREFIX_MATCHES: usize = 10;

impl Record {
    /// The id of the execution that was recorded last.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn newest(&self) -> Result<Option<String>, RecordError> {
        self.read("look for the newest execution", |connection| {
            Ok(connection.prepare_cached("SELECT max(id) FROM executions")?.query_row([], |row| row.get(0))?)
        })
    }

    /// The execution with exactly this id.
    ///
    /// # Errors
    /// When the database or the row cannot be read.
    pub fn get(&self, id: &str) -> Result<Option<Execution>, RecordError> {
        self.read("read the execution", |connection| {
            connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM executions WHERE id = ?1"))?
                .query_row([id], |row| Ok(Execution::read(row)))
                .optional()?
                .transpose()
        })
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
            Ok(connection
                .prepare_cached(&format!(
                    "SELECT id FROM executions WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT {PREFIX_MATCHES}"
                ))?
                .query_map([&from, &to], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Executions, newest first. A page of the newest, of a job, of live or of unsuccessful ones takes a time
    /// that does not depend on how many there are; other conditions read on until the page is full.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn list(&self, query: &Query) -> Result<Vec<Execution>, RecordError> {
        let (sql, parameters) = query.statement();
        self.read("list the executions", |connection| {
            connection
                .prepare_cached(&sql)?
                .query_and_then(params_from_iter(parameters), Execution::read)?
                .collect::<Result<_, Failure>>()
        })
    }

    /// Every execution that is pending or active, newest first.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn non_terminal(&self) -> Result<Vec<Execution>, RecordError> {
        self.list(&Query { only_active: true, ..Query::default() })
    }

    /// The number of the last change of an execution that could be seen: an insertion, a new status or attempt,
    /// a request to cancel. It grows with each and never falls.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn revision(&self) -> Result<i64, RecordError> {
        self.read("read the revision", |connection| {
            Ok(connection.prepare_cached("SELECT value FROM revision")?.query_row([], |row| row.get(0))?)
        })
    }

    /// Executions that have changed since that revision, as they are now and each once, in the order of their
    /// last changes, at most `limit`. Ask again with the last one's `revision`.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn changes_since(&self, revision: i64, limit: u32) -> Result<Vec<Execution>, RecordError> {
        self.read("read the changes", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM executions WHERE revision > ?1 ORDER BY revision LIMIT ?2"
                ))?
                .query_and_then(params![revision, limit], Execution::read)?
                .collect()
        })
    }
}

impl Query {
    /// The SQL, with its parameters in their order.
    pub(super) fn statement(&self) -> (String, Vec<Value>) {
        let mut sql = format!("SELECT {COLUMNS} FROM executions WHERE true");
        let mut parameters = Vec::new();
        let mut add = |condition: &str, value: Value| {
            sql.push_str(" AND ");
            sql.push_str(condition);
            parameters.push(value);
        };
        if let Some(job) = &self.job {
            add("job_name = ?", job.clone().into());
        }
        if let Some(trigger) = self.trigger {
            add("trigger_kind = ?", trigger.as_str().to_owned().into());
        }
        for (condition, time) in [
            ("created_at >= ?", self.created_after),
            ("created_at < ?", self.created_before),
            ("completed_at >= ?", self.completed_after),
            ("completed_at < ?", self.completed_before),
        ] {
            if let Some(time) = time {
                add(condition, nanoseconds(time).into());
            }
        }
        if let Some(id) = &self.before_id {
            add("id < ?", id.clone().into());
        }
        for label in &self.labels {
            add("EXISTS (SELECT 1 FROM json_each(labels) AS label WHERE label.key = ?", label.name.clone().into());
            match &label.value {
                Some(value) => add("label.value = ?)", value.clone().into()),
                None => add("? IS NULL)", Value::Null),
            }
        }
        self.add_statuses(&mut sql);
        sql.push_str(" ORDER BY id DESC");
        if let Some(limit) = self.limit {
            write!(sql, " LIMIT {limit}").expect("writing to a string cannot fail");
        }
        (sql, parameters)
    }

    fn add_statuses(&self, sql: &mut String) {
        if !self.statuses.is_empty() {
            let names: Vec<_> = self.statuses.iter().map(|status| format!("'{status}'")).collect();
            write!(sql, " AND status IN ({})", names.join(", ")).expect("writing to a string cannot fail");
        }
        let all = |is_one: fn(&Status) -> bool| !self.statuses.is_empty() && self.statuses.iter().all(is_one);
        // In the words of the indexes of these few.
        if self.only_active || all(|status| !status.is_terminal()) {
            sql.push_str(" AND status IN ('pending', 'active')");
        } else if all(|status| matches!(status, Status::Failed | Status::Cancelled)) {
            sql.push_str(" AND status IN ('failed', 'cancelled')");
        }
    }
}
