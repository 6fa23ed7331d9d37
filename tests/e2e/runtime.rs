//! What the runtime does beneath the executor: time limits, stops, and what processes that stay keep of those that
//! started them. Some of it is seen through the library alone.

use super::lifecycle::{until_line, until_running};
use super::queue::register;
use crate::common::cli::Coracle;
use crate::common::fixture;
use crate::common::host::readable_within;
use crate::common::leftovers;
use crate::layout::{Compression, Layer, LayoutBuilder};
use crate::server::{Answer, Server, digest_of};
use crate::tarball::Tar;
use coracle::engine::{CreateRequest, OciRuntimeConfig, Removal, Stdio};
use coracle::outcome::{End, Stopped};
use coracle::plan::Plan;
use coracle::spec::DeploymentSpec;
use coracle::{ContainerId, JobExecutionId, OciRuntime, Runtime};
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getsid};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as Stream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

/// Enough for any machine.
const SOON: Duration = Duration::from_secs(60);

/// The library's own runtime on the same root, in this process.
fn open(coracle: &Coracle) -> OciRuntime {
    let config =
        OciRuntimeConfig { root: Some(coracle.root()), binary: Some(Coracle::binary()), ..OciRuntimeConfig::default() };
    OciRuntime::open(config).expect("a runtime")
}

/// Makes a container of the job, with an hour until its deadline; it waits for its start.
async fn create(runtime: &OciRuntime, spec: &Path) -> ContainerId {
    let deployment = DeploymentSpec::from_path(spec).expect("a spec");
    let job = &deployment.services["job"];
    let image = Runtime::pull(runtime, &job.image, None).await.expect("an image");
    let execution = JobExecutionId::new();
    let container = ContainerId::new(&execution, 1);
    let request = CreateRequest {
        execution: &execution,
        container: &container,
        attempt: 1,
        job,
        env: Vec::new(),
        image,
        settings: None,
        deadline: Some(HOUR),
        max_log_size: job.logs.max_size,
        stdio: Stdio::Detached,
    };
    runtime.create(request).await.expect("a container");
    container
}

/// Each try ends while its launcher is about to make the container.
#[cfg(feature = "s3")]
#[test]
fn a_transfer_may_be_stopped_before_its_container_exists() {
    let coracle = Coracle::new();
    let step = "{ uses: init.s3_pull, timeout: 1ms, retry: { count: 40, initial: 1ms, max: 1ms }, \
                on_failure: continue, with: { bucket: bucket, key: key, destination: /file, anonymous: true, \
                endpoint: \"http://127.0.0.1:1\" } }";
    let spec = coracle.job(&format!("init:\n  steps:\n  - {step}\ncommand: [echo, main]"));
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0).expect_stdout("main\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_counts_while_images_of_steps_are_fetched() {
    let coracle = Coracle::new();
    let mut layout = LayoutBuilder::new(&coracle.scratch().join("layout"));
    let manifest = digest_of(&layout.image(&[Layer::new(Tar::new().file("file", b"x"), Compression::Gzip)]));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let times = asked.clone();
    let server = Server::start(&layout, &manifest, move |_| {
        times.lock().expect("no panic").push(Instant::now());
        Answer::Normal
    });
    let step = format!("{{ uses: init.run, with: {{ image: {:?}, command: [/file] }} }}", server.reference());
    let runtime = open(&coracle);
    let container = create(&runtime, &coracle.job(&format!("init:\n  steps:\n  - {step}\ncommand: [\"true\"]"))).await;
    let plan = std::fs::read(coracle.container(container.execution()).join("plan.json")).expect("a plan");
    let plan: Plan = serde_json::from_slice(&plan).expect("a plan");
    runtime.remove(&container, Removal::Everything).await.expect("nothing is left");
    let asked = asked.lock().expect("no panic");
    let took = asked[asked.len() - 1] - asked[0];
    assert!(asked.len() > 1 && plan.deadline.expect("a deadline") < HOUR - took, "{took:?} of {:?}", plan.deadline);
}

