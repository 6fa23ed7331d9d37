//! Databases of older versions.

use super::{ID, finish, insert, state};
use crate::outcome::End;
use crate::record::{Ended, ImageReference, Record};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

/// The tables as schema 1 had them.
const SCHEMA_1: &str = "
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
    reference       TEXT PRIMARY KEY NOT NULL,
    manifest_digest TEXT NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
PRAGMA application_id = 1131570028;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
";

/// A database that schema 1 wrote: two executions and two images.
fn database_1(directory: &Path) -> PathBuf {
    let path = directory.join("coracle.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch(SCHEMA_1).unwrap();
    connection
        .execute_batch(&format!(
            "INSERT INTO executions (id, job_name, status, trigger_kind, image, spec, labels, created_at) \
             VALUES ('{ID}', 'job', 'pending', 'cli', 'debian:12', '{{}}', '{{}}', 5), \
                    ('0199', 'other', 'active', 'cli', 'debian', '{{}}', '{{}}', 6); \
             INSERT INTO images VALUES ('debian:12', 'sha256:1', 1500000000000000001), \
                                       ('docker.io/library/debian', 'sha256:2', 7);"
        ))
        .unwrap();
    path
}

fn rows() -> [ImageReference; 2] {
    let row = |reference: &str, digest: &str, at| {
        let at = Timestamp::from_nanosecond(at).unwrap();
        ImageReference { reference: reference.into(), digest: digest.into(), pulled_at: at, used_at: at }
    };
    [row("debian:12", "sha256:1", 1_500_000_000_000_000_001), row("docker.io/library/debian", "sha256:2", 7)]
}

#[test]
fn schema_1_keeps_its_executions_and_images() {
    let directory = tempfile::tempdir().unwrap();
    database_1(directory.path());
    for _ in 0..2 {
        let record = Record::open(&state(directory.path())).unwrap();
        assert_eq!(record.images().unwrap(), rows());
        assert_eq!(record.non_terminal().unwrap().len(), 2);
    }
    let record = Record::open(&state(directory.path())).unwrap();
    assert_eq!(finish(&record, ID, End::Exited { code: 0 }).unwrap(), Ended::Final);
    insert(&record, "0200", "new");
    assert_eq!(record.non_terminal().unwrap().len(), 2);
}

#[test]
fn openers_that_meet_migrate_once() {
    let directory = tempfile::tempdir().unwrap();
    database_1(directory.path());
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                let record = Record::open(&state(directory.path())).unwrap();
                assert_eq!(record.images().unwrap(), rows());
            });
        }
    });
}

#[test]
fn a_migration_that_fails_leaves_the_old_tables() {
    let directory = tempfile::tempdir().unwrap();
    let path = database_1(directory.path());
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch("CREATE TABLE images_1 (in_the_way)").unwrap();
    Record::open(&state(directory.path())).unwrap_err();
    let count = |sql: &str| old.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT user_version FROM pragma_user_version"), 1);
    assert_eq!(count("SELECT count(manifest_digest) FROM images"), 2);
    old.execute_batch("DROP TABLE images_1").unwrap();
    assert_eq!(Record::open(&state(directory.path())).unwrap().images().unwrap(), rows());
}
