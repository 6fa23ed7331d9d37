//! Times triggers within one program, for scripts/bench.

use coracle::engine::{OciRuntime, OciRuntimeConfig};
use coracle::exec::{ExecError, JobExecutor, JobExecutorConfig, JobTrigger};
use coracle::spec::DeploymentSpec;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// First argument of this mode.
pub const MODE: &str = "triggers";

/// Triggers the job `count` times, which has to be one that waits for its turn, and prints what that took.
pub fn main(root: &str, spec: &str, job: &str, count: &str) -> ExitCode {
    let count = count.parse().expect("a number of triggers");
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match tokio.expect("threads").block_on(run(root, spec, job, count)) {
        Ok(mut took) => {
            took.sort_unstable();
            let at = |part: usize| took[(took.len() * part / 100).min(took.len() - 1)].as_secs_f64() * 1000.0;
            println!("{:<24} {:>9.2} {:>9.2} {:>9.2} {:>9.2}", "trigger in a program", at(0), at(50), at(90), at(100));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("triggers: {}", coracle::causes::with_causes(&error));
            ExitCode::from(125)
        }
    }
}

async fn run(root: &str, spec: &str, job: &str, count: usize) -> Result<Vec<Duration>, ExecError> {
    let deployment = DeploymentSpec::from_path(spec).expect("a deployment");
    let runtime = OciRuntime::open(OciRuntimeConfig { root: Some(root.into()), ..OciRuntimeConfig::default() })?;
    let config = JobExecutorConfig { max_concurrent: 0, retention: Duration::MAX, ..JobExecutorConfig::default() };
    let executor = JobExecutor::with_config(Arc::new(runtime), config).await?;
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        executor.trigger(job, &deployment.services[job], JobTrigger::Internal { reason: "timed".into() }).await?;
        took.push(began.elapsed());
    }
    Ok(took)
}
