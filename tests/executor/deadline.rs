//! Deadlines: of an execution as a whole, and in the queue.

use crate::harness::{IMAGE, JOB, SECOND, World, job, settled};
use coracle::outcome::{End, Stopped};
use coracle::testing::{MockMethod, Script};
use std::time::Duration;

/// How a job with this script ends whose deadline is five seconds, and when.
async fn end_of(script: Script) -> (End, Duration) {
    let world = World::new().await;
    world.runtime.on(IMAGE, script);
    let id = world.trigger(&job("deadline: 5s\nretry: {max_attempts: 5}")).await;
    let execution = world.end(&id).await;
    assert_eq!(execution.attempts.len(), 1, "there is no other attempt after a deadline");
    settled().await;
    assert_eq!(world.runtime.leftovers(), []);
    (execution.end.expect("an end"), world.clock.elapsed())
}

#[tokio::test(start_paused = true)]
async fn every_part_of_an_execution_counts() {
    let after = 5 * SECOND;
    let killed = Stopped::Signalled { signal: 9 };
    for (script, how, ends_after) in [
        (Script::default().pull_hangs(), Stopped::BeforeStart, after),
        (Script::default().create_hangs(), Stopped::BeforeStart, after),
        (Script::default().pull_takes(3 * SECOND).create_takes(3 * SECOND), Stopped::BeforeStart, after),
        (Script::runs().step_hangs("one"), Stopped::BeforeStart, after),
        (Script::runs(), Stopped::Signalled { signal: 15 }, after),
        (Script::runs().exits_when_stopped(0), Stopped::Exited { code: 0 }, after),
        (Script::runs().pull_takes(4 * SECOND), Stopped::Signalled { signal: 15 }, after),
        (Script::runs().ignores_stop(), killed, after + 10 * SECOND),
    ] {
        let told = format!("{script:?}");
        let (end, took) = end_of(script).await;
        assert_eq!(end, End::Deadline { after, how }, "{told}");
        assert!((ends_after..ends_after + SECOND).contains(&took), "{took:?} {told}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_ends_in_time_is_not_touched() {
    let world = World::new().await;
    world.runtime.on(IMAGE, Script::default().pull_takes(2 * SECOND).takes(2 * SECOND));
    let id = world.trigger(&job("deadline: 5s")).await;
    assert_eq!(world.ended_as(&id).await, "completed(0)");
}

#[tokio::test(start_paused = true)]
async fn time_in_the_queue_does_not_count() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::default().takes(4 * SECOND));
    let spec = job("deadline: 5s\nmax_concurrent: 1");
    for id in [world.trigger(&spec).await, world.trigger(&spec).await, world.trigger(&spec).await] {
        assert_eq!(world.ended_as(&id).await, "completed(0)");
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_share_a_deadline_with_their_preparation_and_waits() {
    let world = World::new().await;
    world.runtime.on(IMAGE, Script::default().pull_takes(8 * SECOND));
    world.runtime.on(JOB, Script::exits(1));
    let policy = "deadline: 20s\nretry: {max_attempts: 5, backoff: {initial: 10s}}";
    let id = world.trigger(&job(policy)).await;
    let execution = world.end(&id).await;
    // 8 seconds of the first attempt, 10 of the wait, and 2 for an image that takes 8.
    let end = End::Deadline { after: 20 * SECOND, how: Stopped::BeforeStart };
    assert_eq!((execution.end, execution.attempts.len()), (Some(end), 2));
    let took = world.clock.elapsed();
    assert!((20 * SECOND..21 * SECOND).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn no_attempt_is_waited_for_that_would_come_too_late() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::exits(1));
    let policy = "deadline: 15s\nretry: {max_attempts: 9, backoff: {initial: 10s, multiplier: 2}}";
    let id = world.trigger(&job(policy)).await;
    let execution = world.end(&id).await;
    assert_eq!((execution.status.to_string().as_str(), execution.attempts.len()), ("failed(1)", 2));
    assert!(world.clock.elapsed() < 11 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn what_waits_too_long_in_the_queue_ends_there() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::runs());
    let spec = job("max_concurrent: 1\nqueue_deadline: 30s");
    let (first, second) = (world.trigger(&spec).await, world.trigger(&spec).await);
    let container = world.running(&first).await;
    let execution = world.end(&second).await;
    let took = world.clock.elapsed();
    assert!((30 * SECOND..31 * SECOND).contains(&took), "{took:?}");
    assert_eq!(execution.end, Some(End::Deadline { after: 30 * SECOND, how: Stopped::InQueue }));
    // The one that runs has left the queue in time.
    assert_eq!(world.status(&first).await, "running");
    container.exit(0);
    assert_eq!(world.ended_as(&first).await, "completed(0)");
    assert_eq!(world.runtime.calls().iter().filter(|call| call.method() == MockMethod::Create).count(), 1);
}
