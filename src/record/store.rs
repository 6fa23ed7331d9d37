//! Changes of the record: each one small transaction.

use super::error::RecordError;
use super::row::{NewExecution, Status, counter, duration_nanoseconds, nanoseconds, source_name};
use super::schema;
use crate::outcome::{End, OUTCOME_VERSION, Outcome, Stopped, Usage};
use crate::state_dir::StateDir;
use crate::sys::process::ProcessIdentity;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// An open record. Cheap to open; one connection, used by one call at a time.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    connection: Mutex<Connection>,
}

/// Whether a commit survives the death of the host, or of processes only.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Durability {
    Host,
    Process,
}

impl Record {
    /// Opens `coracle.db` under the state root, making it (mode 0600) where there is none. Any number
    /// of processes may do so at once.
    ///
    /// # Errors
    /// [`RecordError::Newer`], [`NotOurs`](RecordError::NotOurs), [`Corrupt`](RecordError::Corrupt),
    /// [`ReadOnly`](RecordError::ReadOnly), [`Full`](RecordError::Full), …; a database that could
    /// not be made leaves nothing behind.
    pub fn open(state: &StateDir) -> Result<Record, RecordError> {
        let path = state.database();
        let connection = schema::open(&path)?;
        Ok(Record { path, connection: Mutex::new(connection) })
    }

