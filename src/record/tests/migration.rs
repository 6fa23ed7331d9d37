//! Databases of older versions.

use super::{ID, finish, insert, new_execution, now, outcome, preparer, read, state};
use crate::outcome::{End, StepCause};
use crate::record::{
    AfterAttempt, Cancel, Ended, EndedQuery, ImageReference, LabelFilter, NewExecution, Query, Record, Status,
};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::Duration;

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

/// The tables as schema 2 had them.
const SCHEMA_2: &str = "
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
PRAGMA application_id = 1131570028;
PRAGMA user_version = 2;
PRAGMA journal_mode = WAL;
";

/// A database that schema 2 wrote: an execution in each status, one of them waiting for a front that is gone.
pub(super) fn database_2(directory: &Path) -> PathBuf {
    let path = directory.join("coracle.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch(SCHEMA_2).unwrap();
    let owner = serde_json::to_string(&preparer()).unwrap();
    let live = "'cli', 'debian', '{}', '{}'";
    let ended = "'internal', 'test', 'debian', 'sha256:1', 'c', '{}', '{}', 5";
    connection
        .execute_batch(&format!(
            "INSERT INTO executions (id, job_name, status, trigger_kind, image, spec, labels, owner, created_at) \
             VALUES ('1', 'job', 'pending', {live}, '{owner}', 5), ('2', 'job', 'active', {live}, '{owner}', 6); \
             INSERT INTO executions (id, job_name, status, trigger_kind, trigger_detail, image, image_digest, \
             container_id, spec, labels, created_at, started_at, completed_at, elapsed, exit_code, outcome_end, reason, \
             peak_memory, peak_memory_source, cpu_user, cpu_system, oom_kills, notes) VALUES \
             ('3', 'job', 'completed', {ended}, 7, 8, 9, 0, '{{\"kind\":\"exited\",\"code\":0}}', NULL, 4096, 'cgroup', \
             1, 2, 0, '[\"a note\"]'), \
             ('4', 'job', 'failed', {ended}, 7, 8, 9, NULL, '{{\"kind\":\"init_step\",\"step\":\"s\",\"cause\":{{\"kind\":\
             \"exited\",\"code\":3}}}}', 'init step', NULL, NULL, NULL, NULL, NULL, '[]'), \
             ('5', 'job', 'cancelled', {ended}, NULL, 8, 0, NULL, \
             '{{\"kind\":\"cancelled\",\"how\":{{\"kind\":\"before_start\"}}}}', 'cancelled', NULL, NULL, NULL, NULL, NULL, '[]'); \
             INSERT INTO images VALUES ('debian:12', 'sha256:1', 1, 2);"
        ))
        .unwrap();
    path
}

/// A database that schema 3 wrote: an execution with labels that has ended, and one that waits.
fn database_3(directory: &Path) -> PathBuf {
    let path = directory.join("coracle.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch(include_str!("schema_3.sql")).unwrap();
    let ended = r#"{"kind":"exited","code":0}"#;
    connection
        .execute_batch(&format!(
            "INSERT INTO executions (id, job_name, status, trigger_kind, image, spec, labels, created_at, completed_at, \
             elapsed, outcome_end, expires_at, revision) VALUES \
             ('1', 'job', 'completed', 'cli', 'debian', '{{}}', '{{\"team\":\"a\",\"x\":\"y\"}}', 5, 6, 1, '{ended}', 7, 1), \
             ('2', 'job', 'pending', 'cli', 'debian', '{{}}', '{{\"team\":\"b\"}}', 6, NULL, NULL, NULL, NULL, 2), \
             ('3', 'job', 'pending', 'cli', 'debian', '{{}}', '{{}}', 7, NULL, NULL, NULL, NULL, 3); \
             UPDATE revision SET value = 3;"
        ))
        .unwrap();
    path
}

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
    assert!(matches!(record.cancel(ID, now()).unwrap(), Cancel::Cancelled(_)));
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

#[test]
fn schema_2_keeps_what_each_status_means() {
    let directory = tempfile::tempdir().unwrap();
    database_2(directory.path());
    let record = Record::open(&state(directory.path())).unwrap();
    let statuses: Vec<Status> = ["1", "2", "3", "4", "5"].map(|id| read(&record, id).status).into();
    assert_eq!(statuses, Status::ALL);
    let completed = read(&record, "3");
    assert_eq!((completed.attempt, completed.revision, completed.expires_at), (1, 0, None));
    let attempts = record.attempts("3").unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].number, attempts[0].exit_code), (1, Some(0)));
    assert_eq!((&attempts[0].usage, &attempts[0].notes), (&completed.usage, &completed.notes));
    assert_eq!(
        (attempts[0].started_at, Some(attempts[0].completed_at)),
        (completed.started_at, completed.completed_at)
    );
    let step = End::InitStep { step: "s".into(), cause: StepCause::Exited { code: 3 }, attempt: 1, last_line: None };
    assert_eq!((read(&record, "4").end.as_ref(), &record.attempts("4").unwrap()[0].end), (Some(&step), &step));
    for live in ["1", "2"] {
        assert_eq!(record.attempts(live).unwrap(), []);
    }
    // Those that were under way go on, with what is new.
    assert!(record.activate("1", 1, "d", "c", &preparer()).unwrap());
    let then = AfterAttempt::Retry { at: now(), now: now(), spent: Duration::ZERO };
    assert_eq!(record.end_attempt("1", 1, &outcome(End::OomKilled), then).unwrap(), Ended::Waiting);
    assert_eq!(record.claim_next(&preparer(), now(), &|_| true).unwrap().map(|row| row.attempt), Some(2));
    assert_eq!(finish(&record, "2", End::Exited { code: 0 }).unwrap(), Ended::Final);
    assert_eq!(record.live_news().unwrap().0, 3);
    assert_eq!(record.integrity_check().unwrap(), [""; 0]);
    record.remove("3").unwrap();
}

