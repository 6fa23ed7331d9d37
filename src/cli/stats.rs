//! `coracle stats`.

use super::args::StatsArgs;
use super::error::CliError;
use super::json::{self, StatsDocument};
use super::{human, jobs, output};
use crate::exec::{JobExecutor, JobStats, Stats};
use jiff::Timestamp;
use std::time::Duration;

const HEADER: [&str; 7] = ["JOB", "EXECUTIONS", "RUNNING", "WAITING", "SUCCESS", "MEDIAN", "95%"];

pub(super) async fn stats(executor: &JobExecutor, args: &StatsArgs) -> Result<u8, CliError> {
    jobs::note_unknown(executor, args.job.as_deref()).await?;
    let stats = executor.stats(args.job.as_deref()).await?;
    if args.json {
        json::print(&StatsDocument::new(&stats))?;
    } else {
        output::print(&text(&stats, Timestamp::now()))?;
    }
    Ok(0)
}

fn text(stats: &Stats, now: Timestamp) -> String {
    let totals = &stats.totals;
    let oldest = totals.oldest_waiting.as_ref();
    let oldest =
        oldest.map(|it| format!(", the oldest for {}: {} of {}", human::age(it.created_at, now), it.id, it.job));
    let counts = [
        (totals.pending, "pending"),
        (totals.active, "initializing or running"),
        (totals.completed, "completed"),
        (totals.failed, "failed"),
        (totals.cancelled, "cancelled"),
    ];
    let counts: Vec<_> = counts.iter().map(|(count, status)| format!("{count} {status}")).collect();
    let facts = [
        ("executions", format!("{}: {}", totals.executions, counts.join(", "))),
        ("attempts", totals.attempts.to_string()),
        ("waiting", format!("{}{}", totals.waiting, oldest.unwrap_or_default())),
        ("record", human::bytes(stats.database_size)),
    ];
    let line = |(name, value): &(&str, String)| {
        format!("{:14}{}\n", format!("{name}:"), output::printable(value).replace('\n', "\\n"))
    };
    let rows: Vec<_> = stats.jobs.iter().map(row).collect();
    format!("{}\n{}", facts.iter().map(line).collect::<String>(), human::table(&HEADER, &rows))
}

fn row(stats: &JobStats) -> Vec<String> {
    let JobStats { job, executions, waiting, running, recent } = stats;
    let success =
        recent.success_rate().map(|rate| format!("{:.0}% of {}", rate * 100.0, recent.completed + recent.failed));
    let time = |duration: Option<Duration>| duration.map_or_else(|| "-".to_owned(), human::duration);
    vec![
        output::printable(job).replace('\n', "\\n"),
        executions.to_string(),
        running.to_string(),
        waiting.to_string(),
        success.unwrap_or_else(|| "-".to_owned()),
        time(recent.median),
        time(recent.percentile_95),
    ]
}
