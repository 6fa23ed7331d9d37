//! Triggers, and the end of an executor.

use crate::harness::{HANGS_AFTER, IMAGE, JOB, SECOND, World, job, settled, soon};
use coracle::spec::ValueError;
use coracle::testing::{MockCall, Script};
use coracle::{ExecError, JobTrigger, TriggerOptions};
use futures_util::future::join_all;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn the_same_key_gives_the_same_execution() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::runs());
    let options = |key: &str| TriggerOptions { idempotency_key: Some(key.to_owned()), ..TriggerOptions::default() };
    let spec = job("");
    let triggers = (0..20).map(|_| world.trigger_with(&spec, options("one")));
    let ids = join_all(triggers).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let other = world.trigger_with(&spec, options("two")).await;
    assert_ne!(other, ids[0]);
    world.running(&ids[0]).await.exit(0);
    world.end(&ids[0]).await;
    // Ended is not forgotten.
    assert_eq!(world.trigger_with(&spec, options("one")).await, ids[0]);
    world.executor.remove(&ids[0]).await.expect("it has ended");
    assert_ne!(world.trigger_with(&spec, options("one")).await, ids[0]);
}

#[tokio::test(start_paused = true)]
async fn the_job_learns_what_it_is_and_what_was_changed() {
    let world = World::new().await;
    let options = TriggerOptions {
        env: vec![("COLOUR".into(), "red".into())],
        args: Some(vec!["one".into(), "two".into()]),
        scheduled_for: Some("2026-01-15T03:00:00Z".parse().expect("a time")),
        ..TriggerOptions::default()
    };
    let id = world.trigger_with(&job(""), options).await;
    let execution = world.end(&id).await;
    assert_eq!(execution.spec["command"]["args"], serde_json::json!(["one", "two"]));
    assert_eq!(execution.spec["env"], serde_json::json!([["COLOUR", "red"]]));
    let env = world.runtime.calls().into_iter().find_map(|call| match call {
        MockCall::Create { env, .. } => Some(env),
        _ => None,
    });
    let expected = [
        ("CORACLE_EXECUTION_ID", id.as_str()),
        ("CORACLE_JOB_NAME", JOB),
        ("CORACLE_ATTEMPT", "1"),
        ("CORACLE_SCHEDULED_TIME", "2026-01-15T03:00:00Z"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(env.as_deref(), Some(&expected[..]));
}

#[tokio::test(start_paused = true)]
async fn one_that_shuts_down_takes_no_more_and_drains() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::runs());
    let spec = job("max_concurrent: 1");
    let (first, second) = (world.trigger(&spec).await, world.trigger(&spec).await);
    assert!(!world.executor.is_shutting_down());
    let error = soon(world.executor.drain(SECOND)).await.expect_err("one runs");
    match error {
        ExecError::NotDrained { limit, mut ids } => {
            ids.sort();
            assert_eq!((limit, ids), (SECOND, vec![first.clone(), second.clone()]));
        }
        error => panic!("{error}"),
    }
    assert!(world.executor.is_shutting_down());
    let error = world.executor.trigger(JOB, &spec, JobTrigger::Cli).await.expect_err("it shuts down");
    assert!(matches!(&error, ExecError::ShuttingDown { job } if job == JOB), "{error}");
    // What was taken on goes on.
    world.running(&first).await.exit(0);
    let executor = world.executor.clone();
    let draining = tokio::spawn(async move { executor.drain(3600 * SECOND).await });
    world.running(&second).await.exit(0);
    soon(draining).await.expect("no panic").expect("all have ended");
    assert_eq!(
        (world.status(&first).await, world.status(&second).await),
        ("completed(0)".into(), "completed(0)".into())
    );
}

/// Triggers alone are refused, and by this executor alone.
#[tokio::test]
async fn one_that_shuts_down_does_everything_but_take_triggers() {
    let world = World::on_disk().await;
    world.runtime.on(JOB, Script::runs());
    let (spec, executor) = (job("max_concurrent: 1"), &world.executor);
    let [first, second, third] = [world.trigger(&spec).await, world.trigger(&spec).await, world.trigger(&spec).await];
    let running = world.running(&first).await;
    executor.clone().shutdown();
    executor.shutdown();
    assert!(executor.is_shutting_down());
    let error = executor.trigger(JOB, &spec, JobTrigger::Cli).await.expect_err("it shuts down");
    assert!(matches!(&error, ExecError::ShuttingDown { job } if job == JOB), "{error}");
    assert_eq!(error.to_string(), "the job job is refused: this executor is shutting down");
    let options = TriggerOptions { idempotency_key: Some("k".to_owned()), ..TriggerOptions::default() };
    let error = executor.trigger_with(JOB, &spec, JobTrigger::Cli, options).await.expect_err("it shuts down");
    assert!(matches!(error, ExecError::ShuttingDown { .. }), "{error}");

    executor.register_job(JOB, spec.clone()).await.expect("a good name");
    assert_eq!(executor.get_job_spec(JOB).await.expect("a look"), Some(spec.clone()));
    executor.cancel(&second).await.expect("it waits");
    assert_eq!(world.ended_as(&second).await, "cancelled");
    assert_eq!((world.status(&first).await, world.status(&third).await), ("running".into(), "pending".into()));
    running.exit(0);
    assert_eq!(world.ended_as(&first).await, "completed(0)");
    world.running(&third).await.exit(0);
    assert_eq!(world.ended_as(&third).await, "completed(0)");

    let other = world.another().await;
    assert!(!other.is_shutting_down());
    let fourth = other.trigger(JOB, &spec, JobTrigger::Cli).await.expect("another one");
    world.running(&fourth).await.exit(0);
    assert_eq!(world.ended_as(&fourth).await, "completed(0)");
}

