//! Taking over what dead processes have left.

use super::*;
use crate::outcome::End;
use crate::record::{AfterAttempt, Ended, Execution, Insertion, NewExecution, Record, Status};
use crate::sys::process::ProcessIdentity;

/// A process that is gone.
fn dead() -> ProcessIdentity {
    let me = ProcessIdentity::current().unwrap();
    ProcessIdentity { start_time: me.start_time + 1, ..me }
}

/// An execution of a job that nobody looks after.
pub fn new(job: &ServiceSpec) -> NewExecution {
    let id = JobExecutionId::new().0;
    let spec = serde_json::to_value(job).unwrap();
    NewExecution::new(&id, &job.name, JobTrigger::Cli, "example", spec, Timestamp::now())
}

/// Records it as claimed by a process that is gone, and gives its row.
pub fn claimed_by_dead(record: &Record, new: &NewExecution) -> Execution {
    assert_eq!(record.insert(new, Some(&dead()), Timestamp::now()).unwrap(), Insertion::Claimed);
    record.get(&new.id).unwrap().unwrap()
}

#[tokio::test]
async fn what_has_gone_on_since_it_was_read_is_left_alone() {
    let (_, executor) = in_memory().await;
    let record = executor.record();
    let attended = NewExecution { reserved_for: Some(dead()), ..new(&job("holds", "{}")) };
    for new in [new(&job("holds", "{}")), attended] {
        let read = claimed_by_dead(record, &new);
        // Its front starts it, and is killed only then.
        let supervisor = ProcessIdentity::current().unwrap();
        assert!(record.activate(&new.id, 1, "sha256:0", "container", &supervisor).unwrap());
        assert!(!executor.reconcile_one(read).await.unwrap());
        let row = record.get(&new.id).unwrap().unwrap();
        assert_eq!((row.status, row.owner), (Status::Active, Some(supervisor)));
    }
}

#[tokio::test]
async fn a_further_attempt_that_waits_is_not_ended_in_place_of_the_first() {
    let (_, executor) = in_memory().await;
    let record = executor.record();
    let new = NewExecution { reserved_for: Some(dead()), ..new(&job("holds", "{}")) };
    assert_eq!(record.insert(&new, None, Timestamp::now()).unwrap(), Insertion::Waiting);
    let read = record.get(&new.id).unwrap().unwrap();
    assert!(record.claim(&new.id, &dead(), Timestamp::now(), &|_| true).unwrap().is_some());
    let end = super::super::settle::outcome(End::OomKilled, 1, Timestamp::now(), Duration::ZERO);
    let then = AfterAttempt::Retry { at: Timestamp::MAX, now: Timestamp::now(), spent: Duration::ZERO };
    assert_eq!(record.end_attempt(&new.id, 1, &end, then).unwrap(), Ended::Waiting);
    executor.reconcile_one(read).await.unwrap();
    let row = record.get(&new.id).unwrap().unwrap();
    assert_eq!((row.is_waiting(), row.attempt, row.reserved_for), (true, 2, None));
}

/// As a front does that has not answered its supervisor for a while.
#[tokio::test]
async fn a_front_makes_the_next_attempt_that_somebody_else_has_recorded() {
    let runtime = Arc::new(TestRuntime::in_memory());
    let queue = QueueCare::Elsewhere(Arc::new(|| {}));
    let config = JobExecutorConfig { queue, ..JobExecutorConfig::default() };
    let front = JobExecutor::with_config(runtime.clone(), config).await.unwrap();
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let (job, hears) = (job("holds", "{retry: {max_attempts: 3}}"), said.clone());
    let options = TriggerOptions {
        stdio: Stdio::Attached { stdin: false },
        notices: Some(Arc::new(move |line| hears.lock().unwrap().push(line.to_owned()))),
        ..TriggerOptions::default()
    };
    let id = front.trigger_with("holds", &job, JobTrigger::Cli, options).await.unwrap();
    let waiting = tokio::spawn({
        let (front, id) = (front.clone(), id.clone());
        async move { front.wait(&id).await.unwrap() }
    });
    let runs = async |attempt| {
        let row = front.record().get(id.as_str()).unwrap().unwrap();
        row.status == Status::Active && row.attempt == attempt
    };
    until(&front, async || runs(1).await).await;
    let end = super::super::settle::outcome(End::Exited { code: 1 }, 1, Timestamp::now(), Duration::ZERO);
    let then = AfterAttempt::Retry { at: Timestamp::now(), now: Timestamp::now(), spent: Duration::ZERO };
    assert_eq!(front.record().end_attempt(id.as_str(), 1, &end, then).unwrap(), Ended::Waiting);
    runtime.exit(&id, 1, 1);
    until(&front, async || runs(2).await).await;
    runtime.exit(&id, 2, 0);
    let execution = tokio::time::timeout(LONG, waiting).await.expect("it ends").unwrap();
    assert_eq!((execution.status.to_string().as_str(), execution.attempt), ("completed(0)", 2));
    assert!(said.lock().unwrap().iter().any(|line| line.starts_with("attempt 1 failed")), "{said:?}");
}

