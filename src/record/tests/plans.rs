//! That no common question reads every row: how SQLite answers each, in its own words
//! (<https://sqlite.org/eqp.html>).

use super::{new_execution, now, outcome, preparer, supervisor};
use crate::outcome::{End, Outcome};
use crate::record::{AfterAttempt, LabelFilter, NewExecution, Query, Record, Status};
use rusqlite::trace::{TraceEvent, TraceEventCodes};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Scans that are meant: of few rows by what their index holds, of the result in its order up to a limit, of
/// an intermediate result, of one-row tables.
const BOUNDED: &[&str] = &[
    "SCAN executions USING INDEX sqlite_autoindex_executions_1",
    "SCAN executions USING COVERING INDEX sqlite_autoindex_executions_1",
    "executions_not_terminal",
    "executions_unsuccessful",
    "executions_keep_last_total",
    "executions_reserved",
    // Counts read no rows.
    "SCAN executions USING COVERING INDEX",
    "executions_cancelled",
    "executions_retried",
    "SCAN CONSTANT ROW",
    "SCAN (subquery",
    "SCAN revision",
    "SCAN json_each VIRTUAL TABLE",
    "SCAN jobs",
    "SCAN live",
    // One row for each job name that waits, found by a search each.
    "SCAN job",
];

#[test]
fn no_question_reads_every_row() {
    let record = Record::open_in_memory().unwrap();
    let statements = statements_of(&record, ask_everything);
    assert!(statements.len() > 30, "{statements:#?}");
    let mut found = Vec::new();
    for sql in statements.iter().filter(|sql| !sql.starts_with("PRAGMA") && !sql.starts_with("COMMIT")) {
        for step in plan_of(&record, sql) {
            let is_scan = step.contains("SCAN") && !BOUNDED.iter().any(|bounded| step.contains(bounded));
            // A sort of more than the live rows would read all that match.
            let sorts = step.contains("TEMP B-TREE FOR ORDER BY") && !sql.contains("status IN ('pending', 'active')");
            if is_scan || sorts {
                found.push(format!("{step}: {sql}"));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    let failed = Query { statuses: vec![Status::Failed], limit: Some(50), ..Query::default() };
    let plan = plan_of(&record, &failed.statement().0);
    assert!(plan.iter().any(|step| step.contains("executions_unsuccessful")), "{plan:#?}");
}

/// Each with what its plan has to begin with.
fn ways() -> Vec<(Query, &'static str)> {
    let since = Query { created_after: Some(now()), limit: Some(50), ..Query::default() };
    let labels = |value: Option<&str>| vec![LabelFilter { name: "team".into(), value: value.map(Into::into) }];
    let label = Query { labels: labels(Some("a")), limit: Some(50), ..Query::default() };
    let job = Some("job".to_owned());
    vec![
        (since.clone(), "SEARCH executions USING INDEX executions_by_creation (created_at>?)"),
        (
            Query { created_after: None, created_before: Some(now()), ..since.clone() },
            "SEARCH executions USING INDEX executions_by_creation (created_at<?)",
        ),
        (
            Query { created_before: Some(now()), ..since.clone() },
            "SEARCH executions USING INDEX executions_by_creation (created_at>? AND created_at<?)",
        ),
        (Query { job: job.clone(), ..since.clone() }, "SEARCH executions USING INDEX executions_by_creation"),
        (
            Query { before_id: Some("1".into()), ..since.clone() },
            "SEARCH executions USING INDEX executions_by_creation",
        ),
        (
            Query { statuses: vec![Status::Failed], ..since.clone() },
            "SEARCH executions USING INDEX executions_by_creation",
        ),
        (Query { only_active: true, ..since.clone() }, "SCAN executions USING INDEX executions_not_terminal"),
        (
            Query { labels: label.labels.clone(), ..since.clone() },
            "SEARCH executions USING INDEX executions_by_creation",
        ),
        (label.clone(), "SEARCH driver USING PRIMARY KEY (name=? AND value=?)"),
        (
            Query { before_id: Some("1".into()), ..label.clone() },
            "SEARCH driver USING PRIMARY KEY (name=? AND value=? AND execution_id<?)",
        ),
        (
            Query { labels: labels(None), ..label.clone() },
            "SEARCH driver USING COVERING INDEX execution_labels_by_name (name=?)",
        ),
        (Query { labels: [labels(None), labels(Some("a"))].concat(), ..label.clone() }, "SEARCH driver USING"),
        (Query { job, ..label.clone() }, "SEARCH executions USING INDEX executions_by_job (job_name=?)"),
        (Query { only_active: true, ..label.clone() }, "SCAN executions USING INDEX executions_not_terminal"),
        (Query { statuses: vec![Status::Failed], ..label }, "SCAN executions USING INDEX executions_unsuccessful"),
    ]
}

#[test]
fn times_and_labels_are_found_in_their_indexes() {
    let record = Record::open_in_memory().unwrap();
    for (query, expected) in ways() {
        let plan = plan_of(&record, &query.statement().0);
        assert!(plan[0].starts_with(expected), "{query:?}: {plan:#?}");
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{query:?}: {plan:#?}");
    }
}

fn statements_of(record: &Record, ask: impl FnOnce(&Record)) -> BTreeSet<String> {
    let statements = Arc::new(Mutex::new(BTreeSet::new()));
    let notes = statements.clone();
    let note = move |event: TraceEvent<'_>| {
        // What triggers do comes as a comment.
        if let TraceEvent::Stmt(_, sql) = event
            && !sql.starts_with("--")
        {
            notes.lock().unwrap().insert(sql.to_owned());
        }
    };
    record.lock().trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(note)).unwrap();
    ask(record);
    record.lock().trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, None::<fn(TraceEvent<'_>)>).unwrap();
    std::mem::take(&mut statements.lock().unwrap())
}

fn plan_of(record: &Record, sql: &str) -> Vec<String> {
    let connection = record.lock();
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get("detail").unwrap());
    }
    steps
}

/// Every call of the record, with every part of a query that is to be answered from an index.
fn ask_everything(record: &Record) {
    let full = |id: &str| NewExecution {
        idempotency_key: Some(id.into()),
        max_concurrent: Some(1),
        global_limit: Some(9),
        queue_deadline: Some(Duration::from_secs(1)),
        ttl: Some(Duration::ZERO),
        keep_last: Some(1),
        keep_last_total: Some(1),
        on_conflict: crate::record::OnConflict::Replace,
        labels: [("team".into(), "a".into())].into(),
        ..new_execution(id, "job")
    };
    record.insert(&full("1"), Some(&preparer()), now()).unwrap();
    record.activate("1", 1, "d", "c", &supervisor()).unwrap();
    record.insert(&full("2"), Some(&preparer()), now()).unwrap();
    record.cancel("1", now()).unwrap();
    record.end_attempt("1", 1, &outcome(End::OomKilled), AfterAttempt::Final).unwrap();
    assert!(record.claim_next(&preparer(), now(), &|_| true).unwrap().is_some());
    record.release("2", &preparer()).unwrap();
    record.claim("2", &preparer(), now(), &|_| true).unwrap();
    let then = AfterAttempt::Retry { at: now(), now: now(), spent: Duration::ZERO };
    record.end_attempt("2", 1, &outcome(End::OomKilled), then).unwrap();
    record.next_due(now()).unwrap();
    record.overdue(now(), 9).unwrap();
    record.attended().unwrap();
    record.occupied().unwrap();
    record.keepers().unwrap();
    record.depends_on_preparers(Some(&preparer())).unwrap();
    record.end_waiting("2", &Outcome { attempt: 2, ..outcome(End::OomKilled) }).unwrap();
    record.attempts("2").unwrap();
    record.news_since(0, 9).unwrap();
    record.live_news().unwrap();
    record.find_prefix("1").unwrap();
    record.expired(now(), 9).unwrap();
    record.beyond_keep_last("job", 9).unwrap();
    record.beyond_total(None, 9).unwrap();
    record.non_terminal().unwrap();
    let newest = Query { limit: Some(50), ..Query::default() };
    for query in [
        newest.clone(),
        Query { job: Some("job".into()), ..newest.clone() },
        Query { before_id: Some("2".into()), ..newest.clone() },
        Query { job: Some("job".into()), before_id: Some("2".into()), ..newest.clone() },
        Query { statuses: vec![Status::Active], ..newest.clone() },
        Query { statuses: vec![Status::Failed], ..newest.clone() },
        Query { statuses: vec![Status::Pending, Status::Active], job: Some("job".into()), ..newest },
    ] {
        record.list(&query).unwrap();
    }
    for (query, _) in ways() {
        record.list(&query).unwrap();
    }
    record.totals().unwrap();
    record.totals_of("job").unwrap();
    record.job_totals(9).unwrap();
    record.recent_ends("job", 9).unwrap();
    record.queue_position("2").unwrap();
    record.register_job("job", &serde_json::json!({}), now()).unwrap();
    record.jobs().unwrap();
    record.job("job").unwrap();
    record.unregister_job("job").unwrap();
    record.remove("1").unwrap();
    assert_eq!(record.remove_many(&["2"]).unwrap(), 1);
}
