//! What is told of an execution.

use crate::exec::document::{end_document, trigger_document};
use crate::outcome::Outcome;
use crate::record::{Attempt, Execution, Status};
use serde_json::{Value, json};

/// The JSON document of an execution that ends with this outcome; its fields mean what they do in `inspect --json`.
/// Times are RFC 3339 in UTC, durations seconds.
///
/// | field | |
/// |---|---|
/// | `id`, `job`, `labels`, `image` | as in the record |
/// | `image_digest` | `null` when the image was never there |
/// | `status` | `completed` or `failed` |
/// | `exit_code` | of the main process; `null` when it did not exit by itself |
/// | `reason` | the end in words; `null` for `completed` |
/// | `end` | `{"kind": "exited"\|"signalled"\|"oom_killed"\|"deadline"\|…, …}` |
/// | `trigger` | `{"kind": …}`, with `remote_addr` or `reason` |
/// | `created_at`, `started_at`, `completed_at` | `started_at` is `null` when the main process never ran |
/// | `duration_seconds` | of the last attempt |
/// | `attempts` | each with `number`, `exit_code`, `reason`, `end`, `started_at`, `completed_at`, `duration_seconds` |
pub fn of(row: &Execution, ended: &[Attempt], outcome: &Outcome) -> Value {
    let earlier = ended.iter().filter(|attempt| attempt.number != outcome.attempt).map(|attempt| {
        json!({
            "number": attempt.number,
            "exit_code": attempt.exit_code,
            "reason": attempt.reason,
            "end": end_document(&attempt.end),
            "started_at": attempt.started_at,
            "completed_at": attempt.completed_at,
            "duration_seconds": attempt.elapsed.as_secs_f64(),
        })
    });
    let status = Status::of(&outcome.end);
    let reason = (status != Status::Completed).then(|| outcome.end.to_string());
    let last = json!({
        "number": outcome.attempt,
        "exit_code": outcome.end.job_exit_code(),
        "reason": reason,
        "end": end_document(&outcome.end),
        "started_at": outcome.started_at,
        "completed_at": outcome.completed_at,
        "duration_seconds": outcome.elapsed.as_secs_f64(),
    });
    json!({
        "id": row.id,
        "job": row.job_name,
        "status": status.as_str(),
        "exit_code": outcome.end.job_exit_code(),
        "reason": reason,
        "end": end_document(&outcome.end),
        "attempts": earlier.chain([last]).collect::<Vec<_>>(),
        "trigger": trigger_document(&row.trigger),
        "created_at": row.created_at,
        "started_at": outcome.started_at,
        "completed_at": outcome.completed_at,
        "duration_seconds": outcome.elapsed.as_secs_f64(),
        "labels": row.labels,
        "image": row.image,
        "image_digest": row.image_digest,
    })
}

/// What a job that is run for an end sees of it.
pub fn environment(document: &Value) -> Vec<(String, String)> {
    let names = [
        ("CORACLE_PARENT_EXECUTION_ID", "id"),
        ("CORACLE_PARENT_JOB_NAME", "job"),
        ("CORACLE_PARENT_STATUS", "status"),
        ("CORACLE_PARENT_EXIT_CODE", "exit_code"),
        ("CORACLE_PARENT_REASON", "reason"),
    ];
    let text = |value: &Value| match value {
        Value::Null => None,
        // No variable can hold a NUL, which what a step wrote may.
        Value::String(text) => Some(text.replace('\0', " ")),
        value => Some(value.to_string()),
    };
    names.into_iter().filter_map(|(name, field)| Some((name.to_owned(), text(&document[field])?))).collect()
}
