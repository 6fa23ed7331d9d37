mod attempts;
mod creation;
mod damage;
mod keepers;
mod migration;
mod plans;
mod queries;
mod queue;
mod retention;
mod stats;
mod told;

use super::*;
use crate::outcome::{End, FIRST_ATTEMPT, OUTCOME_VERSION, Outcome, PeakMemorySource, Stopped, Usage};
use crate::state_dir::StateDir;
use crate::sys::process::ProcessIdentity;
use jiff::Timestamp;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

impl Record {
    /// Does to the database what this module would not.
    pub(crate) fn tamper(&self, sql: &str) {
        self.lock().execute_batch(sql).unwrap();
    }
}

fn state(directory: &Path) -> StateDir {
    StateDir::from_parts(directory.to_owned(), directory.join("run"))
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("a valid time")
}

fn new_execution(id: &str, job: &str) -> NewExecution {
    let trigger = JobTrigger::Internal { reason: "test".into() };
    NewExecution {
        deployment: Some("demo".into()),
        labels: [("team".to_owned(), "a".to_owned())].into(),
        notes: vec!["single id mapping".into()],
        ..NewExecution::new(id, job, trigger, "oci:image:v1", serde_json::json!({"name": job}), now())
    }
}

/// Time of every test in which it stands still.
fn now() -> Timestamp {
    time("2026-01-02T03:04:05.000000006Z")
}

/// The process that prepares what [`insert`] inserts.
fn preparer() -> ProcessIdentity {
    process(7)
}

fn process(pid: i32) -> ProcessIdentity {
    ProcessIdentity { pid, start_time: 8, boot_id: "b".into() }
}

/// Inserts an execution and claims it.
#[track_caller]
fn insert(record: &Record, id: &str, job: &str) {
    let inserted = record.insert(&new_execution(id, job), Some(&preparer()), now()).unwrap();
    assert_eq!(inserted, Insertion::Claimed);
}

/// Inserts an execution that waits.
#[track_caller]
fn wait(record: &Record, new: &NewExecution) {
    assert_eq!(record.insert(new, None, now()).unwrap(), Insertion::Waiting);
}

fn finish(record: &Record, id: &str, end: End) -> Result<Ended, RecordError> {
    record.end_attempt(id, 1, &outcome(end), AfterAttempt::Final)
}

fn read(record: &Record, id: &str) -> Execution {
    record.get(id).unwrap().expect("an execution")
}

fn outcome(end: End) -> Outcome {
    Outcome {
        version: OUTCOME_VERSION,
        attempt: FIRST_ATTEMPT,
        end,
        started_at: Some(time("2026-01-02T03:04:06Z")),
        completed_at: time("2026-01-02T03:04:07Z"),
        elapsed: Duration::from_nanos(1_500_000_001),
        usage: Usage {
            peak_memory: Some(4096),
            peak_memory_source: Some(PeakMemorySource::LargestProcess),
            cpu_user: Some(Duration::from_millis(3)),
            cpu_system: Some(Duration::ZERO),
            oom_kills: None,
        },
        notes: vec!["log cut short".into()],
    }
}

const ID: &str = "0199aaaa-0000-7000-8000-000000000001";

#[test]
fn keeps_everything_from_insert_to_end() {
    let directory = tempfile::tempdir().unwrap();
    let record = Record::open(&state(directory.path())).unwrap();
    let new = new_execution(ID, "job");
    record.insert(&new, Some(&preparer()), now()).unwrap();
    let pending = record.get(ID).unwrap().unwrap();
    assert_eq!((pending.status, &pending.owner, &pending.trigger), (Status::Pending, &Some(preparer()), &new.trigger));
    assert_eq!((&pending.spec, &pending.labels, pending.created_at), (&new.spec, &new.labels, new.created_at));
    assert_eq!(pending.deployment.as_deref(), Some("demo"));

    assert!(record.activate(ID, 1, "sha256:1", "container", &supervisor()).unwrap());
    let active = record.get(ID).unwrap().unwrap();
    assert_eq!((active.status, active.owner), (Status::Active, Some(supervisor())));
    assert_eq!(active.image_digest.as_deref(), Some("sha256:1"));
    assert_eq!(active.container_id.as_deref(), Some("container"));

    let end = outcome(End::Exited { code: 7 });
    assert_eq!(record.end_attempt(ID, 1, &end, AfterAttempt::Final).unwrap(), Ended::Final);
    drop(record);
    let ended = Record::open(&state(directory.path())).unwrap().get(ID).unwrap().unwrap();
    assert_eq!((ended.status, ended.exit_code), (Status::Failed, Some(7)));
    assert_eq!(ended.end, Some(End::Exited { code: 7 }));
    assert_eq!(ended.reason.as_deref(), Some("exited with code 7"));
    assert_eq!((ended.started_at, ended.completed_at), (end.started_at, Some(end.completed_at)));
    assert_eq!((ended.elapsed, ended.usage), (Some(end.elapsed), end.usage));
    assert_eq!(ended.notes, ["single id mapping", "log cut short"]);
}

