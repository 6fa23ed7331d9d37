//! Registered jobs.

use crate::harness::{JOB, World, job, job_named};
use coracle::JobTrigger;

#[tokio::test(start_paused = true)]
async fn jobs_are_remembered_replaced_and_forgotten() {
    let world = World::new().await;
    let executor = &world.executor;
    assert_eq!(executor.list_jobs().await.expect("a list"), [] as [String; 0]);
    assert_eq!(executor.get_job_spec(JOB).await.expect("a look"), None);
    executor.register_job(JOB, job("max_concurrent: 1")).await.expect("a good name");
    executor.register_job("another", job("deadline: 1m")).await.expect("a good name");
    assert_eq!(executor.list_jobs().await.expect("a list"), ["another", JOB]);
    let another = executor.get_job_spec("another").await.expect("a look").expect("a job");
    assert_eq!(another, job_named("another", "deadline: 1m"));

    let replaced = job("retry: {max_attempts: 3}");
    executor.register_job(JOB, replaced.clone()).await.expect("a good name");
    assert_eq!(executor.get_job_spec(JOB).await.expect("a look"), Some(replaced.clone()));

    let id = executor.trigger(JOB, &replaced, JobTrigger::Scheduler).await.expect("a trigger");
    assert!(executor.unregister_job(JOB).await.expect("a record"));
    assert!(!executor.unregister_job(JOB).await.expect("a record"));
    assert_eq!(executor.get_job_spec(JOB).await.expect("a look"), None);
    // Its executions stay, with the spec that they were triggered with.
    let execution = world.end(&id).await;
    assert_eq!((execution.job_name.as_str(), execution.trigger), (JOB, JobTrigger::Scheduler));
    assert_eq!(execution.spec["policy"]["retry"]["max_attempts"], 3);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_none_is_refused() {
    let world = World::new().await;
    let error = world.executor.register_job("a name", job("")).await.expect_err("it has a space");
    assert!(error.to_string().contains("a name"), "{error}");
    assert_eq!(world.executor.list_jobs().await.expect("a list"), [] as [String; 0]);
}

#[tokio::test]
async fn jobs_outlive_the_executor() {
    let world = World::on_disk().await;
    world.executor.register_job(JOB, job("")).await.expect("a good name");
    let world = world.reopened().await;
    assert_eq!(world.executor.get_job_spec(JOB).await.expect("a look"), Some(job("")));
}
