//! The stream of changes, as a subscriber sees it.

use super::*;
use futures_util::{Stream, StreamExt};
use std::collections::BTreeMap;
use std::pin::{Pin, pin};

async fn next(changes: &mut Pin<&mut impl Stream<Item = Result<StatusChange, ExecError>>>) -> StatusChange {
    tokio::time::timeout(LONG, changes.next()).await.expect("a change").expect("no end").unwrap()
}

/// The next changes until so many executions have ended, as `attempt status`.
async fn lives(
    changes: &mut Pin<&mut impl Stream<Item = Result<StatusChange, ExecError>>>,
    ends: usize,
) -> BTreeMap<JobExecutionId, Vec<String>> {
    let mut lives: BTreeMap<JobExecutionId, Vec<String>> = BTreeMap::new();
    let mut ended = 0;
    while ended < ends {
        let change = next(changes).await;
        ended += usize::from(change.status.is_terminal());
        lives.entry(change.id).or_default().push(format!("{} {}", change.attempt, change.status));
    }
    lives
}

#[tokio::test]
async fn a_life_is_told_as_it_goes_on() {
    let (runtime, executor) = in_memory().await;
    let mut changes = pin!(executor.subscribe());
    let id = trigger(&executor, &job("holds", "{deadline: 1h}")).await;
    let mut seen = Vec::new();
    while seen.last() != Some(&JobStatus::Running) {
        let change = next(&mut changes).await;
        assert_eq!((&change.id, change.job_name.as_str(), change.attempt), (&id, "holds", 1));
        seen.push(change.status);
    }
    assert_eq!(seen, [JobStatus::Pending, JobStatus::Initializing, JobStatus::Running]);
    runtime.exit(&id, 1, 3);
    let change = next(&mut changes).await;
    assert!(matches!(change.status, JobStatus::Failed { exit_code: Some(3), .. }), "{change:?}");
}

#[tokio::test]
async fn stages_of_other_executors_are_heard() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = Arc::new(TestRuntime::on(directory.path()));
    let executor = JobExecutor::new(runtime.clone()).await.unwrap();
    let other = JobExecutor::new(runtime.clone()).await.unwrap();
    let mut changes = pin!(other.subscribe());
    let mut second = pin!(other.subscribe());
    let id = trigger(&executor, &job("holds", "{deadline: 1h}")).await;
    while next(&mut changes).await.status != JobStatus::Running {}
    // From now on: it runs already.
    let mut late = pin!(executor.subscribe());
    runtime.exit(&id, 1, 0);
    let end = next(&mut late).await;
    assert!(end.status.is_terminal(), "{end:?}");
    assert!(next(&mut changes).await.status.is_terminal());
    let expected = ["1 pending", "1 initializing", "1 running", "1 completed(0)"].map(String::from);
    assert_eq!(lives(&mut second, 1).await[&id], expected);
}

#[tokio::test]
async fn who_is_slow_misses_nothing() {
    let (_, executor) = in_memory().await;
    let mut changes = pin!(executor.subscribe());
    let retried = job("fails", "{retry: {max_attempts: 3, backoff: {initial: 1ms}}}");
    let forgotten = spec("gone", "lifecycle: {delete_on_exit: true}");
    let (retried, forgotten) = (run(&executor, &retried).await.id, run(&executor, &forgotten).await.id);
    until(&executor, async || ids(&executor).await == [retried.clone()]).await;
    let mut many = Vec::new();
    for _ in 0..100 {
        many.push(run(&executor, &job("many", "{deadline: 1h}")).await.id);
    }
    let lives = lives(&mut changes, 102).await;
    let once = ["1 pending", "1 initializing", "1 running", "1 completed(0)"].map(String::from);
    assert_eq!(lives[&forgotten], once);
    assert!(many.iter().all(|id| lives[id] == once));
    let thrice = [
        ["1 pending", "1 initializing", "1 running"],
        ["2 pending", "2 initializing", "2 running"],
        ["3 pending", "3 initializing", "3 running"],
    ];
    let thrice: Vec<String> = thrice.concat().into_iter().chain(["3 failed(1)"]).map(String::from).collect();
    assert_eq!(lives[&retried], thrice);
}

#[tokio::test]
async fn what_never_began_ends_from_where_it_was() {
    let (runtime, executor) = in_memory().await;
    let mut changes = pin!(executor.subscribe());
    let one = job("holds", "{max_concurrent: 1}");
    let first = trigger(&executor, &one).await;
    let second = trigger(&executor, &one).await;
    executor.cancel(&second).await.unwrap();
    runtime.exit(&first, 1, 0);
    let lives = lives(&mut changes, 2).await;
    assert_eq!(lives[&second], ["1 pending", "1 cancelled"].map(String::from));
}
