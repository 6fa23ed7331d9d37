//! Attempts, their ends, and cancelling between them.

use super::{ID, finish, insert, new_execution, now, outcome, preparer, read, state, supervisor, wait};
use crate::outcome::{End, Outcome, Stopped};
use crate::record::{AfterAttempt, Cancel, Ended, Ending, NewExecution, Record, Status};
use jiff::{SignedDuration, Timestamp};
use std::sync::Barrier;
use std::time::Duration;

fn again() -> AfterAttempt {
    AfterAttempt::Retry { at: retry_at(), now: now(), spent: Duration::from_millis(2500) }
}

fn retry_at() -> Timestamp {
    now() + SignedDuration::from_secs(4)
}

fn of_attempt(attempt: u32, end: End) -> Outcome {
    Outcome { attempt, ..outcome(end) }
}

fn claim(record: &Record) {
    let claimed = record.claim_next(&preparer(), retry_at(), &|_| true).unwrap();
    assert_eq!(claimed.map(|row| row.id).as_deref(), Some(ID));
}

#[test]
fn every_attempt_leaves_its_end() {
    let record = Record::open_in_memory().unwrap();
    insert(&record, ID, "job");
    record.activate(ID, 1, "sha256:1", "first", &supervisor()).unwrap();
    let first = of_attempt(1, End::Exited { code: 9 });
    assert_eq!(record.end_attempt(ID, 1, &first, again()).unwrap(), Ended::Waiting);
    let row = read(&record, ID);
    assert_eq!(
        (row.status, row.attempt, &row.owner, row.spent),
        (Status::Pending, 2, &None, Duration::from_millis(2500))
    );
    assert_eq!((row.retry_at, row.waiting_since), (Some(retry_at()), Some(now())));
    assert_eq!((&row.container_id, row.image_digest.as_deref()), (&None, Some("sha256:1")), "its image is kept");
    assert_eq!((row.end, row.exit_code, row.completed_at), (None, None, None));

    claim(&record);
    assert!(!record.activate(ID, 1, "sha256:1", "first", &supervisor()).unwrap(), "the first attempt is over");
    assert!(record.activate(ID, 2, "sha256:2", "second", &supervisor()).unwrap());
    let second = of_attempt(2, End::Exited { code: 0 });
    assert_eq!(record.end_attempt(ID, 2, &second, AfterAttempt::Final).unwrap(), Ended::Final);
    let row = read(&record, ID);
    assert_eq!((row.status, row.attempt, row.retry_at), (Status::Completed, 2, None));
    assert_eq!(row.notes, ["single id mapping", "log cut short"]);
    let attempts = record.attempts(ID).unwrap();
    assert_eq!(attempts.len(), 2);
    assert_eq!((attempts[0].number, &attempts[0].end, attempts[0].exit_code), (1, &first.end, Some(9)));
    assert_eq!(attempts[0].reason.as_deref(), Some("exited with code 9"));
    assert_eq!((attempts[0].started_at, attempts[0].completed_at), (first.started_at, first.completed_at));
    assert_eq!((attempts[0].elapsed, &attempts[0].usage), (first.elapsed, &first.usage));
    assert_eq!(attempts[0].notes, first.notes);
    assert_eq!((attempts[1].number, &attempts[1].end, &attempts[1].reason), (2, &second.end, &None));
    record.remove(ID).unwrap();
    assert_eq!(record.attempts(ID).unwrap(), [], "they go with their execution");
}

#[test]
fn an_end_counts_once_and_for_its_own_attempt() {
    let record = Record::open_in_memory().unwrap();
    insert(&record, ID, "job");
    record.activate(ID, 1, "d", "c", &supervisor()).unwrap();
    let first = of_attempt(1, End::OomKilled);
    let second = of_attempt(2, End::OomKilled);
    assert_eq!(record.end_attempt(ID, 2, &second, AfterAttempt::Final).unwrap(), Ended::AlreadyOver, "not begun");
    assert_eq!(record.end_attempt(ID, 1, &first, again()).unwrap(), Ended::Waiting);
    for then in [again(), AfterAttempt::Final] {
        assert_eq!(record.end_attempt(ID, 1, &first, then).unwrap(), Ended::AlreadyOver);
        assert_eq!(record.end_attempt(ID, 2, &first, then).unwrap(), Ended::AlreadyOver, "an older outcome");
        assert_eq!(record.end_attempt(ID, 2, &second, then).unwrap(), Ended::AlreadyOver, "nobody makes it");
    }
    claim(&record);
    // It fails while it is prepared.
    assert_eq!(record.end_attempt(ID, 2, &second, AfterAttempt::Final).unwrap(), Ended::Final);
    let before = read(&record, ID);
    assert_eq!(record.end_attempt(ID, 2, &second, again()).unwrap(), Ended::AlreadyOver);
    assert_eq!(read(&record, ID), before);
    assert_eq!(record.attempts(ID).unwrap().len(), 2);
}