#[tokio::test]
async fn what_was_being_started_when_the_host_went_down_is_a_lost_attempt() {
    let (_, executor) = in_memory().await;
    let record = executor.record();
    let before = ProcessIdentity { boot_id: "another".into(), ..dead() };
    let claim = |policy: &str, reserved_for: Option<ProcessIdentity>| {
        let new = NewExecution { reserved_for, ..new(&job("quick", policy)) };
        assert_eq!(record.insert(&new, Some(&before), Timestamp::now()).unwrap(), Insertion::Claimed);
        new.id
    };
    let detached = claim("{}", None);
    let attached = claim("{}", Some(before.clone()));
    let again = claim("{retry: {max_attempts: 2}}", None);
    let waits = new(&job("quick", "{}"));
    assert_eq!(record.insert(&waits, None, Timestamp::now()).unwrap(), Insertion::Waiting);
    executor.reconcile().await.unwrap();
    for id in [detached, attached] {
        let row = record.get(&id).unwrap().unwrap();
        let Some(End::SupervisorLost { message }) = row.end else { panic!("{row:?}") };
        assert!(message.contains("it may have run"), "{message}");
    }
    let row = record.get(&again).unwrap().unwrap();
    assert_eq!((row.status, row.attempt), (Status::Pending, 2));
    // What nobody had taken on just waits on.
    let waits = executor.wait(&JobExecutionId(waits.id)).await.unwrap();
    assert_eq!((waits.status.to_string().as_str(), waits.attempt), ("completed(0)", 1));
}

#[tokio::test]
async fn an_attempt_ends_although_its_spec_cannot_be_read() {
    let (_, executor) = in_memory().await;
    let record = executor.record();
    let unreadable = || NewExecution { spec: serde_json::json!({}), ..new(&job("quick", "{}")) };
    let active = claimed_by_dead(record, &unreadable());
    assert!(record.activate(&active.id, 1, "sha256:0", "container", &dead()).unwrap());
    let attended = NewExecution { reserved_for: Some(dead()), ..unreadable() };
    let attended = claimed_by_dead(record, &attended);
    executor.reconcile().await.unwrap();
    for (id, kind) in [(active.id, "supervisor lost"), (attended.id, "ended before the job could begin")] {
        let row = record.get(&id).unwrap().unwrap();
        assert_eq!(row.status, Status::Failed);
        assert!(row.reason.unwrap().contains(kind));
        assert!(row.notes.iter().any(|note| note.contains("not one of this version")), "{:?}", row.notes);
    }
}

#[tokio::test]
async fn what_is_lost_is_not_in_the_way_of_a_job_that_forbids_others() {
    let (_, executor) = in_memory().await;
    let job = job("quick", "{on_conflict: forbid}");
    let lost = claimed_by_dead(executor.record(), &new(&job));
    assert!(executor.record().activate(&lost.id, 1, "sha256:0", "container", &dead()).unwrap());
    assert_eq!(run(&executor, &job).await.status.to_string(), "completed(0)");
    assert!(executor.record().get(&lost.id).unwrap().unwrap().status.is_terminal());
}
