//! The `job` block: deadline, and what later versions will know about repeating and keeping jobs.

use super::duration::{parse_duration, positive_duration};
use super::reader::{At, Fields};
use super::value_error::ValueError;
use std::time::Duration;

/// Returns the deadline, the one field that is honoured so far.
pub(super) fn read_policy(at: &At) -> Option<Duration> {
    let mut fields = at.fields("write `deadline: 10m` below it")?;
    let deadline = fields.take("deadline").and_then(|at| at.parse(positive_duration));
    later(&mut fields, "max_concurrent", |at| at.integer("max_concurrent", 1..=1_000_000).is_some());
    if let Some(at) = fields.take("on_conflict")
        && at.choice("action", &["queue", "forbid", "replace", "allow"]).is_some_and(|action| action != "allow")
    {
        at.not_yet();
    }
    if let Some(mut retry) = fields.take("retry").and_then(|at| at.fields("write `max_attempts:` below it")) {
        read_retry(&mut retry);
        retry.finish();
    }
    if let Some(mut retention) = fields.take("retention").and_then(|at| at.fields("write `keep_last:` below it")) {
        later(&mut retention, "ttl", |at| at.parse(parse_duration).is_some());
        later(&mut retention, "keep_last", |at| at.integer("keep_last", 0..=1_000_000).is_some());
        retention.finish();
    }
    fields.finish();
    deadline
}

/// A field that is checked and then turned down.
fn later(fields: &mut Fields, name: &'static str, valid: impl FnOnce(&At) -> bool) {
    if let Some(at) = fields.take(name)
        && valid(&at)
    {
        at.not_yet();
    }
}

fn read_retry(retry: &mut Fields) {
    // One attempt is what a job gets anyway.
    if let Some(at) = retry.take("max_attempts")
        && at.integer("max_attempts", 1..=1000).is_some_and(|attempts| attempts > 1)
    {
        at.not_yet();
    }
    later(retry, "on_exit_codes", read_exit_codes);
    later(retry, "never_on_exit_codes", read_exit_codes);
    let Some(mut backoff) = retry.take("backoff").and_then(|at| at.fields("write `initial: 1s` below it")) else {
        return;
    };
    later(&mut backoff, "initial", |at| at.parse(parse_duration).is_some());
    later(&mut backoff, "max", |at| at.parse(parse_duration).is_some());
    later(&mut backoff, "multiplier", |at| at.parse(|text| factor("multiplier", text, 1.0, 100.0)).is_some());
    // A share of the delay; `true` and `false` stand for the most and none.
    later(&mut backoff, "jitter", |at| {
        matches!(at.node.value, super::node::Value::Bool(_))
            || at.parse(|text| factor("jitter", text, 0.0, 1.0)).is_some()
    });
    backoff.finish();
}

fn read_exit_codes(at: &At) -> bool {
    let Some(items) = at.list("write exit codes, as [75, 111]") else { return false };
    // All of them, so that each bad one is reported.
    items.iter().filter(|item| item.integer("an exit code", 0..=255).is_none()).count() == 0
}

fn factor(what: &'static str, text: &str, least: f64, most: f64) -> Result<f64, ValueError> {
    text.parse().ok().filter(|factor| (least..=most).contains(factor)).ok_or_else(|| ValueError::OutOfRange {
        what,
        text: super::error::quoted(text),
        range: format!("{least} to {most}"),
    })
}