#[tokio::test]
async fn draining_waits_for_ones_own_alone() {
    let world = World::on_disk().await;
    world.runtime.on(JOB, Script::runs());
    let id = world.trigger(&job("")).await;
    let running = world.running(&id).await;
    let other = world.another().await;
    other.drain(HANGS_AFTER).await.expect("it has none");
    let error = world.executor.drain(Duration::ZERO).await.expect_err("one runs");
    assert!(matches!(error, ExecError::NotDrained { ids, .. } if ids == [id.clone()]));
    running.exit(0);
    world.executor.drain(HANGS_AFTER).await.expect("it ends");
    assert_eq!(world.status(&id).await, "completed(0)");
}

#[tokio::test(start_paused = true)]
async fn keys_are_text_that_can_be_seen() {
    let world = World::new().await;
    for key in [String::new(), "a\nb".to_owned(), "x".repeat(256)] {
        let options = TriggerOptions { idempotency_key: Some(key), ..TriggerOptions::default() };
        let error = world.executor.trigger_with(JOB, &job(""), JobTrigger::Cli, options).await.expect_err("no key");
        assert!(error.to_string().contains("1 to 255 printable characters"), "{error}");
    }
    let options = TriggerOptions { idempotency_key: Some("k".to_owned()), ..TriggerOptions::default() };
    let mut forgotten = job("");
    forgotten.policy.delete_on_exit = true;
    let error = world.executor.trigger_with(JOB, &forgotten, JobTrigger::Cli, options).await.expect_err("no key");
    assert!(matches!(error, ExecError::Value(ValueError::KeyOfForgotten)), "{error}");
    let error = world.executor.resolve("").await.expect_err("no id");
    assert!(error.to_string().contains("must not be empty"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_executor_leaves_no_task_behind() {
    let world = World::new().await;
    let id = world.trigger(&job("")).await;
    world.end(&id).await;
    drop(world);
    settled().await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test]
async fn what_runs_when_an_executor_is_dropped_has_its_end_recorded() {
    let world = World::on_disk().await;
    world.runtime.on(JOB, Script::runs());
    let spec = job("max_concurrent: 1");
    let (first, second) = (world.trigger(&spec).await, world.trigger(&spec).await);
    let container = world.running(&first).await;
    let world = world.reopened().await;
    container.exit(3);
    assert_eq!(world.ended_as(&first).await, "failed(3)");
    soon(world.runtime.started(&second, 1)).await.exit(4);
    assert_eq!(world.ended_as(&second).await, "failed(4)");
}

/// Two executors of one program on one root: each hears of what the other does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executors_on_one_root_hear_of_each_other() {
    let world = World::on_disk().await;
    let other = world.another().await;
    world.runtime.on(JOB, Script::runs());
    for _ in 0..20 {
        let id = world.trigger(&job("")).await;
        let waiting = tokio::spawn({
            let (other, id) = (other.clone(), id.clone());
            async move { other.wait(&id).await.expect("an end").status.to_string() }
        });
        world.running(&id).await.exit(0);
        assert_eq!(soon(waiting).await.expect("no panic"), "completed(0)");
    }
}

/// A program whose tokio runtime ends while an image is pulled, and that starts another one.
#[test]
fn what_was_being_prepared_when_tokio_ended_is_prepared_again() {
    let tokio = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    let first = tokio();
    let (world, id) = first.block_on(async {
        let world = World::on_disk().await;
        world.runtime.on(IMAGE, Script::default().pull_hangs());
        let id = world.trigger(&job("")).await;
        soon(world.runtime.called(|call| matches!(call, MockCall::Pull { .. }))).await;
        (world, id)
    });
    first.shutdown_timeout(Duration::from_secs(60));
    tokio().block_on(async {
        world.runtime.on(IMAGE, Script::default());
        let executor = world.another().await;
        assert_eq!(soon(executor.wait(&id)).await.expect("an end").status.to_string(), "completed(0)");
    });
}
