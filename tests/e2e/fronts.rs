//! A supervisor and its front at their slowest: neither waits for what is not the other's business.

use super::init_stops::until_step;
use super::queue::trigger;
use super::record::until_backoff;
use super::retry::script;
use crate::common::cli::Coracle;
use crate::common::fixture;
use crate::common::host::{HANGS_AFTER, Process};
use crate::common::leftovers;
use coracle::engine::{ContainerState, CreateRequest, Removal, Stdio};
use coracle::outcome::{End, Outcome};
use coracle::record::{JobTrigger, NewExecution, Record};
use coracle::spec::{DeploymentSpec, ServiceSpec};
use coracle::state_dir::StateDir;
use coracle::sys::process::ProcessIdentity;
use coracle::{ContainerId, JobExecutionId, OciRuntime, OciRuntimeConfig, Runtime};
use nix::sys::signal::Signal;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Leaves an execution that waits for an hour, and nobody who attends to that: whoever becomes a settler stays.
fn waiting_unattended(coracle: &Coracle) -> String {
    script(coracle, "retry: { max_attempts: 2, backoff: { initial: 1h, max: 1h } }", "exit 1", "");
    let id = trigger(coracle, &[]);
    until_backoff(coracle, &id);
    coracle.kill_everything();
    id
}

/// A front in this process, on the root of the binary.
struct Front {
    runtime: OciRuntime,
    execution: JobExecutionId,
    container: ContainerId,
}

impl Front {
    /// To be called in the tokio runtime.
    fn new(coracle: &Coracle) -> Front {
        let config =
            OciRuntimeConfig { root: Some(coracle.root()), binary: Some(Coracle::binary()), ..Default::default() };
        let execution = JobExecutionId::new();
        let container = ContainerId::new(&execution, 1);
        Front { runtime: OciRuntime::open(config).expect("a root"), execution, container }
    }

    fn directory(&self, coracle: &Coracle) -> PathBuf {
        let own = self.container.own_part().expect("an attempt's");
        coracle.root().join("executions").join(self.execution.as_str()).join(own)
    }

    /// Makes the container of such a job, and returns its supervisor.
    async fn create(&self, coracle: &Coracle, body: &str) -> Process {
        let job = &job(coracle, body);
        let request = CreateRequest {
            execution: &self.execution,
            container: &self.container,
            attempt: 1,
            job,
            env: Vec::new(),
            image: Runtime::pull(&self.runtime, &job.image, None).await.expect("the toolbox"),
            settings: None,
            deadline: None,
            max_log_size: 1 << 20,
            stdio: Stdio::Detached,
        };
        let created = self.runtime.create(request).await.expect("a container");
        Process::open(created.keeper.expect("a supervisor").pid).expect("a child that was not waited for")
    }

    async fn remove(&self, extent: Removal) {
        let removed = tokio::time::timeout(HANGS_AFTER, self.runtime.remove(&self.container, extent)).await;
        removed.expect("it hangs").expect("nothing is left");
    }

    async fn ended(&self) -> Outcome {
        let outcome = tokio::time::timeout(HANGS_AFTER, self.runtime.wait(&self.container)).await;
        outcome.expect("it hangs").expect("an outcome")
    }
}

fn job(coracle: &Coracle, body: &str) -> ServiceSpec {
    let mut deployment = DeploymentSpec::from_path(coracle.job(body)).expect("a deployment");
    deployment.services.remove("job").expect("a job of that name")
}

fn tokio() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads")
}

#[test]
fn a_supervisor_that_cannot_begin_is_gone() {
    let coracle = Coracle::new();
    let waiting = waiting_unattended(&coracle);
    tokio().block_on(async {
        let front = Front::new(&coracle);
        // Where it reserves room for its outcome.
        std::fs::create_dir_all(front.directory(&coracle).join(".outcome")).expect("a directory");
        let supervisor = front.create(&coracle, "command: [\"true\"]").await;
        assert!(supervisor.ends_within(HANGS_AFTER), "it does something else");
        front.runtime.start(&front.container).await.expect("nothing that the front would see");
        let outcome = front.ended().await;
        assert!(matches!(outcome.end, End::SupervisorLost { .. }), "{outcome:?}");
        front.remove(Removal::Everything).await;
    });
    coracle.run(["cancel", &waiting]).expect_code(0);
}

