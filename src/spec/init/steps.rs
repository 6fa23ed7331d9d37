//! The list of steps, and the fields that every kind of step has.

use super::super::backoff::read_backoff;
use super::super::duration::positive_duration;
use super::super::job::{InitStep, OnStepFailure, S3Direction, StepRetry};
use super::super::names::identifier;
use super::super::node::Value;
use super::super::reader::{At, Fields};
use super::super::value_error::ValueError;
use super::{run, s3, wait};
use std::time::Duration;

/// For a step that names none; the format's own default.
pub const DEFAULT_STEP_TIMEOUT: Duration = Duration::from_secs(300);

/// Tries of a step after its first that a spec may ask for.
const RETRIES: std::ops::RangeInclusive<i64> = 0..=1000;

const KINDS: &[&str] = &["init.run", "init.wait_tcp", "init.wait_http", "init.s3_pull", "init.s3_push"];

/// What people write beside `with` instead of below it.
const ELSEWHERE: &[(&str, &str)] = &[
    ("bucket", "with.bucket"),
    ("command", "with.command"),
    ("env", "with.env"),
    ("host", "with.host"),
    ("image", "with.image"),
    ("interval", "with.interval"),
    ("key", "with.key"),
    ("name", "id"),
    ("port", "with.port"),
    ("retries", "retry"),
    ("url", "with.url"),
];

pub(in super::super) struct Init {
    pub enabled: bool,
    pub steps: Vec<InitStep>,
}

pub(in super::super) fn read_init(at: &At) -> Init {
    let mut init = Init { enabled: true, steps: Vec::new() };
    match at.node.value {
        Value::Bool(enabled) => init.enabled = enabled,
        Value::Map(_) => {
            let Some(mut fields) = at.fields("") else { return init };
            init.enabled = fields.take("enabled").and_then(|at| at.bool()).unwrap_or(true);
            init.steps = fields.take("steps").map(|at| read_steps(&at)).unwrap_or_default();
            fields.finish();
        }
        _ => {
            at.wrong_type::<()>("true, false or a mapping with steps", "");
        }
    }
    init
}

fn read_steps(at: &At) -> Vec<InitStep> {
    let mut steps: Vec<InitStep> = Vec::new();
    for (index, item) in at.list("write `- uses: init.run` items").unwrap_or_default().iter().enumerate() {
        let Some(step) = read_step(item, index + 1) else { continue };
        if steps.iter().any(|known| known.id == step.id) {
            item.error(ValueError::Duplicate { what: "step id", name: step.id.clone() });
        }
        steps.push(step);
    }
    steps
}

fn read_step(item: &At, number: usize) -> Option<InitStep> {
    let mut fields = item.fields("write `uses: init.run` and `with:`")?;
    fields.elsewhere(ELSEWHERE);
    let id = match fields.take("id") {
        Some(at) => at.parse(|text| identifier("a step id", text)),
        None => Some(format!("step-{number}")),
    };
    let timeout = match fields.take("timeout") {
        Some(at) => at.parse(positive_duration),
        None => Some(DEFAULT_STEP_TIMEOUT),
    };
    let retry = fields.take("retry").map_or_else(|| Some(StepRetry::default()), |at| read_retry(&at));
    let on_failure = fields.take("on_failure").map(|at| at.choice("action", &["fail", "warn", "continue"]));
    let uses = fields.require("uses", "the kind of step, as init.run");
    let kind = uses.as_ref().and_then(|at| Some((at.choice("kind of step", KINDS)?, at)));
    let with = fields.require("with", "the parameters of the step");
    let action = match (kind, with) {
        (Some(("init.run", _)), Some(with)) => run::read(&with),
        (Some(("init.wait_tcp", _)), Some(with)) => wait::read_tcp(&with, timeout),
        (Some(("init.wait_http", _)), Some(with)) => wait::read_http(&with, timeout),
        (Some(("init.s3_pull", uses)), Some(with)) => s3::read(uses, &with, S3Direction::Pull),
        (Some(("init.s3_push", uses)), Some(with)) => s3::read(uses, &with, S3Direction::Push),
        _ => None,
    };
    fields.finish();
    let on_failure = match on_failure {
        Some(Some("warn")) => OnStepFailure::Warn,
        Some(Some("continue")) => OnStepFailure::Continue,
        _ => OnStepFailure::Fail,
    };
    Some(InitStep { id: id?, action: action?, timeout: timeout?, retry: retry?, on_failure })
}

/// A number of retries, or a mapping that also says how long to wait before them.
fn read_retry(at: &At) -> Option<StepRetry> {
    match at.node.value {
        Value::Number(_) => Some(StepRetry { count: count(at)?, ..StepRetry::default() }),
        Value::Map(_) => {
            let mut fields = at.fields("")?;
            let count = fields.require("count", "how many tries after the first").and_then(|at| count(&at));
            let backoff = read_backoff(&mut fields);
            fields.finish();
            Some(StepRetry { count: count?, backoff })
        }
        _ => {
            at.wrong_type("a number of retries, or a mapping", "write `retry: 3`, or `retry: {count: 3, initial: 2s}`")
        }
    }
}

fn count(at: &At) -> Option<u32> {
    at.integer("the number of retries", RETRIES).and_then(|count| u32::try_from(count).ok())
}

/// A parameter that must be there and is a text.
pub(super) fn required<T>(
    fields: &mut Fields,
    name: &'static str,
    form: &'static str,
    parse: impl FnOnce(&str) -> Result<T, ValueError>,
) -> Option<T> {
    fields.require(name, form)?.parse(parse)
}
