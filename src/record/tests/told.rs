//! What is told of executions: changes to those who watch, ends to those who are notified.

use super::*;
use jiff::SignedDuration;
use serde_json::json;

fn ended(record: &Record, id: &str, notifications: &[NewNotification]) {
    insert(record, id, "job");
    let end = outcome(End::Exited { code: 1 });
    let ending = Ending { notifications, ..Ending::default() };
    assert_eq!(record.end_attempt_with(id, 1, &end, AfterAttempt::Final, &ending).unwrap(), Ended::Final);
}

fn notification(target: &str) -> NewNotification {
    let due_at = outcome(End::OomKilled).completed_at;
    NewNotification { target: json!({ "to": target }), document: json!({ "id": ID }), due_at }
}

#[test]
fn news_tell_of_what_was_removed_for_a_while() {
    let record = Record::open_in_memory().unwrap();
    ended(&record, ID, &[]);
    let before = record.news_since(0, 10).unwrap();
    record.remove(ID).unwrap();
    assert_eq!(record.news_since(0, 10).unwrap(), before);
    assert_eq!((before.len(), before[0].status, before[0].exit_code), (1, Status::Failed, Some(1)));
    assert_eq!(record.news_since(before[0].revision, 10).unwrap(), []);
    let (revision, live) = record.live_news().unwrap();
    assert_eq!((revision, live), (before[0].revision, Vec::new()));
    // Each execution here makes two changes.
    for number in 0..2100 {
        let id = format!("0199aaaa-0000-7000-8000-1000{number:08}");
        ended(&record, &id, &[]);
        record.remove(&id).unwrap();
    }
    let left = record.news_since(0, 10_000).unwrap();
    assert!(left.len() <= 2049 && left[0].id != ID, "{} from {}", left.len(), left[0].id);
}

#[test]
fn a_notification_is_had_by_one_until_its_time_is_over() {
    let record = Record::open_in_memory().unwrap();
    ended(&record, ID, &[notification("a"), notification("b")]);
    let start = outcome(End::OomKilled).completed_at;
    let later = |seconds| start + SignedDuration::from_secs(seconds);
    let take = |seconds| record.take_notification(later(seconds), later(seconds + 60)).unwrap();
    let (first, second) = (take(0).unwrap(), take(0).unwrap());
    assert_eq!((first.ordinal, second.ordinal, take(59)), (1, 2, None));
    assert_eq!(record.next_notification().unwrap(), Some(later(60)));
    record.deliver_notification(&first).unwrap();
    record.fail_notification(&second, "busy", later(1), Some(later(5))).unwrap();
    assert_eq!((take(4), record.next_notification_after(later(4)).unwrap()), (None, Some(later(5))));
    let again = take(5).unwrap();
    assert_eq!((again.ordinal, again.tries, again.problem.as_deref()), (2, 1, Some("busy")));
    // Whoever looked at the clock before it was taken on does not have it too.
    assert_eq!(take(2), None);
    // The clock is set back to before it was taken on.
    assert_eq!(take(-100).map(|again| again.ordinal), Some(2));
    record.fail_notification(&again, "gone", later(6), None).unwrap();
    assert_eq!((take(1000), record.next_notification().unwrap()), (None, None));
    assert_eq!(record.notifications(ID).unwrap().len(), 1);
    record.remove(ID).unwrap();
    assert_eq!(record.notifications(ID).unwrap(), []);
}

#[test]
fn what_is_still_to_be_told_outlives_its_execution() {
    let record = Record::open_in_memory().unwrap();
    ended(&record, ID, &[notification("a")]);
    record.remove(ID).unwrap();
    let now = outcome(End::OomKilled).completed_at;
    let due = record.take_notification(now, now).unwrap().unwrap();
    record.fail_notification(&due, "gone", now, None).unwrap();
    assert_eq!(record.notifications(ID).unwrap(), []);
}

#[test]
fn an_end_that_is_not_the_outcomes_own_tells_nothing() {
    let record = Record::open_in_memory().unwrap();
    insert(&record, ID, "job");
    record.activate(ID, 1, "sha256:1", "container", &process(7)).unwrap();
    record.cancel(ID, now()).unwrap();
    let end = outcome(End::Exited { code: 1 });
    let then = AfterAttempt::Retry { at: now(), now: now(), spent: Duration::ZERO };
    let told = [notification("a")];
    let ending = Ending { notifications: &told, ..Ending::default() };
    assert_eq!(record.end_attempt_with(ID, 1, &end, then, &ending).unwrap(), Ended::Final);
    assert_eq!(record.end_attempt_with(ID, 1, &end, AfterAttempt::Final, &ending).unwrap(), Ended::AlreadyOver);
    assert_eq!(record.notifications(ID).unwrap(), []);
}

#[test]
fn ended_ones_are_found_by_what_is_asked() {
    let record = Record::open_in_memory().unwrap();
    let ids: Vec<_> = (0..4).map(|number| format!("0199aaaa-0000-7000-8000-00000000000{number}")).collect();
    ids.iter().for_each(|id| ended(&record, id, &[]));
    insert(&record, "0199aaaa-0000-7000-8000-000000000009", "job");
    let find = |query: EndedQuery| record.ended(&query, 10).unwrap();
    let job = Some("job".to_owned());
    assert_eq!(find(EndedQuery::default()), ids);
    assert_eq!(find(EndedQuery { job: job.clone(), beyond: Some(1), ..EndedQuery::default() }), ids[..3]);
    assert_eq!(find(EndedQuery { job: job.clone(), beyond: Some(4), ..EndedQuery::default() }), [""; 0]);
    let end = outcome(End::OomKilled).completed_at;
    assert_eq!(find(EndedQuery { completed_by: Some(end), ..EndedQuery::default() }).len(), 4);
    let before = end - SignedDuration::from_secs(1);
    assert_eq!(find(EndedQuery { completed_by: Some(before), job, ..EndedQuery::default() }), [""; 0]);
    assert_eq!(record.executed_jobs().unwrap(), ["job"]);
}

#[test]
fn an_execution_that_delivers_a_notification_is_inserted_with_that_or_not_at_all() {
    let record = Record::open_in_memory().unwrap();
    ended(&record, ID, &[notification("a"), notification("b")]);
    let key = |ordinal| NotificationKey { execution_id: ID.into(), ordinal };
    let insert = |id: &str, ordinal| {
        let new = NewExecution { delivers: Some(key(ordinal)), ..new_execution(id, "after") };
        record.insert(&new, None, now()).unwrap()
    };
    assert_eq!(insert("1", 1), Insertion::Waiting);
    assert_eq!(record.notifications(ID).unwrap().len(), 1, "it is delivered");
    // Its execution may be gone by the time another process tries.
    record.cancel("1", now()).unwrap();
    record.remove("1").unwrap();
    assert_eq!(insert("2", 1), Insertion::Delivered);
    assert_eq!(record.get("2").unwrap(), None);
    assert_eq!(insert("2", 2), Insertion::Waiting);
}
