//! The schema, and how a database comes to be and is opened.

use super::error::RecordError;
use super::tables::{MIGRATIONS, SCHEMA, SCHEMA_VERSION};
use nix::fcntl::{Flock, FlockArg};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `PRAGMA application_id`: "Crcl", so that no other program's database is taken for ours.
const APPLICATION_ID: i64 = 0x4372_636c;

/// How long a call waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Pages in the write-ahead log from which on a commit folds them into the database: SQLite's own default is 1000
/// (<https://sqlite.org/pragma.html#pragma_wal_autocheckpoint>). Processes that end soon fold it when they close
/// the record, after all that somebody waits for.
const WAL_PAGES: u32 = 512;

/// Statements that are kept compiled: more than there are. To compile one takes longer than most take to run.
const STATEMENTS: usize = 256;

/// Opens the database at `path`, making it first where there is none.
pub(super) fn open(path: &Path) -> Result<Connection, RecordError> {
    match fs::symlink_metadata(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
        Err(source) => return Err(RecordError::Io { action: "look at", path: path.to_owned(), source }),
    }
    sweep(path);
    let failed = |source| RecordError::sql("open the record", path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
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
    refuse_newer(path, version)?;
    connection.execute_batch(&format!("PRAGMA wal_autocheckpoint = {WAL_PAGES};")).map_err(failed)?;
    if version < SCHEMA_VERSION {
        let found = migrate(&mut connection);
        let found = found.map_err(|source| RecordError::sql("bring the tables up to date", path, source))?;
        refuse_newer(path, found)?;
    }
    connection.execute_batch(NORMAL).map_err(failed)?;
    Ok(connection)
}

/// Application id and schema version. As statements of their own they need no schema, as a query of both would.
fn identity(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    let value = |name| connection.pragma_query_value(None, name, |row| row.get(0));
    Ok((value("application_id")?, value("user_version")?))
}

fn refuse_newer(path: &Path, version: i64) -> Result<(), RecordError> {
    if version > SCHEMA_VERSION {
        return Err(RecordError::Newer { path: path.to_owned(), found: version, known: SCHEMA_VERSION });
    }
    Ok(())
}

/// Brings an older schema up to date, in one durable transaction: a crash leaves the old one or the new. The version
/// that it found when others were done with it.
fn migrate(connection: &mut Connection) -> rusqlite::Result<i64> {
    connection.execute_batch(FULL)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have done it while this one waited.
    let (_, version) = identity(&transaction)?;
    let done = usize::try_from(version - 1).unwrap_or_default();
    for migration in MIGRATIONS.iter().skip(done).copied().flatten() {
        transaction.execute_batch(migration)?;
    }
    if version < SCHEMA_VERSION {
        transaction.execute_batch(&format!("PRAGMA user_version = {SCHEMA_VERSION};"))?;
    }
    transaction.commit()?;
    Ok(version)
}

/// Commits survive the death of any process.
pub(super) const NORMAL: &str = "PRAGMA synchronous = NORMAL;";
/// Commits survive the death of the host.
pub(super) const FULL: &str = "PRAGMA synchronous = FULL;";

/// Makes a whole database under a name of its own and links it into place, so that no one ever sees
/// half of one and any number of processes may do so at once: the first link wins.
fn create(path: &Path) -> Result<(), RecordError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}{TEMPORARY}", uuid::Uuid::now_v7().simple()));
    let temporary = path.with_file_name(name);
    let result = build(path, &temporary).and_then(|_file| match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(|source| io_error("create the database", path, source)),
    });
    // A failed build may have left none of them; the first error is the one to report.
    remove_temporary(&temporary);
    result?;
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory).and_then(|dir| dir.sync_all()).map_err(|source| io_error("flush", directory, source))
}

/// How the name of a database ends that is being made.
const TEMPORARY: &str = ".tmp";

fn remove_temporary(temporary: &Path) {
    for suffix in ["-wal", "-shm", "-journal", ""] {
        let mut leftover = temporary.to_owned().into_os_string();
        leftover.push(suffix);
        let _ = fs::remove_file(leftover);
    }
}

/// Removes databases that processes were making when they died: those that nobody has locked. Nothing depends
/// on it, so a failure is left to the next one who opens the record.
fn sweep(path: &Path) {
    let directory = path.parent().unwrap_or(Path::new("."));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (name, ours) = (entry.file_name(), path.file_name().unwrap_or_default());
        let (name, ours) = (name.as_encoded_bytes(), ours.as_encoded_bytes());
        if name.strip_prefix(ours).is_some_and(|rest| rest.starts_with(b".") && rest.ends_with(TEMPORARY.as_bytes()))
            && let Ok(file) = File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(entry.path())
            && let Ok(_locked) = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        {
            remove_temporary(&entry.path());
        }
    }
}

/// The statements that make an empty database ours. With incremental vacuum, which has to be chosen before
/// there is a table, it can shrink without being written anew.
fn whole_schema() -> String {
    format!(
        "PRAGMA auto_vacuum = INCREMENTAL; BEGIN; {} PRAGMA application_id = {APPLICATION_ID}; \
         PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;",
        SCHEMA.concat()
    )
}

/// A database that is gone when its connection closes.
pub(super) fn open_in_memory(path: &Path) -> Result<Connection, RecordError> {
    let failed = |source| RecordError::sql("create the tables", path, source);
    let connection = Connection::open_in_memory().map_err(failed)?;
    connection.execute_batch(&whole_schema()).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// The file, locked as long as it is to stay.
fn build(path: &Path, temporary: &Path) -> Result<Flock<File>, RecordError> {
    let create = || File::options().write(true).create_new(true).mode(0o600).open(temporary);
    let file = loop {
        let file = create().map_err(|source| io_error("create the database", path, source))?;
        let file = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| io_error("lock the new database", path, errno.into()))?;
        // Until it was locked, it looked like one that nobody makes any more.
        if fs::symlink_metadata(temporary).is_ok() {
            break file;
        }
    };
    let failed = |source| RecordError::sql("create the tables", path, source);
    let connection = Connection::open(temporary).map_err(failed)?;
    // Nobody else knows this file yet: it is flushed once, when it is whole.
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; {} PRAGMA journal_mode = WAL;",
            whole_schema()
        ))
        .map_err(failed)?;
    connection.close().map_err(|(_, source)| failed(source))?;
    file.sync_all().map_err(|source| io_error("flush the database", path, source))?;
    Ok(file)
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> RecordError {
    RecordError::Io { action, path: PathBuf::from(path), source }
}
