//! The JSON that `--json` prints. Its form is a promise: fields are added, never renamed, removed or
//! given another meaning.
//!
//! Times are RFC 3339 in UTC with up to nine decimals. Durations are numbers of seconds, exact to the
//! nanosecond. Sizes are bytes. What is not known, or does not apply, is `null`; no field is left out
//! but `attempts`, `queue`, `undelivered` and `spec`.
//!
//! # An execution
//! `inspect --json` prints one of these. Without `attempts`, `queue`, `undelivered` and `spec`: `ps --json` prints an
//! array of them, newest first, `wait --json` one per line, `trigger --json` one.
//!
//! | field | value |
//! |---|---|
//! | `id` | UUID v7 |
//! | `job`, `deployment` | names; `deployment` is null for a job given by flags |
//! | `status` | `pending`, `initializing`, `running`, `completed`, `failed` or `cancelled` |
//! | `exit_code` | the job's own exit code, where its main process exited |
//! | `reason` | in words why it is failed or cancelled |
//! | `trigger` | `{"kind": "cli"\|"scheduler"}`, `{"kind": "endpoint", "remote_addr": …}`, `{"kind": "internal", "reason": …}` |
//! | `created_at`, `started_at`, `completed_at` | times; `started_at` is that of the main process |
//! | `duration_seconds` | of the last attempt, from its supervisor's start to its end, by the monotonic clock |
//! | `image`, `image_digest` | as in the spec; digest of the manifest |
//! | `container_id` | known once the image is there |
//! | `end` | see below; null until the status is `completed`, `failed` or `cancelled` |
//! | `usage` | `peak_memory_bytes`, `peak_memory_source` (`cgroup` or `largest_process`), `cpu_user_seconds`, `cpu_system_seconds`, `oom_kills` |
//! | `labels` | object of strings |
//! | `notes` | array of strings: what a user should know that is no failure |
//! | `init_step` | the init step that runs now |
//! | `init_step_attempt`, `init_step_max_attempts` | number of its try, from 1; tries that it gets at most, over all runs of the init steps |
//! | `init_step_since` | when that try, or the wait for the next one, began |
//! | `init_step_waiting` | whether that try has failed and the next one waits for its time |
//! | `init_step_elapsed_seconds` | from the beginning of its first try in this run of the init steps to now |
//! | `attempt` | number of the attempt that is made, waits or was the last, from 1 |
//! | `max_attempts` | attempts that it gets at most |
//! | `waiting` | true while it waits for its turn or its next attempt, and nothing of it runs |
//! | `retry_at` | when its next attempt is due, while it waits for that |
//! | `idempotency_key` | as given with the trigger |
//! | `supervisor_pid` | while there is one |
//! | `attempts` | those that have ended, the first one first: `number`, `started_at`, `completed_at`, `duration_seconds`, `exit_code`, `reason`, `end`, `usage`, `notes` |
//! | `queue` | while it waits for its turn: `{"running": number, "waiting": number}` of those before it |
//! | `undelivered` | what `on_failure` and `on_success` tell and nobody has taken yet: `target`, its `place` in the job (`on_failure[2]`), `tries` that failed, `due_at` of the next one (null: given up), `problem` |
//! | `spec` | the validated job without its secrets; for people, its form follows the version |
//!
//! # A job
//! `jobs ls --json` prints an array of these by name, without `spec`; `jobs show --json` prints one.
//!
//! | field | value |
//! |---|---|
//! | `name`, `deployment`, `image` | as in the spec |
//! | `registered_at`, `updated_at` | times; `updated_at` is when it was last registered again |
//! | `running`, `waiting` | numbers of executions that are prepared or run, and that wait |
//! | `last` | its newest execution, in the form above |
//! | `spec` | as above |
//!
//! # An event
//! `events --json` prints one per line: `at`, `id`, `job`, `attempt`, `status`, `exit_code`, `reason`,
//! `duration_seconds`, `init_step`, `init_step_attempt`, `init_step_max_attempts`, `init_step_elapsed_seconds`,
//! `trigger`, as in an execution. `status` is `pending` again before each further attempt, and `reason` then why the
//! one before it ended; `init_step` is the one of which a try begins, `init_step_elapsed_seconds` is up to `at`.
//!
//! # Statistics
//! `stats --json` prints `{"executions": {"all", "pending", "active", "completed", "failed", "cancelled", "waiting"},
//! "attempts": number, "oldest_waiting": {"id", "job", "created_at"}, "database_bytes": number, "jobs": [{"job",
//! "executions", "running", "waiting", "recent": {"completed", "failed", "cancelled", "success_rate",
//! "median_seconds", "percentile_95_seconds"}}]}`. `active` ones initialise or run; `waiting` ones are pending, and
//! nothing of them runs. `recent` is of the newest 100 ended executions of the job: `success_rate` is the share of
//! the completed ones among those that were not cancelled, the times are of those that completed.
//!
//! # Pruning
//! `prune --json` prints `{"dry_run": bool, "removed": [ids], "orphans": [names], "freed_bytes": number, "problems":
//! [{"id", "message"}]}`; orphans are files of executions that are on no record.
//!
//! # An end
//! `kind` says how it ended; further fields depend on it. `stopped` is `{"kind": "before_start"}`,
//! `{"kind": "in_queue"}` (the deadline is that of the queue), `{"kind": "in_step", "step": …, "attempt": …, "detail": its last line or null}`, `{"kind": "between_attempts",
//! "next": …}` (cancelled while it waited for that attempt), `{"kind": "exited", "code": …}` or
//! `{"kind": "signalled", "signal": …}`.
//!
//! | kind | fields |
//! |---|---|
//! | `exited` | `code` |
//! | `signalled` | `signal` |
//! | `oom_killed` | |
//! | `deadline` | `after_seconds`, `stopped` |
//! | `cancelled` | `stopped` |
//! | `init_step` | `step`, `attempt`, `last_line`, `cause`: `{"kind": "exited"\|"signalled"\|"oom_killed"\|"not_executable"\|"timed_out"\|"failed", …}` |
//! | `not_executable` | `command`, `errno` |
//! | `image` | `image`, `message` |
//! | `not_created` | `stage`, `message` |
//! | `host` | `message` |
//! | `supervisor_lost` | `message` |
//!
//! # A validation
//! `validate --json` prints `{"valid": bool, "deployment": name or null, "jobs": [names], "refused":
//! [problems], "errors": [problems], "warnings": [problems]}`, where a problem is `{"source": file,
//! "path": field, "line": from 1 or null, "column": from 1 or null, "message": text}`.