    /// Records a new pending execution. It survives the death of any process at once, and that of the
    /// host after [`Record::make_durable`], which must come before anything runs or is promised.
    ///
    /// # Errors
    /// When the id is taken, or the database cannot be written.
    pub fn insert(&self, new: &NewExecution) -> Result<(), RecordError> {
        let (kind, detail) = new.trigger.columns();
        let owner = new.owner.as_ref().map(|owner| self.json(&new.id, "owner", owner)).transpose()?;
        let labels = self.json(&new.id, "labels", &new.labels)?;
        let notes = self.json(&new.id, "notes", &new.notes)?;
        let spec = new.spec.to_string();
        self.transaction("record the execution", Durability::Process, |transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO executions (id, job_name, deployment, status, trigger_kind, trigger_detail, image, \
                     spec, labels, owner, created_at, notes) \
                     VALUES (?1, ?2, ?3, 'pending', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                )?
                .execute(params![
                    new.id,
                    new.job_name,
                    new.deployment,
                    kind,
                    detail,
                    new.image,
                    spec,
                    labels,
                    owner,
                    nanoseconds(new.created_at),
                    notes
                ])?;
            Ok(Ok(()))
        })
    }

    /// Waits until everything committed so far would survive the death of the host. It takes no lock,
    /// so that other work can go on meanwhile.
    ///
    /// # Errors
    /// When the write-ahead log cannot be synced.
    pub fn make_durable(&self) -> Result<(), RecordError> {
        // SQLite syncs only this file at a commit in WAL mode; its own locks are on another one, so
        // closing a descriptor of ours drops none (<https://sqlite.org/wal.html>).
        let mut path = self.path.clone().into_os_string();
        path.push("-wal");
        let path = PathBuf::from(path);
        let synced = std::fs::File::open(&path).and_then(|file| file.sync_data());
        match synced {
            Ok(()) => Ok(()),
            // Folded into the database and removed, which syncs it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(RecordError::Io { action: "sync", path, source }),
        }
    }

    /// Pending → active, with what is known by now: `supervisor` is the process that may start it from
    /// now on. False when it is pending no more: somebody
    /// cancelled it, and nothing may be started.
    ///
    /// # Errors
    /// [`RecordError::NotFound`], or the database cannot be written.
    pub fn activate(
        &self,
        id: &str,
        image_digest: &str,
        container_id: &str,
        supervisor: &ProcessIdentity,
    ) -> Result<bool, RecordError> {
        let owner = self.json(id, "owner", supervisor)?;
        self.transaction("activate the execution", Durability::Process, |transaction| {
            let changed = transaction
                .prepare_cached(
                    "UPDATE executions SET status = 'active', image_digest = ?2, container_id = ?3, owner = ?4 \
                     WHERE id = ?1 AND status = 'pending'",
                )?
                .execute(params![id, image_digest, container_id, owner])?;
            if changed == 0 && status_of(transaction, id)?.is_none() {
                return Ok(Err(RecordError::NotFound { id: id.to_owned() }));
            }
            Ok(Ok(changed == 1))
        })
    }

    /// Makes an execution terminal with this outcome, durably: the one place that does. True when
    /// this call did; false when it was terminal already, and nothing is changed then. Idempotent.
    ///
    /// # Errors
    /// [`RecordError::NotFound`], or the database cannot be written; the status is then unchanged.
    pub fn finalise(&self, id: &str, outcome: &Outcome) -> Result<bool, RecordError> {
        self.finalise_from(&[Status::Pending, Status::Active], id, outcome)
    }

    /// Cancels an execution that is still pending, at `now`. False when it is not: it is active and
    /// its supervisor has to be told, or it is terminal.
    ///
    /// # Errors
    /// As [`Record::finalise`].
    pub fn cancel_pending(&self, id: &str, now: Timestamp) -> Result<bool, RecordError> {
        let outcome = Outcome {
            version: OUTCOME_VERSION,
            attempt: 1,
            end: End::Cancelled { how: Stopped::BeforeStart },
            started_at: None,
            completed_at: now,
            elapsed: Duration::ZERO,
            usage: Usage::default(),
            notes: Vec::new(),
        };
        self.finalise_from(&[Status::Pending], id, &outcome)
    }

    fn finalise_from(&self, from: &[Status], id: &str, outcome: &Outcome) -> Result<bool, RecordError> {
        let status = Status::of(&outcome.end);
        let reason = (status != Status::Completed).then(|| outcome.end.to_string());
        let end = self.json(id, "end", &outcome.end)?;
        let usage = &outcome.usage;
        self.transaction("record the end of the execution", Durability::Host, |transaction| {
            let before = transaction
                .prepare_cached("SELECT status, notes FROM executions WHERE id = ?1")?
                .query_row([id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
                .optional()?;
            let Some((before, notes)) = before else {
                return Ok(Err(RecordError::NotFound { id: id.to_owned() }));
            };
            if !from.iter().any(|status| status.as_str() == before) {
                return Ok(Ok(false));
            }
            let notes = match append_notes(id, &notes, &outcome.notes) {
                Ok(notes) => notes,
                Err(error) => return Ok(Err(error)),
            };
            transaction
                .prepare_cached(
                    "UPDATE executions SET status = ?2, started_at = ?3, completed_at = ?4, elapsed = ?5, \
                     exit_code = ?6, outcome_end = ?7, reason = ?8, peak_memory = ?9, peak_memory_source = ?10, \
                     cpu_user = ?11, cpu_system = ?12, oom_kills = ?13, notes = ?14, owner = NULL WHERE id = ?1",
                )?
                .execute(params![
                    id,
                    status.as_str(),
                    outcome.started_at.map(nanoseconds),
                    nanoseconds(outcome.completed_at),
                    duration_nanoseconds(outcome.elapsed),
                    outcome.end.job_exit_code(),
                    end,
                    reason,
                    usage.peak_memory.map(counter),
                    usage.peak_memory_source.map(source_name),
                    usage.cpu_user.map(duration_nanoseconds),
                    usage.cpu_system.map(duration_nanoseconds),
                    usage.oom_kills.map(counter),
                    notes,
                ])?;
            Ok(Ok(true))
        })
    }

    /// Removes a terminal execution from the record.
    ///
    /// # Errors
    /// [`RecordError::NotTerminal`], [`RecordError::NotFound`], or the database cannot be written.
    pub fn remove(&self, id: &str) -> Result<(), RecordError> {
        self.transaction("remove the execution", Durability::Process, |transaction| {
            let status = status_of(transaction, id)?;
            match status {
                None => Ok(Err(RecordError::NotFound { id: id.to_owned() })),
                Some(status) if !status.is_terminal() => {
                    Ok(Err(RecordError::NotTerminal { id: id.to_owned(), status }))
                }
                Some(_) => {
                    transaction.prepare_cached("DELETE FROM executions WHERE id = ?1")?.execute([id])?;
                    Ok(Ok(()))
                }
            }
        })
    }

    /// Runs `body` in a transaction that may write from its first statement on; what it returns
    /// inside decides between commit and roll-back.
    pub(super) fn transaction<T>(
        &self,
        action: &'static str,
        durability: Durability,
        body: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Result<T, RecordError>>,
    ) -> Result<T, RecordError> {
        let failed = |source| RecordError::sql(action, &self.path, source);
        let mut connection = self.lock();
        if durability == Durability::Host {
            connection.execute_batch(schema::FULL).map_err(failed)?;
        }
        let result = (|| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
            let value = body(&transaction).map_err(failed)??;
            transaction.commit().map_err(failed)?;
            Ok(value)
        })();
        if durability == Durability::Host {
            connection.execute_batch(schema::NORMAL).map_err(failed)?;
        }
        result
    }

    pub(super) fn read<T>(
        &self,
        action: &'static str,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, RecordError> {
        body(&self.lock()).map_err(|source| RecordError::sql(action, &self.path, source))
    }

    /// A panic elsewhere leaves no transaction open: dropping one rolls it back.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn json<T: Serialize>(&self, id: &str, column: &'static str, value: &T) -> Result<String, RecordError> {
        to_json(id, column, value)
    }
}

fn to_json<T: Serialize>(id: &str, column: &'static str, value: &T) -> Result<String, RecordError> {
    serde_json::to_string(value).map_err(|source| RecordError::Unreadable {
        id: id.to_owned(),
        column,
        source: Some(source),
    })
}

fn append_notes(id: &str, stored: &str, further: &[String]) -> Result<String, RecordError> {
    let mut notes: Vec<String> = serde_json::from_str(stored).map_err(|source| RecordError::Unreadable {
        id: id.to_owned(),
        column: "notes",
        source: Some(source),
    })?;
    notes.extend_from_slice(further);
    to_json(id, "notes", &notes)
}

fn status_of(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<Option<Status>> {
    transaction
        .prepare_cached("SELECT status FROM executions WHERE id = ?1")?
        .query_row([id], |row| row.get::<_, String>(0))
        .optional()
        .map(|status| status.and_then(|text| Status::ALL.into_iter().find(|status| status.as_str() == text)))
}
