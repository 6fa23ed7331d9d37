use super::*;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers with these, and then with 204; what it was asked is in the channel: head and body.
struct Receiver {
    address: String,
    requests: tokio::sync::mpsc::UnboundedReceiver<(String, serde_json::Value)>,
}

impl Receiver {
    async fn new(answers: &[&'static str]) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/secret?token=secret", listener.local_addr().unwrap());
        let mut answers: VecDeque<_> = answers.iter().copied().collect();
        let (tell, requests) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                let body = loop {
                    assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
                    let text = String::from_utf8(bytes.clone()).unwrap();
                    if let Some((head, body)) = text.split_once("\r\n\r\n")
                        && let Ok(body) = serde_json::from_str(body)
                    {
                        break (head.to_owned(), body);
                    }
                };
                let answer = answers.pop_front().unwrap_or("204 No Content");
                let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
                if tell.send(body).is_err() {
                    return;
                }
            }
        });
        Receiver { address, requests }
    }

    fn job(&self, name: &str, event: &str) -> ServiceSpec {
        job(name, &format!("{{{event}: {{post: \"{}\", headers: {{X-Key: secret}}}}}}", self.address))
    }

    async fn request(&mut self) -> (String, serde_json::Value) {
        tokio::time::timeout(LONG, self.requests.recv()).await.expect("a request").unwrap()
    }
}

async fn undelivered(executor: &JobExecutor, id: &JobExecutionId) -> Vec<Undelivered> {
    executor.execution(id).await.unwrap().undelivered
}

#[tokio::test]
async fn an_end_is_posted() {
    let (_, executor) = in_memory().await;
    let mut receiver = Receiver::new(&[]).await;
    let ended = run(&executor, &receiver.job("fails", "on_failure")).await;
    let (head, document) = receiver.request().await;
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /secret?token=secret "), "{head}");
    assert!(head.contains(&format!("idempotency-key: {}-1\r\n", ended.id)), "{head}");
    assert!(head.contains("x-key: secret\r\n") && head.contains("content-type: application/json\r\n"), "{head}");
    let expected =
        [("status", "failed"), ("job", "fails"), ("reason", "exited with code 1"), ("id", ended.id.as_str())];
    assert!(expected.iter().all(|(field, value)| document[field] == *value), "{document}");
    assert_eq!((&document["exit_code"], &document["attempts"][0]["exit_code"]), (&1.into(), &1.into()));
    assert_eq!(document["trigger"]["kind"], "cli");
    let end = serde_json::json!({"kind": "exited", "code": 1});
    assert_eq!((&document["end"], &document["attempts"][0]["end"]), (&end, &end));
    until(&executor, async || undelivered(&executor, &ended.id).await.is_empty()).await;
    // Of that end alone.
    run(&executor, &receiver.job("quick", "on_failure")).await;
    run(&executor, &receiver.job("well", "on_success")).await;
    assert_eq!(receiver.request().await.1["job"], "well");
}

#[tokio::test]
async fn a_busy_receiver_is_asked_again_and_another_one_not() {
    let hands = Hands::now();
    let config = JobExecutorConfig { clock: hands.clock(), ..JobExecutorConfig::default() };
    let executor = JobExecutor::with_config(Arc::new(TestRuntime::in_memory()), config).await.unwrap();
    let mut receiver =
        Receiver::new(&["500 Broken", "429 Busy\r\nRetry-After: 100", "204 No Content", "404 Not Found"]).await;
    let id = run(&executor, &receiver.job("fails", "on_failure")).await.id;
    let mut keys = Vec::new();
    for (tries, wait) in [(1, 1), (2, 100)] {
        keys.push(receiver.request().await.0);
        until(&executor, async || undelivered(&executor, &id).await[0].tries == tries).await;
        let due = undelivered(&executor, &id).await[0].due_at.unwrap();
        assert!(due.duration_since(hands.clock().now()) <= SignedDuration::from_secs(wait));
        hands.advance(SignedDuration::from_secs(wait - 1));
        executor.kick().unwrap();
        assert_eq!(undelivered(&executor, &id).await[0].due_at, Some(due), "not taken on yet");
        hands.advance(SignedDuration::from_secs(1));
        executor.kick().unwrap();
    }
    keys.push(receiver.request().await.0);
    let key = |head: &String| head.lines().find(|line| line.starts_with("idempotency-key")).map(str::to_owned);
    assert!(key(&keys[0]).is_some() && keys.iter().all(|head| key(head) == key(&keys[0])), "{keys:?}");
    until(&executor, async || undelivered(&executor, &id).await.is_empty()).await;
    let id = run(&executor, &receiver.job("fails", "on_failure")).await.id;
    until(&executor, async || undelivered(&executor, &id).await.iter().any(|left| left.due_at.is_none())).await;
    let left = undelivered(&executor, &id).await.remove(0);
    assert_eq!(left.problem.as_deref(), Some("it answered with status 404"));
    assert!(!format!("{left:?}").contains("secret"), "{left:?}");
    let all = PruneRequest { all: true, ..PruneRequest::default() };
    executor.prune(&all).await.unwrap();
    assert_eq!(executor.record().notifications(id.as_str()).unwrap(), []);
}

