//! What goes on: changes of status, numbers, and what was forgotten.

use super::seconds;
use crate::exec::{JobExecutionId, JobStats, JobStatus, PruneReport, Stats, StatusChange, trigger_document};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// A change; see the module documentation.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct EventDocument<'a> {
    at: Timestamp,
    id: &'a str,
    job: &'a str,
    attempt: u32,
    status: &'static str,
    exit_code: Option<i32>,
    reason: Option<&'a str>,
    duration_seconds: Option<f64>,
    init_step: Option<&'a str>,
    init_step_attempt: Option<u32>,
    init_step_max_attempts: Option<u32>,
    init_step_elapsed_seconds: Option<f64>,
    trigger: Value,
}

impl<'a> EventDocument<'a> {
    pub(in crate::cli) fn new(change: &'a StatusChange) -> EventDocument<'a> {
        let exit_code = match &change.status {
            JobStatus::Completed { exit_code, .. } => Some(*exit_code),
            JobStatus::Failed { exit_code, .. } => *exit_code,
            _ => None,
        };
        let step = change.step.as_ref();
        EventDocument {
            at: change.at,
            id: change.id.as_str(),
            job: &change.job_name,
            attempt: change.attempt,
            status: change.status.filter().as_str(),
            exit_code,
            reason: change.reason.as_deref(),
            duration_seconds: change.duration.map(seconds),
            init_step: step.map(|step| step.id.as_str()),
            init_step_attempt: step.map(|step| step.attempt),
            init_step_max_attempts: step.and_then(|step| step.max_attempts),
            init_step_elapsed_seconds: step.map(|step| seconds(step.elapsed)),
            trigger: trigger_document(&change.trigger),
        }
    }
}

/// Statistics; see the module documentation.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct StatsDocument<'a> {
    executions: Counts,
    attempts: u64,
    oldest_waiting: Option<Oldest<'a>>,
    database_bytes: u64,
    jobs: Vec<JobNumbers<'a>>,
}

#[derive(Debug, Serialize)]
struct Counts {
    all: u64,
    pending: u64,
    active: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
    waiting: u64,
}

#[derive(Debug, Serialize)]
struct Oldest<'a> {
    id: &'a str,
    job: &'a str,
    created_at: Timestamp,
}

#[derive(Debug, Serialize)]
struct JobNumbers<'a> {
    job: &'a str,
    executions: u64,
    running: u64,
    waiting: u64,
    recent: Recent,
}

#[derive(Debug, Serialize)]
struct Recent {
    completed: u32,
    failed: u32,
    cancelled: u32,
    success_rate: Option<f64>,
    median_seconds: Option<f64>,
    percentile_95_seconds: Option<f64>,
}

impl<'a> StatsDocument<'a> {
    pub(in crate::cli) fn new(stats: &'a Stats) -> StatsDocument<'a> {
        let totals = &stats.totals;
        let oldest = totals.oldest_waiting.as_ref();
        StatsDocument {
            executions: Counts {
                all: totals.executions,
                pending: totals.pending,
                active: totals.active,
                completed: totals.completed,
                failed: totals.failed,
                cancelled: totals.cancelled,
                waiting: totals.waiting,
            },
            attempts: totals.attempts,
            oldest_waiting: oldest.map(|it| Oldest { id: &it.id, job: &it.job, created_at: it.created_at }),
            database_bytes: stats.database_size,
            jobs: stats.jobs.iter().map(numbers).collect(),
        }
    }
}

fn numbers(stats: &JobStats) -> JobNumbers<'_> {
    let recent = &stats.recent;
    JobNumbers {
        job: &stats.job,
        executions: stats.executions,
        running: stats.running,
        waiting: stats.waiting,
        recent: Recent {
            completed: recent.completed,
            failed: recent.failed,
            cancelled: recent.cancelled,
            success_rate: recent.success_rate(),
            median_seconds: recent.median.map(seconds),
            percentile_95_seconds: recent.percentile_95.map(seconds),
        },
    }
}

/// What was forgotten; see the module documentation.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct PruneDocument<'a> {
    dry_run: bool,
    removed: Vec<&'a str>,
    orphans: &'a [String],
    freed_bytes: u64,
    problems: Vec<Problem<'a>>,
}

#[derive(Debug, Serialize)]
struct Problem<'a> {
    id: &'a str,
    message: &'a str,
}

impl<'a> PruneDocument<'a> {
    pub(in crate::cli) fn new(report: &'a PruneReport, dry_run: bool) -> PruneDocument<'a> {
        PruneDocument {
            dry_run,
            removed: report.removed.iter().map(JobExecutionId::as_str).collect(),
            orphans: &report.orphans,
            freed_bytes: report.freed_bytes,
            problems: report.problems.iter().map(|it| Problem { id: &it.id, message: &it.message }).collect(),
        }
    }
}