/// The number of the try that a step is at.
fn try_of_step(coracle: &Coracle, container: &ContainerId) -> Option<u64> {
    let state = std::fs::read(coracle.container(container.execution()).join("state")).ok()?;
    let state: serde_json::Value = serde_json::from_slice(&state).expect("it is whole");
    state["stage"]["step"]["attempt"].as_u64()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_step_begins_with_the_start() {
    let coracle = Coracle::new();
    let step = "{ uses: init.run, timeout: 10ms, retry: { count: 1000, initial: 1ms, max: 1ms }, \
                with: { command: [sleep, \"1000\"] } }";
    let runtime = open(&coracle);
    let container = create(&runtime, &coracle.job(&format!("init:\n  steps:\n  - {step}\ncommand: [\"true\"]"))).await;
    // The live stage has no other event for an outsider than asking again.
    while try_of_step(&coracle, &container).is_none() {}
    // Nothing is to happen while another job has its whole life, which is many times that time.
    Coracle::new().toolbox(&[], &["true"]).expect_code(0);
    assert_eq!(try_of_step(&coracle, &container), Some(1));
    runtime.start(&container).await.expect("a container");
    while try_of_step(&coracle, &container) < Some(2) {}
    assert!(runtime.stop(&container, Some(Duration::ZERO)).await.expect("a supervisor"));
    runtime.wait(&container).await.expect("an outcome");
    runtime.remove(&container, Removal::Everything).await.expect("nothing is left");
}

#[test]
fn a_further_cancel_without_a_grace_period_has_the_jobs_own() {
    let coracle = Coracle::new();
    let spec = coracle.job("stop_grace_period: 1ms\ncommand: [trap, TERM]");
    let id = coracle.detach(&[spec.to_str().expect("a plain name")]);
    until_line(&coracle, &id, "ready");
    coracle.run(["cancel", "--grace", "1h", &id]).expect_code(0);
    until_line(&coracle, &id, "got 15");
    // Whoever opens the store sees to it that the supervisor was told, which asks for nothing new.
    coracle.run(["ps"]).expect_code(0);
    assert_eq!(coracle.inspect(&id)["status"], "running");
    coracle.run(["cancel", &id]).expect_code(0);
    coracle.run(["wait", &id]).expect_code(137);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_known_before_the_settler_has_recorded_it() {
    let coracle = Coracle::new();
    let id = coracle.detach_toolbox(&[], &["sleep", "1000"]);
    until_running(&coracle, &id);
    let directory = coracle.container(&id);
    let container = ContainerId(format!("{id}-{}", directory.file_name().expect("a name").display()));
    let runtime = open(&coracle);
    let waiting = tokio::spawn({
        let (runtime, container) = (runtime.clone(), container.clone());
        async move { runtime.wait(&container).await }
    });
    // The supervisor becomes a settler that waits for this.
    let database = rusqlite::Connection::open(coracle.root().join("coracle.db")).expect("it opens");
    database.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    assert!(runtime.stop(&container, Some(Duration::ZERO)).await.expect("a supervisor"));
    let outcome = tokio::time::timeout(SOON, waiting).await.expect("it waits for the settler");
    let outcome = outcome.expect("no panic").expect("an outcome");
    assert_eq!(outcome.end, End::Cancelled { how: Stopped::Signalled { signal: libc::SIGKILL } });
    assert!(!runtime.stop(&container, None).await.expect("an answer"), "there is nothing to stop");
    assert_eq!(runtime.wait(&container).await.expect("an outcome"), outcome);
    database.execute_batch("ROLLBACK").expect("it was begun");
    coracle.run(["wait", &id]).expect_code(137);
}

/// A pipe that hangs up when nobody has it open for writing any more.
fn fifo(coracle: &Coracle) -> (PathBuf, File) {
    let path = coracle.scratch().join("fifo");
    nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).expect("a FIFO");
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&path).expect("a FIFO");
    (path, file)
}

/// The same command from a shell that has `path` open for writing, as `exec 9>lock; flock 9` does with a lock.
fn with_descriptor(path: &Path, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 9>\"$0\"; exec \"$@\""]).arg(path).arg(command.get_program()).args(command.get_args());
    shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.stdin(Stream::null());
    shell
}

#[test]
fn a_detached_job_keeps_nothing_open_of_whoever_started_it() {
    let coracle = Coracle::new();
    let (path, fifo) = fifo(&coracle);
    let command = coracle.image_command(&fixture::toolbox(), &["-d"], &["sleep", "1000"]);
    let id = coracle.finish(with_descriptor(&path, &command)).expect_code(0).stdout().trim().to_owned();
    until_running(&coracle, &id);
    assert!(readable_within(fifo.as_fd(), SOON), "the job keeps it open");
    coracle.run(["cancel", "--grace", "0s", &id]).expect_code(0);
    coracle.run(["wait", &id]).expect_code(137);
}

#[test]
fn a_settler_keeps_nothing_of_whoever_left_it() {
    let coracle = Coracle::new();
    let (path, fifo) = fifo(&coracle);
    let elsewhere = coracle.scratch().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a scratch directory");
    register(&coracle, "retry: { max_attempts: 2, backoff: { initial: 1h, max: 1h } }", "command: [exit, \"1\"]");
    let mut command = with_descriptor(&path, &coracle.command(["trigger", "job", "--wait"]));
    command.current_dir(&elsewhere);
    let front = coracle.start(command);
    // A process has no event for an outsider than asking again.
    let settler = loop {
        let mut all = leftovers::processes(&coracle.root()).into_iter();
        if let Some(settler) = all.find(|process| process.what.contains("--role=settle")) {
            break settler.handle;
        }
    };
    front.process.signal(Signal::SIGKILL);
    front.finish();
    assert!(readable_within(fifo.as_fd(), SOON), "the settler keeps it open");
    let directory = std::fs::read_link(format!("/proc/{}/cwd", settler.pid)).expect("it runs");
    assert_eq!(directory, Path::new("/"));
    assert_eq!(getsid(Some(Pid::from_raw(settler.pid))), Ok(Pid::from_raw(settler.pid)));
    let id = coracle.only_execution()["id"].as_str().expect("an id").to_owned();
    coracle.run(["cancel", &id]).expect_code(0);
}
