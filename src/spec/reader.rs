//! Typed reading of a [`Node`] tree that reports every problem with its place.
//!
//! A reader goes on after an error, so that one run shows all of them. What it returns for a bad
//! field is a stand-in; [`Report::finish`] keeps it from getting out.

use super::error::{Place, Problem, SpecError, SpecErrors, Warning, name_alone};
use super::node::{Key, Mark, Node, Value};
use super::value_error::{ValueError, nearest};
use crate::quote::brief;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

/// Looks up a variable of the caller's environment.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What one file's readers share.
pub(crate) struct Report<'a> {
    pub source: &'a str,
    pub env: Lookup<'a>,
    /// The directory that relative bind sources start from; `None` when the text came from no file.
    pub base: Option<&'a Path>,
    /// The services that are asked for; `None`: all. What others take from `env` may be missing.
    wanted: Option<&'a [String]>,
    /// Whether the service that is being read is one of them.
    pub is_wanted: Cell<bool>,
    /// Names of variables whose values came from `env`, of the service that is being read.
    pub hidden_env: RefCell<BTreeSet<String>>,
    errors: RefCell<Vec<SpecError>>,
    warnings: RefCell<Vec<Warning>>,
}

impl<'a> Report<'a> {
    pub fn new(source: &'a str, env: Lookup<'a>, base: Option<&'a Path>) -> Self {
        Report {
            source,
            env,
            base,
            wanted: None,
            is_wanted: Cell::new(true),
            hidden_env: RefCell::default(),
            errors: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// Begins with the service of this name. True when it is asked for.
    pub fn begin_service(&self, name: &str) -> bool {
        let is_wanted = self.wanted.is_none_or(|names| names.iter().any(|wanted| wanted == name));
        self.is_wanted.set(is_wanted);
        is_wanted
    }

    /// For these services alone.
    pub fn of(self, wanted: Option<&'a [String]>) -> Self {
        Report { wanted, ..self }
    }

    /// Gives `value` out if nothing was wrong, with the warnings in the order of the file.
    pub fn finish<T>(self, value: T) -> Result<(T, Vec<Warning>), SpecErrors> {
        let mut errors = self.errors.into_inner();
        if !errors.is_empty() {
            errors.sort_by_key(|error| (error.place.line, error.place.column));
            return Err(SpecErrors(errors));
        }
        let mut warnings = self.warnings.into_inner();
        warnings.sort_by_key(|warning| (warning.place.line, warning.place.column));
        Ok((value, warnings))
    }
}

/// A value of the document and where it stands.
#[derive(Clone)]
pub(crate) struct At<'a> {
    pub report: &'a Report<'a>,
    pub path: String,
    /// The place of the value's key, or of the value in a list.
    pub key: Mark,
    pub node: &'a Node,
}

impl<'a> At<'a> {
    pub fn root(report: &'a Report<'a>, node: &'a Node) -> Self {
        At { report, path: String::new(), key: node.mark, node }
    }

    fn place(&self, mark: Mark) -> Place {
        Place::new(self.report.source, &self.path, mark)
    }

    /// The problem at the value's place, for the caller to keep.
    pub fn spec_error(&self, problem: impl Into<Problem>) -> SpecError {
        SpecError { place: self.place(self.node.mark), problem: problem.into() }
    }

    pub fn error(&self, problem: impl Into<Problem>) {
        self.report.errors.borrow_mut().push(self.spec_error(problem));
    }

    fn error_at(&self, path: &str, mark: Mark, problem: Problem) {
        let place = Place::new(self.report.source, path, mark);
        self.report.errors.borrow_mut().push(SpecError { place, problem });
    }

    /// The value is fine, but nothing acts on it yet.
    pub fn not_yet(&self) {
        self.error(Problem::NotHonoured);
    }

    fn meaningless(&self) {
        self.warn("has no meaning for a job on one machine; ignored");
    }

    /// The value is fine, but its user should know this.
    pub fn warn(&self, message: &'static str) {
        let place = self.place(self.key);
        self.report.warnings.borrow_mut().push(Warning { place, message: message.to_owned() });
    }

    pub fn wrong_type<T>(&self, expected: &'static str, hint: &'static str) -> Option<T> {
        self.error(Problem::WrongType { expected, found: self.node.value.describe(), hint });
        None
    }

