//! Jobs from a program of one's own: registers one, triggers it twenty times, and lets four run at a time.
//!
//!     cargo run --example embed -- docker.io/library/busybox:stable /bin/date
//!
//! `CORACLE_ROOT` names another state root than the user's own.

use coracle::spec::DeploymentSpec;
use coracle::{JobExecution, JobExecutor, JobStatus, JobTrigger, OciRuntime, OciRuntimeConfig};
use jiff::{SignedDuration, Timestamp};
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const EXECUTIONS: usize = 20;

/// Far more than they take.
const DRAIN: Duration = Duration::from_secs(10 * 60);

fn main() -> ExitCode {
    // First of all, before there is any thread: the same program is also started as the supervisor of its jobs.
    coracle::init();
    let mut words = std::env::args().skip(1);
    let Some(image) = words.next() else {
        eprintln!("usage: embed IMAGE [COMMAND [ARG…]]");
        return ExitCode::FAILURE;
    };
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ran = tokio.map_err(Into::into).and_then(|tokio| tokio.block_on(run(&image, &words.collect::<Vec<_>>())));
    match ran {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("embed: {failed} of {EXECUTIONS} have not completed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("embed: {}", coracle::causes::with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

/// The deployment as it could stand in a file. Text in JSON is YAML, too.
fn spec(image: &str, command: &[String]) -> String {
    let entrypoint = if command.is_empty() {
        String::new()
    } else {
        format!("command: {{entrypoint: {}}}", serde_json::json!(command))
    };
    let image = serde_json::json!(image);
    format!(
        "
version: v1
deployment: example
services:
  greet:
    rtype: job
    image: {{name: {image}}}
    {entrypoint}
    job:
      deadline: 5m
      max_concurrent: 4
      retry: {{max_attempts: 2}}
"
    )
}

/// How many executions have not completed.
async fn run(image: &str, command: &[String]) -> Result<usize, Box<dyn Error>> {
    let config = OciRuntimeConfig { root: std::env::var_os("CORACLE_ROOT").map(Into::into), ..Default::default() };
    let executor = JobExecutor::new(Arc::new(OciRuntime::open(config)?)).await?;

    let deployment: DeploymentSpec = spec(image, command).parse()?;
    for (name, job) in deployment.services {
        executor.register_job(&name, job).await?;
    }

    let job = executor.get_job_spec("greet").await?.ok_or("the job is not registered")?;
    let mut ids = Vec::new();
    for _ in 0..EXECUTIONS {
        let trigger = JobTrigger::Internal { reason: "an example".to_owned() };
        ids.push(executor.trigger("greet", &job, trigger).await?);
    }
    executor.drain(DRAIN).await?;

    println!("{:36}  {:12}  {:>8}  {:>8}  OUTPUT", "ID", "STATUS", "WAITED", "TOOK");
    let mut failed = 0;
    for id in &ids {
        let execution = executor.get_execution(id).await?.ok_or("an execution is no longer known")?;
        println!("{}", row(&execution));
        failed += usize::from(!matches!(execution.status, JobStatus::Completed { .. }));
    }
    Ok(failed)
}

fn row(execution: &JobExecution) -> String {
    let JobExecution { id, status, started_at, created_at, duration, logs, .. } = execution;
    let waited = started_at.map_or_else(|| "-".to_owned(), |at| milliseconds(at, *created_at));
    let took = duration.map_or_else(|| "-".to_owned(), |took| format!("{} ms", took.as_millis()));
    let line = logs.as_deref().and_then(|logs| logs.lines().next()).unwrap_or_default();
    format!("{:36}  {:12}  {waited:>8}  {took:>8}  {line}", id.as_str(), status.to_string())
}

fn milliseconds(to: Timestamp, from: Timestamp) -> String {
    let between: SignedDuration = to.duration_since(from);
    format!("{} ms", between.as_millis())
}