#[test]
fn ends_map_to_statuses() {
    let directory = tempfile::tempdir().unwrap();
    let record = Record::open(&state(directory.path())).unwrap();
    let ends = [
        (End::Exited { code: 0 }, Status::Completed, Some(0), None),
        (End::Exited { code: 255 }, Status::Failed, Some(255), Some("exited with code 255")),
        (End::Signalled { signal: 15 }, Status::Failed, None, Some("killed by SIGTERM")),
        (
            End::Cancelled { how: Stopped::Exited { code: 0 } },
            Status::Cancelled,
            Some(0),
            Some("cancelled; it exited with code 0"),
        ),
        (End::SupervisorLost { message: "gone".into() }, Status::Failed, None, Some("supervisor lost: gone")),
    ];
    for (number, (end, status, exit_code, reason)) in ends.into_iter().enumerate() {
        let id = format!("{number}");
        insert(&record, &id, "job");
        assert_eq!(finish(&record, &id, end).unwrap(), Ended::Final);
        let row = record.get(&id).unwrap().unwrap();
        assert_eq!((row.status, row.exit_code, row.reason.as_deref()), (status, exit_code, reason));
    }
}

#[test]
fn what_is_terminal_never_changes() {
    let directory = tempfile::tempdir().unwrap();
    let record = Record::open(&state(directory.path())).unwrap();
    insert(&record, ID, "job");
    assert!(matches!(record.cancel(ID, time("2026-01-02T03:04:07Z")).unwrap(), Cancel::Cancelled(_)));
    let before = record.get(ID).unwrap().unwrap();
    assert_eq!(record.cancel(ID, time("2027-01-02T03:04:07Z")).unwrap(), Cancel::Over(Status::Cancelled));
    assert!(!record.activate(ID, 1, "sha256:1", "container", &supervisor()).unwrap());
    assert_eq!(finish(&record, ID, End::Exited { code: 0 }).unwrap(), Ended::AlreadyOver);
    assert_eq!(record.get(ID).unwrap().unwrap(), before);
    // Nor by anybody who goes round this module.
    let other = rusqlite::Connection::open(directory.path().join("coracle.db")).unwrap();
    for sql in ["UPDATE executions SET status = 'active'", "UPDATE executions SET reason = 'x'"] {
        let error = other.execute(sql, []).unwrap_err();
        assert!(error.to_string().contains("never changes"), "{error}");
    }
    assert_eq!(record.get(ID).unwrap().unwrap(), before);
}

#[test]
fn what_is_live_is_not_cancelled_as_pending_nor_removed() {
    let directory = tempfile::tempdir().unwrap();
    let record = Record::open(&state(directory.path())).unwrap();
    insert(&record, ID, "job");
    record.activate(ID, 1, "sha256:1", "container", &supervisor()).unwrap();
    assert!(!record.activate(ID, 1, "sha256:1", "container", &supervisor()).unwrap(), "only one may start it");
    assert_eq!(record.cancel(ID, Timestamp::UNIX_EPOCH).unwrap(), Cancel::Active);
    let error = record.remove(ID).unwrap_err();
    assert_eq!(error.to_string(), format!("execution {ID} is active; cancel it first"));
    finish(&record, ID, End::OomKilled).unwrap();
    record.remove(ID).unwrap();
    assert_eq!(record.get(ID).unwrap(), None);
    assert!(matches!(record.remove(ID), Err(RecordError::NotFound { .. })));
    assert!(matches!(finish(&record, ID, End::OomKilled), Err(RecordError::NotFound { .. })));
    assert!(matches!(record.activate(ID, 1, "d", "c", &supervisor()), Err(RecordError::NotFound { .. })));
}

