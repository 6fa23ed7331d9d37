//! A settler whose record cannot be used for a while.

use super::recovery::{claimed_by_dead, new};
use super::*;
use crate::record::{Insertion, NewExecution};
use crate::state_dir::StateDir;
use std::pin::pin;

/// Time that passes at once.
async fn passes_without(ended: impl Future) {
    tokio::time::timeout(LONG, ended).await.map(drop).expect_err("it goes on");
}

#[tokio::test(start_paused = true)]
async fn it_waits_until_its_record_can_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = Arc::new(TestRuntime::on(directory.path()));
    let state = StateDir::open(Some(directory.path())).unwrap();
    let open = async || JobExecutor::open(runtime.clone(), JobExecutorConfig::default());
    let executor = open().await.unwrap();
    let record = executor.record();
    let limited = || NewExecution { max_concurrent: Some(1), ..new(&job("quick", "{}")) };
    let own = claimed_by_dead(record, &limited());
    let container = ContainerId::new(&JobExecutionId(own.id.clone()), 1);
    assert!(record.activate(&own.id, 1, "sha256:0", container.as_str(), &own.owner.unwrap()).unwrap());
    let next = limited();
    assert_eq!(record.insert(&next, None, Timestamp::now()).unwrap(), Insertion::Waiting);

    record.tamper("CREATE TRIGGER fault BEFORE UPDATE ON executions BEGIN SELECT RAISE(ABORT, 'full'); END");
    let mut settling = pin!(JobExecutor::settle_and_attend(&state, open, Some(&container)));
    passes_without(&mut settling).await;
    record.tamper("DROP TRIGGER fault");
    settling.await.unwrap();
    let statuses = [&own.id, &next.id].map(|id| record.get(id).unwrap().unwrap().status.to_string());
    assert_eq!(statuses, ["failed", "completed"]);
}

#[tokio::test(start_paused = true)]
async fn it_leaves_at_once_when_its_root_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = Arc::new(TestRuntime::on(directory.path()));
    let state = StateDir::open(Some(directory.path())).unwrap();
    let open = async || JobExecutor::open(runtime.clone(), JobExecutorConfig::default());
    let executor = open().await.unwrap();
    let waits = new(&job("quick", "{}"));
    assert_eq!(executor.record().insert(&waits, None, Timestamp::now()).unwrap(), Insertion::Waiting);
    executor.record().tamper("CREATE TRIGGER fault BEFORE UPDATE ON executions BEGIN SELECT RAISE(ABORT, 'full'); END");
    std::fs::remove_dir_all(directory.path()).unwrap();
    JobExecutor::settle_and_attend(&state, open, None).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn it_waits_until_notifications_can_be_taken_on() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = Arc::new(TestRuntime::on(directory.path()));
    let state = StateDir::open(Some(directory.path())).unwrap();
    let elsewhere = QueueCare::Elsewhere(Arc::new(|| {}));
    let config = JobExecutorConfig { queue: elsewhere, ..JobExecutorConfig::default() };
    let front = JobExecutor::with_config(runtime.clone(), config).await.unwrap();
    front.register_job("after", job("after", "{}")).await.unwrap();
    run(&front, &job("fails", "{on_failure: after}")).await;
    front.record().tamper("CREATE TRIGGER fault BEFORE UPDATE ON notifications BEGIN SELECT RAISE(ABORT, 'full'); END");
    let open = async || JobExecutor::open(runtime.clone(), JobExecutorConfig::default());
    let mut settling = pin!(JobExecutor::settle_and_attend(&state, open, None));
    passes_without(&mut settling).await;
    front.record().tamper("DROP TRIGGER fault");
    settling.await.unwrap();
    assert_eq!(front.list_executions("after").await.unwrap().len(), 1);
}