    /// Text, or an unquoted number or boolean as it is written.
    pub fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) | Value::Number(text) => Some(text),
            Value::Bool(value) => Some(if *value { "true" } else { "false" }),
            _ => self.wrong_type("text", ""),
        }
    }

    pub fn parse<T>(&self, parse: impl FnOnce(&str) -> Result<T, ValueError>) -> Option<T> {
        self.check(parse(self.text()?))
    }

    /// Reports the error of a value that was taken from here.
    pub fn check<T>(&self, result: Result<T, ValueError>) -> Option<T> {
        result.map_err(|error| self.error(error)).ok()
    }

    /// Reports the error of the value's name, where the name stands.
    pub fn check_name<T>(&self, result: Result<T, ValueError>) -> Option<T> {
        result.map_err(|error| self.error_at(&self.path, self.key, Problem::Value(error))).ok()
    }

    pub fn bool(&self) -> Option<bool> {
        match &self.node.value {
            Value::Bool(value) => Some(*value),
            _ => self.wrong_type("true or false", ""),
        }
    }

    /// An unquoted whole number within the range.
    pub fn integer(&self, what: &'static str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let Value::Number(text) = &self.node.value else { return self.wrong_type("a whole number", "") };
        let Ok(number) = text.parse::<i64>() else { return self.wrong_type("a whole number", "") };
        if !range.contains(&number) {
            let range = match (*range.start(), *range.end()) {
                (start, i64::MAX) => format!("at least {start}"),
                (start, end) => format!("{start} to {end}"),
            };
            self.error(ValueError::OutOfRange { what, text: text.clone(), range });
            return None;
        }
        Some(number)
    }

    /// One of the known words.
    pub fn choice(&self, what: &'static str, known: &'static [&'static str]) -> Option<&'static str> {
        self.parse(|text| {
            known.iter().copied().find(|name| *name == text).ok_or_else(|| ValueError::unknown(what, text, known))
        })
    }

    pub fn list(&self, hint: &'static str) -> Option<Vec<At<'a>>> {
        let Value::List(items) = &self.node.value else { return self.wrong_type("a list", hint) };
        let item = |(index, node): (usize, &'a Node)| At {
            report: self.report,
            path: format!("{}[{index}]", self.path),
            key: node.mark,
            node,
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// A list read item by item; bad items are reported and left out.
    pub fn each<T>(&self, hint: &'static str, read: impl Fn(&At<'a>) -> Option<T>) -> Option<Vec<T>> {
        Some(self.list(hint)?.iter().filter_map(read).collect())
    }

    /// A mapping with names of the user's choice, in the order of the file.
    pub fn entries(&self, hint: &'static str) -> Option<Vec<(&'a str, At<'a>)>> {
        let Value::Map(entries) = &self.node.value else { return self.wrong_type("a mapping", hint) };
        let mut seen: Vec<&'a Key> = Vec::new();
        let mut unique = Vec::new();
        for (key, node) in entries {
            let at = self.child(key, node);
            match seen.iter().find(|first| first.name == key.name) {
                Some(first) => {
                    self.error_at(&at.path, key.mark, Problem::DuplicateField { first_line: first.mark.line });
                }
                None => {
                    seen.push(key);
                    unique.push((key.name.as_str(), at));
                }
            }
        }
        Some(unique)
    }

    fn child(&self, key: &'a Key, node: &'a Node) -> At<'a> {
        // Names are foreign text, and a path is one line. A value that slipped into the name is not shown.
        let name = brief(&name_alone(&key.name));
        let path = if self.path.is_empty() { name } else { format!("{}.{name}", self.path) };
        At { report: self.report, path, key: key.mark, node }
    }

    /// Whether the value is a mapping that gives this field.
    pub fn has(&self, name: &str) -> bool {
        matches!(&self.node.value, Value::Map(entries) if entries.iter().any(|(key, _)| key.name == name))
    }

    /// A mapping with fields of ours.
    pub fn fields(&self, hint: &'static str) -> Option<Fields<'a>> {
        let entries = self.entries(hint)?;
        Some(Fields { at: self.clone(), entries, known: Vec::new(), elsewhere: &[] })
    }
}

/// The fields of a mapping that were not taken yet. Take all that are known, then [`Fields::finish`].
pub(crate) struct Fields<'a> {
    pub at: At<'a>,
    entries: Vec<(&'a str, At<'a>)>,
    known: Vec<&'static str>,
    elsewhere: &'static [(&'static str, &'static str)],
}

impl<'a> Fields<'a> {
    pub fn take(&mut self, name: &'static str) -> Option<At<'a>> {
        self.known.push(name);
        let index = self.entries.iter().position(|(key, _)| *key == name)?;
        Some(self.entries.remove(index).1)
    }

    /// Like `take`; `form` says what to write if the field is missing.
    pub fn require(&mut self, name: &'static str, form: &'static str) -> Option<At<'a>> {
        let taken = self.take(name);
        if taken.is_none() {
            let path = if self.at.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at.path) };
            self.at.error_at(&path, self.at.key, Problem::Missing { form });
        }
        taken
    }

    /// Accepts fields that say nothing about a job on one machine, with a warning for each.
    pub fn meaningless(&mut self, names: &'static [&'static str]) {
        for name in names {
            if let Some(at) = self.take(name) {
                at.meaningless();
            }
        }
    }

    /// Refuses fields that a later version is to honour, whatever is in them.
    pub fn not_yet(&mut self, names: &'static [&'static str]) {
        for name in names {
            if let Some(at) = self.take(name) {
                at.not_yet();
            }
        }
    }

    /// Names that are often looked for here, and what they are called in this format.
    pub fn elsewhere(&mut self, names: &'static [(&'static str, &'static str)]) {
        self.elsewhere = names;
    }

    /// Reports what was not taken as unknown, with the nearest known name.
    pub fn finish(self) {
        for (name, at) in &self.entries {
            let moved = self.elsewhere.iter().find(|(other, _)| other == name).map(|(_, ours)| *ours);
            let suggestion = moved.or_else(|| nearest(name, self.known.iter().copied())).map(str::to_owned);
            self.at.error_at(&at.path, at.key, Problem::UnknownField { suggestion });
        }
    }
}
