use super::*;

fn leaving(name: &str) -> ServiceSpec {
    spec(name, "lifecycle: {delete_on_exit: true}")
}

#[tokio::test]
async fn it_is_gone_when_its_waiters_have_seen_it() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = Arc::new(TestRuntime::on(directory.path()));
    let executor = JobExecutor::new(runtime.clone()).await.unwrap();
    let other = JobExecutor::new(runtime.clone()).await.unwrap();
    let id = trigger(&executor, &leaving("holds")).await;
    // A waiter of another process, who is slow.
    let waiting = other.inner.waiters.enter(&id);
    runtime.exit(&id, 1, 4);
    let ended = executor.wait(&id).await.unwrap();
    assert!(matches!(ended.status, JobStatus::Failed { exit_code: Some(4), .. }), "{ended:?}");
    executor.leave().await.unwrap();
    assert!(executor.get_execution(&id).await.unwrap().is_some());
    assert!(runtime.directory(&id).exists());
    drop(waiting);
    // Now that one waits as users do, and is the last.
    assert_eq!(other.wait(&id).await.unwrap().status, ended.status);
    assert_eq!(executor.get_execution(&id).await.unwrap(), None);
    assert!(!runtime.directory(&id).exists());
}

#[tokio::test]
async fn who_begins_to_wait_late_still_hears_of_it() {
    let (_, executor) = in_memory().await;
    let id = trigger(&executor, &leaving("quick")).await;
    until(&executor, async || ids(&executor).await.is_empty()).await;
    assert_eq!(executor.get_execution(&id).await.unwrap(), None);
    assert!(executor.wait(&id).await.unwrap().status.is_terminal());
}

#[tokio::test]
async fn many_waiters_all_see_it() {
    let (runtime, executor) = in_memory().await;
    let id = trigger(&executor, &leaving("holds")).await;
    let waits: Vec<_> = (0..20)
        .map(|_| {
            let (executor, id) = (executor.clone(), id.clone());
            tokio::spawn(async move { executor.wait(&id).await.unwrap().status.is_terminal() })
        })
        .collect();
    tokio::task::yield_now().await;
    runtime.exit(&id, 1, 0);
    for wait in waits {
        assert!(wait.await.unwrap());
    }
    until(&executor, async || ids(&executor).await.is_empty()).await;
}

#[tokio::test]
async fn what_a_crash_leaves_goes_when_the_store_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = Arc::new(TestRuntime::on(directory.path()));
    let executor = JobExecutor::new(runtime.clone()).await.unwrap();
    let id = trigger(&executor, &leaving("holds")).await;
    // A waiter that dies.
    let waiting = executor.inner.waiters.enter(&id);
    runtime.exit(&id, 1, 0);
    until(&executor, async || !executor.is_live(&id).await.unwrap()).await;
    executor.leave().await.unwrap();
    drop(waiting);
    assert!(runtime.directory(&id).exists());
    let next = JobExecutor::new(runtime.clone()).await.unwrap();
    until(&next, async || ids(&next).await.is_empty()).await;
    assert!(!runtime.directory(&id).exists());
}

#[tokio::test]
async fn one_that_is_cancelled_in_the_queue_goes_too() {
    let (runtime, executor) = in_memory().await;
    let one = spec("holds", "job: {max_concurrent: 1}\n    lifecycle: {delete_on_exit: true}");
    let first = trigger(&executor, &one).await;
    let second = trigger(&executor, &one).await;
    executor.cancel(&second).await.unwrap();
    until(&executor, async || ids(&executor).await == [first.clone()]).await;
    runtime.exit(&first, 1, 0);
    until(&executor, async || ids(&executor).await.is_empty()).await;
}

#[tokio::test]
async fn another_process_does_not_forget_it_before_its_trigger_can_wait() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = Arc::new(TestRuntime::on(directory.path()));
    let other = JobExecutor::with_config(runtime.clone(), one_at_a_time()).await.unwrap();
    // Here nothing is started that somebody else may start.
    let config = JobExecutorConfig { queue: QueueCare::Elsewhere(Arc::new(|| ())), ..one_at_a_time() };
    let here = JobExecutor::with_config(runtime.clone(), config).await.unwrap();
    let mut first = trigger(&other, &job("holds", "{}")).await;
    for number in 0..20 {
        let leaving = if number % 2 == 0 { leaving("quick") } else { leaving("fails") };
        let id = trigger(&here, &leaving).await;
        let next = trigger(&other, &job("holds", "{}")).await;
        until(&other, async || other.execution(&first).await.unwrap().status == JobStatus::Running).await;
        runtime.exit(&first, 1, 0);
        until(&other, async || !other.is_live(&id).await.unwrap()).await;
        // All that the other one does for an execution that has ended.
        until(&other, async || other.execution(&next).await.unwrap().status == JobStatus::Running).await;
        other.prune(&PruneRequest::default()).await.unwrap();
        assert!(here.wait(&id).await.unwrap().status.is_terminal());
        assert_eq!(here.get_execution(&id).await.unwrap(), None);
        first = next;
    }
    runtime.exit(&first, 1, 0);
}

fn one_at_a_time() -> JobExecutorConfig {
    JobExecutorConfig { max_concurrent: 1, ..JobExecutorConfig::default() }
}

#[tokio::test]
async fn what_others_have_ended_goes_also_when_nobody_waits() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = Arc::new(TestRuntime::on(directory.path()));
    for stays in [true, false] {
        let other = JobExecutor::with_config(runtime.clone(), one_at_a_time()).await.unwrap();
        let first = trigger(&other, &job("holds", "{}")).await;
        until(&other, async || other.execution(&first).await.unwrap().status == JobStatus::Running).await;
        let elsewhere = QueueCare::Elsewhere(Arc::new(|| ()));
        let queue = if stays { QueueCare::Here } else { elsewhere };
        let here = JobExecutor::with_config(runtime.clone(), JobExecutorConfig { queue, ..one_at_a_time() });
        let here = here.await.unwrap();
        let id = trigger(&here, &leaving("quick")).await;
        runtime.exit(&first, 1, 0);
        until(&other, async || !other.is_live(&id).await.unwrap_or(false)).await;
        if !stays {
            other.leave().await.unwrap();
            assert!(other.get_execution(&id).await.unwrap().is_some());
            here.leave().await.unwrap();
        }
        until(&other, async || other.get_execution(&id).await.unwrap().is_none()).await;
    }
}
