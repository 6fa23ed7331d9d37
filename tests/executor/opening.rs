//! What an executor and its runtime need to begin, and who may have them.

use crate::common::cli::Coracle;
use crate::harness::{JOB, SECOND, World, job};
use coracle::exec::{ListQuery, LogQuery, PruneRequest};
use coracle::{
    ExecError, JobExecutionId, JobExecutor, JobExecutorConfig, JobTrigger, OciRuntime, OciRuntimeConfig, Runtime,
    RuntimeError, TriggerOptions,
};
use std::sync::Arc;

#[test]
fn a_program_without_the_call_of_init_is_told_what_to_do() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = directory.path().join("root");
    let config = OciRuntimeConfig { root: Some(root.clone()), ..OciRuntimeConfig::default() };
    let error = OciRuntime::open(config).expect_err("this is such a program");
    assert!(matches!(error, RuntimeError::NotInitialised), "{error:?}");
    assert_eq!(
        error.to_string(),
        "this program cannot be its own supervisor: call coracle::init() first in its main function, or set \
         OciRuntimeConfig::binary to a coracle binary"
    );
    assert!(!root.exists());
}

#[tokio::test]
async fn a_record_elsewhere_than_the_containers_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (root, other) = (directory.path().join("root"), directory.path().join("other"));
    let config = OciRuntimeConfig { root: Some(root), binary: Some(Coracle::binary()), ..OciRuntimeConfig::default() };
    let runtime = Arc::new(OciRuntime::open(config).expect("a root"));
    let with_root = async |root: &std::path::Path| {
        let config = JobExecutorConfig { root: Some(root.to_owned()), ..JobExecutorConfig::default() };
        JobExecutor::with_config(runtime.clone(), config).await
    };
    let error = with_root(&other).await.expect_err("there is none");
    let theirs = runtime.root().expect("it has one");
    match &error {
        ExecError::RootsDiffer { executor, runtime } => {
            assert_eq!((executor.as_path(), runtime.as_path()), (&*other, theirs))
        }
        error => panic!("{error}"),
    }
    assert_eq!(
        error.to_string(),
        format!(
            "the executor's root {} is not the runtime's, {}; leave JobExecutorConfig::root out",
            other.display(),
            theirs.display()
        )
    );
    assert!(!other.exists());
    // The same directory by another name is no other.
    std::os::unix::fs::symlink(theirs, &other).expect("a link");
    with_root(&other).await.expect("an executor");
}

/// Nothing is waited for here: that it compiles is what it asserts.
#[tokio::test]
async fn an_executor_can_be_had_and_called_in_any_task() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    fn send<T: Send>(_: T) {}
    let world = World::new().await;
    let (executor, id, spec) = (&world.executor, &JobExecutionId::new(), job(""));
    shared(executor);
    let runtime: Arc<dyn Runtime> = Arc::new(world.runtime.clone());
    shared(&runtime);
    send(JobExecutor::new(runtime.clone()));
    send(JobExecutor::with_config(runtime, JobExecutorConfig::default()));
    send(executor.register_job(JOB, spec.clone()));
    send(executor.unregister_job(JOB));
    send(executor.get_job_spec(JOB));
    send(executor.registered_job(JOB));
    send(executor.list_jobs());
    send(executor.trigger(JOB, &spec, JobTrigger::Cli));
    send(executor.trigger_with(JOB, &spec, JobTrigger::Cli, TriggerOptions::default()));
    send(executor.trigger_once(JOB, &spec, JobTrigger::Cli, TriggerOptions::default()));
    send(executor.resolve(id.as_str()));
    send(executor.execution(id));
    send(executor.get_execution(id));
    send(executor.list_executions(JOB));
    send(executor.list_all_executions());
    send(executor.query(&ListQuery::default()));
    send(executor.active_execution_count());
    send(executor.queue_position(id));
    send(executor.stats(None));
    send(executor.job_stats(JOB));
    send(executor.is_live(id));
    send(executor.launched(id));
    send(executor.wait(id));
    send(executor.logs(id, LogQuery::default()));
    send(executor.logs_of_attempt(id, 1, LogQuery::default()));
    send(executor.subscribe());
    send(executor.cancel(id));
    send(executor.cancel_with(id, None));
    send(executor.remove(id));
    send(executor.prune(&PruneRequest::default()));
    send(executor.cleanup_old_executions());
    send(executor.leave());
    send(executor.drain(SECOND));
}
