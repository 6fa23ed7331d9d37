//! Finding executions, jobs and changes, and that neither takes a look at everything.

use super::{finish, insert, new_execution, now, outcome, preparer, read, state, supervisor, wait};
use crate::outcome::{End, Outcome};
use crate::record::{
    AfterAttempt, JobTrigger, LabelFilter, NewExecution, Query, Record, RecordError, Status, TriggerKind,
};
use jiff::{SignedDuration, Timestamp};

fn later(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

fn ids(record: &Record, query: Query) -> Vec<String> {
    record.list(&query).unwrap().into_iter().map(|row| row.id).collect()
}

#[test]
fn every_filter_finds_its_own() {
    let record = Record::open_in_memory().unwrap();
    let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let rows = [
        NewExecution { labels: labels(&[("team", "a"), ("x.y\"z", "'1")]), ..new_execution("1", "one") },
        NewExecution { trigger: JobTrigger::Cli, created_at: later(10), ..new_execution("2", "one") },
        NewExecution {
            labels: labels(&[("team", "b")]),
            trigger: JobTrigger::Endpoint { remote_addr: None },
            created_at: later(20),
            ..new_execution("3", "two")
        },
    ];
    for (at, new) in [5, 15].into_iter().zip(&rows) {
        record.insert(new, Some(&preparer()), now()).unwrap();
        let outcome = Outcome { completed_at: later(at), ..outcome(End::Exited { code: 0 }) };
        record.end_attempt(&new.id, 1, &outcome, AfterAttempt::Final).unwrap();
    }
    wait(&record, &rows[2]);
    let all = Query::default;
    let label = |name: &str, value: Option<&str>| Query {
        labels: vec![LabelFilter { name: name.into(), value: value.map(Into::into) }],
        ..all()
    };
    assert_eq!(ids(&record, label("team", None)), ["3", "2", "1"]);
    assert_eq!(ids(&record, label("team", Some("a"))), ["2", "1"]);
    assert_eq!(ids(&record, label("x.y\"z", Some("'1"))), ["1"]);
    assert_eq!(ids(&record, label("x", None)), [""; 0]);
    let both = Query { labels: [label("team", None).labels, label("x.y\"z", None).labels].concat(), ..all() };
    assert_eq!(ids(&record, both), ["1"]);
    for (trigger, id) in [(TriggerKind::Internal, "1"), (TriggerKind::Cli, "2"), (TriggerKind::Endpoint, "3")] {
        assert_eq!(ids(&record, Query { trigger: Some(trigger), ..all() }), [id]);
    }
    assert_eq!(ids(&record, Query { trigger: Some(TriggerKind::Scheduler), ..all() }), [""; 0]);
    assert_eq!(ids(&record, Query { created_after: Some(later(10)), ..all() }), ["3", "2"]);
    assert_eq!(ids(&record, Query { created_before: Some(later(10)), ..all() }), ["1"]);
    let combined = Query { job: Some("one".into()), before_id: Some("2".into()), ..label("team", Some("a")) };
    assert_eq!(ids(&record, combined), ["1"]);
    // Whatever way leads there, the conditions are the same.
    let times = [None, Some(later(0)), Some(later(10)), Some(later(20)), Some(later(30))];
    let labels = [vec![], label("team", None).labels, label("team", Some("a")).labels, label("x", None).labels];
    let statuses = [vec![], vec![Status::Pending], vec![Status::Completed], vec![Status::Failed, Status::Completed]];
    for (after, before) in times.iter().flat_map(|after| times.iter().map(move |before| (*after, *before))) {
        for (labels, statuses) in labels.iter().flat_map(|it| statuses.iter().map(move |status| (it, status))) {
            for (job, before_id) in [None, Some("one")].into_iter().flat_map(|job| [(job, None), (job, Some("2"))]) {
                let query = Query {
                    job: job.map(Into::into),
                    statuses: statuses.clone(),
                    labels: labels.clone(),
                    created_after: after,
                    created_before: before,
                    before_id: before_id.map(Into::into),
                    ..all()
                };
                let is_one = |row: &crate::record::Execution| {
                    after.is_none_or(|after| row.created_at >= after)
                        && before.is_none_or(|before| row.created_at < before)
                        && (statuses.is_empty() || statuses.contains(&row.status))
                        && job.is_none_or(|job| row.job_name == job)
                        && before_id.is_none_or(|id| row.id.as_str() < id)
                        && labels.iter().all(|label| {
                            let value = row.labels.get(&label.name);
                            value.is_some_and(|value| label.value.as_ref().is_none_or(|wanted| wanted == value))
                        })
                };
                let expected: Vec<_> =
                    record.list(&all()).unwrap().into_iter().filter(is_one).map(|row| row.id).collect();
                assert_eq!(ids(&record, query.clone()), expected, "{query:?}");
            }
        }
    }
}

/// The clock was set back while they were created.
#[test]
fn pages_of_a_time_follow_each_other_by_it() {
    let record = Record::open_in_memory().unwrap();
    for (id, at) in [("1", 5), ("2", 6), ("3", 1), ("4", 2), ("5", 2), ("6", 7)] {
        record
            .insert(&NewExecution { created_at: later(at), ..new_execution(id, "job") }, Some(&preparer()), now())
            .unwrap();
    }
    let mut query = Query { created_after: Some(later(2)), limit: Some(2), ..Query::default() };
    let mut found = Vec::new();
    loop {
        let page = ids(&record, query.clone());
        query.before_id = page.last().cloned();
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, ["6", "2", "1", "5", "4"]);
    // One that has been forgotten.
    query.before_id = Some("50".into());
    assert_eq!(ids(&record, query), ["2", "1"]);
}

#[test]
fn labels_go_with_their_execution() {
    let directory = tempfile::tempdir().unwrap();
    let record = Record::open(&state(directory.path())).unwrap();
    for id in ["1", "2"] {
        let labels = [("team".into(), "a".into()), ("x".into(), id.into())].into();
        record.insert(&NewExecution { labels, ..new_execution(id, "job") }, Some(&preparer()), now()).unwrap();
        finish(&record, id, End::OomKilled).unwrap();
    }
    record.remove("1").unwrap();
    let connection = rusqlite::Connection::open(directory.path().join("coracle.db")).unwrap();
    let left = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(
        left("SELECT group_concat(name || '=' || value || '@' || execution_id) FROM execution_labels"),
        "team=a@2,x=2@2"
    );
}

#[test]
fn pages_follow_each_other_without_gap() {
    let record = Record::open_in_memory().unwrap();
    for number in 0..10 {
        let id = number.to_string();
        insert(&record, &id, "job");
        if number % 3 == 0 {
            record.activate(&id, 1, "d", "c", &supervisor()).unwrap();
        }
    }
    let mut query = Query { statuses: vec![Status::Active], limit: Some(3), ..Query::default() };
    assert_eq!(ids(&record, query.clone()), ["9", "6", "3"]);
    query.before_id = Some("3".into());
    assert_eq!(ids(&record, query), ["0"]);
}

#[test]
fn changes_come_in_their_order_and_each_once() {
    let record = Record::open_in_memory().unwrap();
    let changed =
        |since| -> Vec<String> { record.news_since(since, 99).unwrap().into_iter().map(|news| news.id).collect() };
    let revision = || record.live_news().unwrap().0;
    assert_eq!(revision(), 0);
    insert(&record, "1", "job");
    insert(&record, "2", "job");
    let first = revision();
    assert_eq!(changed(0), ["1", "2"]);
    assert_eq!(changed(first), [""; 0]);
    record.activate("1", 1, "d", "c", &supervisor()).unwrap();
    assert_eq!(changed(first), ["1"]);
    assert_eq!(changed(0), ["2", "1"]);
    assert_eq!(record.news_since(0, 1).unwrap()[0].id, "2");
    // Each visible change, and nothing that could not be seen, has a number of its own.
    let mut last = revision();
    let mut expect = |what: &str, step: &dyn Fn(), changes: bool| {
        step();
        let now = revision();
        assert_eq!(now > last, changes, "{what}");
        last = now;
    };
    expect("cancel", &|| _ = record.cancel("1", now()).unwrap(), true);
    expect("again", &|| _ = record.cancel("1", now()).unwrap(), false);
    let then = AfterAttempt::Retry { at: now(), now: now(), spent: std::time::Duration::ZERO };
    let failed = outcome(End::OomKilled);
    expect("retry", &|| _ = record.end_attempt("2", 1, &failed, then).unwrap(), true);
    expect("claim", &|| assert!(record.claim_next(&preparer(), now(), &|_| true).unwrap().is_some()), false);
    expect("end", &|| _ = finish(&record, "1", End::OomKilled).unwrap(), true);
    expect("again", &|| _ = finish(&record, "1", End::OomKilled).unwrap(), false);
    // It does not fall when its row goes.
    record.remove("1").unwrap();
    expect("remove", &|| (), false);
    expect("insert", &|| insert(&record, "3", "job"), true);
    assert_eq!(read(&record, "3").revision, revision());
}

#[test]
fn jobs_are_registered_replaced_and_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let record = Record::open(&state(directory.path())).unwrap();
    let spec = |number| serde_json::json!({"number": number});
    assert_eq!(record.job("b").unwrap(), None);
    record.register_job("b", &spec(1), now()).unwrap();
    record.register_job("a", &spec(2), now()).unwrap();
    record.register_job("b", &spec(3), later(5)).unwrap();
    let job = record.job("b").unwrap().expect("a job");
    assert_eq!((job.spec, job.registered_at, job.updated_at), (spec(3), now(), later(5)));
    let names: Vec<String> = record.jobs().unwrap().into_iter().map(|job| job.name).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(record.unregister_job("b").unwrap());
    assert!(!record.unregister_job("b").unwrap());
    assert_eq!(record.jobs().unwrap().len(), 1);
    rusqlite::Connection::open(directory.path().join("coracle.db"))
        .unwrap()
        .execute("UPDATE jobs SET spec = 'x'", [])
        .unwrap();
    let error = record.job("a").unwrap_err();
    assert!(matches!(error, RecordError::UnreadableJob { .. }), "{error:?}");
    assert!(error.to_string().contains("job a holds an unreadable spec"), "{error}");
}

#[test]
fn a_record_in_memory_has_no_file_and_is_its_own() {
    let record = Record::open_in_memory().unwrap();
    insert(&record, "1", "job");
    record.make_durable().unwrap();
    assert_eq!(Record::open_in_memory().unwrap().get("1").unwrap(), None);
    assert_eq!(read(&record, "1").job_name, "job");
    assert_eq!(record.integrity_check().unwrap(), [""; 0]);
}
