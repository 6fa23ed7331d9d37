//! `errors.on_init_failure`: whether the sequence of steps is run again.

use super::super::backoff::read_backoff;
use super::super::job::{Backoff, InitFailure};
use super::super::reader::{At, Fields};
use super::super::value_error::ValueError;

/// For `restart` and `backoff` without a number.
const DEFAULT_RETRIES: u32 = 3;

const WAITS: &[&str] = &["initial", "max", "multiplier"];

/// The `errors` block.
pub(in super::super) fn read_errors(at: &At) -> InitFailure {
    let mut failure = InitFailure::default();
    let Some(mut errors) = at.fields("write `on_init_failure:` below it") else { return failure };
    if let Some(mut fields) =
        errors.take("on_init_failure").and_then(|at| at.fields("write `action: backoff` below it"))
    {
        fields.elsewhere(&[("count", "retries"), ("max_retries", "retries"), ("retry", "retries")]);
        failure = read_failure(&mut fields);
        fields.finish();
    }
    errors.finish();
    failure
}

fn read_failure(fields: &mut Fields) -> InitFailure {
    let action = fields.require("action", "one of fail, restart and backoff");
    let action = action.and_then(|at| at.choice("action", &["fail", "restart", "backoff"]));
    match action {
        Some("fail") => {
            meaningless(fields, "action fail", &["retries"]);
            meaningless(fields, "action fail", WAITS);
            InitFailure::default()
        }
        Some("restart") => {
            let retries = read_retries(fields);
            meaningless(fields, "action restart, which does not wait", WAITS);
            InitFailure { retries, backoff: Backoff::NONE }
        }
        // Also without a valid action, so that the other fields are looked at.
        _ => InitFailure { retries: read_retries(fields), backoff: read_backoff(fields) },
    }
}

/// At least one: none is what `fail` says.
fn read_retries(fields: &mut Fields) -> u32 {
    let retries = fields.take("retries").and_then(|at| at.integer("retries", 1..=1000));
    retries.and_then(|retries| u32::try_from(retries).ok()).unwrap_or(DEFAULT_RETRIES)
}

fn meaningless(fields: &mut Fields, what: &'static str, names: &[&'static str]) {
    for name in names {
        if let Some(at) = fields.take(name) {
            at.error(ValueError::Meaningless { what, field: (*name).to_owned() });
        }
    }
}
