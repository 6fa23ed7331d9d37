//! `coracle inspect`, `wait`, `cancel` and `rm`.

use super::args::{CancelArgs, InspectArgs, RmArgs, WaitArgs};
use super::error::CliError;
use super::json::{self, ExecutionDocument};
use super::tally::Tally;
use super::told::Told;
use super::{human, jobs, output, status};
use crate::exec::{Attempt, ExecError, JobExecution, JobExecutor, ListQuery, QueuePosition, Undelivered};
use crate::outcome::{EXIT_CANCELLED, EXIT_ENGINE, End, PeakMemorySource, Stopped};
use jiff::Timestamp;
use std::fmt::Write;

pub(super) async fn inspect(executor: &JobExecutor, args: &InspectArgs) -> Result<u8, CliError> {
    let id = executor.resolve(&args.id).await?;
    let execution = executor.execution(&id).await?;
    let position = executor.queue_position(&id).await?;
    if args.json {
        json::print(&ExecutionDocument::in_full(&execution, position))?;
    } else {
        output::print(&description(&execution, position, Timestamp::now()))?;
    }
    Ok(0)
}

/// One fact a line; what is not known is left out.
fn description(execution: &JobExecution, position: Option<QueuePosition>, now: Timestamp) -> String {
    let usage = &execution.usage;
    let job = match &execution.deployment {
        Some(deployment) => format!("{} (of {deployment})", execution.job_name),
        None => execution.job_name.clone(),
    };
    let peak = usage.peak_memory.map(|bytes| match usage.peak_memory_source {
        Some(PeakMemorySource::LargestProcess) => format!("{} (of its largest process)", human::bytes(bytes)),
        _ => human::bytes(bytes),
    });
    let cpu = usage.cpu_user.zip(usage.cpu_system).map(|(user, system)| format!("{user:?} user, {system:?} system"));
    let step = execution.step.as_ref().map(|step| {
        let since = execution.step_since.map(|since| human::duration(human::since(since, now)));
        let mut text = format!("{}{}", step.id, status::try_of(step));
        text.extend(since.map(|time| format!(", for {time}")));
        if step.attempt > 1 {
            text.push_str(&format!(", {} since its first try", human::duration(step.elapsed)));
        }
        text
    });
    // Nobody asks for the number of the only one.
    let has_retries = execution.max_attempts() > 1;
    // One that ended while it waited for an attempt has not made it.
    let made = u32::try_from(execution.attempts.len()).unwrap_or(u32::MAX);
    let number = if execution.end.is_some() { made } else { execution.attempt };
    let attempts = execution.attempts.iter().filter(|_| has_retries).map(|attempt| ("attempt", ended(attempt)));
    let facts = [
        ("id", Some(execution.id.to_string())),
        ("job", Some(job)),
        ("status", Some(status::status(execution, now))),
        ("reason", json::reason(execution)),
        ("init step", step),
        ("attempts", has_retries.then(|| format!("{number} of {}", execution.max_attempts()))),
        ("queue", position.map(status::turn)),
        ("next attempt", execution.retry_at.map(|time| time.to_string())),
        ("idempotency", execution.idempotency_key.clone()),
        ("trigger", Some(execution.trigger.to_string())),
        ("image", Some(execution.image.clone())),
        ("image digest", execution.image_digest.clone()),
        ("created", Some(execution.created_at.to_string())),
        ("started", execution.started_at.map(|time| time.to_string())),
        ("completed", execution.completed_at.map(|time| time.to_string())),
        ("duration", execution.duration.map(|duration| format!("{duration:?}"))),
        ("container", execution.container_id.as_ref().map(ToString::to_string)),
        ("supervisor", execution.supervisor.map(|pid| format!("pid {pid}"))),
        ("peak memory", peak),
        ("CPU time", cpu),
        ("OOM kills", usage.oom_kills.map(|count| count.to_string())),
    ];
    let untold = execution.undelivered.iter().map(|told| match told.due_at {
        Some(_) => ("not told yet", undelivered(told)),
        None => ("could not be told", undelivered(told)),
    });
    let labels = execution.labels.iter().map(|(name, value)| ("label", format!("{name}={value}")));
    let notes = execution.notes.iter().map(|note| ("note", note.clone()));
    let mut text = String::new();
    let facts = facts.into_iter().filter_map(|(name, value)| Some((name, value?)));
    for (name, value) in facts.chain(attempts).chain(untold).chain(labels).chain(notes) {
        writeln!(text, "{:13} {}", format!("{name}:"), output::printable(&value))
            .expect("writing to a string cannot fail");
    }
    text
}

