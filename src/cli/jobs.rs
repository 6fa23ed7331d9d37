//! `coracle jobs`.

use super::args::{JobsAddArgs, JobsLsArgs, JobsRmArgs, JobsShowArgs};
use super::error::CliError;
use super::images::nearest;
use super::json::{self, JobDocument};
use super::tally::Tally;
use super::told::Told;
use super::{describe, human, output, run, status};
use crate::exec::{ExecError, JobExecution, JobExecutor, JobStats, ListQuery, RegisteredJob};
use crate::spec::{Notification, Overrides, ServiceSpec};
use jiff::Timestamp;

const HEADER: [&str; 6] = ["NAME", "IMAGE", "LIMITS", "RUNNING", "WAITING", "LAST"];

/// The jobs that are to be registered. Shows the warnings of the spec.
pub(super) fn specs(args: &JobsAddArgs) -> Result<Vec<ServiceSpec>, CliError> {
    let mut names: Vec<String> = Vec::new();
    for name in &args.services {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let jobs = run::from_spec(&args.spec, &names, run::Unnamed::All)?;
    let Some(name) = &args.name else { return Ok(jobs) };
    match <[ServiceSpec; 1]>::try_from(jobs) {
        Ok([job]) => Ok(vec![job.with(Overrides { name: Some(name.clone()), ..Overrides::default() })?]),
        Err(jobs) => {
            let names: Vec<_> = jobs.iter().map(|job| job.name.as_str()).collect();
            Err(CliError::usage("--name goes with one job", format!("name one SERVICE: {}", names.join(", "))))
        }
    }
}

pub(super) async fn add(executor: &JobExecutor, jobs: Vec<ServiceSpec>) -> Result<u8, CliError> {
    let known = executor.list_jobs().await?;
    let to_come = jobs.iter().map(|job| job.name.clone());
    warn_of_unregistered(&jobs, &known.iter().cloned().chain(to_come).collect::<Vec<_>>());
    let mut told = Told::default();
    for job in jobs {
        let name = job.name.clone();
        let what = if known.contains(&name) { "replaced" } else { "added" };
        executor.register_job(&name, job).await?;
        told.take(output::print(&format!("{what}: {name}\n")))?;
    }
    Ok(told.code(0))
}

/// Says which jobs are to run at the end of one of these and are not there.
fn warn_of_unregistered(jobs: &[ServiceSpec], known: &[String]) {
    for ServiceSpec { name, policy, .. } in jobs {
        let failure = policy.on_failure.iter().map(|told| ("on_failure", told));
        for (field, told) in failure.chain(policy.on_success.iter().map(|told| ("on_success", told))) {
            if let Notification::Job { name: other } = told
                && !known.contains(other)
            {
                let message = format!("{name}: {field} runs the job {other}, which is not registered yet");
                output::message("warning", &message);
            }
        }
    }
}

/// A job with what is going on with it.
struct Overview {
    job: RegisteredJob,
    stats: JobStats,
    last: Option<JobExecution>,
}

async fn overview(executor: &JobExecutor, job: RegisteredJob) -> Result<Overview, CliError> {
    let query = ListQuery { job: Some(job.name.clone()), all: true, limit: Some(1), ..ListQuery::default() };
    let last = executor.query(&query).await?.pop();
    let stats = executor.job_stats(&job.name).await?;
    Ok(Overview { job, stats, last })
}

pub(super) async fn list(executor: &JobExecutor, args: &JobsLsArgs) -> Result<u8, CliError> {
    let names = executor.list_jobs().await?;
    if args.quiet {
        output::print(&names.iter().map(|name| format!("{name}\n")).collect::<String>())?;
        return Ok(0);
    }
    let mut jobs = Vec::new();
    for name in names {
        match executor.registered_job(&name).await {
            Ok(Some(job)) => jobs.push(overview(executor, job).await?),
            // Removed a moment ago.
            Ok(None) => {}
            Err(error @ ExecError::Spec { .. }) => output::message("warning", &error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    if args.json {
        let documents: Vec<_> = jobs.iter().map(|it| JobDocument::new(&it.job, &it.stats, it.last.as_ref())).collect();
        json::print(&documents)?;
    } else {
        let now = Timestamp::now();
        let rows: Vec<_> = jobs.iter().map(|job| row(job, now)).collect();
        output::print(&human::table(&HEADER, &rows))?;
    }
    Ok(0)
}

fn row(overview: &Overview, now: Timestamp) -> Vec<String> {
    let Overview { job, stats, last } = overview;
    let last = last.as_ref().map(|it| format!("{} {} ago", status::status(it, now), human::age(it.created_at, now)));
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let cells = [
        job.name.clone(),
        job.spec.image.name.clone(),
        dash(describe::limits(&job.spec)),
        stats.running.to_string(),
        stats.waiting.to_string(),
        dash(last),
    ];
    // One line each, whatever the names hold.
    cells.map(|cell| output::printable(&cell).replace('\n', "\\n")).into()
}

pub(super) async fn show(executor: &JobExecutor, args: &JobsShowArgs) -> Result<u8, CliError> {
    let Some(job) = executor.registered_job(&args.name).await? else {
        return Err(unknown(executor, &args.name).await);
    };
    let Overview { job, stats, last } = overview(executor, job).await?;
    if args.json {
        json::print(&JobDocument::with_spec(&job, &stats, last.as_ref()))?;
    } else {
        output::print(&describe::job(&job, &stats))?;
    }
    Ok(0)
}

pub(super) async fn remove(executor: &JobExecutor, args: &JobsRmArgs) -> Result<u8, CliError> {
    let mut tally = Tally::of(args.names.len());
    for name in &args.names {
        tally.add(match executor.unregister_job(name).await {
            Ok(true) => output::print(&format!("removed: {name}\n")),
            Ok(false) => Err(unknown(executor, name).await),
            Err(error) => Err(error.into()),
        })?;
        let left = executor.job_stats(name).await?.executions;
        if left > 0 {
            output::message(
                "note",
                &format!("{name}: its executions stay ({left}); `coracle ps -a --job {name}` lists them"),
            );
        }
    }
    tally.finish()
}

/// Says so when a name that something is looked for by is that of nothing: it may be mistyped.
pub(super) async fn note_unknown(executor: &JobExecutor, name: Option<&str>) -> Result<(), CliError> {
    let Some(name) = name else { return Ok(()) };
    let is_known =
        executor.job_stats(name).await?.executions > 0 || executor.list_jobs().await?.iter().any(|known| known == name);
    if !is_known {
        output::message("note", &format!("no execution and no registered job is named {name}"));
    }
    Ok(())
}

/// The error for a name that no job has; it knows what may have been meant.
pub(super) async fn unknown(executor: &JobExecutor, name: &str) -> CliError {
    // The suggestion is a service; without it the error stands all the same.
    let known = executor.list_jobs().await.unwrap_or_default();
    let nearest = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
    CliError::NoJob { name: name.to_owned(), nearest }
}