//! # Images
//! `images --json` prints an array of these, by name; `image inspect --json` prints an array with one per
//! REF, with `config` and `layers`.
//!
//! | field | value |
//! |---|---|
//! | `reference` | the name in its complete form, as `docker.io/library/debian:12` |
//! | `digest` | of what the name stands for: an index or a manifest |
//! | `manifest_digest` | of the image's own manifest |
//! | `platforms` | those that are here, as `linux/arm/v7` |
//! | `created_at`, `pulled_at`, `used_at` | times; `used_at` is exact to the minute |
//! | `size_bytes` | of the documents and compressed layers, as a registry sends them |
//! | `unpacked_bytes` | of the files in its layers, which other images may share |
//! | `in_use` | ids of executions that have not ended |
//! | `problem` | what is wrong with it, in words |
//! | `config` | the OCI image config as stored |
//! | `layers` | base first: `digest` of the blob, `diff_id`, `media_type`, `size_bytes`, `unpacked_bytes`, `path`, `present` |
//!
//! # A collection
//! `image gc --json` prints `{"dry_run": bool, "dropped": [references], "removed": [{"kind":
//! "layer"|"document"|"leftover", "name": text, "bytes": number}], "kept": [references], "problems": [texts],
//! "freed_bytes": number, "remaining_bytes": number}`. A reference is `{"reference": name, "digest": digest,
//! "reason": …}`; reasons to drop one are `{"kind": "asked"}`, `{"kind": "unused", "for_seconds": number}` and
//! `{"kind": "over_budget"}`, to keep one `{"kind": "in_use", "executions": [ids]}` and `{"kind": "policy"}`.