/// One attempt that has ended.
fn ended(attempt: &Attempt) -> String {
    format!("{}: {} after {}", attempt.number, attempt.end, human::duration(attempt.elapsed))
}

fn undelivered(told: &Undelivered) -> String {
    let Undelivered { target, place, tries, due_at, problem } = told;
    let place = place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
    let next = due_at.map_or_else(|| "given up".to_owned(), |at| format!("next try at {at}"));
    let problem = problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
    let tries = if *tries == 1 { "1 try".to_owned() } else { format!("{tries} tries") };
    format!("{target}{place}, {tries} failed, {next}{problem}")
}

pub(super) async fn wait(executor: &JobExecutor, args: &WaitArgs) -> Result<u8, CliError> {
    // A wrong id is told at once, not after a long wait for another one.
    let mut ids = Vec::new();
    for prefix in &args.ids {
        ids.push(executor.resolve(prefix).await?);
    }
    let mut first_failure = 0;
    let mut told = Told::default();
    for id in &ids {
        let execution = executor.wait(id).await?;
        let code = exit_code(&execution);
        told.take(if args.json {
            json::print_line(&ExecutionDocument::new(&execution))
        } else {
            output::print(&format!("{code}\n"))
        })?;
        if first_failure == 0 {
            first_failure = code;
        }
    }
    Ok(told.code(first_failure))
}

/// What `coracle run` exits with for this execution.
pub(super) fn exit_code(execution: &JobExecution) -> u8 {
    if was_cancelled_without_a_code(execution) {
        // What an init step exited with when it was told to stop is not the job's code.
        return EXIT_CANCELLED;
    }
    execution.end.as_ref().map_or(EXIT_ENGINE, End::exit_code)
}

/// It was cancelled when no main process of it ran.
pub(super) fn was_cancelled_without_a_code(execution: &JobExecution) -> bool {
    match execution.end {
        Some(End::Cancelled { how: Stopped::BetweenAttempts { .. } }) => true,
        Some(End::Cancelled { .. }) => execution.started_at.is_none(),
        _ => false,
    }
}

pub(super) async fn cancel(executor: &JobExecutor, args: &CancelArgs) -> Result<u8, CliError> {
    if args.ids.is_empty() {
        return cancel_all(executor, args).await;
    }
    each(&args.ids, async |prefix| {
        let id = executor.resolve(prefix).await?;
        executor.cancel_with(&id, args.grace).await?;
        Ok(())
    })
    .await
}

/// Newest first, so that what waits is cancelled before that which it waits for.
async fn cancel_all(executor: &JobExecutor, args: &CancelArgs) -> Result<u8, CliError> {
    let executions = executor.query(&ListQuery { job: args.job.clone(), ..ListQuery::default() }).await?;
    if executions.is_empty() {
        jobs::note_unknown(executor, args.job.as_deref()).await?;
    }
    let mut tally = Tally::of(executions.len());
    for JobExecution { id, .. } in executions {
        tally.add(match executor.cancel_with(&id, args.grace).await {
            Ok(()) => output::print(&format!("{id}\n")),
            // It has ended meanwhile, which is as good.
            Err(ExecError::Ended { .. } | ExecError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        })?;
    }
    tally.finish()
}

pub(super) async fn remove(executor: &JobExecutor, args: &RmArgs) -> Result<u8, CliError> {
    each(&args.ids, async |prefix| {
        let id = executor.resolve(prefix).await?;
        if args.force && executor.is_live(&id).await? {
            // It may end by itself meanwhile, which is as good.
            if let Err(error) = executor.cancel(&id).await
                && executor.is_live(&id).await?
            {
                return Err(error.into());
            }
            executor.wait(&id).await?;
        }
        executor.remove(&id).await?;
        Ok(())
    })
    .await
}

/// Does something to every id, whatever becomes of the others.
async fn each(ids: &[String], act: impl AsyncFn(&str) -> Result<(), CliError>) -> Result<u8, CliError> {
    let mut tally = Tally::of(ids.len());
    for id in ids {
        tally.add(act(id).await)?;
    }
    tally.finish()
}
