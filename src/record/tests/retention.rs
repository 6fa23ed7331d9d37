//! What is forgotten, and that the file becomes smaller.

use super::{finish, insert, new_execution, now, outcome, preparer, read, state, supervisor, wait};
use crate::outcome::{End, Outcome};
use crate::record::{AfterAttempt, Cancel, Ended, Insertion, NewExecution, OnConflict, Record};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

fn later(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

fn ended_at(record: &Record, new: &NewExecution, at: Timestamp) {
    record.insert(new, Some(&preparer()), now()).unwrap();
    let outcome = Outcome { completed_at: at, ..outcome(End::Exited { code: 0 }) };
    let ended = record.end_attempt(&new.id, 1, &outcome, AfterAttempt::Final).unwrap();
    assert_eq!(ended, Ended::Final);
}

fn mortal(id: &str, seconds: u64) -> NewExecution {
    NewExecution { ttl: Some(Duration::from_secs(seconds)), ..new_execution(id, "job") }
}

fn kept(id: &str, job: &str, keep_last: u32) -> NewExecution {
    NewExecution { keep_last: Some(keep_last), ..new_execution(id, job) }
}

#[test]
fn what_outlived_its_time_is_expired() {
    let record = Record::open_in_memory().unwrap();
    ended_at(&record, &mortal("1", 60), later(10));
    ended_at(&record, &mortal("2", 10), later(20));
    ended_at(&record, &new_execution("3", "job"), later(0));
    ended_at(&record, &mortal("4", u64::MAX), later(0));
    wait(&record, &mortal("5", 0));
    assert_eq!(read(&record, "1").expires_at, Some(later(70)));
    assert_eq!(record.expired(later(29), 9).unwrap(), [""; 0]);
    assert_eq!(record.expired(later(30), 9).unwrap(), ["2"]);
    assert_eq!(record.expired(later(70), 9).unwrap(), ["2", "1"]);
    assert_eq!(record.expired(later(70), 1).unwrap(), ["2"]);
    assert_eq!(record.expired(later(-1000), 9).unwrap(), [""; 0], "a clock set back forgets nothing early");
    assert_eq!(record.expired(Timestamp::MAX, 9).unwrap().last().map(String::as_str), Some("4"), "in the year 2262");
}

#[test]
fn a_job_keeps_its_newest() {
    let record = Record::open_in_memory().unwrap();
    assert_eq!(record.beyond_keep_last("job", 9).unwrap(), [""; 0]);
    for id in ["1", "2", "4", "6"] {
        ended_at(&record, &kept(id, "job", 1), now());
    }
    ended_at(&record, &kept("8", "other", 0), now());
    insert(&record, "3", "job");
    ended_at(&record, &new_execution("7", "job"), now());
    wait(&record, &new_execution("5", "job"));
    // 3 and 5 are live and neither counted nor forgotten; 7 has no number of its own, so that of 6 holds.
    assert_eq!(record.beyond_keep_last("job", 9).unwrap(), ["1", "2", "4", "6"]);
    assert_eq!(record.beyond_keep_last("job", 2).unwrap(), ["1", "2"]);
    wait(&record, &kept("9", "job", 3));
    assert_eq!(record.beyond_keep_last("job", 9).unwrap(), ["1", "2"], "the newest number holds");
    assert_eq!(record.beyond_keep_last("other", 9).unwrap(), ["8"]);
    assert_eq!(record.beyond_keep_last("unknown", 9).unwrap(), [""; 0]);
    ended_at(&record, &new_execution("a", "third"), now());
    assert_eq!(record.beyond_keep_last("third", 9).unwrap(), [""; 0], "without a number all are kept");
}

#[test]
fn all_jobs_together_keep_their_newest() {
    let record = Record::open_in_memory().unwrap();
    for (id, job) in [("1", "a"), ("3", "b"), ("4", "a")] {
        ended_at(&record, &new_execution(id, job), now());
    }
    insert(&record, "2", "c");
    assert_eq!(record.beyond_total(None, 9).unwrap(), [""; 0]);
    ended_at(&record, &NewExecution { keep_last_total: Some(2), ..new_execution("5", "b") }, now());
    assert_eq!(record.beyond_total(None, 9).unwrap(), ["1", "3"]);
    assert_eq!(record.beyond_total(None, 1).unwrap(), ["1"]);
}

#[test]
fn only_what_is_terminal_is_removed() {
    let record = Record::open_in_memory().unwrap();
    for number in 0..600 {
        let id = format!("{number:03}");
        insert(&record, &id, "job");
        if number != 300 {
            finish(&record, &id, End::OomKilled).unwrap();
        }
    }
    record.activate("300", 1, "d", "c", &supervisor()).unwrap();
    wait(&record, &new_execution("999", "job"));
    let ids: Vec<String> = (0..600).map(|number| format!("{number:03}")).collect();
    let mut ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    ids.extend(["999", "unknown"]);
    assert_eq!(record.remove_many(&ids).unwrap(), 599);
    assert_eq!(record.remove_many(&ids).unwrap(), 0);
    let left: Vec<String> = record.non_terminal().unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(left, ["999", "300"]);
    assert_eq!(record.attempts("000").unwrap(), []);
    assert_eq!(record.integrity_check().unwrap(), [""; 0]);
}

/// Fills a database with 6 MiB and removes all of it.
fn fill_and_empty(record: &Record) {
    let spec = serde_json::json!({"text": "x".repeat(100 << 10)});
    let ids: Vec<String> = (0..60).map(|number| format!("{number:04}")).collect();
    for id in &ids {
        wait(record, &NewExecution { spec: spec.clone(), ..new_execution(id, "large") });
    }
    let last =
        NewExecution { on_conflict: OnConflict::Replace, max_concurrent: Some(1), ..new_execution("last", "large") };
    assert!(matches!(record.insert(&last, None, now()).unwrap(), Insertion::Replacing { .. }));
    assert!(matches!(record.cancel("last", now()).unwrap(), Cancel::Cancelled(_)));
    let ids: Vec<&str> = ids.iter().map(String::as_str).chain(["last"]).collect();
    assert_eq!(record.remove_many(&ids).unwrap(), 61);
}

#[test]
fn the_file_shrinks() {
    let directory = tempfile::tempdir().unwrap();
    let record = Record::open(&state(directory.path())).unwrap();
    insert(&record, "keep", "job");
    fill_and_empty(&record);
    let size = || std::fs::metadata(directory.path().join("coracle.db")).unwrap().len();
    let full = size();
    assert!(full > 4 << 20, "{full}");
    record.reclaim().unwrap();
    assert!(size() < 1 << 20, "{} of {full}", size());
    assert_eq!(record.integrity_check().unwrap(), [""; 0]);
    assert_eq!(read(&record, "keep").job_name, "job");
    Record::open_in_memory().unwrap().reclaim().unwrap();
}

/// Databases of schema 2 were made without incremental vacuum.
#[test]
fn an_old_file_shrinks_by_being_written_anew_when_that_is_worth_it() {
    let directory = tempfile::tempdir().unwrap();
    drop(super::migration::database_2(directory.path()));
    let record = Record::open(&state(directory.path())).unwrap();
    let other = rusqlite::Connection::open(directory.path().join("coracle.db")).unwrap();
    let pragma = |name: &str| other.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0)).unwrap();
    record.reclaim().unwrap();
    assert_eq!(pragma("auto_vacuum"), 0, "nothing to gain");
    fill_and_empty(&record);
    let before = pragma("page_count");
    record.reclaim().unwrap();
    let after = rusqlite::Connection::open(directory.path().join("coracle.db")).unwrap();
    assert_eq!(after.query_row("PRAGMA auto_vacuum", [], |row| row.get::<_, i64>(0)).unwrap(), 2);
    assert!(pragma("page_count") < before / 4, "{} of {before}", pragma("page_count"));
    assert_eq!(record.integrity_check().unwrap(), [""; 0]);
    fill_and_empty(&record);
    record.reclaim().unwrap();
    assert_eq!(pragma("freelist_count"), 0, "now it can");
}