/// It takes the request and says nothing for longer than all of this takes.
#[tokio::test]
async fn a_silent_receiver_holds_nobody_up() {
    let (_, executor) = in_memory().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_job = job(
        "fails",
        &format!("{{max_concurrent: 1, on_failure: {{post: \"http://{}\"}}}}", silent.local_addr().unwrap()),
    );
    let mut others = Receiver::new(&[]).await;
    let mut asked = Vec::new();
    for _ in 0..2 {
        let ended = run(&executor, &silent_job).await;
        assert_eq!((ended.status.to_string().as_str(), &ended.notes), ("failed(1)", &Vec::new()));
        let (stream, _) = tokio::time::timeout(LONG, silent.accept()).await.expect("a request").unwrap();
        asked.push((stream, ended));
    }
    let told = run(&executor, &others.job("fails-too", "on_failure")).await;
    assert_eq!(others.request().await.1["id"], told.id.as_str());
    until(&executor, async || undelivered(&executor, &told.id).await.is_empty()).await;
    for (_, ended) in &asked {
        let now = executor.execution(&ended.id).await.unwrap();
        assert_eq!((&now.status, &now.end, &now.notes), (&ended.status, &ended.end, &ended.notes));
        assert_eq!((now.undelivered.len(), &now.undelivered[0].problem), (1, &None), "it waits for the answer");
    }
}