mod activity;
mod images;
mod jobs;
mod secrets;

pub(super) use activity::{EventDocument, PruneDocument, StatsDocument};
pub(super) use images::{GcDocument, ImageDetailsDocument, ImageDocument};
pub(super) use jobs::JobDocument;

use super::error::CliError;
use super::output;
use crate::exec::{Attempt, ContainerId, JobExecution, QueuePosition, Undelivered, end_document, trigger_document};
use crate::outcome::{End, PeakMemorySource, Usage};
use crate::spec::Place;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// An execution; see the module documentation.
#[derive(Debug, Serialize)]
pub(super) struct ExecutionDocument<'a> {
    id: &'a str,
    job: &'a str,
    deployment: Option<&'a str>,
    status: &'static str,
    exit_code: Option<u8>,
    reason: Option<String>,
    trigger: Value,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    duration_seconds: Option<f64>,
    image: &'a str,
    image_digest: Option<&'a str>,
    container_id: Option<&'a str>,
    end: Option<Value>,
    usage: UsageDocument,
    labels: &'a BTreeMap<String, String>,
    notes: &'a [String],
    init_step: Option<&'a str>,
    supervisor_pid: Option<i32>,
    init_step_attempt: Option<u32>,
    init_step_since: Option<Timestamp>,
    init_step_max_attempts: Option<u32>,
    init_step_waiting: Option<bool>,
    init_step_elapsed_seconds: Option<f64>,
    attempt: u32,
    max_attempts: u32,
    waiting: bool,
    retry_at: Option<Timestamp>,
    idempotency_key: Option<&'a str>,
    #[serde(flatten)]
    details: Option<Details>,
}

/// What lists do not have.
#[derive(Debug, Serialize)]
struct Details {
    attempts: Vec<AttemptDocument>,
    queue: Option<QueueDocument>,
    undelivered: Vec<UndeliveredDocument>,
    spec: Value,
}