#[test]
fn schema_3_knows_no_settings_and_learns_them() {
    let directory = tempfile::tempdir().unwrap();
    database_3(directory.path());
    let record = Record::open(&state(directory.path())).unwrap();
    assert_eq!(["1", "3"].map(|id| read(&record, id).settings), [None, None]);
    let settings = Some(serde_json::json!({"policy": "/strict.json"}));
    let new = NewExecution { settings: settings.clone(), ..new_execution("6", "job") };
    record.insert(&new, Some(&preparer()), now()).unwrap();
    assert_eq!(read(&record, "6").settings, settings);
    let then = AfterAttempt::Retry { at: now(), now: now(), spent: Duration::ZERO };
    record.end_attempt("6", 1, &outcome(End::OomKilled), then).unwrap();
    assert_eq!(read(&record, "6").settings, settings, "the next attempt needs them");
    record.cancel("6", now()).unwrap();
    assert_eq!(read(&record, "6").settings, None);
    assert_eq!(record.integrity_check().unwrap(), [""; 0]);
}

/// Whatever it came from, a database of this version has the same tables, indexes and triggers.
#[test]
fn migrated_databases_are_as_new_ones() {
    type Object = (String, String, Option<String>);
    type Column = (String, String, bool, Option<String>);
    let open = |make: &dyn Fn(&Path)| -> (Vec<Object>, Vec<Column>) {
        let directory = tempfile::tempdir().unwrap();
        make(directory.path());
        drop(Record::open(&state(directory.path())).unwrap());
        let connection = rusqlite::Connection::open(directory.path().join("coracle.db")).unwrap();
        let objects = connection
            .prepare("SELECT type, name, iif(type = 'table', NULL, sql) FROM sqlite_schema ORDER BY type, name")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        let columns = connection
            .prepare(
                "SELECT s.name || '.' || c.name, c.type, c.\"notnull\", c.dflt_value FROM sqlite_schema AS s, \
                 pragma_table_xinfo(s.name) AS c WHERE s.type = 'table' ORDER BY s.name, c.cid",
            )
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        (objects, columns)
    };
    let new = open(&|_| ());
    assert!(new.0.len() > 15 && new.1.len() > 60, "{new:?}");
    assert_eq!(open(&|directory| drop(database_1(directory))), new);
    assert_eq!(open(&|directory| drop(database_2(directory))), new);
    assert_eq!(open(&|directory| drop(database_3(directory))), new);
}

#[test]
fn executions_of_schema_3_are_found_by_label_and_time() {
    let directory = tempfile::tempdir().unwrap();
    database_3(directory.path());
    let record = Record::open(&state(directory.path())).unwrap();
    let find = |query: &Query| -> Vec<String> { record.list(query).unwrap().into_iter().map(|row| row.id).collect() };
    let label = |value: Option<&str>| Query {
        labels: vec![LabelFilter { name: "team".into(), value: value.map(Into::into) }],
        ..Query::default()
    };
    assert_eq!(find(&label(None)), ["2", "1"]);
    assert_eq!(find(&label(Some("a"))), ["1"]);
    let since = Some(Timestamp::from_nanosecond(6).unwrap());
    assert_eq!(find(&Query { created_after: since, ..Query::default() }), ["3", "2"]);
    assert_eq!(read(&record, "1").expires_at, Some(Timestamp::from_nanosecond(7).unwrap()));
    record.remove("1").unwrap();
    assert_eq!(find(&label(None)), ["2"]);
    assert_eq!(record.integrity_check().unwrap(), [""; 0]);
}

/// The version that recorded them promised to keep them: they go when somebody asks, or when newer ones of their job
/// say how many are kept, and not because time passes.
#[test]
fn executions_of_schema_2_go_by_number_and_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    database_2(directory.path());
    let record = Record::open(&state(directory.path())).unwrap();
    assert_eq!(record.expired(Timestamp::MAX, 9).unwrap(), [""; 0]);
    let all = |query: EndedQuery| record.ended(&query, 9).unwrap();
    let job = Some("job".to_owned());
    assert_eq!(all(EndedQuery { completed_by: Some(now()), ..EndedQuery::default() }), ["3", "4", "5"]);
    assert_eq!(all(EndedQuery { job: job.clone(), beyond: Some(1), ..EndedQuery::default() }), ["3", "4"]);
    assert_eq!(record.beyond_keep_last("job", 9).unwrap(), [""; 0]);
    let newer = NewExecution { keep_last: Some(2), ..new_execution("6", "job") };
    record.insert(&newer, Some(&preparer()), now()).unwrap();
    finish(&record, "6", End::OomKilled).unwrap();
    assert_eq!(record.beyond_keep_last("job", 9).unwrap(), ["3", "4"]);
}

#[test]
fn two_that_open_schema_2_migrate_it_once() {
    for _ in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        database_2(directory.path());
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    barrier.wait();
                    let record = Record::open(&state(directory.path())).unwrap();
                    assert_eq!(record.attempts("5").unwrap().len(), 1);
                });
            }
        });
    }
}
