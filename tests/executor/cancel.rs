//! Cancelling, at every moment of an execution's life.

use crate::harness::{IMAGE, JOB, SECOND, World, job, passes, settled, soon};
use coracle::outcome::{End, Stopped};
use coracle::testing::{MockCall, MockMethod, Script};
use coracle::{ExecError, JobExecutionId};
use std::time::Duration;

/// What is true of every cancelled execution.
async fn is_cancelled(world: &World, id: &JobExecutionId) {
    let execution = world.end(id).await;
    assert_eq!(execution.status.to_string(), "cancelled");
    assert!(matches!(execution.end, Some(End::Cancelled { .. })), "{:?}", execution.end);
    let error = world.executor.cancel(id).await.expect_err("it has ended");
    assert!(matches!(&error, ExecError::Ended { status, .. } if status == "cancelled"), "{error}");
    // What is being prepared is left undisturbed for a moment.
    passes(SECOND).await;
    assert_eq!(world.status(id).await, "cancelled");
    assert_eq!(world.runtime.leftovers(), []);
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_never_begins() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::runs());
    let spec = job("max_concurrent: 1");
    let (first, second) = (world.trigger(&spec).await, world.trigger(&spec).await);
    let running = world.running(&first).await;
    world.executor.cancel(&second).await.expect("it waits");
    assert_eq!(world.status(&second).await, "cancelled");
    running.exit(0);
    assert_eq!(world.ended_as(&first).await, "completed(0)");
    is_cancelled(&world, &second).await;
    let creations = world.runtime.calls().iter().filter(|call| call.method() == MockMethod::Create).count();
    assert_eq!(creations, 1);
    assert_eq!(world.end(&second).await.attempts, []);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_prepared_is_given_up() {
    for script in [Script::default().pull_hangs(), Script::default().create_hangs()] {
        let world = World::new().await;
        world.runtime.on(IMAGE, script);
        let spec = job("max_concurrent: 1");
        let (first, second) = (world.trigger(&spec).await, world.trigger(&spec).await);
        settled().await;
        assert_eq!(world.status(&first).await, "pending");
        // What it does not do any more makes room.
        world.runtime.on(IMAGE, Script::default());
        world.executor.cancel(&first).await.expect("it is being prepared");
        assert_eq!(world.ended_as(&second).await, "completed(0)");
        is_cancelled(&world, &first).await;
        assert_eq!(world.end(&first).await.attempts.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn init_steps_are_stopped() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::default().step("one", SECOND).step_hangs("two"));
    let id = world.trigger(&job("")).await;
    settled().await;
    let step = async || world.get(&id).await.step.map(|step| step.id);
    assert_eq!(step().await.as_deref(), Some("one"));
    soon(async {
        while step().await.as_deref() != Some("two") {
            settled().await;
        }
    })
    .await;
    world.executor.cancel(&id).await.expect("it initialises");
    is_cancelled(&world, &id).await;
    let end = world.end(&id).await.end;
    assert_eq!(end, Some(End::Cancelled { how: Stopped::BeforeStart }));
}

#[tokio::test(start_paused = true)]
async fn the_main_process_gets_its_signal_and_then_sigkill() {
    let cases = [
        (Script::runs(), Stopped::Signalled { signal: 15 }, Duration::ZERO),
        (Script::runs().exits_when_stopped(3), Stopped::Exited { code: 3 }, Duration::ZERO),
        (Script::runs().ignores_stop(), Stopped::Signalled { signal: 9 }, 10 * SECOND),
    ];
    for (script, how, takes) in cases {
        let world = World::new().await;
        world.runtime.on(JOB, script);
        let id = world.trigger(&job("")).await;
        world.running(&id).await;
        let began = world.clock.elapsed();
        world.executor.cancel(&id).await.expect("it runs");
        let end = world.end(&id).await.end;
        assert_eq!(end, Some(End::Cancelled { how }));
        let took = world.clock.elapsed() - began;
        assert!((takes..takes + SECOND).contains(&took), "{took:?}");
        is_cancelled(&world, &id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_cancel_can_only_shorten_the_time() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::runs().ignores_stop());
    let id = world.trigger(&job("")).await;
    world.running(&id).await;
    for grace in [3600, 7200, 5] {
        world.executor.cancel_with(&id, Some(grace * SECOND)).await.expect("it runs");
    }
    let began = world.clock.elapsed();
    is_cancelled(&world, &id).await;
    assert!(world.clock.elapsed() - began < 7 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_for_its_next_attempt_has_no_other() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::exits(1));
    let id = world.trigger(&job("retry: {max_attempts: 3, backoff: {initial: 10s}}")).await;
    settled().await;
    let waiting = world.get(&id).await;
    assert_eq!((waiting.status.to_string().as_str(), waiting.attempt), ("pending", 2));
    assert!(waiting.retry_at.is_some());
    world.executor.cancel(&id).await.expect("it waits");
    is_cancelled(&world, &id).await;
    let attempts = world.end(&id).await.attempts;
    assert_eq!(attempts.iter().map(|attempt| attempt.exit_code).collect::<Vec<_>>(), [Some(1)]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_by_itself_meanwhile_is_the_last_one() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::runs().fails(MockMethod::Stop, "nobody answers"));
    let id = world.trigger(&job("retry: {max_attempts: 3}")).await;
    let container = world.running(&id).await;
    let error = world.executor.cancel(&id).await.expect_err("the runtime fails");
    assert_eq!(error.to_string(), "nobody answers");
    container.exit(1);
    let execution = world.end(&id).await;
    assert_eq!(execution.status.to_string(), "cancelled");
    assert_eq!(execution.attempts.iter().map(|attempt| attempt.exit_code).collect::<Vec<_>>(), [Some(1)]);
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_or_never_was_cannot_be_cancelled() {
    let world = World::new().await;
    let id = world.trigger(&job("")).await;
    assert_eq!(world.ended_as(&id).await, "completed(0)");
    let error = world.executor.cancel(&id).await.expect_err("it has ended");
    assert_eq!(error.to_string(), format!("execution {id} has ended already: it is completed(0)"));
    assert_eq!(world.status(&id).await, "completed(0)");
    let error = world.executor.cancel(&JobExecutionId::new()).await.expect_err("there is none");
    assert!(matches!(error, ExecError::NotFound { .. }), "{error}");
}

/// Real threads and a record on disk: whoever comes first wins, and everybody is told the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_race_with_the_end_has_one_result() {
    let world = World::on_disk().await;
    world.runtime.on(JOB, Script::runs());
    for round in 0..40 {
        let id = world.trigger(&job("")).await;
        let container = world.running(&id).await;
        let cancels = async |times: u32| {
            for _ in 0..times {
                tokio::task::yield_now().await;
            }
            world.executor.cancel(&id).await
        };
        let ends = async {
            for _ in 0..round % 7 {
                tokio::task::yield_now().await;
            }
            container.exit(0);
        };
        let (first, second, ()) = soon(async { tokio::join!(cancels(round % 5), cancels(round % 3), ends) }).await;
        let status = world.ended_as(&id).await;
        for cancelled in [first, second] {
            match cancelled {
                // It may have ended well before it could be stopped.
                Ok(()) => assert!(["cancelled", "completed(0)"].contains(&status.as_str()), "{status}"),
                Err(ExecError::Ended { status: told, .. }) => assert_eq!(told, status),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(world.status(&id).await, status);
        assert_eq!(world.get(&id).await.attempts.len(), 1);
    }
    soon(world.executor.drain(Duration::from_secs(60))).await.expect("nothing is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_race_with_the_start_has_one_result() {
    let world = World::on_disk().await;
    world.runtime.on(JOB, Script::runs().step("one", Duration::ZERO));
    for round in 0..40 {
        let id = world.trigger(&job("")).await;
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        soon(world.executor.cancel(&id)).await.expect("it has not ended by itself");
        let execution = world.end(&id).await;
        assert_eq!(execution.status.to_string(), "cancelled");
        let started =
            |call: &MockCall| call.method() == MockMethod::Start && call.container() == execution.container_id.as_ref();
        // What was never active was never started.
        assert!(execution.container_id.is_some() || !world.runtime.calls().iter().any(started));
    }
}
