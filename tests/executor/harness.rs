//! An executor on a runtime in memory.

use coracle::exec::Clock;
use coracle::spec::{DeploymentSpec, ServiceSpec};
use coracle::testing::{MockContainer, MockRuntime};
use coracle::{JobExecution, JobExecutionId, JobExecutor, JobExecutorConfig, JobTrigger, TriggerOptions};
use jiff::{SignedDuration, Timestamp};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

pub const SECOND: Duration = Duration::from_secs(1);

/// The image of every job.
pub const IMAGE: &str = "example.org/test:v1";

/// The name of most jobs.
pub const JOB: &str = "job";

/// A runtime, an executor on it, and their clock.
pub struct World {
    pub runtime: MockRuntime,
    pub executor: JobExecutor,
    pub clock: TestClock,
    /// `None`: the record is in memory.
    pub root: Option<TempDir>,
}

impl World {
    /// With a record in memory; for paused time.
    pub async fn new() -> World {
        World::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut JobExecutorConfig)) -> World {
        World::open(None, change).await
    }

    /// With a record on disk; for real time.
    pub async fn on_disk() -> World {
        World::open(Some(tempfile::tempdir().expect("a temporary directory")), |_| {}).await
    }

    async fn open(root: Option<TempDir>, change: impl FnOnce(&mut JobExecutorConfig)) -> World {
        let clock = TestClock::new();
        let runtime = MockRuntime::new().with_clock(clock.teller());
        let mut config = config_on(root.as_ref().map(root_in), clock.executors());
        change(&mut config);
        let executor = open(&runtime, config).await;
        World { runtime, executor, clock, root }
    }

    /// A further executor on the same root, with the same runtime and time of day: what has ended a moment ago is
    /// not forgotten.
    pub async fn another(&self) -> JobExecutor {
        let root = root_in(self.root.as_ref().expect("a record on disk"));
        open(&self.runtime, config_on(Some(root), self.clock.executors())).await
    }

    /// The executor goes, and another one comes.
    pub async fn reopened(self) -> World {
        let World { runtime, executor, clock, root } = self;
        drop(executor);
        let config = config_on(root.as_ref().map(root_in), clock.executors());
        World { executor: open(&runtime, config).await, runtime, clock, root }
    }

    pub async fn trigger(&self, spec: &ServiceSpec) -> JobExecutionId {
        self.executor.trigger(&spec.name, spec, JobTrigger::Cli).await.expect("a trigger")
    }

    pub async fn trigger_with(&self, spec: &ServiceSpec, options: TriggerOptions) -> JobExecutionId {
        self.executor.trigger_with(&spec.name, spec, JobTrigger::Cli, options).await.expect("a trigger")
    }

    pub async fn get(&self, id: &JobExecutionId) -> JobExecution {
        self.executor.get_execution(id).await.expect("a record").expect("an execution")
    }

    pub async fn status(&self, id: &JobExecutionId) -> String {
        self.get(id).await.status.to_string()
    }

    /// Waits for the end.
    pub async fn end(&self, id: &JobExecutionId) -> JobExecution {
        soon(self.executor.wait(id)).await.expect("an end")
    }

    pub async fn ended_as(&self, id: &JobExecutionId) -> String {
        self.end(id).await.status.to_string()
    }

    /// The container of the first attempt, when its main process runs.
    pub async fn running(&self, id: &JobExecutionId) -> MockContainer {
        self.running_attempt(id, 1).await
    }

    pub async fn running_attempt(&self, id: &JobExecutionId, attempt: u32) -> MockContainer {
        let container = soon(self.runtime.started(id, attempt)).await;
        soon(container.main_runs()).await;
        container
    }
}

/// An executor of the usual settings on a root that others may work on, too.
pub async fn on_root(root: &Path, runtime: &MockRuntime, clock: Clock) -> JobExecutor {
    open(runtime, config_on(Some(root.to_owned()), clock)).await
}

fn root_in(directory: &TempDir) -> PathBuf {
    directory.path().join("root")
}

fn config_on(root: Option<PathBuf>, clock: Clock) -> JobExecutorConfig {
    JobExecutorConfig { root, clock, ..JobExecutorConfig::default() }
}

async fn open(runtime: &MockRuntime, config: JobExecutorConfig) -> JobExecutor {
    JobExecutor::with_config(Arc::new(runtime.clone()), config).await.expect("an executor")
}

/// A job of the name [`JOB`] with these lines in its `job` block.
pub fn job(policy: &str) -> ServiceSpec {
    job_named(JOB, policy)
}

pub fn job_named(name: &str, policy: &str) -> ServiceSpec {
    let mut rest = String::new();
    if !policy.is_empty() {
        rest.push_str("job:\n");
        policy.lines().for_each(|line| writeln!(rest, "  {}", line.trim_end()).expect("a string"));
    }
    named(name, &rest)
}

/// A job of the name [`JOB`] with these lines.
pub fn job_with(rest: &str) -> ServiceSpec {
    named(JOB, rest)
}

fn named(name: &str, rest: &str) -> ServiceSpec {
    let mut text = format!(
        "version: v1\ndeployment: test\nservices:\n  {name}:\n    rtype: job\n    image: {{name: \"{IMAGE}\"}}\n    \
         stop_grace_period: 10s\n"
    );
    rest.lines().for_each(|line| writeln!(text, "    {line}").expect("a string"));
    let mut deployment: DeploymentSpec = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
    deployment.services.remove(name).expect("the job")
}

/// Longer than anything takes that tests wait for, and little enough that a test which waits for longer says so
/// before somebody ends it.
pub const HANGS_AFTER: Duration = Duration::from_secs(120);

/// Waits for what comes soon, or fails. Where time is paused, it is over as soon as nothing is left to do.
#[track_caller]
pub fn soon<T>(what: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let result = tokio::time::timeout(HANGS_AFTER, what).await;
        result.unwrap_or_else(|_| panic!("what is waited for at {caller} does not come"))
    }
}

/// Returns when there is nothing left to do at this moment. Time has to be paused: it passes only then.
pub async fn settled() {
    passes(Duration::from_millis(1)).await;
}

/// Lets paused time pass, and all happen that happens in it.
pub async fn passes(time: Duration) {
    let nothing = tokio::time::timeout(time, std::future::pending::<()>()).await;
    nothing.expect_err("nothing comes of nothing");
}

/// A time of day that goes with tokio's time, and may be set.
#[derive(Clone)]
pub struct TestClock {
    began: Instant,
    /// Seconds that it is off.
    offset: Arc<AtomicI64>,
}

impl TestClock {
    fn new() -> TestClock {
        TestClock { began: Instant::now(), offset: Arc::default() }
    }

    pub fn set_by(&self, seconds: i64) {
        self.offset.fetch_add(seconds, Ordering::Relaxed);
    }

    /// How long it has been since the beginning, whatever the time of day says.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn executors(&self) -> Clock {
        Clock::new(self.teller())
    }

    pub fn teller(&self) -> impl Fn() -> Timestamp + Send + Sync + 'static {
        let clock = self.clone();
        let noon: Timestamp = "2026-01-15T12:00:00Z".parse().expect("a time");
        move || {
            let since = SignedDuration::try_from(clock.elapsed()).expect("a test is short");
            noon + since + SignedDuration::from_secs(clock.offset.load(Ordering::Relaxed))
        }
    }
}
