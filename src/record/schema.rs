//! The schema, and how a database comes to be and is opened.

use super::error::RecordError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `PRAGMA user_version`. A change of the schema raises it and adds to [`MIGRATIONS`].
pub(super) const SCHEMA_VERSION: i64 = 2;

/// `PRAGMA application_id`: "Crcl", so that no other program's database is taken for ours.
const APPLICATION_ID: i64 = 0x4372_636c;

/// How long a call waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Pages in the WAL from which on a commit folds it into the database. Whoever opens the database
/// first reads the whole WAL, so it is kept short.
const WAL_PAGES: u32 = 64;

/// Times are nanoseconds since 1970-01-01T00:00:00Z, durations are nanoseconds.
const SCHEMA: &str = "
CREATE TABLE executions (
    id                 TEXT PRIMARY KEY NOT NULL,
    job_name           TEXT NOT NULL,
    deployment         TEXT,
    status             TEXT NOT NULL CHECK (status IN ('pending', 'active', 'completed', 'failed', 'cancelled')),
    trigger_kind       TEXT NOT NULL CHECK (trigger_kind IN ('endpoint', 'cli', 'scheduler', 'internal')),
    trigger_detail     TEXT,
    image              TEXT NOT NULL,
    image_digest       TEXT,
    container_id       TEXT,
    spec               TEXT NOT NULL,
    labels             TEXT NOT NULL,
    owner              TEXT,
    created_at         INTEGER NOT NULL,
    started_at         INTEGER,
    completed_at       INTEGER,
    elapsed            INTEGER,
    exit_code          INTEGER CHECK (exit_code BETWEEN 0 AND 255),
    outcome_end        TEXT,
    reason             TEXT,
    peak_memory        INTEGER,
    peak_memory_source TEXT CHECK (peak_memory_source IN ('cgroup', 'largest_process')),
    cpu_user           INTEGER,
    cpu_system         INTEGER,
    oom_kills          INTEGER,
    notes              TEXT NOT NULL DEFAULT '[]',
    CHECK ((status IN ('completed', 'failed', 'cancelled')) = (outcome_end IS NOT NULL)),
    CHECK ((outcome_end IS NULL) = (completed_at IS NULL))
) STRICT;

-- `ps` lists newest first: ids are UUIDv7, so their order is that of creation.
CREATE INDEX executions_by_job ON executions (job_name, id);
CREATE INDEX executions_not_terminal ON executions (id) WHERE status IN ('pending', 'active');

CREATE TRIGGER executions_terminal_is_final
BEFORE UPDATE OF status, exit_code, outcome_end, reason, started_at, completed_at, elapsed ON executions
WHEN OLD.status IN ('completed', 'failed', 'cancelled')
BEGIN
    SELECT RAISE(ABORT, 'a terminal status never changes');
END;

CREATE TRIGGER executions_never_pending_again
BEFORE UPDATE OF status ON executions
WHEN NEW.status = 'pending' AND OLD.status <> 'pending'
BEGIN
    SELECT RAISE(ABORT, 'an execution is pending once');
END;

CREATE TRIGGER executions_live_is_kept
BEFORE DELETE ON executions
WHEN OLD.status IN ('pending', 'active')
BEGIN
    SELECT RAISE(ABORT, 'an execution that is not terminal is kept');
END;

