//! A program that embeds coracle: this one, started again. Its clock goes back by an hour on the way.

use crate::jobs::KINDS;
use crate::set_back::Slow;
use coracle::engine::{OciRuntime, OciRuntimeConfig};
use coracle::exec::{ExecError, JobExecutionId, JobExecutor, JobExecutorConfig, JobTrigger};
use coracle::spec::DeploymentSpec;
use fastrand::Rng;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// First argument of this mode.
pub const MODE: &str = "embed";

/// Says that an execution is recorded.
pub const TRIGGERED: &str = "id";
/// Says how an execution ended.
pub const ENDED: &str = "ended";

/// How far the clock is set back.
const BACK: Duration = Duration::from_secs(60 * 60);

pub fn main(root: &str, spec: &str, seed: &str, count: &str) -> ExitCode {
    let rng = Rng::with_seed(seed.parse().expect("a seed"));
    let count = count.parse().expect("a number of jobs");
    in_tokio(run(root, spec, rng, count))
}

/// Runs such a program to its end.
pub fn in_tokio(program: impl Future<Output = Result<(), ExecError>>) -> ExitCode {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match tokio.expect("threads").block_on(program) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("embed: {}", coracle::causes::with_causes(&error));
            ExitCode::from(125)
        }
    }
}

/// An executor that goes by this clock.
pub async fn open(root: &str, clock: &Slow) -> Result<JobExecutor, ExecError> {
    let runtime = OciRuntime::open(OciRuntimeConfig { root: Some(root.into()), ..OciRuntimeConfig::default() })?;
    let config = JobExecutorConfig { retention: Duration::MAX, clock: clock.clock(), ..JobExecutorConfig::default() };
    JobExecutor::with_config(Arc::new(runtime), config).await
}

async fn run(root: &str, spec: &str, mut rng: Rng, count: usize) -> Result<(), ExecError> {
    let deployment = DeploymentSpec::from_path(spec).expect("a deployment");
    let clock = Slow::default();
    let executor = open(root, &clock).await?;
    let mut ids = Vec::new();
    for number in 0..count {
        let name = KINDS[rng.usize(..KINDS.len())].name;
        let trigger = JobTrigger::Internal { reason: "a fault may come".into() };
        let id = executor.trigger(name, &deployment.services[name], trigger).await?;
        println!("{TRIGGERED} {id}");
        if rng.u8(..6) == 0 {
            cancel(&executor, &id).await?;
        }
        ids.push(id);
        if number == count / 2 {
            clock.set_back(BACK);
        }
    }
    for id in ids {
        let ended = executor.wait(&id).await?;
        println!("{ENDED} {id} {}", ended.status);
    }
    Ok(())
}

async fn cancel(executor: &JobExecutor, id: &JobExecutionId) -> Result<(), ExecError> {
    match executor.cancel(id).await {
        Err(ExecError::Ended { .. }) => Ok(()),
        result => result,
    }
}
