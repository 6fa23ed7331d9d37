//! `coracle ps`.

use super::args::PsArgs;
use super::error::CliError;
use super::json::{self, ExecutionDocument};
use super::{human, jobs, output, status};
use crate::exec::{JobExecution, JobExecutor, ListQuery, StatusFilter};
use jiff::Timestamp;

const HEADER: [&str; 6] = ["ID", "JOB", "STATUS", "AGE", "TIME", "IMAGE"];

pub(super) async fn ps(executor: &JobExecutor, args: &PsArgs) -> Result<u8, CliError> {
    let ended = |status: &StatusFilter| status.recorded().is_terminal();
    let before = match &args.before {
        Some(prefix) => Some(executor.resolve(prefix).await?),
        None => None,
    };
    let executions = executor
        .query(&ListQuery {
            job: args.job.clone(),
            statuses: args.status.clone(),
            labels: args.label.clone(),
            since: args.since,
            until: args.until,
            before,
            limit: args.limit,
            all: args.all || args.status.iter().any(ended),
        })
        .await?;
    if executions.is_empty() {
        jobs::note_unknown(executor, args.job.as_deref()).await?;
    }
    if args.json {
        json::print(&executions.iter().map(ExecutionDocument::new).collect::<Vec<_>>())?;
    } else if args.quiet {
        output::print(&executions.iter().map(|execution| format!("{}\n", execution.id)).collect::<String>())?;
    } else {
        let now = Timestamp::now();
        let rows: Vec<_> = executions.iter().map(|execution| row(execution, now)).collect();
        output::print(&human::table(&HEADER, &rows))?;
    }
    Ok(0)
}

/// Ids are given in full: they start with the time, so that short ones would look all alike.
fn row(execution: &JobExecution, now: Timestamp) -> Vec<String> {
    let time = match (execution.duration, execution.started_at) {
        (Some(duration), _) => human::duration(duration),
        (None, Some(started)) => human::duration(human::since(started, now)),
        (None, None) => "-".to_owned(),
    };
    let cells = [
        execution.id.to_string(),
        execution.job_name.clone(),
        status::status(execution, now),
        human::age(execution.created_at, now),
        time,
        execution.image.clone(),
    ];
    // One line each, whatever the names hold.
    cells.map(|cell| output::printable(&cell).replace('\n', "\\n")).into()
}