#[test]
fn no_attempt_follows_a_cancel() {
    let record = Record::open_in_memory().unwrap();
    insert(&record, ID, "job");
    record.activate(ID, 1, "d", "c", &supervisor()).unwrap();
    for _ in 0..2 {
        assert_eq!(record.cancel(ID, now()).unwrap(), Cancel::Active);
    }
    assert!(read(&record, ID).cancel_requested);
    let failed = of_attempt(1, End::Exited { code: 1 });
    assert_eq!(record.end_attempt(ID, 1, &failed, again()).unwrap(), Ended::Final);
    let row = read(&record, ID);
    assert_eq!(
        (row.status, row.end),
        (Status::Cancelled, Some(End::Cancelled { how: Stopped::BetweenAttempts { next: 2 } }))
    );
    assert_eq!((row.attempt, row.exit_code), (1, None));
    assert_eq!(record.attempts(ID).unwrap()[0].end, failed.end);
    assert_eq!(record.cancel(ID, now()).unwrap(), Cancel::Over(Status::Cancelled));
}

#[test]
fn a_cancel_that_comes_too_late_leaves_the_final_end() {
    let record = Record::open_in_memory().unwrap();
    insert(&record, ID, "job");
    record.activate(ID, 1, "d", "c", &supervisor()).unwrap();
    record.cancel(ID, now()).unwrap();
    assert_eq!(finish(&record, ID, End::Exited { code: 0 }).unwrap(), Ended::Final);
    assert_eq!(read(&record, ID).status, Status::Completed);
}

#[test]
fn what_waits_for_its_next_attempt_is_cancelled_at_once() {
    let record = Record::open_in_memory().unwrap();
    insert(&record, ID, "job");
    record.end_attempt(ID, 1, &of_attempt(1, End::OomKilled), again()).unwrap();
    assert!(matches!(record.cancel(ID, retry_at()).unwrap(), Cancel::Cancelled(_)));
    let row = read(&record, ID);
    assert_eq!((row.status, row.completed_at, row.retry_at), (Status::Cancelled, Some(retry_at()), None));
    assert_eq!(record.attempts(ID).unwrap().len(), 1, "the second was not begun");
    assert_eq!(record.next_due(now()).unwrap(), None);
}

#[test]
fn a_cancelled_preparation_is_an_attempt() {
    let record = Record::open_in_memory().unwrap();
    insert(&record, ID, "job");
    wait(&record, &new_execution("2", "other"));
    for id in [ID, "2"] {
        assert!(matches!(record.cancel(id, now()).unwrap(), Cancel::Cancelled(_)));
    }
    assert_eq!(record.attempts(ID).unwrap().len(), 1);
    assert_eq!(record.attempts("2").unwrap().len(), 0);
}

#[test]
fn the_schema_refuses_another_way_back_to_pending() {
    let directory = tempfile::tempdir().unwrap();
    let record = Record::open(&state(directory.path())).unwrap();
    insert(&record, ID, "job");
    record.activate(ID, 1, "d", "c", &supervisor()).unwrap();
    let other = rusqlite::Connection::open(directory.path().join("coracle.db")).unwrap();
    let error = other.execute("UPDATE executions SET status = 'pending'", []).unwrap_err();
    assert!(error.to_string().contains("pending once"), "{error}");
    other.execute("UPDATE executions SET status = 'pending', attempt = 2", []).unwrap();
    other.execute("UPDATE executions SET owner = NULL", []).unwrap();
    assert!(matches!(record.cancel(ID, now()).unwrap(), Cancel::Cancelled(_)));
    for column in ["attempt = 3", "status = 'pending', attempt = 3", "expires_at = 1", "spent = 1", "notes = '[]'"] {
        let error = other.execute(&format!("UPDATE executions SET {column}"), []).unwrap_err();
        assert!(error.to_string().contains("never changes"), "{error}");
    }
    insert(&record, "2", "job");
    finish(&record, "2", End::OomKilled).unwrap();
    let error = other.execute("UPDATE attempts SET reason = 'x'", []).unwrap_err();
    assert!(error.to_string().contains("never changes"), "{error}");
}

