//! A clock that goes backwards, for a program that embeds coracle and nobody else is there: this one, started again.
//!
//! Its jobs wait longer between their attempts than anybody waits for a test. They come to their ends all the same,
//! as a wait is over when the clock says that it has not begun yet.

use crate::common::cli::Coracle;
use crate::common::fixture;
use crate::embed;
use coracle::exec::{Clock, ExecError, JobExecution, JobExecutionId, JobExecutor, JobTrigger};
use coracle::spec::DeploymentSpec;
use fastrand::Rng;
use futures_util::StreamExt;
use std::pin::pin;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// First argument of this mode.
pub const MODE: &str = "set-back";

/// Jobs with waits, at a time.
const JOBS: std::ops::Range<usize> = 1..6;

/// How far the clock is set back each time, minutes.
const MINUTES: std::ops::Range<u64> = 10..240;

/// Far above what all attempts take and far below what one wait is.
const LIMIT: Duration = Duration::from_secs(60);

/// A clock that can be set back.
#[derive(Debug, Clone, Default)]
pub struct Slow {
    seconds: Arc<AtomicU64>,
}

impl Slow {
    pub fn clock(&self) -> Clock {
        let seconds = self.seconds.clone();
        Clock::new(move || jiff::Timestamp::now() - Duration::from_secs(seconds.load(Ordering::Relaxed)))
    }

    pub fn set_back(&self, by: Duration) {
        self.seconds.fetch_add(by.as_secs(), Ordering::Relaxed);
    }
}

fn deployment() -> String {
    let service = |name: &str, script: &str, fields: &str| {
        format!(
            "  {name}:\n    rtype: job\n    image: {{name: {:?}}}\n    \
             command: {{entrypoint: [sh, -c], args: [{script:?}]}}\n    job: {{{fields}}}\n",
            fixture::busybox(),
        )
    };
    let retry = "retry: {max_attempts: 3, backoff: {initial: 5h, max: 5h}}";
    let (waits, quick) = (service("waits", "[ $CORACLE_ATTEMPT -ge 3 ]", retry), service("quick", "true", ""));
    format!("version: v1\ndeployment: set-back\nservices:\n{waits}{quick}")
}

/// Runs the program and returns what is found wrong.
pub fn examine(rng: &mut Rng) -> Option<String> {
    let coracle = Coracle::new();
    let spec = coracle.file("set-back.yaml", deployment());
    let mut command = Command::new(std::env::current_exe().expect("a program has a path"));
    command.arg(MODE).args([coracle.root(), spec]).arg(rng.u64(..).to_string());
    let finished = coracle.finish(command);
    if finished.status.success() {
        return None;
    }
    // Nobody else is to wait for them.
    coracle.run(["cancel", "--all"]);
    Some(format!("with a clock set back: {finished}"))
}

/// The program.
pub fn main(root: &str, spec: &str, seed: &str) -> ExitCode {
    let rng = Rng::with_seed(seed.parse().expect("a seed"));
    embed::in_tokio(async {
        match tokio::time::timeout(LIMIT, run(root, spec, rng)).await {
            Ok(result) => result,
            Err(_) => panic!("not all have ended"),
        }
    })
}

async fn run(root: &str, spec: &str, mut rng: Rng) -> Result<(), ExecError> {
    let deployment = DeploymentSpec::from_path(spec).expect("a deployment");
    let clock = Slow::default();
    let executor = embed::open(root, &clock).await?;
    let trigger = async |name: &str| {
        let trigger = JobTrigger::Internal { reason: "the clock is set back".into() };
        executor.trigger(name, &deployment.services[name], trigger).await
    };
    let mut changes = pin!(executor.subscribe());
    let mut ids: Vec<JobExecutionId> = Vec::new();
    for _ in 0..rng.usize(JOBS) {
        ids.push(trigger("waits").await?);
    }
    loop {
        let live = live(&executor, &ids).await?;
        if live.is_empty() {
            break;
        }
        if live.iter().all(|execution| execution.retry_at.is_some()) {
            clock.set_back(Duration::from_secs(60 * rng.u64(MINUTES)));
            // Any change of the record is a reason to look at the clock.
            ids.push(trigger("quick").await?);
        }
        changes.next().await.expect("changes do not end")?;
    }
    for id in ids {
        let ended = executor.wait(&id).await?;
        println!("{id} {} {} {}", ended.job_name, ended.status, ended.attempts.len());
        let attempts = if ended.job_name == "waits" { 3 } else { 1 };
        assert!(ended.status.to_string() == "completed(0)" && ended.attempts.len() == attempts, "{ended:?}");
    }
    Ok(())
}

/// Those that have not ended.
async fn live(executor: &JobExecutor, ids: &[JobExecutionId]) -> Result<Vec<JobExecution>, ExecError> {
    let mut live = Vec::new();
    for id in ids {
        live.extend(executor.get_execution(id).await?.filter(|execution| !execution.status.is_terminal()));
    }
    Ok(live)
}
