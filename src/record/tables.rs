//! The SQL of the schema, and what makes an older one of it.
//!
//! Times are nanoseconds since 1970-01-01T00:00:00Z, durations are nanoseconds.

/// `PRAGMA user_version`. A change of the schema raises it and adds to [`MIGRATIONS`].
pub(super) const SCHEMA_VERSION: i64 = 4;

/// A whole new schema.
pub(super) const SCHEMA: &[&str] = &[EXECUTIONS, OBJECTS, RESERVED, FINDING, IMAGES];

/// What makes a schema the next one, the first of them schema 1 into 2.
pub(super) const MIGRATIONS: &[&[&str]] = &[
    &[IMAGES_FROM_1],
    &[EXECUTIONS_FROM_2, OBJECTS, ATTEMPTS_FROM_2],
    &[SETTINGS_FROM_3, RESERVED, FINDING, LABELS_FROM_3],
];

const _: () = assert!(MIGRATIONS.len() + 1 == SCHEMA_VERSION as usize, "each schema but the first has a migration");

const EXECUTIONS: &str = "
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
    attempt            INTEGER NOT NULL DEFAULT 1 CHECK (attempt >= 1),
    retry_at           INTEGER,
    waiting_since      INTEGER CHECK ((waiting_since IS NULL) = (retry_at IS NULL)),
    cancel_requested   INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    spent              INTEGER NOT NULL DEFAULT 0,
    idempotency_key    TEXT,
    max_concurrent     INTEGER,
    global_limit       INTEGER,
    queue_deadline     INTEGER,
    reserved_for       TEXT,
    ttl                INTEGER,
    keep_last          INTEGER,
    keep_last_total    INTEGER,
    expires_at         INTEGER,
    delete_on_exit     INTEGER NOT NULL DEFAULT 0 CHECK (delete_on_exit IN (0, 1)),
    scheduled_for      INTEGER,
    revision           INTEGER NOT NULL DEFAULT 0,
    place              TEXT AS (CASE WHEN status = 'active' THEN 'occupied' WHEN status = 'pending' THEN iif(owner IS NULL, 'waiting', 'occupied') END) VIRTUAL,
    settings           TEXT,
    CHECK ((status IN ('completed', 'failed', 'cancelled')) = (outcome_end IS NOT NULL)),
    CHECK ((outcome_end IS NULL) = (completed_at IS NULL))
) STRICT;
";

/// `place` says what a live execution takes: `waiting` stands in the queue, `occupied` counts against the
/// limits.
const EXECUTIONS_FROM_2: &str = "
DROP INDEX executions_by_job;
DROP INDEX executions_not_terminal;
DROP TRIGGER executions_terminal_is_final;
DROP TRIGGER executions_never_pending_again;
DROP TRIGGER executions_live_is_kept;
ALTER TABLE executions ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1 CHECK (attempt >= 1);
ALTER TABLE executions ADD COLUMN retry_at INTEGER;
ALTER TABLE executions ADD COLUMN waiting_since INTEGER CHECK ((waiting_since IS NULL) = (retry_at IS NULL));
ALTER TABLE executions ADD COLUMN cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1));
ALTER TABLE executions ADD COLUMN spent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN idempotency_key TEXT;
ALTER TABLE executions ADD COLUMN max_concurrent INTEGER;
ALTER TABLE executions ADD COLUMN global_limit INTEGER;
ALTER TABLE executions ADD COLUMN queue_deadline INTEGER;
ALTER TABLE executions ADD COLUMN reserved_for TEXT;
ALTER TABLE executions ADD COLUMN ttl INTEGER;
ALTER TABLE executions ADD COLUMN keep_last INTEGER;
ALTER TABLE executions ADD COLUMN keep_last_total INTEGER;
ALTER TABLE executions ADD COLUMN expires_at INTEGER;
ALTER TABLE executions ADD COLUMN delete_on_exit INTEGER NOT NULL DEFAULT 0 CHECK (delete_on_exit IN (0, 1));
ALTER TABLE executions ADD COLUMN scheduled_for INTEGER;
ALTER TABLE executions ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN place TEXT AS (CASE WHEN status = 'active' THEN 'occupied' WHEN status = 'pending' THEN iif(owner IS NULL, 'waiting', 'occupied') END) VIRTUAL;
";

