//! Attempts, and the waits between them.

use crate::harness::{JOB, SECOND, World, job, passes, settled, soon};
use coracle::JobExecutionId;
use coracle::exec::{LogEvent, LogQuery};
use coracle::testing::{MockCall, Script};
use futures_util::StreamExt;
use std::time::Duration;

const POLICY: &str = "retry: {max_attempts: 3, backoff: {initial: 10s, multiplier: 2, max: 60s}}";

fn env_of(world: &World, id: &JobExecutionId, attempt: u32) -> Vec<(String, String)> {
    let of = |call: MockCall| match call {
        MockCall::Create { container, env, .. } => {
            (container.execution() == id.as_str() && container.attempt() == attempt).then_some(env)
        }
        _ => None,
    };
    world.runtime.calls().into_iter().find_map(of).expect("a creation")
}

async fn log_of(world: &World, id: &JobExecutionId, attempt: u32) -> Vec<u8> {
    let log = world.executor.logs_of_attempt(id, attempt, LogQuery::default()).await.expect("a log");
    let bytes = log.filter_map(async |event| match event.expect("a sound log") {
        LogEvent::Entry(entry) => Some(entry.bytes),
        LogEvent::CaughtUp { .. } => None,
    });
    bytes.concat().await
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_after_growing_waits() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::exits_in_turn(&[1, 2, 0]).prints("hello"));
    let id = world.trigger(&job(POLICY)).await;
    let execution = world.end(&id).await;
    assert_eq!(execution.status.to_string(), "completed(0)");
    let attempts: Vec<_> = execution.attempts.iter().map(|attempt| (attempt.number, attempt.exit_code)).collect();
    assert_eq!(attempts, [(1, Some(1)), (2, Some(2)), (3, Some(0))]);
    let took = world.clock.elapsed();
    assert!((30 * SECOND..31 * SECOND).contains(&took), "{took:?}");
    for attempt in 1..=3 {
        assert_eq!(log_of(&world, &id, attempt).await, b"hello");
        let told = ("CORACLE_ATTEMPT".to_owned(), attempt.to_string());
        assert!(env_of(&world, &id, attempt).contains(&told));
    }
    settled().await;
    assert_eq!(world.runtime.leftovers(), []);
    world.executor.remove(&id).await.expect("it has ended");
    assert_eq!(world.runtime.kept_logs(), []);
}

#[tokio::test(start_paused = true)]
async fn the_last_failure_is_the_result() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::exits_in_turn(&[1, 2, 3, 0]));
    let id = world.trigger(&job(POLICY)).await;
    assert_eq!(world.ended_as(&id).await, "failed(3)");
}

#[tokio::test(start_paused = true)]
async fn exit_codes_choose() {
    let world = World::new().await;
    for (codes, policy, attempts) in [
        ([75, 0], "on_exit_codes: [75]", 2),
        ([74, 0], "on_exit_codes: [75]", 1),
        ([2, 0], "never_on_exit_codes: [2]", 1),
        ([1, 0], "never_on_exit_codes: [2]", 2),
    ] {
        world.runtime.on(JOB, Script::exits_in_turn(&codes));
        let id = world.trigger(&job(&format!("retry: {{max_attempts: 2, {policy}}}"))).await;
        assert_eq!(world.end(&id).await.attempts.len(), attempts, "{codes:?} {policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_for_its_next_attempt_holds_nobody_up() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::exits_in_turn(&[1, 0]));
    let spec = job("max_concurrent: 1\nretry: {max_attempts: 2, backoff: {initial: 100s, max: 100s}}");
    let first = world.trigger(&spec).await;
    settled().await;
    world.runtime.on(JOB, Script::default());
    let second = world.trigger(&spec).await;
    assert_eq!(world.ended_as(&second).await, "completed(0)");
    assert!(world.clock.elapsed() < 50 * SECOND);
    assert_eq!(world.status(&first).await, "pending");
    assert_eq!(world.ended_as(&first).await, "completed(0)");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_makes_no_wait_longer() {
    for seconds in [-3600, -1] {
        let world = World::new().await;
        world.runtime.on(JOB, Script::exits_in_turn(&[1, 0]));
        let id = world.trigger(&job(POLICY)).await;
        passes(5 * SECOND).await;
        world.clock.set_by(seconds);
        assert_eq!(world.ended_as(&id).await, "completed(0)");
        let took = world.clock.elapsed();
        assert!(took <= Duration::from_secs(12), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_forward_ends_the_wait_at_the_next_look() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::exits_in_turn(&[1, 0]));
    let spec = job("retry: {max_attempts: 2, backoff: {initial: 1h, max: 1h}}");
    let id = world.trigger(&spec).await;
    settled().await;
    world.clock.set_by(3600);
    // Any change of the record is a reason to look.
    let other = world.trigger(&job("")).await;
    soon(world.executor.wait(&other)).await.expect("an end");
    assert_eq!(world.ended_as(&id).await, "completed(0)");
    assert!(world.clock.elapsed() < 10 * SECOND);
}