/// Every thread with a connection of its own, as every process has.
#[test]
fn exactly_one_of_many_wins_each_race() {
    const RIVALS: usize = 6;
    let directory = tempfile::tempdir().unwrap();
    let record = Record::open(&state(directory.path())).unwrap();
    for round in 0..20 {
        let id = format!("{round:04}");
        insert(&record, &id, "job");
        if round % 2 == 0 {
            record.activate(&id, 1, "d", "c", &supervisor()).unwrap();
        }
        let barrier = Barrier::new(RIVALS);
        let wins = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for rival in 0..RIVALS {
                let (barrier, wins, id, directory) = (&barrier, &wins, &id, directory.path());
                scope.spawn(move || {
                    let record = Record::open(&state(directory)).unwrap();
                    barrier.wait();
                    let won = match rival % 3 {
                        0 => finish(&record, id, End::Exited { code: 0 }).unwrap() == Ended::Final,
                        1 => finish(&record, id, End::OomKilled).unwrap() == Ended::Final,
                        _ => matches!(record.cancel(id, Timestamp::UNIX_EPOCH).unwrap(), Cancel::Cancelled(_)),
                    };
                    wins.fetch_add(usize::from(won), Ordering::Relaxed);
                });
            }
        });
        assert_eq!(wins.into_inner(), 1, "round {round}");
        assert!(record.get(&id).unwrap().unwrap().status.is_terminal());
    }
}

#[test]
fn a_start_and_a_cancel_never_both_win() {
    let directory = tempfile::tempdir().unwrap();
    let record = Record::open(&state(directory.path())).unwrap();
    for round in 0..20 {
        let id = format!("{round:04}");
        insert(&record, &id, "job");
        let other = Record::open(&state(directory.path())).unwrap();
        let barrier = Barrier::new(2);
        let (activated, cancelled) = std::thread::scope(|scope| {
            let activate = scope.spawn(|| {
                barrier.wait();
                record.activate(&id, 1, "d", "c", &supervisor()).unwrap()
            });
            barrier.wait();
            let cancelled = matches!(other.cancel(&id, Timestamp::UNIX_EPOCH).unwrap(), Cancel::Cancelled(_));
            (activate.join().unwrap(), cancelled)
        });
        assert_ne!(activated, cancelled, "round {round}");
    }
}

#[test]
fn lists_newest_first_and_filters() {
    let directory = tempfile::tempdir().unwrap();
    let record = Record::open(&state(directory.path())).unwrap();
    for (id, job) in [("1", "a"), ("2", "b"), ("3", "a"), ("4", "b")] {
        insert(&record, id, job);
    }
    finish(&record, "1", End::Exited { code: 0 }).unwrap();
    finish(&record, "2", End::Exited { code: 1 }).unwrap();
    record.activate("3", 1, "d", "c", &supervisor()).unwrap();
    let ids = |query: Query| -> Vec<String> { record.list(&query).unwrap().into_iter().map(|row| row.id).collect() };
    let all = Query::default();
    assert_eq!(ids(all.clone()), ["4", "3", "2", "1"]);
    assert_eq!(ids(Query { limit: Some(2), ..all.clone() }), ["4", "3"]);
    assert_eq!(ids(Query { job: Some("a".into()), ..all.clone() }), ["3", "1"]);
    assert_eq!(ids(Query { job: Some("a' OR 1".into()), ..all.clone() }), [""; 0]);
    assert_eq!(ids(Query { only_active: true, ..all.clone() }), ["4", "3"]);
    assert_eq!(ids(Query { statuses: vec![Status::Failed, Status::Active], ..all.clone() }), ["3", "2"]);
    assert_eq!(ids(Query { job: Some("b".into()), statuses: vec![Status::Failed], limit: Some(1), ..all }), ["2"]);
    let live: Vec<String> = record.non_terminal().unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(live, ["4", "3"]);
}

#[test]
fn finds_by_prefix() {
    let directory = tempfile::tempdir().unwrap();
    let record = Record::open(&state(directory.path())).unwrap();
    for id in ["0199aaaa-1", "0199aaaa-2", "0199bbbb-1"] {
        insert(&record, id, "job");
    }
    assert_eq!(record.find_prefix("0199b").unwrap(), ["0199bbbb-1"]);
    assert_eq!(record.find_prefix("0199AAAA").unwrap(), ["0199aaaa-1", "0199aaaa-2"]);
    assert_eq!(record.find_prefix("0199aaaa-2").unwrap(), ["0199aaaa-2"]);
    assert_eq!(record.find_prefix("").unwrap().len(), 3);
    for none in ["1", "0199aaaa-11", "%", "0199c", "ü"] {
        assert_eq!(record.find_prefix(none).unwrap(), [""; 0], "{none}");
    }
    for number in 0..20 {
        insert(&record, &format!("ffff-{number:02}"), "job");
    }
    assert_eq!(record.find_prefix("f").unwrap().len(), 10);
}

