//! The `job` block: deadlines, concurrency, retries, retention, notifications.

use super::backoff::{read_backoff, read_jitter};
use super::duration::{parse_duration, positive_duration};
use super::job::{JobPolicy, OnConflict, Retention, Retry};
use super::notification::read_notifications;
use super::reader::{At, Fields};
use super::value_error::ValueError;

/// Executions at once, and those kept, that a spec or the configuration may name.
const MOST_EXECUTIONS: u32 = 1_000_000;
/// Attempts that an execution may get.
pub const MOST_ATTEMPTS: u32 = 1000;

/// Names that people look for here, from Kubernetes or one level too high.
const ELSEWHERE: &[(&str, &str)] = &[
    ("backoff", "retry.backoff"),
    ("backoff_limit", "retry.max_attempts"),
    ("concurrency", "max_concurrent"),
    ("concurrency_policy", "on_conflict"),
    ("keep_last", "retention.keep_last"),
    ("max_attempts", "retry.max_attempts"),
    ("retries", "retry.max_attempts"),
    ("timeout", "deadline"),
    ("ttl", "retention.ttl"),
];

/// All of the block; `delete_on_exit` is elsewhere.
pub(super) fn read_policy(at: &At) -> JobPolicy {
    let mut policy = JobPolicy::default();
    let Some(mut fields) = at.fields("write `deadline: 10m` below it") else { return policy };
    fields.elsewhere(ELSEWHERE);
    policy.deadline = fields.take("deadline").and_then(|at| at.parse(positive_duration));
    policy.queue_deadline = fields.take("queue_deadline").and_then(|at| at.parse(positive_duration));
    read_concurrency(&mut fields, &mut policy);
    policy.retry = fields.take("retry").map(|at| read_retry(&at)).unwrap_or_default();
    policy.retention = fields.take("retention").map(|at| read_retention(&at)).unwrap_or_default();
    policy.on_failure = fields.take("on_failure").map(|at| read_notifications(&at)).unwrap_or_default();
    fields.not_yet(&["cron", "schedule"]);
    policy.on_success = fields.take("on_success").map(|at| read_notifications(&at)).unwrap_or_default();
    fields.finish();
    policy
}

fn read_concurrency(fields: &mut Fields, policy: &mut JobPolicy) {
    let limit = fields.take("max_concurrent").and_then(|at| read_limit(&at));
    let on_conflict_at = fields.take("on_conflict");
    let on_conflict = on_conflict_at.as_ref().and_then(read_on_conflict);
    match (concurrency(limit, on_conflict), on_conflict_at) {
        (Ok((limit, on_conflict)), _) => (policy.max_concurrent, policy.on_conflict) = (limit, on_conflict),
        (Err(error), at) => {
            // Only what is written can contradict the limit.
            at.inspect(|at| at.error(error));
        }
    }
}

/// At least one; used by the configuration as well.
pub(crate) fn read_limit(at: &At) -> Option<u32> {
    at.integer("max_concurrent", 1..=i64::from(MOST_EXECUTIONS)).and_then(|limit| u32::try_from(limit).ok())
}

fn read_on_conflict(at: &At) -> Option<OnConflict> {
    Some(match at.choice("action", &["queue", "forbid", "replace", "allow"])? {
        "queue" => OnConflict::Queue,
        "forbid" => OnConflict::Forbid,
        "replace" => OnConflict::Replace,
        _ => OnConflict::Allow,
    })
}

/// What the two say together. Whoever says what a conflict leads to without a limit means one execution.
pub(super) fn concurrency(
    limit: Option<u32>,
    on_conflict: Option<OnConflict>,
) -> Result<(Option<u32>, OnConflict), ValueError> {
    match (limit, on_conflict) {
        (Some(_), Some(OnConflict::Allow)) => Err(ValueError::AllowWithLimit),
        (None, Some(OnConflict::Allow)) => Ok((None, OnConflict::Allow)),
        (limit, Some(on_conflict)) => Ok((limit.or(Some(1)), on_conflict)),
        (limit, None) => Ok((limit, OnConflict::default())),
    }
}

