//! Limits, the order of the queue, and what a conflict leads to.

use crate::harness::{JOB, SECOND, World, job, job_named, settled, soon};
use coracle::exec::{ListQuery, StatusFilter};
use coracle::testing::{MockCall, Script};
use coracle::{ExecError, JobExecutionId, JobTrigger};
use futures_util::future::join_all;
use std::time::Duration;

/// The executions in the order of their starts.
fn starts(world: &World) -> Vec<JobExecutionId> {
    let start = |call: MockCall| match call {
        MockCall::Start { container } => Some(JobExecutionId(container.execution().to_owned())),
        _ => None,
    };
    world.runtime.calls().into_iter().filter_map(start).collect()
}

async fn statuses(world: &World, ids: &[JobExecutionId]) -> Vec<String> {
    let mut statuses = Vec::new();
    for id in ids {
        statuses.push(world.status(id).await);
    }
    statuses
}

#[tokio::test(start_paused = true)]
async fn as_many_run_as_may_and_the_oldest_goes_first() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::runs());
    let spec = job("max_concurrent: 2");
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(world.trigger(&spec).await);
    }
    settled().await;
    assert_eq!(statuses(&world, &ids).await, ["running", "running", "pending", "pending", "pending", "pending"]);
    assert_eq!(world.executor.active_execution_count().await.expect("a count"), 2);
    // Out of order: whoever ends makes room for the oldest that waits.
    for (ended, at) in [1, 2, 0, 3, 5, 4].into_iter().enumerate() {
        world.running(&ids[at]).await.exit(0);
        assert_eq!(world.ended_as(&ids[at]).await, "completed(0)");
        // Two that are claimed one after the other may be made at the same time.
        if let Some(next) = ids.get(2 + ended) {
            world.running(next).await;
        }
    }
    assert_eq!(starts(&world), ids);
    assert_eq!(world.runtime.max_running(Some(JOB)), 2);
}

#[tokio::test(start_paused = true)]
async fn jobs_have_limits_of_their_own_and_one_in_common() {
    let world = World::with(|config| config.max_concurrent = 3).await;
    for name in ["a", "b", "c"] {
        world.runtime.on(name, Script::default().takes(SECOND));
    }
    let limits = [("b", "max_concurrent: 2"), ("a", "max_concurrent: 1"), ("c", "")];
    let mut ids = Vec::new();
    for (name, policy) in limits {
        for _ in 0..5 {
            ids.push(world.trigger(&job_named(name, policy)).await);
        }
    }
    for id in &ids {
        assert_eq!(world.ended_as(id).await, "completed(0)");
    }
    let most = |name| world.runtime.max_running(name);
    assert_eq!((most(Some("a")), most(Some("b")), most(None)), (1, 2, 3));
    // Each job's own are taken in their order; those that are made at the same time may overtake each other.
    let order = starts(&world);
    for (of_job, at_once) in ids.chunks(5).zip([2, 1, 3]) {
        let started = order.iter().filter_map(|id| of_job.iter().position(|own| own == id));
        let started: Vec<_> = started.collect();
        assert_eq!(started.len(), of_job.len(), "each starts once");
        assert!(started.iter().enumerate().all(|(at, own)| *own < at + at_once), "{started:?}, {at_once} at once");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_all_run_at_once() {
    let world = World::with(|config| config.max_concurrent = 0).await;
    world.runtime.on(JOB, Script::runs());
    for _ in 0..30 {
        world.trigger(&job("")).await;
    }
    settled().await;
    assert_eq!(world.runtime.running(Some(JOB)).len(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_that_wait_are_rows_and_all_end() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::runs());
    let spec = job("max_concurrent: 1");
    let mut ids = Vec::new();
    for _ in 0..1000 {
        ids.push(world.trigger(&spec).await);
    }
    settled().await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert!(tasks < 10, "{tasks} tasks for one execution that runs");
    assert_eq!(starts(&world).len(), 1);
    let pending = ListQuery { statuses: vec![StatusFilter::Pending], limit: Some(600), ..ListQuery::default() };
    assert_eq!(world.executor.query(&pending).await.expect("a list").len(), 600);

    world.runtime.on(JOB, Script::default());
    world.running(&ids[0]).await.exit(0);
    soon(world.executor.drain(Duration::from_secs(3000))).await.expect("all end");
    assert_eq!(starts(&world), ids);
    assert_eq!(world.runtime.max_running(None), 1);
    assert_eq!(world.runtime.leftovers(), []);
}

#[tokio::test(start_paused = true)]
async fn many_may_wait_for_one_and_for_each() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::runs());
    let spec = job("max_concurrent: 4");
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(world.trigger(&spec).await);
    }
    let waiting = ids.iter().flat_map(|id| [id, &ids[0], &ids[39]]).map(|id| {
        let (executor, id) = (world.executor.clone(), id.clone());
        tokio::spawn(async move { executor.wait(&id).await.expect("an end").status.to_string() })
    });
    let waiting: Vec<_> = waiting.collect();
    for id in &ids {
        world.running(id).await.exit(0);
    }
    for ended in soon(join_all(waiting)).await {
        assert_eq!(ended.expect("no panic"), "completed(0)");
    }
}

#[tokio::test(start_paused = true)]
async fn forbid_refuses_what_is_one_too_many() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::runs());
    let spec = job("on_conflict: forbid");
    let first = world.trigger(&spec).await;
    let error = world.executor.trigger(JOB, &spec, JobTrigger::Cli).await.expect_err("one runs");
    match &error {
        ExecError::Conflict { job, limit, with } => {
            assert_eq!((job.as_str(), *limit, with), (JOB, 1, &vec![first.clone()]));
        }
        _ => panic!("{error}"),
    }
    assert_eq!(world.executor.list_executions(JOB).await.expect("a list").len(), 1);
    // Others do not count.
    let other = world.trigger(&job_named("other", "on_conflict: forbid")).await;
    assert_eq!(world.ended_as(&other).await, "completed(0)");
    world.running(&first).await.exit(0);
    world.end(&first).await;
    world.trigger(&spec).await;
}

#[tokio::test(start_paused = true)]
async fn replace_cancels_what_runs_and_waits() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::runs().ignores_stop());
    let running = world.trigger(&job("max_concurrent: 1")).await;
    world.running(&running).await;
    let waiting = world.trigger(&job("max_concurrent: 1")).await;
    let new = world.trigger(&job("on_conflict: replace")).await;
    assert_eq!(world.status(&waiting).await, "cancelled");
    // It does not begin before the other has ended.
    assert_eq!((world.status(&running).await, world.status(&new).await), ("running".into(), "pending".into()));
    assert_eq!(world.ended_as(&running).await, "cancelled");
    let container = world.running(&new).await;
    assert_eq!(world.clock.elapsed().as_secs(), 10);
    container.exit(0);
    assert_eq!(world.ended_as(&new).await, "completed(0)");
    assert_eq!(world.runtime.max_running(Some(JOB)), 1);
}

#[tokio::test(start_paused = true)]
async fn allow_knows_no_limit_of_the_job() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::runs());
    for _ in 0..4 {
        world.trigger(&job("on_conflict: allow")).await;
    }
    settled().await;
    assert_eq!(world.runtime.running(Some(JOB)).len(), 4);
}