#[derive(Debug, Serialize)]
struct AttemptDocument {
    number: u32,
    started_at: Option<Timestamp>,
    completed_at: Timestamp,
    duration_seconds: f64,
    exit_code: Option<u8>,
    reason: Option<String>,
    end: Value,
    usage: UsageDocument,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct UndeliveredDocument {
    target: String,
    place: Option<String>,
    tries: u32,
    due_at: Option<Timestamp>,
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct QueueDocument {
    running: u64,
    waiting: u64,
}

#[derive(Debug, Serialize)]
struct UsageDocument {
    peak_memory_bytes: Option<u64>,
    peak_memory_source: Option<PeakMemorySource>,
    cpu_user_seconds: Option<f64>,
    cpu_system_seconds: Option<f64>,
    oom_kills: Option<u64>,
}

impl<'a> ExecutionDocument<'a> {
    pub(super) fn new(execution: &'a JobExecution) -> ExecutionDocument<'a> {
        let (end, step) = (execution.end.as_ref(), execution.step.as_ref());
        ExecutionDocument {
            id: execution.id.as_str(),
            job: &execution.job_name,
            deployment: execution.deployment.as_deref(),
            status: execution.status.filter().as_str(),
            exit_code: end.and_then(End::job_exit_code),
            reason: reason(execution),
            trigger: trigger_document(&execution.trigger),
            created_at: execution.created_at,
            started_at: execution.started_at,
            completed_at: execution.completed_at,
            duration_seconds: execution.duration.map(seconds),
            image: &execution.image,
            image_digest: execution.image_digest.as_deref(),
            container_id: execution.container_id.as_ref().map(ContainerId::as_str),
            end: end.map(end_document),
            usage: usage(&execution.usage),
            labels: &execution.labels,
            notes: &execution.notes,
            init_step: step.map(|step| step.id.as_str()),
            supervisor_pid: execution.supervisor,
            init_step_attempt: step.map(|step| step.attempt),
            init_step_since: execution.step_since,
            init_step_max_attempts: step.and_then(|step| step.max_attempts),
            init_step_waiting: step.map(|step| step.waiting),
            init_step_elapsed_seconds: step.map(|step| seconds(step.elapsed)),
            attempt: execution.attempt,
            max_attempts: execution.max_attempts(),
            waiting: execution.is_waiting,
            retry_at: execution.retry_at,
            idempotency_key: execution.idempotency_key.as_deref(),
            details: None,
        }
    }

    pub(super) fn in_full(execution: &'a JobExecution, position: Option<QueuePosition>) -> ExecutionDocument<'a> {
        let details = Details {
            attempts: execution.attempts.iter().map(attempt).collect(),
            queue: position.map(|QueuePosition { running, waiting }| QueueDocument { running, waiting }),
            undelivered: execution.undelivered.iter().cloned().map(undelivered).collect(),
            spec: secrets::without_secrets(&execution.spec),
        };
        ExecutionDocument { details: Some(details), ..ExecutionDocument::new(execution) }
    }
}

/// Why the execution did not complete, in words.
pub(super) fn reason(execution: &JobExecution) -> Option<String> {
    execution.end.as_ref().and_then(why)
}

/// Success needs no reason.
fn why(end: &End) -> Option<String> {
    (!matches!(end, End::Exited { code: 0 })).then(|| end.to_string())
}

fn undelivered(told: Undelivered) -> UndeliveredDocument {
    let Undelivered { target, place, tries, due_at, problem } = told;
    UndeliveredDocument { target, place, tries, due_at, problem }
}

fn attempt(attempt: &Attempt) -> AttemptDocument {
    AttemptDocument {
        number: attempt.number,
        started_at: attempt.started_at,
        completed_at: attempt.completed_at,
        duration_seconds: seconds(attempt.elapsed),
        exit_code: attempt.end.job_exit_code(),
        reason: why(&attempt.end),
        end: end_document(&attempt.end),
        usage: usage(&attempt.usage),
        notes: attempt.notes.clone(),
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn usage(usage: &Usage) -> UsageDocument {
    UsageDocument {
        peak_memory_bytes: usage.peak_memory,
        peak_memory_source: usage.peak_memory_source,
        cpu_user_seconds: usage.cpu_user.map(seconds),
        cpu_system_seconds: usage.cpu_system.map(seconds),
        oom_kills: usage.oom_kills,
    }
}

/// A validation; see the module documentation.
#[derive(Debug, Default, Serialize)]
pub(super) struct ValidationDocument {
    pub valid: bool,
    pub deployment: Option<String>,
    pub jobs: Vec<String>,
    pub refused: Vec<ProblemDocument>,
    pub errors: Vec<ProblemDocument>,
    pub warnings: Vec<ProblemDocument>,
}

#[derive(Debug, Serialize)]
pub(super) struct ProblemDocument {
    source: String,
    path: String,
    line: Option<u64>,
    column: Option<u64>,
    message: String,
}

impl ProblemDocument {
    pub(super) fn new(place: &Place, message: String) -> ProblemDocument {
        let known = |number: u64| (number > 0).then_some(number);
        ProblemDocument {
            source: place.source.clone(),
            path: place.path.clone(),
            line: known(place.line),
            column: known(place.column),
            message,
        }
    }
}

/// Prints an indented document.
pub(super) fn print<T: Serialize>(document: &T) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(document).map_err(unwritable)?;
    output::print(&format!("{text}\n"))
}

/// Prints a document as one line.
pub(super) fn print_line<T: Serialize>(document: &T) -> Result<(), CliError> {
    let text = serde_json::to_string(document).map_err(unwritable)?;
    output::print(&format!("{text}\n"))
}

fn unwritable(source: serde_json::Error) -> CliError {
    CliError::Io { action: "write JSON", source: source.into() }
}

#[cfg(test)]
mod tests;