#[test]
fn a_front_has_time_to_record_what_could_not_be_made() {
    /// A second more than it has once that is recorded.
    const LONG: Duration = Duration::from_secs(6);
    let coracle = Coracle::new();
    tokio().block_on(async {
        let front = Front::new(&coracle);
        let supervisor = front.create(&coracle, "command: [\"true\"]\nuser: nobody-of-that-name").await;
        let ended = async {
            while !matches!(front.runtime.state(&front.container).await, Ok(ContainerState::Ended(_))) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(HANGS_AFTER, ended).await.expect("it ends");
        assert!(!supervisor.ends_within(LONG), "nobody is left to settle what the front records now");
        front.runtime.start(&front.container).await.expect("nothing that the front would see");
        let outcome = front.ended().await;
        assert!(matches!(outcome.end, End::NotCreated { .. }), "{outcome:?}");
        front.remove(Removal::Everything).await;
        assert!(supervisor.ends_within(HANGS_AFTER), "it goes on");
    });
}

#[test]
fn what_is_given_up_before_its_start_holds_nobody_up() {
    let coracle = Coracle::new();
    let waiting = waiting_unattended(&coracle);
    tokio().block_on(async {
        let front = Front::new(&coracle);
        let supervisor = front.create(&coracle, "command: [\"true\"]").await;
        front.remove(Removal::Leftovers).await;
        front.remove(Removal::Everything).await;
        assert!(supervisor.ends_within(HANGS_AFTER), "it does something else");
    });
    coracle.run(["cancel", &waiting]).expect_code(0);
}

#[test]
fn what_nobody_can_start_any_more_is_given_up() {
    let coracle = Coracle::new();
    let tokio = tokio();
    let (front, supervisor) = tokio.block_on(async {
        let front = Front::new(&coracle);
        let supervisor = front.create(&coracle, "command: [\"true\"]").await;
        (front, supervisor)
    });
    drop(tokio);
    assert!(supervisor.ends_within(HANGS_AFTER), "it waits for its start");
    // There is no record of it for the settler.
    let other = Front { runtime: Front::new(&coracle).runtime, ..front };
    self::tokio().block_on(other.remove(Removal::Everything));
}

/// As when its front is killed right after it has recorded that the job is to begin.
#[test]
fn what_lost_its_front_before_it_began_was_not_cancelled() {
    let coracle = Coracle::new();
    let tokio = tokio();
    let step = "{ uses: init.run, retry: { count: 1, initial: 1h, max: 1h }, with: { command: [echo], user: nosuch } }";
    let body = format!("init:\n  steps:\n  - {step}\ncommand: [echo]");
    let (front, supervisor) = tokio.block_on(async {
        let front = Front::new(&coracle);
        let supervisor = front.create(&coracle, &body).await;
        (front, supervisor)
    });
    let (id, container) = (front.execution.as_str(), front.container.as_str());
    let (job, now) = (job(&coracle, &body), jiff::Timestamp::now());
    let spec = serde_json::to_value(&job).expect("JSON");
    let new = NewExecution::new(id, &job.name, JobTrigger::Cli, &job.image.name, spec, now);
    let record = Record::open(&StateDir::open(Some(&coracle.root())).expect("a root")).expect("a record");
    record.insert(&new, Some(&ProcessIdentity::current().expect("this process")), now).expect("a new row");
    until_step(&coracle, id, true);
    let keeper = ProcessIdentity::of(supervisor.pid).expect("it waits");
    assert!(record.activate(id, 1, "sha256:0", container, &keeper).expect("the row"));
    drop(tokio);
    coracle.run(["wait", id]).expect_code(125);
    let execution = coracle.inspect(id);
    assert_eq!((&execution["status"], &execution["end"]["kind"]), (&"failed".into(), &"not_created".into()));
}

#[test]
fn a_front_does_not_wait_for_what_its_supervisor_became() {
    let coracle = Coracle::new();
    let waiting = waiting_unattended(&coracle);
    let (stdin, mut input) = std::io::pipe().expect("a pipe");
    let mut command = coracle.image_command(&fixture::busybox(), &["-i"], &["cat"]);
    command.stdin(stdin);
    let mut front = coracle.start(command);
    input.write_all(b"ready\n").expect("a pipe");
    front.wait_for_line("ready");
    let supervisor = leftovers::processes(&coracle.root());
    let supervisor = supervisor.iter().find(|related| related.what.contains("--role=supervise")).expect("one runs");
    front.process.signal(Signal::SIGSTOP);
    drop(input);
    // After some seconds.
    let path = format!("/proc/{}/cmdline", supervisor.handle.pid);
    coracle.until("the settler", || {
        std::fs::read(&path).expect("it goes on").windows(13).any(|part| part == b"--role=settle")
    });
    front.process.signal(Signal::SIGCONT);
    front.finish().expect_code(0);
    coracle.run(["cancel", &waiting]).expect_code(0);
}
