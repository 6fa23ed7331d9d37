//! The `init` field: our pid 1, and the steps before the main process.
//!
//! The format has two uses of the word, and both are taken: `init: false` leaves out our pid 1, and
//! `init: {steps: […]}` gives the steps. A mapping can say both with `enabled: false`.

use super::duration::positive_duration;
use super::environment::read_env;
use super::job::{InitAction, InitStep, OnStepFailure, StepRetry};
use super::names::{container_path, identifier, no_nul, user};
use super::node::Value;
use super::process::read_args;
use super::reader::{At, Fields};
use super::value_error::ValueError;
use std::time::Duration;

/// For a step that names none; the format's own default.
pub const DEFAULT_STEP_TIMEOUT: Duration = Duration::from_secs(300);

const KINDS: &[&str] = &["init.run", "init.wait_tcp", "init.wait_http", "init.s3_pull", "init.s3_push"];

pub(super) struct Init {
    pub enabled: bool,
    pub steps: Vec<InitStep>,
}

pub(super) fn read_init(at: &At) -> Init {
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
    let id = match fields.take("id") {
        Some(at) => at.parse(|text| identifier("a step id", text)),
        None => Some(format!("step-{number}")),
    };
    let timeout = match fields.take("timeout") {
        Some(at) => at.parse(positive_duration),
        None => Some(DEFAULT_STEP_TIMEOUT),
    };
    if let Some(at) = fields.take("retry")
        && at.integer("retry", 0..=1000).is_some_and(|retries| retries > 0)
    {
        at.not_yet();
    }
    if let Some(at) = fields.take("on_failure")
        && at.choice("action", &["fail", "warn", "continue"]).is_some_and(|action| action != "fail")
    {
        at.not_yet();
    }
    let uses = fields.require("uses", "the kind of step, as init.run");
    let kind = uses.as_ref().and_then(|at| at.choice("kind of step", KINDS));
    let with = fields.require("with", "the parameters of the step");
    let action = match kind {
        Some("init.run") => with.and_then(|at| read_run(&at)),
        Some(other) => {
            if with.is_some_and(|at| other_kind(&at, other).is_some())
                && let Some(at) = uses
            {
                at.not_yet();
            }
            None
        }
        None => None,
    };
    fields.finish();
    Some(InitStep {
        id: id?,
        action: action?,
        timeout: timeout?,
        retry: StepRetry::default(),
        on_failure: OnStepFailure::default(),
    })
}

/// The parameters of `init.run`.
fn read_run(at: &At) -> Option<InitAction> {
    let mut fields = at.fields("write `command:` below it")?;
    let command = fields.require("command", "a list of words, or a line for the shell").and_then(|at| read_words(&at));
    let env = fields.take("env").map(|at| read_env(&at)).unwrap_or_default();
    let user = fields.take("user").and_then(|at| at.parse(user));
    let workdir = fields.take("workdir").and_then(|at| at.parse(container_path));
    if let Some(at) = fields.take("image")
        && at.text().is_some()
    {
        at.not_yet();
    }
    fields.finish();
    Some(InitAction::Run { command: command?, env, user, workdir, image: None })
}

/// A list of words; a text is a line for the image's shell.
fn read_words(at: &At) -> Option<Vec<String>> {
    let words = match &at.node.value {
        Value::Text(line) if !line.trim().is_empty() => {
            let line = at.check(no_nul("a command", line))?;
            vec!["/bin/sh".into(), "-c".into(), line]
        }
        Value::Text(_) => Vec::new(),
        Value::List(_) => read_args(at),
        _ => return at.wrong_type("a list of words, or a line for the shell", ""),
    };
    if words.first().is_none_or(String::is_empty) {
        at.error(ValueError::Empty { what: "the command of a step" });
    }
    Some(words)
}

/// Checks what is already known about the other kinds; `None` if something is wrong.
fn other_kind(at: &At, kind: &str) -> Option<()> {
    let mut fields = at.fields("write the step's parameters below it")?;
    let word = |fields: &mut Fields, name, form| fields.require(name, form)?.text().map(|_| ());
    match kind {
        "init.wait_tcp" => {
            let host = word(&mut fields, "host", "a name or an address");
            let port = fields.require("port", "a port").and_then(|at| at.integer("port", 1..=65_535));
            host.zip(port).map(|_| ())
        }
        "init.wait_http" => word(&mut fields, "url", "an address starting with http:// or https://"),
        _ => word(&mut fields, "bucket", "the bucket's name"),
    }
}
