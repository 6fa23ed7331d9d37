//! Reading the record.

use super::error::{Failure, RecordError};
use super::model::{Execution, Status, TriggerKind};
use super::row::{COLUMNS, nanoseconds};
use super::store::Record;
use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, params_from_iter};
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

    /// Executions, newest first: by id, by their time of creation where `query` has one. A page of the newest, of a
    /// job, of a time, of a label, of live or of unsuccessful ones takes a time that does not depend on how many there
    /// are; several conditions at once go through what one of them leaves, in indexes as far as they can.
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
}

impl Query {
    /// The SQL, with its parameters in their order. What is to be read of what, the conditions decide: without
    /// statistics SQLite would guess.
    pub(super) fn statement(&self) -> (String, Vec<Value>) {
        let mut select = Select::default();
        let by = self.way();
        // The driver of a join is its left side (https://sqlite.org/optoverview.html#crossjoin).
        let from = match (by, self.labels.split_first()) {
            (Way::Label, Some((label, _))) => {
                select.add_label("driver", label);
                "execution_labels AS driver CROSS JOIN executions ON id = driver.execution_id"
            }
            _ => "executions",
        };
        let labels = if by == Way::Label { &self.labels[1..] } else { &self.labels[..] };
        if let Some(job) = &self.job {
            // The sign keeps a term from choosing the index (https://sqlite.org/optoverview.html#uplus).
            select.add(if by == Way::Creation { "+job_name = ?" } else { "job_name = ?" }, job.clone());
        }
        if let Some(trigger) = self.trigger {
            select.add("trigger_kind = ?", trigger.as_str().to_owned());
        }
        let times = if by == Way::Creation {
            ["created_at >= ?", "created_at < ?"]
        } else {
            ["+created_at >= ?", "+created_at < ?"]
        };
        for (condition, time) in times.into_iter().zip([self.created_after, self.created_before]) {
            if let Some(time) = time {
                select.add(condition, nanoseconds(time));
            }
        }
        if let Some(id) = &self.before_id {
            self.add_before(&mut select, by, id);
        }
        for label in labels {
            select.open("EXISTS (SELECT 1 FROM execution_labels AS label WHERE label.execution_id = executions.id");
            select.add_label("label", label);
            select.sql.push(')');
        }
        self.add_statuses(&mut select.sql);
        select.sql.push_str(match by {
            Way::Creation => " ORDER BY created_at DESC, id DESC",
            Way::Label => " ORDER BY driver.execution_id DESC",
            Way::Id => " ORDER BY id DESC",
        });
        if let Some(limit) = self.limit {
            write!(select.sql, " LIMIT {limit}").expect("writing to a string cannot fail");
        }
        (format!("SELECT {COLUMNS} FROM {from} WHERE true{}", select.sql), select.parameters)
    }

    /// Live ones are few. Otherwise a time bounds what is read, then a job, which both tell the labels of what they
    /// meet without reading rows; a label alone leads to its own.
    fn way(&self) -> Way {
        if self.is_live() {
            Way::Id
        } else if self.created_after.is_some() || self.created_before.is_some() {
            Way::Creation
        } else if self.job.is_none() && !self.labels.is_empty() && !self.is_unsuccessful() {
            Way::Label
        } else {
            Way::Id
        }
    }

    fn add_before(&self, select: &mut Select, by: Way, id: &str) {
        match by {
            Way::Id => select.add("id < ?", id.to_owned()),
            Way::Label => select.add("driver.execution_id < ?", id.to_owned()),
            Way::Creation => {
                // By its id alone when it has been forgotten since.
                let at = "SELECT created_at FROM executions AS before WHERE before.id = ?";
                select.add(&format!("(created_at, id) < (ifnull(({at}), {}), ", i64::MAX), id.to_owned());
                select.push("?)", id.to_owned());
                select.add("(+id < ? OR ", id.to_owned());
                select.push("EXISTS (SELECT 1 FROM executions AS before WHERE before.id = ?))", id.to_owned());
            }
        }
    }

    fn is_live(&self) -> bool {
        self.only_active || self.are_all(|status| !status.is_terminal())
    }

    fn is_unsuccessful(&self) -> bool {
        self.are_all(|status| matches!(status, Status::Failed | Status::Cancelled))
    }

    fn are_all(&self, is_one: fn(&Status) -> bool) -> bool {
        !self.statuses.is_empty() && self.statuses.iter().all(is_one)
    }

    fn add_statuses(&self, sql: &mut String) {
        if !self.statuses.is_empty() {
            let names: Vec<_> = self.statuses.iter().map(|status| format!("'{status}'")).collect();
            write!(sql, " AND status IN ({})", names.join(", ")).expect("writing to a string cannot fail");
        }
        // In the words of the indexes of these few.
        if self.is_live() {
            sql.push_str(" AND status IN ('pending', 'active')");
        } else if self.is_unsuccessful() {
            sql.push_str(" AND status IN ('failed', 'cancelled')");
        }
    }
}

/// What is gone through, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Ids, of a job or of a status where the index of those serves.
    Id,
    /// Times of creation.
    Creation,
    /// The ids of the first label.
    Label,
}

/// Conditions and their parameters.
#[derive(Debug, Default)]
struct Select {
    sql: String,
    parameters: Vec<Value>,
}

impl Select {
    fn open(&mut self, condition: &str) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
    }

    fn push(&mut self, sql: &str, parameter: impl Into<Value>) {
        self.sql.push_str(sql);
        self.parameters.push(parameter.into());
    }

    fn add(&mut self, condition: &str, parameter: impl Into<Value>) {
        self.sql.push_str(" AND ");
        self.push(condition, parameter);
    }

    fn add_label(&mut self, table: &str, label: &LabelFilter) {
        self.add(&format!("{table}.name = ?"), label.name.clone());
        if let Some(value) = &label.value {
            self.add(&format!("{table}.value = ?"), value.clone());
        }
    }
}