#[test]
fn what_is_inserted_is_read_back() {
    let record = Record::open_in_memory().unwrap();
    let new = NewExecution {
        idempotency_key: Some("key".into()),
        max_concurrent: Some(3),
        global_limit: Some(4),
        queue_deadline: Some(Duration::from_nanos(5)),
        reserved_for: Some(preparer()),
        ttl: Some(Duration::from_secs(6)),
        keep_last: Some(7),
        keep_last_total: Some(8),
        delete_on_exit: true,
        scheduled_for: Some(retry_at()),
        ..new_execution(ID, "job")
    };
    wait(&record, &new);
    let row = read(&record, ID);
    assert_eq!((row.idempotency_key, row.max_concurrent, row.global_limit), (Some("key".into()), Some(3), Some(4)));
    assert_eq!((row.queue_deadline, row.reserved_for), (new.queue_deadline, new.reserved_for));
    assert_eq!((row.ttl, row.keep_last, row.keep_last_total), (new.ttl, Some(7), Some(8)));
    assert_eq!((row.delete_on_exit, row.scheduled_for), (true, new.scheduled_for));
    assert_eq!((row.attempt, row.spent, row.cancel_requested, row.expires_at), (1, Duration::ZERO, false, None));
    assert!(record.cancel(ID, now()).is_ok());
    assert_eq!(read(&record, ID).expires_at, Some(now() + SignedDuration::from_secs(6)));
}

/// One cancels while the other records an end after which a retry is due: whoever is first, no attempt follows.
#[test]
fn a_retry_and_a_cancel_never_both_win() {
    let directory = tempfile::tempdir().unwrap();
    let record = Record::open(&state(directory.path())).unwrap();
    for round in 0..20 {
        let id = format!("{round:04}");
        insert(&record, &id, "job");
        record.activate(&id, 1, "d", "c", &supervisor()).unwrap();
        let other = Record::open(&state(directory.path())).unwrap();
        let barrier = Barrier::new(2);
        let (ended, cancelled) = std::thread::scope(|scope| {
            let ending = scope.spawn(|| {
                barrier.wait();
                record.end_attempt(&id, 1, &of_attempt(1, End::OomKilled), again()).unwrap()
            });
            barrier.wait();
            let cancelled = other.cancel(&id, now()).unwrap();
            (ending.join().unwrap(), cancelled)
        });
        let expected = match cancelled {
            Cancel::Active => Ended::Final,
            Cancel::Cancelled(_) => Ended::Waiting,
            Cancel::Over(status) => panic!("{status}"),
        };
        assert_eq!(ended, expected, "round {round}");
        assert_eq!(read(&record, &id).status, Status::Cancelled);
        assert_eq!(record.attempts(&id).unwrap().len(), 1);
    }
}

#[test]
fn who_was_seen_to_prepare_an_attempt_has_to_be_so_still() {
    let record = Record::open_in_memory().unwrap();
    insert(&record, ID, "job");
    let (front, end) = (preparer(), of_attempt(1, End::OomKilled));
    let stranger = supervisor();
    let ended_for = |preparer| {
        let ending = Ending { preparer: Some(preparer), ..Ending::default() };
        record.end_attempt_with(ID, 1, &end, AfterAttempt::Final, &ending).unwrap()
    };
    assert_eq!(ended_for(&stranger), Ended::AlreadyOver, "it is another's");
    record.activate(ID, 1, "sha256:1", "first", &front).unwrap();
    assert_eq!(ended_for(&front), Ended::AlreadyOver, "it has been started");
    assert_eq!(read(&record, ID).status, Status::Active);
}

#[test]
fn only_the_attempt_that_waits_is_ended() {
    let record = Record::open_in_memory().unwrap();
    insert(&record, ID, "job");
    let first = of_attempt(1, End::OomKilled);
    record.end_attempt(ID, 1, &first, again()).unwrap();
    assert!(!record.end_waiting(ID, &first).unwrap());
    assert!(record.end_waiting(ID, &of_attempt(2, End::OomKilled)).unwrap());
}
