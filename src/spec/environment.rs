//! Environment variables, and `$E:NAME` in their values.

use super::error::{Problem, name_alone};
use super::names::{c_string, env_name};
use super::node::Value;
use super::reader::{At, Lookup};
use super::value_error::ValueError;

const REFERENCE: &str = "$E:";
const ESCAPED: &str = "$$E:";

const VALUE: &str = "the value of an environment variable";

/// One that a job is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub value: String,
    /// From the environment of whoever asked for the job: it may be a secret, and is not shown.
    pub is_hidden: bool,
}

/// `K=V`, or `K` to take the value from the caller's environment, as `docker run --env`. Nothing in
/// `V` is replaced.
///
/// # Errors
/// An unusable name; with `K` alone, [`ValueError::EnvUnset`] and [`ValueError::EnvNotUtf8`].
pub fn parse_env(text: &str, env: Lookup) -> Result<Variable, ValueError> {
    let (name, value, is_hidden) = match text.split_once('=') {
        Some((name, value)) => (env_name(name)?, c_string(VALUE, value)?, false),
        None => {
            let name = env_name(text)?;
            let value = lookup(&name, env)?;
            (name, value, true)
        }
    };
    Ok(Variable { name, value, is_hidden })
}

fn lookup(name: &str, env: Lookup) -> Result<String, ValueError> {
    let value = env(name).ok_or_else(|| ValueError::EnvUnset { name: name_alone(name) })?;
    value.into_string().map_err(|_| ValueError::EnvNotUtf8 { name: name.to_owned() })
}

/// Replaces every `$E:NAME` by the caller's variable; the name is the longest run of
/// `[A-Za-z_][A-Za-z0-9_]*`. `$$E:` stands for a literal `$E:`. What is put in is not read again. `what` is
/// the value's name for messages, which do not show the value.
pub(super) fn expand(what: &'static str, text: &str, env: Lookup) -> Result<String, ValueError> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, after) = rest.split_at(dollar);
        expanded.push_str(before);
        if let Some(tail) = after.strip_prefix(ESCAPED) {
            expanded.push_str(REFERENCE);
            rest = tail;
        } else if let Some(tail) = after.strip_prefix(REFERENCE) {
            let end = tail.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(tail.len());
            let (name, tail) = tail.split_at(end);
            if name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
                return Err(ValueError::Malformed {
                    what: "a reference to an environment variable",
                    text: format!("{REFERENCE}{name}"),
                    form: "$E:NAME, or $$E: for a literal $E:",
                });
            }
            expanded.push_str(&lookup(name, env)?);
            rest = tail;
        } else {
            expanded.push('$');
            rest = &after[1..];
        }
    }
    expanded.push_str(rest);
    c_string(what, &expanded)
}

/// Whether the caller's variables are put into this value: an escaped reference is none.
fn has_reference(text: &str) -> bool {
    text.replace(ESCAPED, "").contains(REFERENCE)
}

/// The text with the caller's variables put in; `None`, without an error, where it takes some and the service is not
/// asked for.
pub(super) fn expanded(at: &At, what: &'static str, text: &str) -> Option<String> {
    if !at.report.is_wanted.get() && has_reference(text) {
        return None;
    }
    at.check(expand(what, text, at.report.env))
}

/// A mapping, or a list of `K=V` and `K` as in compose.
pub(super) fn read_env(at: &At) -> Vec<(String, String)> {
    const HINT: &str = "write NAME: value lines, or a list of NAME=value";
    let env = at.report.env;
    let hide = |name: &str| {
        at.report.hidden_env.borrow_mut().insert(name.to_owned());
    };
    if let Value::List(_) = at.node.value {
        let pairs = at.each(HINT, |item| {
            let text = item.text()?;
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => {
                    if has_reference(value) {
                        hide(name);
                    }
                    (item.check(env_name(name))?, expanded(item, VALUE, value)?)
                }
                None => {
                    hide(text);
                    if !at.report.is_wanted.get() {
                        return None;
                    }
                    let variable = item.check(parse_env(text, env))?;
                    (variable.name, variable.value)
                }
            };
            Some((item.clone(), name, value))
        });
        let mut unique: Vec<(String, String)> = Vec::new();
        for (item, name, value) in pairs.unwrap_or_default() {
            if unique.iter().any(|(known, _)| *known == name) {
                item.error(ValueError::Duplicate { what: "environment variable", name });
            } else {
                unique.push((name, value));
            }
        }
        return unique;
    }
    if !matches!(at.node.value, Value::Map(_)) {
        // A variable as one text would show its value.
        at.error(Problem::WrongType { expected: "a mapping", found: "something else".to_owned(), hint: HINT });
        return Vec::new();
    }
    let pair = |(name, at): (&str, At)| {
        if matches!(&at.node.value, Value::Text(text) if has_reference(text)) {
            hide(name);
        }
        let name = at.check_name(env_name(name));
        let value = match at.node.value {
            Value::Null => at.wrong_type("a value", "write \"\" for an empty one"),
            _ => at.text().and_then(|text| expanded(&at, VALUE, text)),
        };
        Some((name?, value?))
    };
    at.entries(HINT).unwrap_or_default().into_iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    fn env(name: &str) -> Option<OsString> {
        match name {
            "HOST" => Some("example.org".into()),
            "PORT_2" => Some("80".into()),
            "LOOP" => Some("$E:HOST".into()),
            "BAD" => Some(OsString::from_vec(vec![0xff])),
            _ => None,
        }
    }

    #[test]
    fn references_are_replaced_anywhere_in_a_value() {
        for (text, expected) in [
            ("plain", "plain"),
            ("$E:HOST", "example.org"),
            ("http://$E:HOST:$E:PORT_2/", "http://example.org:80/"),
            ("$E:HOST$E:HOST", "example.orgexample.org"),
            ("$$E:HOST", "$E:HOST"),
            ("$$$E:HOST", "$$E:HOST"),
            ("$E:LOOP", "$E:HOST"),
            ("$HOME costs 5$", "$HOME costs 5$"),
            ("$E", "$E"),
            ("é$E:HOST-é", "éexample.org-é"),
        ] {
            assert_eq!(expand(VALUE, text, &env).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn unusable_references_name_the_variable() {
        for (text, message) in [
            ("$E:NOPE", "environment variable \"NOPE\" is not set"),
            ("$E:PORT", "environment variable \"PORT\" is not set"),
            ("$E:BAD", "environment variable \"BAD\" is not valid UTF-8"),
            ("$E:", "\"$E:\" is not a reference to an environment variable; write $E:NAME, or $$E: for a literal $E:"),
            (
                "$E:1",
                "\"$E:1\" is not a reference to an environment variable; write $E:NAME, or $$E: for a literal $E:",
            ),
        ] {
            assert_eq!(expand(VALUE, text, &env).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn flags_take_values_literally_and_names_from_the_caller() {
        let variable = |name: &str, value: &str, is_hidden| {
            Ok(Variable { name: name.to_owned(), value: value.to_owned(), is_hidden })
        };
        assert_eq!(parse_env("A=b=c", &env), variable("A", "b=c", false));
        assert_eq!(parse_env("A=", &env), variable("A", "", false));
        assert_eq!(parse_env("A=$E:HOST", &env), variable("A", "$E:HOST", false));
        assert_eq!(parse_env("HOST", &env), variable("HOST", "example.org", true));
        assert_eq!(parse_env("NOPE", &env), Err(ValueError::EnvUnset { name: "NOPE".into() }));
        assert!(parse_env("=x", &env).is_err());
        assert!(parse_env("", &env).is_err());
    }
}
