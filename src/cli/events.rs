//! `coracle events`.

use super::args::EventsArgs;
use super::error::CliError;
use super::interrupts::Interrupts;
use super::json::{self, EventDocument};
use super::{human, jobs, output, status};
use crate::exec::{JobExecutionId, JobExecutor, JobStatus, StatusChange};
use futures_util::StreamExt;
use std::pin::pin;

/// Prints changes until a signal comes or nobody reads them any more; that is how it is meant to end.
pub(super) async fn events(executor: &JobExecutor, args: &EventsArgs) -> Result<u8, CliError> {
    let mut ids = Vec::new();
    for prefix in &args.id {
        ids.push(executor.resolve(prefix).await?);
    }
    jobs::note_unknown(executor, args.job.as_deref()).await?;
    let mut interrupts = Interrupts::new()?;
    let mut changes = pin!(executor.subscribe());
    let mut closed = pin!(output::closed());
    loop {
        let change = tokio::select! {
            biased;
            _ = interrupts.next() => return Ok(0),
            () = &mut closed => return Ok(0),
            change = changes.next() => change,
        };
        let Some(change) = change.transpose()? else { return Ok(0) };
        if !is_wanted(&change, args.job.as_deref(), &ids) {
            continue;
        }
        if args.json {
            json::print_line(&EventDocument::new(&change))?;
        } else {
            output::print(&format!("{}\n", line(&change)))?;
        }
    }
}

fn is_wanted(change: &StatusChange, job: Option<&str>, ids: &[JobExecutionId]) -> bool {
    job.is_none_or(|job| job == change.job_name) && (ids.is_empty() || ids.contains(&change.id))
}

/// `TIME ID JOB STATUS`, then what there is to say of it. One line, whatever the names hold.
fn line(change: &StatusChange) -> String {
    let StatusChange { id, job_name, attempt, status, reason, step, at, .. } = change;
    let mut line = format!("{at:.3} {id} {job_name} {status}");
    if let Some(step) = step {
        line.push_str(&format!(" {}{}", step.id, status::try_of(step)));
        if step.attempt > 1 {
            line.push_str(&format!(", {} since its first try", human::duration(step.elapsed)));
        }
    }
    if *attempt > 1 {
        line.push_str(&format!(" (attempt {attempt})"));
    }
    if let Some(reason) = reason {
        let after = if *status == JobStatus::Pending { ", after the one before" } else { "" };
        line.push_str(&format!("{after}: {reason}"));
    }
    output::printable(&line).replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{JobTrigger, StepProgress};
    use std::time::Duration;

    fn change(status: JobStatus) -> StatusChange {
        StatusChange {
            id: JobExecutionId("0199aaaa-0000-7000-8000-000000000001".into()),
            job_name: "bad\u{1b}\nname".into(),
            attempt: 1,
            status,
            reason: None,
            duration: None,
            step: None,
            trigger: JobTrigger::Cli,
            at: "2026-01-02T03:04:05.678901Z".parse().expect("a time"),
        }
    }

    #[test]
    fn a_change_is_one_line() {
        let reason = "exited with\ncode 7".to_owned();
        let failed = JobStatus::Failed { reason: reason.clone(), exit_code: Some(7) };
        let reason = Some(reason);
        let step = StepProgress {
            id: "wait".into(),
            attempt: 1,
            max_attempts: Some(4),
            waiting: false,
            elapsed: Duration::ZERO,
        };
        let again = StepProgress { attempt: 2, elapsed: Duration::from_millis(1250), ..step.clone() };
        let shown = [
            line(&change(JobStatus::Pending)),
            line(&StatusChange { step: Some(step.clone()), ..change(JobStatus::Initializing) }),
            line(&StatusChange { step: Some(again), ..change(JobStatus::Initializing) }),
            line(&StatusChange { attempt: 2, reason: reason.clone(), ..change(failed) }),
            line(&StatusChange { attempt: 3, reason, ..change(JobStatus::Pending) }),
        ];
        let start = "2026-01-02T03:04:05.678Z 0199aaaa-0000-7000-8000-000000000001 bad\\u{1b}\\nname";
        assert_eq!(
            shown,
            [
                format!("{start} pending"),
                format!("{start} initializing wait"),
                format!("{start} initializing wait (try 2 of 4), 1.2s since its first try"),
                format!("{start} failed(7) (attempt 2): exited with\\ncode 7"),
                format!("{start} pending (attempt 3), after the one before: exited with\\ncode 7"),
            ]
        );
    }

    #[test]
    fn what_is_not_asked_for_is_left_out() {
        let change = change(JobStatus::Running);
        let other = JobExecutionId("0199aaaa-0000-7000-8000-000000000002".into());
        assert!(is_wanted(&change, None, &[]));
        assert!(is_wanted(&change, Some(&change.job_name), &[other.clone(), change.id.clone()]));
        assert!(!is_wanted(&change, Some("other"), &[]));
        assert!(!is_wanted(&change, None, &[other]));
    }
}
