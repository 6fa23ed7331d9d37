//! Notifications: recorded with the end that they tell of, and there until they are delivered or given up.

use super::error::RecordError;
use super::model::NotificationKey;
use super::row::{nanoseconds, timestamp};
use super::store::{Durability, Record};
use super::turn::latest;
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction, params};

/// One to record with an end.
#[derive(Debug, Clone, PartialEq)]
pub struct NewNotification {
    /// Whom to tell; the record does not look into it.
    pub target: serde_json::Value,
    /// What to tell.
    pub document: serde_json::Value,
    /// When the first try is due.
    pub due_at: Timestamp,
}

/// One that has not been delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    pub execution_id: String,
    /// Among those of its execution, from 1.
    pub ordinal: u32,
    /// Null when what is recorded cannot be read.
    pub target: serde_json::Value,
    pub document: serde_json::Value,
    /// Those that have failed.
    pub tries: u32,
    /// When the next try is due; `None`: it was given up.
    pub due_at: Option<Timestamp>,
    /// Why the last try failed.
    pub problem: Option<String>,
}

/// The columns that [`Notification::read`] expects, in its order.
const COLUMNS: &str = "execution_id, ordinal, target, document, tries, due_at, problem";

/// What is due at ?1, with [`latest`] as ?2. Set back to before the wait began, the clock says nothing of its length: it
/// is over.
const DUE: &str = "due_at IS NOT NULL AND (due_at <= ?1 OR due_since > ?2)";

impl Notification {
    pub fn key(&self) -> NotificationKey {
        NotificationKey { execution_id: self.execution_id.clone(), ordinal: self.ordinal }
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Notification> {
        let json = |index| Ok::<_, rusqlite::Error>(serde_json::from_str(&row.get::<_, String>(index)?).ok());
        // One that cannot be read is for nobody: it is to be given up like any that has no target, and not to hold
        // up others.
        let (target, document) = json(2)?.zip(json(3)?).unwrap_or_default();
        Ok(Notification {
            execution_id: row.get(0)?,
            ordinal: row.get(1)?,
            target,
            document,
            tries: row.get(4)?,
            due_at: row.get::<_, Option<i64>>(5)?.map(timestamp),
            problem: row.get(6)?,
        })
    }
}

impl Record {
    /// Takes on a notification that is due: nobody else is given it until `until`, at which it is due again if it
    /// has not been settled.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub fn take_notification(&self, now: Timestamp, until: Timestamp) -> Result<Option<Notification>, RecordError> {
        let action = "take on a notification";
        let at = [now, latest(now)].map(nanoseconds);
        // Most looks find nothing, and need not keep others from writing.
        let is_due = self.read(action, |connection| {
            let sql = format!("SELECT EXISTS (SELECT 1 FROM notifications WHERE {DUE})");
            Ok(connection.prepare_cached(&sql)?.query_row(at, |row| row.get::<_, bool>(0))?)
        })?;
        if !is_due {
            return Ok(None);
        }
        self.transaction(action, Durability::Process, |transaction| {
            let sql = format!("SELECT {COLUMNS} FROM notifications WHERE {DUE} ORDER BY due_at LIMIT 1");
            let due = transaction.prepare_cached(&sql)?.query_row(at, Notification::read).optional()?;
            if let Some(due) = &due {
                set_due(transaction, due, now, Some(until))?;
            }
            Ok(due)
        })
    }

    /// Records a try that has failed: it is due again at `again`; with `None`, it is given up, and is forgotten
    /// when its execution is.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn fail_notification(
        &self,
        failed: &Notification,
        problem: &str,
        now: Timestamp,
        again: Option<Timestamp>,
    ) -> Result<(), RecordError> {
        self.transaction("record a failed notification", Durability::Process, |transaction| {
            transaction
                .prepare_cached(
                    "UPDATE notifications SET tries = ?3, problem = ?4 WHERE execution_id = ?1 AND ordinal = ?2",
                )?
                .execute(params![failed.execution_id, failed.ordinal, failed.tries.saturating_add(1), problem])?;
            set_due(transaction, failed, now, again)?;
            if again.is_none() {
                transaction
                    .prepare_cached(
                        "DELETE FROM notifications WHERE execution_id = ?1 AND ordinal = ?2 \
                         AND NOT EXISTS (SELECT 1 FROM executions WHERE id = ?1)",
                    )?
                    .execute(params![failed.execution_id, failed.ordinal])?;
            }
            Ok(())
        })
    }

    /// Forgets a notification that was delivered.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn deliver_notification(&self, delivered: &Notification) -> Result<(), RecordError> {
        self.transaction("record a delivered notification", Durability::Process, |transaction| {
            Ok(deliver(transaction, &delivered.key())?)
        })
    }

    /// When the next notification is due, which may have passed; `None`: none waits.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn next_notification(&self) -> Result<Option<Timestamp>, RecordError> {
        self.read("look for notifications", |connection| {
            let due: Option<i64> = connection
                .prepare_cached("SELECT min(due_at) FROM notifications WHERE due_at IS NOT NULL")?
                .query_row([], |row| row.get(0))?;
            Ok(due.map(timestamp))
        })
    }

    /// The first moment after `now` at which a notification is due.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn next_notification_after(&self, now: Timestamp) -> Result<Option<Timestamp>, RecordError> {
        self.read("look for notifications", |connection| {
            let due: Option<i64> = connection
                .prepare_cached("SELECT min(due_at) FROM notifications WHERE due_at > ?1")?
                .query_row([nanoseconds(now)], |row| row.get(0))?;
            Ok(due.map(timestamp))
        })
    }

    /// Those of an execution that have not been delivered, in their order.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn notifications(&self, id: &str) -> Result<Vec<Notification>, RecordError> {
        self.read("read the notifications", |connection| {
            Ok(connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM notifications WHERE execution_id = ?1 ORDER BY ordinal"
                ))?
                .query_map([id], Notification::read)?
                .collect::<Result<_, _>>()?)
        })
    }
}

/// Whether it waits to be delivered.
pub(super) fn is_there(transaction: &Transaction<'_>, key: &NotificationKey) -> rusqlite::Result<bool> {
    transaction
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM notifications WHERE execution_id = ?1 AND ordinal = ?2 \
             AND due_at IS NOT NULL)",
        )?
        .query_row(params![key.execution_id, key.ordinal], |row| row.get(0))
}

/// Forgets one that is delivered.
pub(super) fn deliver(transaction: &Transaction<'_>, key: &NotificationKey) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM notifications WHERE execution_id = ?1 AND ordinal = ?2")?
        .execute(params![key.execution_id, key.ordinal])
        .map(drop)
}

/// Records the notifications of an end.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    id: &str,
    notifications: &[NewNotification],
) -> rusqlite::Result<()> {
    for (ordinal, new) in (1_i64..).zip(notifications) {
        transaction
            .prepare_cached(
                "INSERT INTO notifications (execution_id, ordinal, target, document, due_at, due_since) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
            )?
            .execute(params![id, ordinal, new.target.to_string(), new.document.to_string(), nanoseconds(new.due_at)])?;
    }
    Ok(())
}

fn set_due(
    transaction: &Transaction<'_>,
    notification: &Notification,
    now: Timestamp,
    due_at: Option<Timestamp>,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE notifications SET due_at = ?3, due_since = ?4 WHERE execution_id = ?1 AND ordinal = ?2",
        )?
        .execute(params![notification.execution_id, notification.ordinal, due_at.map(nanoseconds), nanoseconds(now)])
        .map(drop)
}
