//! The open record, and how it reads and writes.

use super::error::{Failure, RecordError};
use super::model::Status;
use super::reserve::Reserve;
use super::schema;
use crate::state_dir::StateDir;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How an in-memory database is named in messages, as SQLite does (<https://sqlite.org/inmemorydb.html>).
const IN_MEMORY: &str = ":memory:";

/// An open record. Cheap to open; one connection, used by one call at a time.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    in_memory: bool,
    connection: Mutex<Connection>,
    /// `None` in memory.
    reserve: Option<Reserve>,
}

/// Bytes of the write-ahead log from which on whoever closes the record folds it into the database. When nobody
/// has it open, the next one to open it reads the whole log, at some 3 GB/s, so this is a tenth of a
/// millisecond at most; folding takes two syncs.
const FOLDED_AT_CLOSE: u64 = 1 << 20;

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
        Record::open_at(state.database())
    }

    fn open_at(path: PathBuf) -> Result<Record, RecordError> {
        let reserve = Reserve::beside(&path);
        let connection = match schema::open(&path) {
            Err(RecordError::Full { .. }) if reserve.spend() => schema::open(&path)?,
            opened => opened?,
        };
        reserve.keep();
        Ok(Record { path, in_memory: false, connection: Mutex::new(connection), reserve: Some(reserve) })
    }

    /// The record at `database`, opened once however often it is asked for in this process.
    ///
    /// # Errors
    /// As [`Record::open`].
    pub fn shared(database: &Path) -> Result<Arc<Record>, RecordError> {
        static OPEN: Mutex<Vec<Weak<Record>>> = Mutex::new(Vec::new());
        // A panic elsewhere leaves a whole list.
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|record| record.strong_count() > 0);
        let known = open.iter().filter_map(Weak::upgrade).find(|record| record.path == database);
        if let Some(record) = known {
            return Ok(record);
        }
        let record = Arc::new(Record::open_at(database.to_owned())?);
        open.push(Arc::downgrade(&record));
        Ok(record)
    }

    /// A new record of its own without a file, gone when it is dropped.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn open_in_memory() -> Result<Record, RecordError> {
        let path = PathBuf::from(IN_MEMORY);
        let connection = schema::open_in_memory(&path)?;
        Ok(Record { path, in_memory: true, connection: Mutex::new(connection), reserve: None })
    }

    /// Waits until everything committed so far would survive the death of the host. It takes no lock,
    /// so that other work can go on meanwhile. In memory there is nothing to wait for.
    ///
    /// # Errors
    /// When the write-ahead log cannot be synced.
    pub fn make_durable(&self) -> Result<(), RecordError> {
        if self.in_memory {
            return Ok(());
        }
        // SQLite syncs only this file at a commit in WAL mode; its own locks are on another one, so
        // closing a descriptor of ours drops none (<https://sqlite.org/wal.html>).
        let path = self.write_ahead_log();
        let synced = std::fs::File::open(&path).and_then(|file| file.sync_data());
        match synced {
            Ok(()) => Ok(()),
            // Folded into the database and removed, which syncs it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(RecordError::Io { action: "sync", path, source }),
        }
    }

    /// Folds a write-ahead log that has become long into the database and empties it, unless somebody else is
    /// using it. SQLite's own checkpoints leave emptying to the next commit of a process that knows of them; where
    /// each process commits once, there is none, and the log grows for ever.
    fn fold(&self) {
        if self.in_memory || self.log_size() < FOLDED_AT_CLOSE {
            return;
        }
        let connection = self.lock();
        // Without waiting for others: whoever closes last does it.
        let folded = connection
            .busy_timeout(Duration::ZERO)
            .and_then(|()| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0)));
        match folded {
            Ok(is_busy) => tracing::debug!(is_busy, "the write-ahead log was folded into the database"),
            // Everything is in the log; the next one to close the record tries again.
            Err(error) => tracing::debug!(%error, "the write-ahead log stays as it is"),
        }
    }

    /// Bytes of the write-ahead log; 0 where there is none.
    pub(super) fn log_size(&self) -> u64 {
        std::fs::metadata(self.write_ahead_log()).map_or(0, |file| file.len())
    }

    fn write_ahead_log(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push("-wal");
        PathBuf::from(path)
    }

    /// As [`Record::transaction`], for what gives room back or may not be lost: on a full disk the reserve is given
    /// up for it.
    pub(super) fn transaction_with_reserve<T>(
        &self,
        action: &'static str,
        durability: Durability,
        body: impl Fn(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, RecordError> {
        match self.transaction(action, durability, &body) {
            Err(RecordError::Full { .. }) if self.reserve.as_ref().is_some_and(Reserve::spend) => {
                self.transaction(action, durability, body)
            }
            result => result,
        }
    }

    /// Runs `body` in a transaction that may write from its first statement on; an error rolls it back.
    pub(super) fn transaction<T>(
        &self,
        action: &'static str,
        durability: Durability,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, RecordError> {
        let failed = |source| RecordError::sql(action, &self.path, source);
        let mut connection = self.lock();
        if durability == Durability::Host {
            connection.execute_batch(schema::FULL).map_err(failed)?;
        }
        let changes = connection.total_changes();
        let result = (|| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
            let value = body(&transaction).map_err(|failure| failure.during(action, &self.path))?;
            transaction.commit().map_err(failed)?;
            Ok(value)
        })();
        if connection.total_changes() != changes {
            self.tell();
        }
        if durability == Durability::Host {
            connection.execute_batch(schema::NORMAL).map_err(failed)?;
        }
        result
    }

    /// Lets those hear who watch the database's directory (inotify(7): `IN_ATTRIB`). The write itself they hear
    /// before the commit can be seen, which may take as long as the disk does.
    fn tell(&self) {
        if !self.in_memory {
            // Whoever does not hear this has heard the write, and looks again a while after it.
            let (now, follow) = (TimeSpec::UTIME_NOW, UtimensatFlags::NoFollowSymlink);
            let _ = utimensat(AT_FDCWD, &self.path, &now, &now, follow);
        }
    }

    pub(super) fn read<T>(
        &self,
        action: &'static str,
        body: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, RecordError> {
        body(&self.lock()).map_err(|failure| failure.during(action, &self.path))
    }

    /// A panic elsewhere leaves no transaction open: dropping one rolls it back.
    pub(super) fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.fold();
    }
}

/// The number of a change that is being made.
pub(super) fn next_revision(transaction: &Transaction<'_>) -> rusqlite::Result<i64> {
    transaction.prepare_cached("UPDATE revision SET value = value + 1 RETURNING value")?.query_row([], |row| row.get(0))
}

pub(super) fn status_of(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<Option<Status>> {
    transaction
        .prepare_cached("SELECT status FROM executions WHERE id = ?1")?
        .query_row([id], |row| row.get::<_, String>(0))
        .optional()
        .map(|status| status.as_deref().and_then(Status::parse))
}

pub(super) fn not_found(id: &str) -> RecordError {
    RecordError::NotFound { id: id.to_owned() }
}
