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
