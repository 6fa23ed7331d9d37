//! Several processes on one root. The others are this program again, each in a test that does not run by itself.

use crate::common::host::{Process, readable_within};
use crate::common::moments::most_at_once;
use crate::harness::{HANGS_AFTER, IMAGE, JOB, job, job_named, on_root, soon};
use coracle::exec::Clock;
use coracle::outcome::End;
use coracle::testing::{MockCall, MockRuntime, Script};
use coracle::{JobExecutionId, JobExecutor, JobTrigger};
use jiff::{SignedDuration, Timestamp};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

const ROOT: &str = "CORACLE_TEST_EXECUTOR_ROOT";

/// Before each line for the parent; the test harness prints, too.
const MARK: &str = "CHILD ";

/// With the host's time of day, which all processes have in common.
async fn executor(root: &Path, runtime: &MockRuntime) -> JobExecutor {
    on_root(root, runtime, Clock::default()).await
}

/// Another process, and what it says; killed at the end.
struct Other {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Other {
    fn start(test: &str, root: &Path) -> Other {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--ignored", "--exact", "--nocapture", test]).env(ROOT, root);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a child");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Other { child, stdout }
    }

    /// The next thing it says.
    fn hear(&mut self) -> String {
        loop {
            let mut line = String::new();
            let has_more =
                !self.stdout.buffer().is_empty() || readable_within(self.stdout.get_ref().as_fd(), HANGS_AFTER);
            assert!(has_more, "the other process hangs");
            let read = self.stdout.read_line(&mut line).expect("a pipe");
            assert!(read > 0, "the other process has ended");
            if let Some((_, said)) = line.trim_end().split_once(MARK) {
                return said.to_owned();
            }
        }
    }

    fn hear_id(&mut self) -> JobExecutionId {
        JobExecutionId(self.hear())
    }

    /// Lets it go on after [`wait_for_parent`].
    fn go_on(&mut self) {
        self.child.stdin.as_mut().expect("a pipe").write_all(b"\n").expect("it reads");
    }

    fn kill(&mut self) {
        self.child.kill().expect("a child that runs");
        self.child.wait().expect("a child");
    }