#[tokio::test]
async fn receivers_on_one_host_are_told_apart() {
    let (_, executor) = in_memory().await;
    let receiver = Receiver::new(&["404 Not Found"; 4]).await;
    let post = format!("{{post: \"{}\"}}", receiver.address);
    let places = async |on_failure: &str| {
        let id = run(&executor, &job("fails", &format!("{{on_failure: {on_failure}}}"))).await.id;
        let given_up = async || undelivered(&executor, &id).await.iter().filter(|left| left.due_at.is_none()).count();
        let expected = on_failure.matches('{').count();
        until(&executor, async || given_up().await == expected).await;
        let left = undelivered(&executor, &id).await.into_iter();
        left.filter(|left| left.due_at.is_none()).map(|left| left.place.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(
        places(&format!("[{post}, {{job: absent}}, {post}]")).await,
        ["on_failure[0]", "on_failure[1]", "on_failure[2]"]
    );
    assert_eq!(places(&post).await, ["on_failure"]);
}

#[tokio::test]
async fn a_registered_job_is_run_once() {
    let (runtime, executor) = in_memory().await;
    executor.register_job("after", job("after", "{deadline: 1h}")).await.unwrap();
    let parent = run(&executor, &job("fails", "{on_failure: after}")).await;
    let children = async || executor.list_executions("after").await.unwrap();
    until(&executor, async || children().await.iter().any(|child| child.status.is_terminal())).await;
    let child = children().await.remove(0);
    assert_eq!(child.trigger, JobTrigger::Internal { reason: format!("on_failure of {}", parent.id) });
    let environment = runtime.environment(&child.id);
    for (name, value) in [
        ("CORACLE_PARENT_EXECUTION_ID", parent.id.as_str()),
        ("CORACLE_PARENT_JOB_NAME", "fails"),
        ("CORACLE_PARENT_STATUS", "failed"),
        ("CORACLE_PARENT_EXIT_CODE", "1"),
        ("CORACLE_PARENT_REASON", parent.end.unwrap().to_string().as_str()),
    ] {
        assert_eq!(environment.get(name).map(String::as_str), Some(value), "{name}");
    }
    until(&executor, async || undelivered(&executor, &parent.id).await.is_empty()).await;
    let missing = run(&executor, &job("fails", "{on_failure: nobody}")).await;
    until(&executor, async || undelivered(&executor, &missing.id).await[0].problem.is_some()).await;
    let left = undelivered(&executor, &missing.id).await.remove(0);
    assert_eq!((left.due_at, left.problem.as_deref()), (None, Some("no job nobody is registered")));
}

#[tokio::test]
async fn a_sender_that_dies_is_followed_by_another_and_the_job_runs_once() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = Arc::new(TestRuntime::on(directory.path()));
    let hands = Hands::now();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let elsewhere = QueueCare::Elsewhere(Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let config = JobExecutorConfig { clock: hands.clock(), queue: elsewhere, ..JobExecutorConfig::default() };
    let front = JobExecutor::with_config(runtime.clone(), config).await.unwrap();
    front.register_job("after", job("after", "{deadline: 1h}")).await.unwrap();
    let parent = run(&front, &job("fails", "{on_failure: after}")).await;
    front.leave().await.unwrap();
    assert!(asked.load(Ordering::Relaxed) > 0, "it has asked for somebody to see to it");
    assert_eq!(undelivered(&front, &parent.id).await.len(), 1);
    // One takes it on, runs the job and dies before it can say so.
    let now = hands.clock().now();
    let due = front.record().take_notification(now, now + SignedDuration::from_secs(60)).unwrap().unwrap();
    let config = JobExecutorConfig { clock: hands.clock(), ..JobExecutorConfig::default() };
    let first = JobExecutor::with_config(runtime.clone(), config.clone()).await.unwrap();
    first.deliver(&due).await;
    assert_eq!(undelivered(&first, &parent.id).await.len(), 0, "that it is delivered is on record with the execution");
    // One that was as far as this, and only now goes on, runs nothing, whether or not that is on record still.
    let ran = first.list_executions("after").await.unwrap().remove(0).id;
    first.wait(&ran).await.unwrap();
    first.remove(&ran).await.unwrap();
    first.deliver(&due).await;
    assert_eq!(first.list_executions("after").await.unwrap(), []);
    hands.advance(SignedDuration::from_secs(60));
    let second = JobExecutor::with_config(runtime, config).await.unwrap();
    second.deliver(&due).await;
    assert_eq!(second.list_executions("after").await.unwrap(), []);
}

#[tokio::test]
async fn a_cancel_tells_nobody_and_a_passed_queue_deadline_does() {
    let (runtime, executor) = in_memory().await;
    let mut receiver = Receiver::new(&[]).await;
    let policy = format!(
        "{{max_concurrent: 1, queue_deadline: 20ms, on_failure: {{post: \"{}\"}}, on_success: {{post: \"{0}\"}}}}",
        receiver.address
    );
    let one = job("holds", &policy);
    let first = trigger(&executor, &one).await;
    let second = trigger(&executor, &one).await;
    executor.wait(&second).await.unwrap();
    let (_, document) = receiver.request().await;
    assert_eq!((&document["id"], &document["end"]["kind"]), (&second.as_str().into(), &"deadline".into()));
    executor.cancel(&first).await.unwrap();
    executor.wait(&first).await.unwrap();
    assert!(undelivered(&executor, &first).await.is_empty());
    // It outlives what it tells of.
    let leaving =
        format!("job: {{on_success: {{post: \"{}\"}}}}\n    lifecycle: {{delete_on_exit: true}}", receiver.address);
    let id = run(&executor, &spec("quick", &leaving)).await.id;
    assert_eq!(receiver.request().await.1["id"], id.as_str());
    drop(runtime);
}

/// One that runs for its own failure, and two that each run for the failure of the other one.
#[tokio::test]
async fn jobs_that_run_each_other_come_to_an_end() {
    // Of one that begins with "fails", every attempt does.
    for names in [["fails", "fails"], ["fails", "fails-too"]] {
        let (_, executor) = in_memory().await;
        for (name, other) in names.into_iter().zip(names.into_iter().rev()) {
            executor.register_job(name, job(name, &format!("{{on_failure: {{job: {other}}}}}"))).await.unwrap();
        }
        let spec = executor.get_job_spec("fails").await.unwrap().unwrap();
        assert_eq!(run(&executor, &spec).await.notes, [""; 0]);
        // The first one, and eight that each run for the one before.
        let all = all_ended(&executor, 9).await;
        assert!(all.iter().all(|execution| matches!(execution.status, JobStatus::Failed { .. })), "{all:?}");
        let last = executor.execution(&all[0].id).await.unwrap();
        assert_eq!(last.trigger.to_string(), format!("internal(on_failure of {} (8 in a row))", all[1].id));
        let refused = format!("on_failure: the job {} is not run: 8 executions in a row", names[1]);
        assert!(last.notes[0].starts_with(&refused), "{last:?}");
        assert_eq!(last.undelivered, []);
    }
}

/// Of all jobs, newest first: when so many have ended, and no other follows.
async fn all_ended(executor: &JobExecutor, count: usize) -> Vec<JobExecution> {
    let ended = async || {
        let all = executor.list_all_executions().await.unwrap();
        all.into_iter().filter(|execution| execution.status.is_terminal()).collect::<Vec<_>>()
    };
    until(executor, async || ended().await.len() == count).await;
    executor.drain(LONG).await.unwrap();
    let all = executor.list_all_executions().await.unwrap();
    assert_eq!(all.len(), count, "{all:?}");
    all
}

/// A job that runs seventeen for its failure, which would each run as many.
#[tokio::test]
async fn what_one_end_leads_to_is_bounded_in_number() {
    let (_, executor) = in_memory().await;
    let others = vec!["fails"; 17].join(", ");
    let spec = job("fails", &format!("{{on_failure: [{others}]}}"));
    executor.register_job("fails", spec.clone()).await.unwrap();
    assert_eq!(run(&executor, &spec).await.notes, [""; 0]);
    let all = all_ended(&executor, 18).await;
    let last = executor.execution(&all[0].id).await.unwrap();
    assert!(last.trigger.to_string().ends_with(" (one of 17))"), "{last:?}");
    assert_eq!(last.notes.len(), 17);
    assert!(last.notes[0].contains("more than 256 executions"), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_taken_on_is_tried_again_by_itself() {
    let (_, executor) = in_memory().await;
    executor.register_job("after", job("after", "{}")).await.unwrap();
    let fault = "CREATE TRIGGER fault BEFORE UPDATE ON notifications BEGIN SELECT RAISE(ABORT, 'full'); END";
    executor.record().tamper(fault);
    let parent = run(&executor, &job("fails", "{on_failure: after}")).await;
    // Time passes as soon as nothing is left to do.
    tokio::time::timeout(LONG, std::future::pending::<()>()).await.unwrap_err();
    assert_eq!(undelivered(&executor, &parent.id).await.len(), 1);
    executor.record().tamper("DROP TRIGGER fault");
    until(&executor, async || undelivered(&executor, &parent.id).await.is_empty()).await;
}

#[tokio::test]
async fn one_that_cannot_be_read_is_given_up_and_holds_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = Arc::new(TestRuntime::on(directory.path()));
    let elsewhere = QueueCare::Elsewhere(Arc::new(|| {}));
    let config = JobExecutorConfig { queue: elsewhere, ..JobExecutorConfig::default() };
    let front = JobExecutor::with_config(runtime.clone(), config).await.unwrap();
    front.register_job("after", job("after", "{}")).await.unwrap();
    let fails = job("fails", "{on_failure: after}");
    let (broken, whole) = (run(&front, &fails).await, run(&front, &fails).await);
    front.record().tamper(&format!("UPDATE notifications SET target = '{{' WHERE execution_id = '{}'", broken.id));
    let executor = JobExecutor::new(runtime).await.unwrap();
    until(&executor, async || undelivered(&executor, &whole.id).await.is_empty()).await;
    until(&executor, async || undelivered(&executor, &broken.id).await[0].problem.is_some()).await;
    let left = undelivered(&executor, &broken.id).await.remove(0);
    assert_eq!((left.target.as_str(), left.due_at), ("unknown", None));
}
