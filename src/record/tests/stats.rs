//! Numbers over the record, and places in the queue.

use super::{new_execution, now, outcome, preparer};
use crate::outcome::{End, Stopped};
use crate::record::{AfterAttempt, JobTotals, NewExecution, QueuePosition, Record, Totals};
use std::time::Duration;

fn insert(record: &Record, id: &str, job: &str, limit: Option<u32>) {
    let new = NewExecution { max_concurrent: limit, ..new_execution(id, job) };
    record.insert(&new, Some(&preparer()), now()).unwrap();
}

fn end(record: &Record, id: &str, end: End) {
    record.end_attempt(id, 1, &outcome(end), AfterAttempt::Final).unwrap();
}

#[test]
fn every_execution_is_counted_once() {
    let record = Record::open_in_memory().unwrap();
    assert_eq!(record.totals().unwrap(), Totals::default());
    for (id, job) in [("1", "a"), ("2", "a"), ("3", "b"), ("4", "b"), ("5", "b")] {
        insert(&record, id, job, None);
    }
    end(&record, "1", End::Exited { code: 0 });
    end(&record, "2", End::Exited { code: 1 });
    end(&record, "3", End::Cancelled { how: Stopped::BeforeStart });
    let then = AfterAttempt::Retry { at: now(), now: now(), spent: Duration::ZERO };
    record.end_attempt("4", 1, &outcome(End::OomKilled), then).unwrap();
    let totals = record.totals().unwrap();
    let oldest = totals.oldest_waiting.clone().unwrap();
    assert_eq!((oldest.id.as_str(), oldest.job.as_str(), oldest.created_at), ("4", "b", now()));
    let expected = Totals {
        executions: 5,
        pending: 2,
        active: 0,
        completed: 1,
        failed: 1,
        cancelled: 1,
        waiting: 1,
        attempts: 6,
        oldest_waiting: totals.oldest_waiting.clone(),
    };
    assert_eq!(totals, expected);
    let job = |job: &str, executions, waiting, occupied| JobTotals { job: job.into(), executions, waiting, occupied };
    assert_eq!(record.job_totals(9).unwrap(), [job("b", 3, 1, 1), job("a", 2, 0, 0)]);
    assert_eq!(record.job_totals(1).unwrap(), [job("b", 3, 1, 1)]);
    assert_eq!(record.totals_of("a").unwrap(), job("a", 2, 0, 0));
    assert_eq!(record.totals_of("c").unwrap(), job("c", 0, 0, 0));
    assert_eq!(record.recent_ends("a", 9).unwrap().len(), 2);
    assert_eq!(record.recent_ends("a", 1).unwrap().len(), 1);
}

#[test]
fn a_place_in_the_queue_counts_those_before_it() {
    let record = Record::open_in_memory().unwrap();
    for id in ["1", "2", "3"] {
        insert(&record, id, "a", Some(1));
    }
    insert(&record, "4", "b", None);
    let position = |id: &str| record.queue_position(id).unwrap();
    assert_eq!(position("1"), None, "it does not wait");
    assert_eq!(position("2"), Some(QueuePosition { running: 1, waiting: 0 }));
    assert_eq!(position("3"), Some(QueuePosition { running: 1, waiting: 1 }));
    let limited = NewExecution { global_limit: Some(2), ..new_execution("5", "c") };
    record.insert(&limited, Some(&preparer()), now()).unwrap();
    let expected = QueuePosition { running: 2, waiting: 2 };
    assert_eq!(position("5"), Some(expected), "of all jobs, where its own leaves room");
    assert_eq!(position("6"), None);
}