/// Indexes, triggers and the tables beside `executions` that schemas from 3 on have, in a new and in a migrated
/// database. An index that a plain insertion touches is a page to write for every execution: there are few of those.
const OBJECTS: &str = "
-- `ps` lists newest first: ids are UUIDv7, so their order is that of creation.
CREATE INDEX executions_by_job ON executions (job_name, id);
CREATE INDEX executions_not_terminal ON executions (id) WHERE status IN ('pending', 'active');
CREATE INDEX executions_unsuccessful ON executions (id) WHERE status IN ('failed', 'cancelled');
CREATE INDEX executions_by_place ON executions (place, job_name, id) WHERE place IS NOT NULL;
CREATE INDEX executions_by_revision ON executions (revision);
CREATE INDEX executions_retrying ON executions (retry_at, waiting_since) WHERE retry_at IS NOT NULL;
CREATE INDEX executions_queue_deadline ON executions (created_at + queue_deadline)
    WHERE queue_deadline IS NOT NULL AND place = 'waiting' AND attempt = 1;
CREATE INDEX executions_expiring ON executions (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX executions_keep_last ON executions (job_name, id, keep_last) WHERE keep_last IS NOT NULL;
CREATE INDEX executions_keep_last_total ON executions (id, keep_last_total) WHERE keep_last_total IS NOT NULL;
-- For numbers over all of them; an insertion and a success touch none of these two.
CREATE INDEX executions_cancelled ON executions (id) WHERE status = 'cancelled';
CREATE INDEX executions_retried ON executions (attempt) WHERE attempt > 1;
CREATE UNIQUE INDEX executions_idempotency ON executions (job_name, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX executions_departing ON executions (id)
    WHERE delete_on_exit = 1 AND status IN ('completed', 'failed', 'cancelled');

CREATE TRIGGER executions_terminal_is_final
BEFORE UPDATE OF status, exit_code, outcome_end, reason, started_at, completed_at, elapsed, peak_memory,
    peak_memory_source, cpu_user, cpu_system, oom_kills, notes, attempt, retry_at, cancel_requested, spent, expires_at
ON executions
WHEN OLD.status IN ('completed', 'failed', 'cancelled')
BEGIN
    SELECT RAISE(ABORT, 'a terminal status never changes');
END;

CREATE TRIGGER executions_never_pending_again
BEFORE UPDATE OF status ON executions
WHEN NEW.status = 'pending' AND OLD.status <> 'pending' AND NEW.attempt <= OLD.attempt
BEGIN
    SELECT RAISE(ABORT, 'an attempt is pending once');
END;

CREATE TRIGGER executions_live_is_kept
BEFORE DELETE ON executions
WHEN OLD.status IN ('pending', 'active')
BEGIN
    SELECT RAISE(ABORT, 'an execution that is not terminal is kept');
END;

CREATE TABLE attempts (
    execution_id       TEXT NOT NULL,
    number             INTEGER NOT NULL CHECK (number >= 1),
    started_at         INTEGER,
    completed_at       INTEGER NOT NULL,
    elapsed            INTEGER NOT NULL,
    exit_code          INTEGER CHECK (exit_code BETWEEN 0 AND 255),
    outcome_end        TEXT NOT NULL,
    reason             TEXT,
    peak_memory        INTEGER,
    peak_memory_source TEXT CHECK (peak_memory_source IN ('cgroup', 'largest_process')),
    cpu_user           INTEGER,
    cpu_system         INTEGER,
    oom_kills          INTEGER,
    notes              TEXT NOT NULL,
    container_id       TEXT,
    PRIMARY KEY (execution_id, number)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER attempts_are_final
BEFORE UPDATE ON attempts
BEGIN
    SELECT RAISE(ABORT, 'the end of an attempt never changes');
END;

CREATE TRIGGER attempts_go_with_their_execution
AFTER DELETE ON executions
BEGIN
    DELETE FROM attempts WHERE execution_id = OLD.id;
END;

-- What has been removed lately, for those who watch: as much as a status tells, for a number of changes.
CREATE TABLE departed (
    revision       INTEGER PRIMARY KEY,
    id             TEXT NOT NULL,
    job_name       TEXT NOT NULL,
    trigger_kind   TEXT NOT NULL,
    trigger_detail TEXT,
    status         TEXT NOT NULL,
    attempt        INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    started_at     INTEGER,
    completed_at   INTEGER,
    elapsed        INTEGER,
    exit_code      INTEGER,
    reason         TEXT,
    container_id   TEXT
) STRICT;

CREATE TRIGGER executions_departed
AFTER DELETE ON executions
WHEN OLD.revision > (SELECT max(value - 4096, 0) FROM revision)
BEGIN
    DELETE FROM departed WHERE revision <= (SELECT value - 4096 FROM revision);
    INSERT INTO departed VALUES (OLD.revision, OLD.id, OLD.job_name, OLD.trigger_kind, OLD.trigger_detail, OLD.status,
        OLD.attempt, OLD.created_at, OLD.started_at, OLD.completed_at, OLD.elapsed, OLD.exit_code, OLD.reason,
        OLD.container_id);
END;

-- What is to be told of ends, written with them. `due_at` without a value: given up. `due_since` is when `due_at`
-- was set. They outlive their execution until they are delivered.
CREATE TABLE notifications (
    execution_id TEXT NOT NULL,
    ordinal      INTEGER NOT NULL CHECK (ordinal >= 1),
    target       TEXT NOT NULL,
    document     TEXT NOT NULL,
    tries        INTEGER NOT NULL DEFAULT 0,
    due_at       INTEGER,
    due_since    INTEGER NOT NULL,
    problem      TEXT,
    PRIMARY KEY (execution_id, ordinal)
) STRICT, WITHOUT ROWID;
CREATE INDEX notifications_due ON notifications (due_at, due_since) WHERE due_at IS NOT NULL;

CREATE TRIGGER notifications_go_with_their_execution
AFTER DELETE ON executions
BEGIN
    DELETE FROM notifications WHERE execution_id = OLD.id AND due_at IS NULL;
END;

CREATE TABLE jobs (
    name          TEXT PRIMARY KEY NOT NULL,
    spec          TEXT NOT NULL,
    registered_at INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The number of the last change of an execution; it never falls, whatever is removed.
CREATE TABLE revision (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    value INTEGER NOT NULL
) STRICT;
INSERT INTO revision VALUES (1, 0);
";

/// Few of those that wait are reserved, and whoever attends to the queue looks for them at every change.
const RESERVED: &str = "
CREATE INDEX executions_reserved ON executions (id) WHERE place = 'waiting' AND reserved_for IS NOT NULL;
";

const SETTINGS_FROM_3: &str = "
ALTER TABLE executions ADD COLUMN settings TEXT;
";

/// What schema 4 has more, to find executions by time and by label.
const FINDING: &str = "
-- With the name, so that other jobs' rows are not read.
CREATE INDEX executions_by_creation ON executions (created_at, id, job_name);

-- Every label of every execution; one without labels touches nothing of it.
CREATE TABLE execution_labels (
    name         TEXT NOT NULL,
    value        TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    PRIMARY KEY (name, value, execution_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX execution_labels_by_name ON execution_labels (name, execution_id);

CREATE TRIGGER executions_are_found_by_label
AFTER INSERT ON executions
WHEN NEW.labels <> '{}'
BEGIN
    INSERT INTO execution_labels SELECT key, value, NEW.id FROM json_each(NEW.labels);
END;

CREATE TRIGGER labels_go_with_their_execution
AFTER DELETE ON executions
WHEN OLD.labels <> '{}'
BEGIN
    DELETE FROM execution_labels
    WHERE (name, value, execution_id) IN (SELECT key, value, OLD.id FROM json_each(OLD.labels));
END;
";

const LABELS_FROM_3: &str = "
INSERT INTO execution_labels SELECT label.key, label.value, executions.id FROM executions, json_each(labels) AS label
WHERE labels <> '{}';
";

const ATTEMPTS_FROM_2: &str = "
INSERT INTO attempts
SELECT id, 1, started_at, completed_at, ifnull(elapsed, 0), exit_code, outcome_end, reason, peak_memory,
    peak_memory_source, cpu_user, cpu_system, oom_kills, notes, container_id
FROM executions WHERE outcome_end IS NOT NULL;
";

const IMAGES: &str = "
CREATE TABLE images (
    reference TEXT PRIMARY KEY NOT NULL,
    digest    TEXT NOT NULL,
    pulled_at INTEGER NOT NULL,
    used_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

const IMAGES_FROM_1: &str = "
ALTER TABLE images RENAME TO images_1;
CREATE TABLE images (
    reference TEXT PRIMARY KEY NOT NULL,
    digest    TEXT NOT NULL,
    pulled_at INTEGER NOT NULL,
    used_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO images SELECT reference, manifest_digest, updated_at, updated_at FROM images_1;
DROP TABLE images_1;
";
