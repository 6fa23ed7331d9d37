//! The processes that executions depend on.

use super::{now, outcome, process, supervisor, wait};
use crate::outcome::End;
use crate::record::{AfterAttempt, Ending, NewExecution, Record};
use std::time::Duration;

#[test]
fn keepers_matter_while_something_waits() {
    let record = Record::open_in_memory().unwrap();
    let (front, other) = (process(1), process(2));
    let new = |id| NewExecution { max_concurrent: Some(1), ..super::new_execution(id, "job") };
    record.insert(&new("1"), Some(&front), now()).unwrap();
    assert_eq!(record.keepers().unwrap(), []);
    assert!(!record.depends_on_preparers(None).unwrap());
    // One whose own front waits with it.
    wait(&record, &NewExecution { reserved_for: Some(other.clone()), ..new("2") });
    assert_eq!(record.keepers().unwrap(), [front.clone(), other.clone()]);
    assert!(!record.depends_on_preparers(None).unwrap());
    wait(&record, &new("3"));
    assert!(record.depends_on_preparers(Some(&other)).unwrap());
    assert!(!record.depends_on_preparers(Some(&front)).unwrap());
    // From here on a supervisor sees to what waits.
    record.activate("1", 1, "d", "c", &supervisor()).unwrap();
    assert_eq!(record.keepers().unwrap(), [supervisor(), other]);
    assert!(!record.depends_on_preparers(None).unwrap());
}

#[test]
fn a_further_attempt_depends_on_who_has_it() {
    let record = Record::open_in_memory().unwrap();
    let front = process(1);
    record.insert(&super::new_execution("1", "job"), Some(&front), now()).unwrap();
    let then = AfterAttempt::Retry { at: now(), now: now(), spent: Duration::ZERO };
    let ending = Ending { reserved_for: Some(&front), ..Ending::default() };
    record.end_attempt_with("1", 1, &outcome(End::OomKilled), then, &ending).unwrap();
    assert_eq!(record.keepers().unwrap(), std::slice::from_ref(&front));
    assert!(record.depends_on_preparers(None).unwrap() && !record.depends_on_preparers(Some(&front)).unwrap());
    assert!(record.claim("1", &process(2), now(), &|_| true).unwrap().is_none(), "its front is there");
    assert!(record.claim("1", &front, now(), &|_| true).unwrap().is_some());
    assert_eq!(record.keepers().unwrap(), std::slice::from_ref(&front));
    assert!(record.depends_on_preparers(None).unwrap());
    record.activate("1", 2, "d", "c", &supervisor()).unwrap();
    assert_eq!(record.keepers().unwrap(), []);
    assert!(!record.depends_on_preparers(None).unwrap());
}