CREATE TABLE images (
    reference TEXT PRIMARY KEY NOT NULL,
    digest    TEXT NOT NULL,
    pulled_at INTEGER NOT NULL,
    used_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// What makes a schema the next one, the first of them schema 1 into 2.
const MIGRATIONS: &[&str] = &["
ALTER TABLE images RENAME TO images_1;
CREATE TABLE images (
    reference TEXT PRIMARY KEY NOT NULL,
    digest    TEXT NOT NULL,
    pulled_at INTEGER NOT NULL,
    used_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO images SELECT reference, manifest_digest, updated_at, updated_at FROM images_1;
DROP TABLE images_1;
"];

const _: () = assert!(MIGRATIONS.len() + 1 == SCHEMA_VERSION as usize, "each schema but the first has a migration");

/// Opens the database at `path`, making it first where there is none.
pub(super) fn open(path: &Path) -> Result<Connection, RecordError> {
    match fs::symlink_metadata(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
        Err(source) => return Err(RecordError::Io { action: "look at", path: path.to_owned(), source }),
    }
    let failed = |source| RecordError::sql("open the record", path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    // SQLite falls back to reading when it may not write.
    if connection.is_readonly(rusqlite::MAIN_DB).map_err(failed)? {
        return Err(RecordError::ReadOnly { path: path.to_owned(), source: None });
    }
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    let (application, version) = identity(&connection).map_err(failed)?;
    if application != APPLICATION_ID {
        // An empty file is what a crash of the host may leave of one.
        return Err(match fs::metadata(path).map(|file| file.len()) {
            Ok(0) => RecordError::Corrupt { path: path.to_owned(), source: rusqlite::Error::InvalidQuery },
            _ => RecordError::NotOurs { path: path.to_owned() },
        });
    }
    if version > SCHEMA_VERSION {
        return Err(RecordError::Newer { path: path.to_owned(), found: version, known: SCHEMA_VERSION });
    }
    connection.execute_batch(&format!("PRAGMA wal_autocheckpoint = {WAL_PAGES};")).map_err(failed)?;
    if version < SCHEMA_VERSION {
        migrate(&mut connection).map_err(|source| RecordError::sql("bring the tables up to date", path, source))?;
    }
    connection.execute_batch(NORMAL).map_err(failed)?;
    Ok(connection)
}

/// Application id and schema version.
fn identity(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    connection.query_row(
        "SELECT application_id, user_version FROM pragma_application_id, pragma_user_version",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// Brings an older schema up to date, in one durable transaction: a crash leaves the old one or the new.
fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.execute_batch(FULL)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have done it while this one waited.
    let (_, version) = identity(&transaction)?;
    let done = usize::try_from(version - 1).unwrap_or_default();
    for migration in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(migration)?;
    }
    if version < SCHEMA_VERSION {
        transaction.execute_batch(&format!("PRAGMA user_version = {SCHEMA_VERSION};"))?;
    }
    transaction.commit()
}

/// Commits survive the death of any process.
pub(super) const NORMAL: &str = "PRAGMA synchronous = NORMAL;";
/// Commits survive the death of the host.
pub(super) const FULL: &str = "PRAGMA synchronous = FULL;";

/// Makes a whole database under a name of its own and links it into place, so that no one ever sees
/// half of one and any number of processes may do so at once: the first link wins.
fn create(path: &Path) -> Result<(), RecordError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", uuid::Uuid::now_v7().simple()));
    let temporary = path.with_file_name(name);
    let result = build(path, &temporary).and_then(|()| match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(|source| io_error("create the database", path, source)),
    });
    // A failed build may have left none of them; the first error is the one to report.
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut leftover = temporary.clone().into_os_string();
        leftover.push(suffix);
        let _ = fs::remove_file(leftover);
    }
    result?;
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory).and_then(|dir| dir.sync_all()).map_err(|source| io_error("flush", directory, source))
}

fn build(path: &Path, temporary: &Path) -> Result<(), RecordError> {
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)
        .map_err(|source| io_error("create the database", path, source))?;
    let failed = |source| RecordError::sql("create the tables", path, source);
    let connection = Connection::open(temporary).map_err(failed)?;
    // Nobody else knows this file yet: it is flushed once, when it is whole.
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; BEGIN; {SCHEMA} \
             PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT; \
             PRAGMA journal_mode = WAL;"
        ))
        .map_err(failed)?;
    connection.close().map_err(|(_, source)| failed(source))?;
    file.sync_all().map_err(|source| io_error("flush the database", path, source))
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> RecordError {
    RecordError::Io { action, path: PathBuf::from(path), source }
}