#[test]
fn remembers_what_references_name() {
    let directory = tempfile::tempdir().unwrap();
    let record = Record::open(&state(directory.path())).unwrap();
    let row = |reference: &str, digest: &str, seconds| ImageReference {
        reference: reference.into(),
        digest: digest.into(),
        pulled_at: Timestamp::UNIX_EPOCH,
        used_at: Timestamp::from_second(seconds).unwrap(),
    };
    assert_eq!(record.image("debian:12").unwrap(), None);
    record.set_image(&row("debian:12", "sha256:1", 0)).unwrap();
    record.set_image(&row("debian:12", "sha256:2", 5)).unwrap();
    assert_eq!(record.image("debian:12").unwrap(), Some(row("debian:12", "sha256:2", 5)));
    record.respell_image("debian:12", "docker.io/library/debian:12").unwrap();
    record.set_image(&row("debian", "sha256:3", 6)).unwrap();
    record.set_image(&row("docker.io/library/debian:latest", "sha256:4", 7)).unwrap();
    record.respell_image("debian", "docker.io/library/debian:latest").unwrap();
    let rows =
        [row("docker.io/library/debian:12", "sha256:2", 5), row("docker.io/library/debian:latest", "sha256:4", 7)];
    assert_eq!(record.images().unwrap(), rows);
    assert!(record.remove_image("docker.io/library/debian:12").unwrap());
    assert!(!record.remove_image("docker.io/library/debian:12").unwrap());
    assert_eq!(record.images().unwrap(), rows[1..]);
}

#[test]
fn files_are_private_and_nothing_else_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let record = Record::open(&state(directory.path())).unwrap();
    insert(&record, ID, "job");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o600, "{:?}", entry.path());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["coracle.db", "coracle.db-shm", "coracle.db-wal", "reserve"]);
}

/// Opening one's own database repeatedly must not depend on who closed it last, or how.
/// Each process that opens the record alone forgets what others knew of the write-ahead log.
#[test]
fn processes_that_write_once_keep_the_write_ahead_log_short() {
    let directory = tempfile::tempdir().unwrap();
    let state = state(directory.path());
    let mut sizes = Vec::new();
    for number in 0..200 {
        insert(&Record::open(&state).unwrap(), &format!("{number:04}"), "job");
        sizes.push(Record::open(&state).unwrap().log_size());
    }
    assert!(sizes.iter().all(|size| *size < 2 << 20), "{sizes:?}");
    // What was folded is there.
    assert_eq!(Record::open(&state).unwrap().attended().unwrap().len(), 200);
}

#[test]
fn a_dead_writer_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let record = Record::open(&state(directory.path())).unwrap();
    insert(&record, ID, "job");
    // As after SIGKILL: the connection is never closed.
    std::mem::forget(record);
    let copy = tempfile::tempdir().unwrap();
    for name in ["coracle.db", "coracle.db-wal"] {
        std::fs::copy(directory.path().join(name), copy.path().join(name)).unwrap();
    }
    assert!(Record::open(&state(copy.path())).unwrap().get(ID).unwrap().is_some());
}

const CREATOR_DIRECTORY: &str = "CORACLE_TEST_CREATOR_DIRECTORY";

/// The child of the next test; by itself it does nothing.
#[test]
fn creator() {
    if let Some(directory) = std::env::var_os(CREATOR_DIRECTORY) {
        let record = Record::open(&state(Path::new(&directory))).unwrap();
        insert(&record, &std::process::id().to_string(), "job");
    }
}

#[test]
fn processes_that_create_it_at_once_all_succeed() {
    let directory = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..8)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "record::tests::creator"])
                .env(CREATOR_DIRECTORY, directory.path())
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let record = Record::open(&state(directory.path())).unwrap();
    assert_eq!(record.list(&Query::default()).unwrap().len(), 8);
    let leftovers = std::fs::read_dir(directory.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("tmp"));
    assert_eq!(leftovers.count(), 0);
}

#[test]
fn threads_that_create_it_at_once_all_succeed() {
    for _ in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (barrier, directory) = (&barrier, directory.path());
                scope.spawn(move || {
                    barrier.wait();
                    let record = Record::open(&state(directory)).unwrap();
                    insert(&record, &number.to_string(), "job");
                });
            }
        });
        let record = Record::open(&state(directory.path())).unwrap();
        assert_eq!(record.list(&Query::default()).unwrap().len(), 4);
    }
}

fn supervisor() -> ProcessIdentity {
    ProcessIdentity { pid: 7, start_time: 8, boot_id: "boot".into() }
}
