//! What the executor does by itself and for those who watch, on a runtime without containers.

mod delete_on_exit;
mod notifications;
mod recovery;
mod retention;
mod runtime;
mod settings;
mod settler;
mod subscribe;

use super::*;
use crate::spec::{DeploymentSpec, ServiceSpec};
use jiff::{SignedDuration, Timestamp};
use runtime::TestRuntime;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longer than anything takes; only a failed test waits for it.
const LONG: Duration = Duration::from_secs(60);

/// A job with this `job` block; see [`TestRuntime`] for what names and args mean.
fn job(name: &str, policy: &str) -> ServiceSpec {
    spec(name, &format!("job: {policy}"))
}

fn spec(name: &str, rest: &str) -> ServiceSpec {
    let text = format!(
        "version: v1\ndeployment: test\nservices:\n  {name}:\n    rtype: job\n    image: {{name: example}}\n    {rest}\n"
    );
    let deployment: DeploymentSpec = text.parse().unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    deployment.services[name].clone()
}

async fn trigger(executor: &JobExecutor, job: &ServiceSpec) -> JobExecutionId {
    executor.trigger(&job.name, job, JobTrigger::Cli).await.unwrap()
}

async fn run(executor: &JobExecutor, job: &ServiceSpec) -> JobExecution {
    let id = trigger(executor, job).await;
    tokio::time::timeout(LONG, executor.wait(&id)).await.expect("it ends").unwrap()
}

async fn in_memory() -> (Arc<TestRuntime>, JobExecutor) {
    let runtime = Arc::new(TestRuntime::in_memory());
    let executor = JobExecutor::new(runtime.clone()).await.unwrap();
    (runtime, executor)
}

/// Waits until it is so; it is looked at after every change.
async fn until(executor: &JobExecutor, is_so: impl AsyncFn() -> bool) {
    let mut changes = executor.inner.changes.watch();
    let waited = tokio::time::timeout(LONG, async {
        while !is_so().await {
            changes.changed().await;
        }
    });
    waited.await.expect("it becomes so");
}

async fn ids(executor: &JobExecutor) -> Vec<JobExecutionId> {
    executor.list_all_executions().await.unwrap().into_iter().map(|execution| execution.id).collect()
}

/// A clock that goes on when it is told to.
#[derive(Clone)]
struct Hands(Arc<Mutex<Timestamp>>);

impl Hands {
    fn now() -> Hands {
        Hands(Arc::new(Mutex::new(Timestamp::now())))
    }

    fn clock(&self) -> Clock {
        let hands = self.clone();
        Clock::new(move || *hands.0.lock().unwrap())
    }

    fn advance(&self, by: SignedDuration) {
        *self.0.lock().unwrap() += by;
    }
}
