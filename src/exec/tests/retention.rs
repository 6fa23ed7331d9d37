use super::*;

async fn on(root: &std::path::Path, hands: &Hands) -> (Arc<TestRuntime>, JobExecutor) {
    let runtime = Arc::new(TestRuntime::on(root));
    let config = JobExecutorConfig { clock: hands.clock(), ..JobExecutorConfig::default() };
    let executor = JobExecutor::with_config(runtime.clone(), config).await.unwrap();
    (runtime, executor)
}

#[tokio::test]
async fn ends_make_room_for_themselves() {
    let directory = tempfile::tempdir().unwrap();
    let (runtime, executor) = on(directory.path(), &Hands::now()).await;
    let mut all = Vec::new();
    let running = trigger(&executor, &job("holds", "{retention: {keep_last: 0}}")).await;
    for _ in 0..5 {
        all.push(run(&executor, &job("kept", "{retention: {keep_last: 2}}")).await.id);
    }
    let expected = [all[4].clone(), all[3].clone(), running.clone()];
    until(&executor, async || ids(&executor).await == expected).await;
    assert!(!runtime.directory(&all[0]).exists() && runtime.directory(&all[4]).exists());
    assert!(runtime.directory(&running).exists());
    runtime.exit(&running, 1, 0);
    until(&executor, async || ids(&executor).await == expected[..2]).await;
}

#[tokio::test]
async fn what_expires_goes_by_itself() {
    let (_, executor) = in_memory().await;
    let kept = run(&executor, &job("kept", "{retention: {ttl: 1h}}")).await.id;
    run(&executor, &job("short", "{retention: {ttl: 50ms}}")).await;
    // Nothing happens but that time passes.
    until(&executor, async || ids(&executor).await == [kept.clone()]).await;
}

#[tokio::test]
async fn while_the_clock_is_set_back_nothing_expires() {
    let directory = tempfile::tempdir().unwrap();
    let hands = Hands::now();
    let (_, executor) = on(directory.path(), &hands).await;
    let id = run(&executor, &job("kept", "{retention: {ttl: 1m}}")).await.id;
    hands.advance(SignedDuration::from_hours(-24));
    assert_eq!(executor.cleanup_old_executions().await.unwrap(), 0);
    hands.advance(SignedDuration::from_hours(25));
    assert_eq!(executor.cleanup_old_executions().await.unwrap(), 1);
    assert_eq!(executor.get_execution(&id).await.unwrap(), None);
}

#[tokio::test]
async fn what_cannot_be_removed_stays_and_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let (runtime, executor) = on(directory.path(), &Hands::now()).await;
    let stuck = run(&executor, &job("kept", "{deadline: 1h}")).await.id;
    let other = run(&executor, &job("kept", "{deadline: 1h}")).await.id;
    runtime.set_removable(&stuck, false);
    let all = PruneRequest { all: true, ..PruneRequest::default() };
    let report = executor.prune(&all).await.unwrap();
    let problem = PruneProblem { id: stuck.to_string(), message: "it is stuck".into() };
    assert_eq!((&report.removed, &report.problems), (&vec![other], &vec![problem]));
    assert_eq!(ids(&executor).await, std::slice::from_ref(&stuck));
    runtime.set_removable(&stuck, true);
    let report = executor.prune(&all).await.unwrap();
    assert_eq!((report.removed, report.problems), (vec![stuck], Vec::new()));
}

#[tokio::test]
async fn a_prune_takes_what_it_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let hands = Hands::now();
    let (runtime, executor) = on(directory.path(), &hands).await;
    let mut old = Vec::new();
    for name in ["one", "one", "two"] {
        old.push(run(&executor, &job(name, "{deadline: 1h}")).await.id);
    }
    hands.advance(SignedDuration::from_mins(10));
    let running = trigger(&executor, &job("holds", "{deadline: 1h}")).await;
    let waited = run(&executor, &job("two", "{deadline: 1h}")).await.id;
    let waiting = executor.inner.waiters.enter(&waited);
    let prune = async |request: PruneRequest| {
        let mut wanted = executor.prune(&PruneRequest { dry_run: true, ..request.clone() }).await.unwrap();
        let report = executor.prune(&request).await.unwrap();
        wanted.removed.retain(|id| *id != waited);
        assert_eq!((&wanted.removed, &wanted.orphans), (&report.removed, &report.orphans));
        report
    };
    let nothing = prune(PruneRequest::default()).await;
    assert_eq!(nothing, PruneReport::default());
    let one = prune(PruneRequest { job: Some("one".into()), keep_last: Some(1), ..PruneRequest::default() }).await;
    assert_eq!(one.removed, old[..1]);
    assert!(one.freed_bytes >= 8192, "{}", one.freed_bytes);
    let two =
        prune(PruneRequest { job: Some("two".into()), ttl: Some(Duration::ZERO), ..PruneRequest::default() }).await;
    assert_eq!(two.removed, old[2..]);
    // Left by a crash; and something of somebody else.
    let orphan = JobExecutionId::new();
    std::fs::create_dir(runtime.directory(&orphan)).unwrap();
    std::fs::create_dir(runtime.directory(&JobExecutionId("mine".into()))).unwrap();
    let all = prune(PruneRequest { all: true, ..PruneRequest::default() }).await;
    assert_eq!((all.removed, all.orphans), (vec![old[1].clone()], vec![orphan.to_string()]));
    assert!(runtime.directory(&JobExecutionId("mine".into())).exists());
    assert_eq!(ids(&executor).await, [waited.clone(), running.clone()]);
    drop(waiting);
    let rest = executor.prune(&PruneRequest { all: true, ..PruneRequest::default() }).await.unwrap();
    assert_eq!(rest.removed, [waited]);
    assert_eq!(ids(&executor).await, [running]);
}

#[tokio::test]
async fn any_number_of_processes_may_prune() {
    let directory = tempfile::tempdir().unwrap();
    let (runtime, executor) = on(directory.path(), &Hands::now()).await;
    for _ in 0..150 {
        run(&executor, &job("kept", "{deadline: 1h}")).await;
    }
    let mut prunes = Vec::new();
    for _ in 0..4 {
        let executor = JobExecutor::new(runtime.clone()).await.unwrap();
        let all = PruneRequest { all: true, ..PruneRequest::default() };
        prunes.push(tokio::spawn(async move { executor.prune(&all).await.unwrap() }));
    }
    for prune in prunes {
        assert_eq!(prune.await.unwrap().problems, []);
    }
    let all = PruneRequest { all: true, ..PruneRequest::default() };
    executor.prune(&all).await.unwrap();
    assert!(ids(&executor).await.is_empty());
}
