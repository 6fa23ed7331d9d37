//! What can go wrong with the record.

use super::model::Status;
use rusqlite::ErrorCode;
use std::path::{Path, PathBuf};

/// A failure of the record. Display says what to do where the user can do something.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file of the database cannot be made.
    #[error("failed to {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error(
        "the database {} was written by a newer coracle (schema {found}, this one knows {known}); \
         use that version or another root", path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("{} is a database of another program; name another root", path.display())]
    NotOurs { path: PathBuf },
    #[error(
        "the database {0} is damaged; restore a copy, or move {0}, {0}-wal and {0}-shm away to start \
         with an empty record (images and layers stay)", path.display()
    )]
    Corrupt { path: PathBuf, source: rusqlite::Error },
    #[error("the database {} cannot be written; make it and its directory writable, or name another root", path.display())]
    ReadOnly { path: PathBuf, source: Option<rusqlite::Error> },
    #[error("no space left for the database {}; free some, then try again", path.display())]
    Full { path: PathBuf, source: rusqlite::Error },
    #[error("the database {} is held by another process for too long", path.display())]
    Busy { path: PathBuf, source: rusqlite::Error },
    #[error("failed to {action} in the database {}", path.display())]
    Sql { action: &'static str, path: PathBuf, source: rusqlite::Error },
    /// A column does not hold what this version writes there.
    #[error("the record of execution {id} holds an unreadable {column}")]
    Unreadable { id: String, column: &'static str, source: Option<serde_json::Error> },
    #[error("the record of job {name} holds an unreadable spec; register it again")]
    UnreadableJob { name: String, source: serde_json::Error },
    #[error("no execution {id}")]
    NotFound { id: String },
    #[error("execution {id} is {status}; cancel it first")]
    NotTerminal { id: String, status: Status },
}

impl RecordError {
    /// Whether the same call may succeed another time although nobody does anything about the record itself: others
    /// let go of it, a disk has room again. What is damaged, of another version or gone stays so.
    pub fn may_pass(&self) -> bool {
        match self {
            // The file has been moved or removed (<https://sqlite.org/rescode.html#readonly_dbmoved>).
            RecordError::ReadOnly { source: Some(rusqlite::Error::SqliteFailure(failure, _)), .. } => {
                failure.extended_code != rusqlite::ffi::SQLITE_READONLY_DBMOVED
            }
            RecordError::Io { .. }
            | RecordError::ReadOnly { .. }
            | RecordError::Full { .. }
            | RecordError::Busy { .. }
            | RecordError::Sql { .. } => true,
            RecordError::Newer { .. }
            | RecordError::NotOurs { .. }
            | RecordError::Corrupt { .. }
            | RecordError::Unreadable { .. }
            | RecordError::UnreadableJob { .. }
            | RecordError::NotFound { .. }
            | RecordError::NotTerminal { .. } => false,
        }
    }

    /// Sorts a failure of SQLite by what the user can do about it.
    pub(super) fn sql(action: &'static str, path: &Path, source: rusqlite::Error) -> RecordError {
        let path = path.to_owned();
        let rusqlite::Error::SqliteFailure(failure, _) = &source else {
            return RecordError::Sql { action, path, source };
        };
        match failure.code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => RecordError::Corrupt { path, source },
            ErrorCode::ReadOnly => RecordError::ReadOnly { path, source: Some(source) },
            ErrorCode::DiskFull => RecordError::Full { path, source },
            // The shared-memory file could not grow (<https://sqlite.org/rescode.html#ioerr_shmsize>).
            _ if failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE => RecordError::Full { path, source },
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => RecordError::Busy { path, source },
            _ => RecordError::Sql { action, path, source },
        }
    }
}

/// What ends a transaction or a read early.
pub(super) enum Failure {
    /// To be told with what was being done.
    Sql(rusqlite::Error),
    Record(RecordError),
}

impl Failure {
    pub(super) fn during(self, action: &'static str, path: &Path) -> RecordError {
        match self {
            Failure::Sql(source) => RecordError::sql(action, path, source),
            Failure::Record(error) => error,
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        Failure::Sql(error)
    }
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Failure {
        Failure::Record(error)
    }
}