    /// Lets it end by itself.
    fn finish(mut self) {
        drop(self.child.stdin.take());
        let process = Process::open(self.child.id() as i32).expect("a child that was not waited for");
        assert!(process.ends_within(HANGS_AFTER), "the other process hangs");
        assert!(self.child.wait().expect("a child").success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(what: &str) {
    // Not swallowed by the test harness, and a line of its own.
    println!("\n{MARK}{what}");
}

fn root_of_parent() -> std::path::PathBuf {
    std::env::var_os(ROOT).expect("the parent names it").into()
}

async fn wait_for_parent() {
    let read = || std::io::stdin().read_line(&mut String::new()).expect("a pipe");
    tokio::task::spawn_blocking(read).await.expect("no panic");
}

/// The job that is tried again after an hour.
const AGAIN: &str = "again";

/// Triggers an execution that waits for its next attempt, and four of which one runs, and says their ids.
#[tokio::test]
#[ignore = "run by a_killed_process_leaves_its_queue_to_others"]
async fn child_with_a_queue() {
    let runtime = MockRuntime::new();
    runtime.on(JOB, Script::runs());
    runtime.on(AGAIN, Script::exits(1));
    let executor = executor(&root_of_parent(), &runtime).await;
    let spec = job_named(AGAIN, "retry: {max_attempts: 2, backoff: {initial: 1h, max: 1h}}");
    let id = executor.trigger(AGAIN, &spec, JobTrigger::Cli).await.expect("a trigger");
    soon(async {
        while executor.execution(&id).await.expect("an execution").attempt == 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    say(id.as_str());
    let spec = job("max_concurrent: 1");
    for number in 0..4 {
        let id = executor.trigger(JOB, &spec, JobTrigger::Cli).await.expect("a trigger");
        if number == 0 {
            soon(runtime.called(|call| matches!(call, MockCall::Start { .. }))).await;
        }
        say(id.as_str());
    }
    wait_for_parent().await;
}

#[tokio::test]
async fn a_killed_process_leaves_its_queue_to_others() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = directory.path().join("root");
    let mut other = Other::start("processes::child_with_a_queue", &root);
    let again = other.hear_id();
    let ids: Vec<JobExecutionId> = (0..4).map(|_| other.hear_id()).collect();
    other.kill();

    // When the hour is over.
    let later = || Timestamp::now() + SignedDuration::from_hours(1);
    let runtime = MockRuntime::new().with_clock(later);
    let executor = on_root(&root, &runtime, Clock::new(later)).await;
    let waited = soon(executor.wait(&again)).await.expect("an end");
    let attempts: Vec<_> = waited.attempts.iter().map(|attempt| (attempt.number, attempt.exit_code)).collect();
    assert_eq!(attempts, [(1, Some(1)), (2, Some(0))]);
    let lost = executor.execution(&ids[0]).await.expect("an execution");
    assert!(matches!(lost.end, Some(End::SupervisorLost { .. })), "{lost:?}");
    for id in &ids[1..] {
        assert_eq!(soon(executor.wait(id)).await.expect("an end").status.to_string(), "completed(0)");
    }
    let creations = runtime.calls().into_iter().filter_map(|call| match call {
        MockCall::Create { container, job, .. } if job == JOB => Some(container.execution().to_owned()),
        _ => None,
    });
    let expected: Vec<String> = ids[1..].iter().map(|id| id.0.clone()).collect();
    assert_eq!(creations.collect::<Vec<_>>(), expected);
}

#[tokio::test]
#[ignore = "run by a_killed_process_had_prepared_nothing"]
async fn child_that_pulls() {
    let runtime = MockRuntime::new();
    runtime.on(IMAGE, Script::default().pull_hangs());
    let executor = executor(&root_of_parent(), &runtime).await;
    let id = executor.trigger(JOB, &job(""), JobTrigger::Cli).await.expect("a trigger");
    say(id.as_str());
    wait_for_parent().await;
}

#[tokio::test]
async fn a_killed_process_had_prepared_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = directory.path().join("root");
    let mut other = Other::start("processes::child_that_pulls", &root);
    let id = other.hear_id();
    let executor = executor(&root, &MockRuntime::new()).await;
    assert_eq!(executor.execution(&id).await.expect("an execution").status.to_string(), "pending");
    // Whoever waits hears of the death itself.
    let waiting = tokio::spawn({
        let (executor, id) = (executor.clone(), id.clone());
        async move { executor.wait(&id).await.expect("an end") }
    });
    tokio::task::yield_now().await;
    other.kill();
    let execution = soon(waiting).await.expect("no panic");
    assert_eq!((execution.status.to_string().as_str(), execution.attempt), ("completed(0)", 1));
}

const EACH: usize = 25;
const AT_ONCE: usize = 2;

async fn trigger_one_of_many(executor: &JobExecutor) -> JobExecutionId {
    let spec = job(&format!("max_concurrent: {AT_ONCE}"));
    executor.trigger(JOB, &spec, JobTrigger::Cli).await.expect("a trigger")
}

async fn run_many(executor: &JobExecutor, runtime: &MockRuntime) {
    runtime.on(JOB, Script::default().takes(Duration::from_millis(2)));
    for _ in 0..EACH {
        trigger_one_of_many(executor).await;
    }
    soon(executor.drain(Duration::from_secs(600))).await.expect("all end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by limits_hold_across_processes"]
async fn child_with_many() {
    let runtime = MockRuntime::new();
    runtime.on(JOB, Script::runs());
    let executor = executor(&root_of_parent(), &runtime).await;
    let id = trigger_one_of_many(&executor).await;
    let container = soon(runtime.started(&id, 1)).await;
    soon(container.main_runs()).await;
    say("runs");
    wait_for_parent().await;
    container.exit(0);
    run_many(&executor, &runtime).await;
    say("done");
    wait_for_parent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_across_processes() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = directory.path().join("root");
    let mut others: Vec<Other> = (0..AT_ONCE).map(|_| Other::start("processes::child_with_many", &root)).collect();
    for other in &mut others {
        assert_eq!(other.hear(), "runs");
    }
    // As many run as may.
    let runtime = MockRuntime::new();
    let executor = executor(&root, &runtime).await;
    let one_more = trigger_one_of_many(&executor).await;
    assert_eq!(executor.execution(&one_more).await.expect("an execution").status.to_string(), "pending");
    others.iter_mut().for_each(Other::go_on);
    run_many(&executor, &runtime).await;
    for other in &mut others {
        assert_eq!(other.hear(), "done");
    }
    others.into_iter().for_each(Other::finish);

    let executions = executor.list_executions(JOB).await.expect("a list");
    assert_eq!(executions.len(), (1 + AT_ONCE) * (1 + EACH));
    let ran = executions.iter().map(|execution| {
        assert_eq!(execution.status.to_string(), "completed(0)");
        (execution.started_at.expect("it ran"), execution.completed_at.expect("it ended"))
    });
    assert_eq!(most_at_once(ran), AT_ONCE);
}

/// Has the only place of the job, as soon as `is_there`, and says the id of its execution.
async fn hold_the_place(runtime: &MockRuntime, is_there: impl Fn(&MockCall) -> bool) {
    let executor = executor(&root_of_parent(), runtime).await;
    let id = executor.trigger(JOB, &job("max_concurrent: 1"), JobTrigger::Cli).await.expect("a trigger");
    soon(runtime.called(is_there)).await;
    say(id.as_str());
    wait_for_parent().await;
}

#[tokio::test]
#[ignore = "run by the_queue_goes_on_when_the_preparer_of_another_process_dies"]
async fn child_that_prepares() {
    let runtime = MockRuntime::new();
    runtime.on(IMAGE, Script::default().pull_hangs());
    hold_the_place(&runtime, |call| matches!(call, MockCall::Pull { .. })).await;
}

#[tokio::test]
#[ignore = "run by the_queue_goes_on_when_the_driver_of_another_process_dies"]
async fn child_that_drives() {
    let runtime = MockRuntime::new();
    runtime.on(JOB, Script::runs());
    hold_the_place(&runtime, |call| matches!(call, MockCall::Start { .. })).await;
}

/// What the execution of the killed process became, when the one that waited for its place has run. Nobody asks for
/// either, or opens the store, after the death.
async fn after_the_death_of(child: &str) -> String {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = directory.path().join("root");
    let mut other = Other::start(child, &root);
    let first = other.hear_id();
    let runtime = MockRuntime::new();
    let executor = executor(&root, &runtime).await;
    let second = executor.trigger(JOB, &job("max_concurrent: 1"), JobTrigger::Cli).await.expect("a trigger");
    assert_eq!(executor.execution(&second).await.expect("an execution").status.to_string(), "pending");
    other.kill();
    let is_second = |call: &MockCall| match call {
        MockCall::Start { container } => container.execution() == second.as_str(),
        _ => false,
    };
    soon(runtime.called(is_second)).await;
    assert_eq!(soon(executor.wait(&second)).await.expect("an end").status.to_string(), "completed(0)");
    executor.execution(&first).await.expect("an execution").status.to_string()
}

#[tokio::test]
async fn the_queue_goes_on_when_the_preparer_of_another_process_dies() {
    // It goes back into the queue, where it is the older one.
    assert_eq!(after_the_death_of("processes::child_that_prepares").await, "completed(0)");
}

#[tokio::test]
async fn the_queue_goes_on_when_the_driver_of_another_process_dies() {
    assert_eq!(after_the_death_of("processes::child_that_drives").await, "failed");
}