/// The number must be there: a block that names exit codes or waits and no attempts would look like retries
/// and make none. `max_attempts: 1` may stand beside them with a warning, so that retries can be switched off.
fn read_retry(at: &At) -> Retry {
    let mut retry = Retry::default();
    let Some(mut fields) = at.fields("write `max_attempts:` below it") else { return retry };
    fields.elsewhere(&[("attempts", "max_attempts"), ("exit_codes", "on_exit_codes"), ("jitter", "backoff.jitter")]);
    let attempts = fields
        .require("max_attempts", "how often the job is run at most, the first time included")
        .and_then(|at| at.integer("max_attempts", 1..=i64::from(MOST_ATTEMPTS)))
        .and_then(|attempts| u32::try_from(attempts).ok());
    let on = fields.take("on_exit_codes");
    let never = fields.take("never_on_exit_codes");
    let backoff = fields.take("backoff");
    if attempts == Some(1) {
        for at in [&on, &never, &backoff].into_iter().flatten() {
            at.warn("has no effect with one attempt; max_attempts counts the first one too");
        }
    }
    retry.max_attempts = attempts.unwrap_or(retry.max_attempts);
    retry.on_exit_codes = on.map(|at| read_exit_codes(&at, "on_exit_codes", &[])).unwrap_or_default();
    retry.never_on_exit_codes =
        never.map(|at| read_exit_codes(&at, "never_on_exit_codes", &retry.on_exit_codes)).unwrap_or_default();
    if let Some(mut fields) = backoff.and_then(|at| at.fields("write `initial: 1s` below it")) {
        retry.backoff = read_backoff(&mut fields);
        let jitter = fields.take("jitter").and_then(|at| read_jitter(&at));
        retry.backoff.jitter = jitter.unwrap_or(retry.backoff.jitter);
        fields.finish();
    }
    fields.finish();
    retry
}

/// Codes of failures, each once and none of `others`.
fn read_exit_codes(at: &At, what: &'static str, others: &[u8]) -> Vec<u8> {
    let mut codes: Vec<u8> = Vec::new();
    let items = at.list("write exit codes, as [75, 111]");
    if items.as_ref().is_some_and(Vec::is_empty) {
        at.error(ValueError::Empty { what });
    }
    for item in items.unwrap_or_default() {
        let code = item.integer("the exit code of a failure", 1..=255).and_then(|code| u8::try_from(code).ok());
        let Some(code) = code else { continue };
        if codes.contains(&code) {
            item.error(ValueError::Duplicate { what: "exit code", name: code.to_string() });
        } else if others.contains(&code) {
            item.error(ValueError::ExitCodeInBoth { code });
        }
        codes.push(code);
    }
    codes
}

/// `ttl` and `keep_last`; used by the configuration as well.
pub(crate) fn read_retention(at: &At) -> Retention {
    let Some(mut fields) = at.fields("write `ttl: 7d` or `keep_last: 100` below it") else {
        return Retention::default();
    };
    let keep_last = fields.take("keep_last").and_then(|at| at.integer("keep_last", 0..=i64::from(MOST_EXECUTIONS)));
    let retention = Retention {
        ttl: fields.take("ttl").and_then(|at| at.parse(parse_duration)),
        keep_last: keep_last.and_then(|number| u32::try_from(number).ok()),
    };
    fields.finish();
    retention
}

impl JobPolicy {
    /// Whether executions of the job may have an idempotency key.
    ///
    /// # Errors
    /// [`ValueError::KeyOfForgotten`]
    pub fn check_takes_key(&self) -> Result<(), ValueError> {
        if self.delete_on_exit { Err(ValueError::KeyOfForgotten) } else { Ok(()) }
    }
}

/// What a flag says instead of `retry.max_attempts`.
pub(super) fn check_attempts(attempts: u32) -> Result<u32, ValueError> {
    in_range("max_attempts", attempts, MOST_ATTEMPTS)
}

/// What a flag says instead of `max_concurrent`.
pub(super) fn check_limit(limit: u32) -> Result<u32, ValueError> {
    in_range("max_concurrent", limit, MOST_EXECUTIONS)
}

fn in_range(what: &'static str, number: u32, most: u32) -> Result<u32, ValueError> {
    if (1..=most).contains(&number) {
        return Ok(number);
    }
    Err(ValueError::OutOfRange { what, text: number.to_string(), range: format!("1 to {most}") })
}
