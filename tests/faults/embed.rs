//! A program that embeds coracle: this one, started again. Its clock goes back by an hour on the way.

use crate::jobs::KINDS;
use coracle::engine::{OciRuntime, OciRuntimeConfig};
use coracle::exec::{Clock, ExecError, JobExecutionId, JobExecutor, JobExecutorConfig, JobTrigger};
use coracle::spec::DeploymentSpec;
use fastrand::Rng;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match tokio.expect("threads").block_on(run(root, spec, rng, count)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("embed: {}", coracle::causes::with_causes(&error));
            ExitCode::from(125)
        }
    }
}

async fn run(root: &str, spec: &str, mut rng: Rng, count: usize) -> Result<(), ExecError> {
    let deployment = DeploymentSpec::from_path(spec).expect("a deployment");
    let runtime = OciRuntime::open(OciRuntimeConfig { root: Some(root.into()), ..OciRuntimeConfig::default() })?;
    let is_set_back = Arc::new(AtomicBool::new(false));
    let clock = Clock::new({
        let is_set_back = is_set_back.clone();
        move || {
            let now = jiff::Timestamp::now();
            if is_set_back.load(Ordering::Relaxed) { now - BACK } else { now }
        }
    });
    let config = JobExecutorConfig { retention: Duration::MAX, clock, ..JobExecutorConfig::default() };
    let executor = JobExecutor::with_config(Arc::new(runtime), config).await?;
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
            is_set_back.store(true, Ordering::Relaxed);
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
