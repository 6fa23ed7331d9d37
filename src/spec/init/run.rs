//! `init.run`: a command in the job's root file system.

use super::super::environment::read_env;
use super::super::job::InitAction;
use super::super::names::{c_string, container_path, image_name, user};
use super::super::node::Value;
use super::super::process::read_args;
use super::super::reader::At;
use super::super::value_error::ValueError;

pub(super) fn read(at: &At) -> Option<InitAction> {
    let mut fields = at.fields("write `command:` below it")?;
    let command = fields.require("command", "a list of words, or a line for the shell").and_then(|at| read_words(&at));
    let env = fields.take("env").map(|at| read_env(&at)).unwrap_or_default();
    let user = fields.take("user").and_then(|at| at.parse(user));
    let workdir = fields.take("workdir").and_then(|at| at.parse(container_path));
    let image = fields.take("image").and_then(|at| at.parse(image_name));
    fields.finish();
    Some(InitAction::Run { command: command?, env, user, workdir, image })
}

/// A list of words; a text is a line for the image's shell.
fn read_words(at: &At) -> Option<Vec<String>> {
    let words = match &at.node.value {
        Value::Text(line) if !line.trim().is_empty() => {
            let line = at.check(c_string("a command", line))?;
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
