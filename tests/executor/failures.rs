//! A runtime that fails.

use crate::harness::{IMAGE, JOB, World, job, settled};
use coracle::outcome::End;
use coracle::testing::{MockMethod, Script};

const POLICY: &str = "retry: {max_attempts: 2, backoff: {initial: 1s}}";

#[tokio::test(start_paused = true)]
async fn what_cannot_be_prepared_or_started_has_failed() {
    for (method, message) in [
        (MockMethod::Pull, "failed to get image \"example.org/test:v1\": out of order"),
        (MockMethod::Create, "failed to create the container: out of order"),
        (MockMethod::Start, "failed to start the container: out of order"),
    ] {
        let world = World::new().await;
        world.runtime.on(IMAGE, Script::default().fails(method, "out of order"));
        let id = world.trigger(&job("")).await;
        let execution = world.end(&id).await;
        let reason = match execution.status {
            coracle::JobStatus::Failed { reason, exit_code: None } => reason,
            status => panic!("{status}"),
        };
        assert_eq!(reason, message);
        settled().await;
        assert_eq!(world.runtime.leftovers(), [], "{method:?}");
        assert_eq!(world.executor.active_execution_count().await.expect("a count"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_is_tried_again() {
    for method in [MockMethod::Pull, MockMethod::Create, MockMethod::Start] {
        let world = World::new().await;
        world.runtime.on(IMAGE, Script::default().fails_times(method, "out of order", 1));
        let id = world.trigger(&job(POLICY)).await;
        let execution = world.end(&id).await;
        assert_eq!((execution.status.to_string().as_str(), execution.attempts.len()), ("completed(0)", 2));
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_cannot_be_seen_is_looked_for_again() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::default().fails_times(MockMethod::Wait, "out of order", 3));
    let spec = job("max_concurrent: 1");
    let (first, second) = (world.trigger(&spec).await, world.trigger(&spec).await);
    assert_eq!(world.ended_as(&first).await, "completed(0)");
    assert_eq!(world.ended_as(&second).await, "completed(0)");
    assert_eq!(world.end(&first).await.attempts.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_removed_changes_no_result() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::exits(3).fails(MockMethod::Remove, "out of order"));
    let spec = job("max_concurrent: 1");
    let (first, second) = (world.trigger(&spec).await, world.trigger(&spec).await);
    assert_eq!((world.ended_as(&first).await, world.ended_as(&second).await), ("failed(3)".into(), "failed(3)".into()));
    assert_eq!(world.end(&first).await.notes, ["not everything could be removed: out of order"]);
    let error = world.executor.remove(&first).await.expect_err("its files stay");
    assert_eq!(error.to_string(), "out of order");
    assert_eq!(world.status(&first).await, "failed(3)");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_cannot_be_looked_at_has_a_status() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::runs().fails(MockMethod::State, "out of order"));
    let id = world.trigger(&job("")).await;
    let container = world.running(&id).await;
    assert_eq!(world.status(&id).await, "initializing");
    container.exit(0);
    assert_eq!(world.ended_as(&id).await, "completed(0)");
}

#[tokio::test(start_paused = true)]
async fn a_lost_container_has_failed() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::runs());
    let id = world.trigger(&job("")).await;
    world.running(&id).await.lose();
    let execution = world.end(&id).await;
    assert!(matches!(execution.end, Some(End::SupervisorLost { .. })), "{:?}", execution.end);
    assert_eq!(execution.status.to_string(), "failed");
    settled().await;
    assert_eq!(world.runtime.leftovers(), []);
}
