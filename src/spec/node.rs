//! YAML text as a small tree in which every value knows its line and column.
//!
//! Scalars keep their spelling: `1.10`, `0755` and `1_000` reach the reader as written, and what
//! they mean is decided by the field that takes them.

use crate::quote::quoted;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{Location, Spanned, UserMessageFormatter};
use std::fmt;

/// A place in the text; both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub line: u64,
    pub column: u64,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub mark: Mark,
    pub value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    Null,
    /// `true` or `false`, not quoted.
    Bool(bool),
    /// An unquoted number, as written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Debug)]
pub(crate) struct Key {
    pub mark: Mark,
    pub name: String,
}

impl Value {
    /// How messages name what was found.
    pub fn describe(&self) -> String {
        match self {
            Value::Null => "nothing".into(),
            Value::Bool(value) => format!("{value}"),
            Value::Number(text) => format!("the number {text}"),
            Value::Text(text) => format!("the text {}", quoted(text)),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a mapping".into(),
        }
    }
}

/// What is no YAML document, with the place where that showed.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub mark: Mark,
    pub message: String,
}

/// Nesting, nodes and alias expansions of one document; a generous spec has a few hundred nodes.
const MAX_DEPTH: usize = 32;
const MAX_NODES: usize = 20_000;

/// Parses one document. Anchors, aliases and merge keys (`<<`) are resolved; a value that came
/// through an alias carries the place of the alias. Repeated keys are kept for the reader to report.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let options = serde_yaml::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        strict_booleans: true,
        with_snippet: false,
        budget: serde_yaml::budget! { max_depth: MAX_DEPTH, max_nodes: MAX_NODES, max_events: 4 * MAX_NODES },
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: MAX_NODES },
    };
    let raw: Spanned<Raw> = serde_yaml::from_str_with_options(text, options).map_err(|error| {
        let mark = error.location().map(Mark::from).unwrap_or_default();
        SyntaxError { mark, message: message(&error, text) }
    })?;
    Ok(node(raw, text))
}

/// The library's message without the place, which we print in our own way.
fn message(error: &serde_yaml::Error, text: &str) -> String {
    let rendered = error.without_snippet().render_with_formatter(&UserMessageFormatter);
    if rendered.contains("too large or too complex") {
        return format!("more than {MAX_NODES} values, counting what aliases stand for, or {MAX_DEPTH} levels");
    }
    if rendered.contains("multiple found") {
        return "a spec is one document; take out the `---` between the parts".to_owned();
    }
    let suffix = error.location().map(|at| format!(" at line {}, column {}", at.line(), at.column()));
    let message = suffix.and_then(|suffix| rendered.strip_suffix(&suffix)).unwrap_or(&rendered);
    if text.lines().any(|line| line.trim_start_matches(' ').starts_with('\t')) {
        return format!("{message}; YAML is indented with spaces, and this file has tabs");
    }
    message.to_owned()
}

impl From<Location> for Mark {
    fn from(location: Location) -> Self {
        Mark { line: location.line(), column: location.column() }
    }
}

/// What serde sees; numbers are read again from the text, where they have their spelling.
enum Raw {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn node(raw: Spanned<Raw>, text: &str) -> Node {
    let mark = Mark::from(raw.referenced);
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Bool(value) => Value::Bool(value),
        Raw::Number(number) => Value::Number(spelling(raw.defined, text).unwrap_or(number)),
        Raw::Text(text) => Value::Text(text),
        Raw::List(items) => Value::List(items.into_iter().map(|item| node(item, text)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let key = Key { mark: Mark::from(key.referenced), name: key.value };
                    (key, node(value, text))
                })
                .collect(),
        ),
    };
    Node { mark, value }
}

/// An unquoted scalar as it stands in the text; `None` if the span is not just that scalar.
fn spelling(at: Location, text: &str) -> Option<String> {
    let start = usize::try_from(at.span().byte_offset()?).ok()?;
    let len = usize::try_from(at.span().byte_len()?).ok()?;
    let slice = text.get(start..start.checked_add(len)?)?.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
    (!slice.is_empty() && slice.chars().all(plain)).then(|| slice.to_owned())
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }

    fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<Raw, E> {
        Err(E::custom("binary values have no use in a spec"))
    }
}
