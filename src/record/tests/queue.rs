//! Whose turn it is.

use super::{insert, new_execution, now, outcome, preparer, process, read, state, supervisor, wait};
use crate::outcome::{End, Stopped};
use crate::record::{
    AfterAttempt, Cancelled, Ended, Execution, Insertion, NewExecution, OnConflict, Query, Record, Status,
};
use crate::sys::process::ProcessIdentity;
use jiff::{SignedDuration, Timestamp};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn limited(id: &str, job: &str, most: u32) -> NewExecution {
    NewExecution { max_concurrent: Some(most), ..new_execution(id, job) }
}

fn policy(id: &str, on_conflict: OnConflict) -> NewExecution {
    NewExecution { on_conflict, ..limited(id, "job", 1) }
}

fn later(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

fn everyone_lives(_: &ProcessIdentity) -> bool {
    true
}

fn claim_next(record: &Record) -> Option<String> {
    record.claim_next(&preparer(), now(), &everyone_lives).unwrap().map(|row| row.id)
}

/// Ends the only attempt of an execution.
fn finish(record: &Record, id: &str) {
    super::finish(record, id, End::Exited { code: 0 }).unwrap();
}

/// Makes the first attempt fail and the next one wait.
fn retry(record: &Record, id: &str, at: Timestamp) {
    let then = AfterAttempt::Retry { at, now: now(), spent: Duration::from_secs(3) };
    let ended = record.end_attempt(id, 1, &outcome(End::Exited { code: 1 }), then).unwrap();
    assert_eq!(ended, Ended::Waiting);
}

#[test]
fn room_that_all_jobs_have_in_common_is_the_oldest_ones() {
    let record = Record::open_in_memory().unwrap();
    let shared = |id: &str, job: &str| NewExecution { global_limit: Some(1), ..new_execution(id, job) };
    assert_eq!(record.insert(&shared("1", "a"), Some(&preparer()), now()).unwrap(), Insertion::Claimed);
    assert_eq!(record.insert(&shared("2", "b"), Some(&preparer()), now()).unwrap(), Insertion::Waiting);
    finish(&record, "1");
    // Nobody has looked yet.
    assert_eq!(record.insert(&shared("3", "c"), Some(&preparer()), now()).unwrap(), Insertion::Waiting);
    assert_eq!(claim_next(&record).as_deref(), Some("2"));
    finish(&record, "2");
    assert_eq!(claim_next(&record).as_deref(), Some("3"));
}

#[test]
fn a_claim_leaves_common_room_to_an_older_one() {
    let record = Record::open_in_memory().unwrap();
    let shared = |id: &str, job: &str, front| NewExecution {
        global_limit: Some(1),
        reserved_for: front,
        ..new_execution(id, job)
    };
    let (front, other) = (process(1), process(2));
    assert_eq!(record.insert(&shared("1", "a", None), Some(&preparer()), now()).unwrap(), Insertion::Claimed);
    wait(&record, &shared("2", "b", Some(other.clone())));
    wait(&record, &shared("3", "c", None));
    wait(&record, &shared("4", "d", Some(front.clone())));
    let claim = |id: &str, me| record.claim(id, me, now(), &everyone_lives).unwrap().is_some();
    finish(&record, "1");
    assert_eq!(claim_next(&record), None, "it is the other front's turn");
    assert!(!record.is_claimable(now(), &everyone_lives).unwrap());
    assert!(!claim("4", &front));
    assert!(claim("2", &other));
    finish(&record, "2");
    assert!(!claim("4", &front), "it is the turn of one that anybody may begin");
    assert!(record.is_claimable(now(), &everyone_lives).unwrap());
    assert_eq!(claim_next(&record).as_deref(), Some("3"));
    finish(&record, "3");
    // One that is gone holds nobody up.
    wait(&record, &shared("5", "e", None));
    let is_alive = |process: &ProcessIdentity| *process != front;
    assert_eq!(record.claim_next(&preparer(), now(), &is_alive).unwrap().map(|row| row.id).as_deref(), Some("5"));
}

#[test]
fn an_insertion_claims_only_what_has_its_turn_and_room() {
    let record = Record::open_in_memory().unwrap();
    let insert = |new: &NewExecution| record.insert(new, Some(&preparer()), now()).unwrap();
    assert_eq!(insert(&limited("1", "job", 2)), Insertion::Claimed);
    assert_eq!(insert(&limited("2", "job", 2)), Insertion::Claimed);
    assert_eq!(insert(&limited("3", "job", 2)), Insertion::Waiting);
    assert_eq!(insert(&limited("4", "other", 2)), Insertion::Claimed, "another job has room of its own");
    // It has room by its own limit, but an older one comes first.
    assert_eq!(insert(&limited("5", "job", 9)), Insertion::Waiting);
    assert_eq!(insert(&NewExecution { global_limit: Some(3), ..new_execution("6", "third") }), Insertion::Waiting);
    assert_eq!(insert(&NewExecution { global_limit: Some(4), ..new_execution("7", "fourth") }), Insertion::Claimed);
    assert_eq!(read(&record, "1").owner, Some(preparer()));
    assert!(read(&record, "3").is_waiting());
}

#[test]
fn the_oldest_that_may_begin_is_claimed() {
    let record = Record::open_in_memory().unwrap();
    insert(&record, "1", "a");
    wait(&record, &limited("2", "a", 1));
    wait(&record, &limited("3", "b", 1));
    wait(&record, &limited("4", "b", 1));
    wait(&record, &NewExecution { global_limit: Some(2), ..new_execution("5", "c") });
    assert_eq!(claim_next(&record).as_deref(), Some("3"), "job a is full");
    assert_eq!(claim_next(&record), None, "a and b are full, and all together are two");
    finish(&record, "1");
    assert_eq!(claim_next(&record).as_deref(), Some("2"));
    finish(&record, "3");
    assert_eq!(claim_next(&record).as_deref(), Some("4"));
    finish(&record, "2");
    assert_eq!(claim_next(&record).as_deref(), Some("5"));
    assert_eq!(claim_next(&record), None);
    assert_eq!(read(&record, "5").owner, Some(preparer()));
}

#[test]
fn what_is_active_counts_against_the_limits() {
    let record = Record::open_in_memory().unwrap();
    insert(&record, "1", "job");
    record.activate("1", 1, "d", "c", &supervisor()).unwrap();
    wait(&record, &limited("2", "job", 1));
    assert_eq!(claim_next(&record), None);
    finish(&record, "1");
    assert_eq!(claim_next(&record).as_deref(), Some("2"));
}

#[test]
fn one_row_is_claimed_by_the_same_rules() {
    let record = Record::open_in_memory().unwrap();
    let claim = |id: &str| record.claim(id, &preparer(), now(), &everyone_lives).unwrap().is_some();
    wait(&record, &limited("1", "job", 1));
    wait(&record, &limited("2", "job", 1));
    assert!(!claim("2"), "it would overtake");
    assert!(claim("1"));
    assert!(!claim("1"), "it is claimed");
    assert!(!claim("2"), "the job is full");
    finish(&record, "1");
    assert!(!claim("1"), "it has ended");
    assert!(claim("2"));
    assert!(!claim("unknown"));
}

#[test]
fn a_backoff_holds_up_itself_only_and_ends_in_time() {
    let record = Record::open_in_memory().unwrap();
    insert(&record, "1", "job");
    retry(&record, "1", later(60));
    wait(&record, &limited("2", "job", 1));
    let claim = |at| record.claim_next(&preparer(), at, &everyone_lives).unwrap().map(|row: Execution| row.id);
    assert!(record.claim("1", &preparer(), later(59), &everyone_lives).unwrap().is_none());
    assert_eq!(claim(later(59)).as_deref(), Some("2"));
    assert_eq!(claim(later(59)), None);
    assert_eq!(claim(later(60)).as_deref(), Some("1"));
    let row = read(&record, "1");
    assert_eq!((row.attempt, row.retry_at, row.waiting_since), (2, None, None));
    assert_eq!(row.spent, Duration::from_secs(3));
}

#[test]
fn a_backoff_is_over_when_the_clock_was_set_back() {
    let record = Record::open_in_memory().unwrap();
    insert(&record, "1", "job");
    retry(&record, "1", later(60));
    assert_eq!(record.next_due(later(-61)).unwrap(), None, "due already");
    let row = record.claim_next(&preparer(), later(-61), &everyone_lives).unwrap();
    assert_eq!(row.map(|row| row.id).as_deref(), Some("1"));
}

/// As of a process that looked at the clock and then waited for others to write.
#[test]
fn an_old_look_at_the_clock_ends_no_backoff() {
    let record = Record::open_in_memory().unwrap();
    insert(&record, "1", "job");
    retry(&record, "1", later(60));
    assert_eq!(record.next_due(later(-60)).unwrap(), Some(later(60)));
    assert!(record.claim_next(&preparer(), later(-60), &everyone_lives).unwrap().is_none());
}

#[test]
fn what_is_reserved_is_claimed_by_its_process_alone() {
    let record = Record::open_in_memory().unwrap();
    let front = process(99);
    let reserved = |id| NewExecution { reserved_for: Some(front.clone()), ..new_execution(id, "job") };
    assert_eq!(record.insert(&reserved("1"), Some(&preparer()), now()).unwrap(), Insertion::Waiting);
    // While its process lives, younger ones of the job wait behind it; others do not.
    assert_eq!(record.insert(&new_execution("2", "job"), Some(&preparer()), now()).unwrap(), Insertion::Waiting);
    assert_eq!(record.insert(&new_execution("3", "other"), Some(&preparer()), now()).unwrap(), Insertion::Claimed);
    assert_eq!(claim_next(&record), None);
    assert!(record.claim("1", &preparer(), now(), &everyone_lives).unwrap().is_none());
    let next = record.claim_next(&preparer(), now(), &|process| *process != front).unwrap();
    assert_eq!(next.map(|row| row.id).as_deref(), Some("2"), "a dead one holds up nobody");
    assert!(record.claim("1", &front, now(), &everyone_lives).unwrap().is_some());
    let own = record.insert(&reserved("4"), Some(&front), now()).unwrap();
    assert_eq!(own, Insertion::Claimed);
}

#[test]
fn a_key_names_one_execution_of_a_job() {
    let record = Record::open_in_memory().unwrap();
    let keyed = |id, job| NewExecution { idempotency_key: Some("k".into()), ..new_execution(id, job) };
    let insert = |new: &NewExecution| record.insert(new, Some(&preparer()), now()).unwrap();
    assert_eq!(insert(&keyed("1", "a")), Insertion::Claimed);
    assert_eq!(insert(&keyed("2", "a")), Insertion::Existing { id: "1".into() });
    assert_eq!(insert(&keyed("3", "b")), Insertion::Claimed, "keys are those of a job");
    finish(&record, "1");
    let forbidding = NewExecution { max_concurrent: Some(1), on_conflict: OnConflict::Forbid, ..keyed("4", "a") };
    assert_eq!(insert(&forbidding), Insertion::Existing { id: "1".into() }, "also when it has ended");
    record.remove("1").unwrap();
    assert_eq!(insert(&keyed("5", "a")), Insertion::Claimed);
    assert_eq!(record.list(&Query::default()).unwrap().len(), 2);
}

#[test]
fn forbid_refuses_when_as_many_are_live_as_may_run() {
    let record = Record::open_in_memory().unwrap();
    let insert = |id| record.insert(&policy(id, OnConflict::Forbid), Some(&preparer()), now()).unwrap();
    super::insert(&record, "0", "other");
    assert_eq!(insert("1"), Insertion::Claimed);
    assert_eq!(insert("2"), Insertion::Conflict { with: vec!["1".into()] });
    assert_eq!(record.get("2").unwrap(), None);
    finish(&record, "1");
    // One that only waits counts as well.
    wait(&record, &limited("3", "job", 1));
    assert_eq!(insert("4"), Insertion::Conflict { with: vec!["3".into()] });
}

#[test]
fn replace_cancels_what_waits_and_names_the_rest() {
    let record = Record::open_in_memory().unwrap();
    insert(&record, "1", "job");
    record.activate("1", 1, "d", "c", &supervisor()).unwrap();
    insert(&record, "2", "job");
    wait(&record, &limited("3", "job", 2));
    insert(&record, "4", "other");
    let inserted = record.insert(&policy("5", OnConflict::Replace), Some(&preparer()), now()).unwrap();
    let cancelled = [("2", Some(preparer())), ("3", None)];
    let cancelled = cancelled.map(|(id, preparer)| Cancelled { id: id.into(), attempt: 1, preparer }).into();
    assert_eq!(inserted, Insertion::Replacing { cancel: vec!["1".into()], cancelled, claimed: false });
    assert_eq!((read(&record, "2").status, read(&record, "3").status), (Status::Cancelled, Status::Cancelled));
    assert_eq!((record.attempts("2").unwrap().len(), record.attempts("3").unwrap().len()), (1, 0));
    assert!(!record.activate("2", 1, "d", "c", &supervisor()).unwrap(), "whoever replaced it need not live for that");
    assert_eq!(claim_next(&record), None);
    finish(&record, "1");
    assert_eq!(claim_next(&record).as_deref(), Some("5"));
    assert_eq!(read(&record, "4").status, Status::Pending, "another job's");
}

#[test]
fn replace_makes_room_for_one_alone() {
    let record = Record::open_in_memory().unwrap();
    let new = |id| NewExecution { max_concurrent: Some(2), ..policy(id, OnConflict::Replace) };
    let insert = |id| record.insert(&new(id), Some(&preparer()), now()).unwrap();
    assert_eq!((insert("1"), insert("2")), (Insertion::Claimed, Insertion::Claimed));
    for id in ["1", "2"] {
        record.activate(id, 1, "d", "c", &supervisor()).unwrap();
    }
    assert_eq!(insert("3"), Insertion::Replacing { cancel: vec!["1".into()], cancelled: Vec::new(), claimed: false });
    assert_eq!(claim_next(&record), None);
    finish(&record, "1");
    assert_eq!(claim_next(&record).as_deref(), Some("3"));
    assert_eq!(read(&record, "2").status, Status::Active);
}

#[test]
fn replace_begins_at_once_when_nothing_is_in_its_way() {
    let record = Record::open_in_memory().unwrap();
    let insert = |id| record.insert(&policy(id, OnConflict::Replace), Some(&preparer()), now()).unwrap();
    wait(&record, &limited("1", "job", 1));
    let cancelled = vec![Cancelled { id: "1".into(), attempt: 1, preparer: None }];
    assert_eq!(insert("2"), Insertion::Replacing { cancel: Vec::new(), cancelled, claimed: true });
    finish(&record, "2");
    assert_eq!(insert("3"), Insertion::Claimed, "nothing to replace");
}

#[test]
fn allow_knows_no_limit_of_the_job() {
    let record = Record::open_in_memory().unwrap();
    for id in ["1", "2"] {
        let inserted = record.insert(&policy(id, OnConflict::Allow), Some(&preparer()), now()).unwrap();
        assert_eq!(inserted, Insertion::Claimed);
    }
    assert_eq!(read(&record, "1").max_concurrent, None);
}

#[test]
fn a_claim_is_given_back_by_whoever_held_it_alone() {
    let record = Record::open_in_memory().unwrap();
    insert(&record, "1", "job");
    assert!(!record.release("1", &process(99)).unwrap());
    assert!(record.release("1", &preparer()).unwrap());
    assert!(!record.release("1", &preparer()).unwrap());
    assert!(!record.activate("1", 1, "d", "c", &supervisor()).unwrap(), "nobody may start what nobody holds");
    assert_eq!(claim_next(&record).as_deref(), Some("1"));
    assert_eq!(read(&record, "1").attempt, 1);
    record.activate("1", 1, "d", "c", &supervisor()).unwrap();
    assert!(!record.release("1", &supervisor()).unwrap(), "it has been started");
}

#[test]
fn queue_deadlines_are_for_first_attempts_that_wait() {
    let record = Record::open_in_memory().unwrap();
    let due =
        |id, seconds| NewExecution { queue_deadline: Some(Duration::from_secs(seconds)), ..new_execution(id, "job") };
    wait(&record, &due("1", 20));
    wait(&record, &due("2", 10));
    wait(&record, &due("3", u64::MAX));
    wait(&record, &new_execution("4", "job"));
    let overdue =
        |at, limit| -> Vec<String> { record.overdue(at, limit).unwrap().into_iter().map(|row| row.id).collect() };
    assert_eq!(overdue(later(9), 9), [""; 0]);
    assert_eq!(record.next_due(now()).unwrap(), Some(later(10)));
    assert_eq!(overdue(later(20), 9), ["2", "1"]);
    assert_eq!(overdue(later(20), 1), ["2"]);
    assert_eq!(record.next_due(later(10)).unwrap(), Some(later(20)));
    assert_eq!(overdue(later(-99), 9), [""; 0], "a clock set back ends no wait");

    assert!(record.claim("1", &preparer(), now(), &everyone_lives).unwrap().is_some());
    assert_eq!(overdue(later(20), 9), ["2"], "it left the queue");
    retry(&record, "1", later(15));
    assert_eq!(overdue(later(20), 9), ["2"], "it is its second attempt that waits");
    assert_eq!(record.next_due(later(10)).unwrap(), Some(later(15)));

    let end = outcome(End::Deadline { after: Duration::from_secs(10), how: Stopped::BeforeStart });
    assert!(record.end_waiting("2", &end).unwrap());
    assert!(!record.end_waiting("2", &end).unwrap());
    assert_eq!(read(&record, "2").end, Some(end.end.clone()));
    insert(&record, "5", "other");
    assert!(!record.end_waiting("5", &end).unwrap(), "it is being prepared");
    assert_eq!(record.next_due(later(20)).unwrap().map(|due| due > later(1 << 30)), Some(true));
}

/// Every thread with a connection of its own, as every process has.
#[test]
fn rivals_never_exceed_a_limit_nor_claim_one_twice() {
    const RIVALS: usize = 6;
    let directory = tempfile::tempdir().unwrap();
    let record = Record::open(&state(directory.path())).unwrap();
    for number in 0..24 {
        let (job, most) = if number % 2 == 0 { ("a", 2) } else { ("b", 3) };
        let new = NewExecution { global_limit: Some(4), ..limited(&format!("{number:02}"), job, most) };
        wait(&record, &new);
    }
    let barrier = Barrier::new(RIVALS);
    let claimed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for rival in 0..RIVALS {
            let (barrier, claimed, directory) = (&barrier, &claimed, directory.path());
            scope.spawn(move || {
                let record = Record::open(&state(directory)).unwrap();
                let me = process(100 + i32::try_from(rival).unwrap());
                barrier.wait();
                while claimed.load(Ordering::Relaxed) < 24 {
                    let Some(row) = record.claim_next(&me, now(), &everyone_lives).unwrap() else { continue };
                    claimed.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(row.owner.as_ref(), Some(&me));
                    let live = record.list(&Query { only_active: true, ..Query::default() }).unwrap();
                    let occupied =
                        |job: &str| live.iter().filter(|row| row.job_name == job && !row.is_waiting()).count();
                    assert!(occupied("a") <= 2 && occupied("b") <= 3 && occupied("a") + occupied("b") <= 4);
                    assert!(record.activate(&row.id, 1, "d", "c", &me).unwrap(), "claimed once");
                    finish(&record, &row.id);
                }
            });
        }
    });
    assert_eq!(claimed.into_inner(), 24);
    assert_eq!(record.non_terminal().unwrap(), []);
    assert_eq!(record.integrity_check().unwrap(), [""; 0]);
}

#[test]
fn one_key_makes_one_execution_however_many_ask() {
    let directory = tempfile::tempdir().unwrap();
    drop(Record::open(&state(directory.path())).unwrap());
    let barrier = Barrier::new(6);
    let made = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for number in 0..6 {
            let (barrier, made, directory) = (&barrier, &made, directory.path());
            scope.spawn(move || {
                let record = Record::open(&state(directory)).unwrap();
                let new =
                    NewExecution { idempotency_key: Some("k".into()), ..new_execution(&number.to_string(), "job") };
                barrier.wait();
                let inserted = record.insert(&new, None, now()).unwrap();
                made.fetch_add(usize::from(inserted == Insertion::Waiting), Ordering::Relaxed);
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
}
