//! Errors and warnings of a spec file, each with its place.

use super::node::Mark;
use super::value_error::ValueError;
use crate::quote::quoted;
use std::fmt;

/// Where in a spec file something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's name as given by the caller.
    pub source: String,
    /// The field, as `services.hello.env.NAME` or `services.hello.storage[0].target`; may be empty.
    pub path: String,
    /// From 1; 0 if the problem is with the file as a whole.
    pub line: u64,
    /// From 1, in characters; 0 if the problem is with the file as a whole.
    pub column: u64,
}

impl Place {
    pub(super) fn new(source: &str, path: &str, mark: Mark) -> Self {
        Place { source: source.to_owned(), path: path.to_owned(), line: mark.line, column: mark.column }
    }
}

/// `SOURCE:LINE:COLUMN: PATH`, without the parts that are not known.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.source)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        Ok(())
    }
}

/// One thing that is wrong with a spec file.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct SpecError {
    pub place: Place,
    // Part of the message, so no source.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("cannot be read: {0}")]
    Read(std::io::Error),

    #[error("a directory or a block device, not a file")]
    NotAFile,

    #[error("larger than {limit} bytes, the most that a spec may have")]
    TooLarge { limit: u64 },

    #[error("not UTF-8 text")]
    NotUtf8,

    #[error("the document is empty; it needs `version: v1`, `deployment: NAME` and `services:`")]
    Empty,

    #[error("not valid YAML: {0}")]
    Syntax(String),

    #[error("unknown field{}", did_you_mean(suggestion))]
    UnknownField { suggestion: Option<String> },

    #[error("given twice; first on line {first_line}")]
    DuplicateField { first_line: u64 },

    #[error("missing; {form}")]
    Missing { form: &'static str },

    #[error("expected {expected}, found {found}{}", if hint.is_empty() { String::new() } else { format!("; {hint}") })]
    WrongType { expected: &'static str, found: String, hint: &'static str },

    #[error("known, but this version of coracle does not honour it yet")]
    NotHonoured,

    #[error("this coracle was built without {what}; build it with the cargo feature `{feature}`")]
    WithoutFeature { what: &'static str, feature: &'static str },

    #[error(
        "`rtype: service` is not run by coracle, which runs jobs to completion; use `rtype: job`, or run the \
         service elsewhere"
    )]
    ServiceRefused,

    #[error("only `rtype: cron` has a schedule")]
    ScheduleOfJob,

    #[error(transparent)]
    Value(#[from] ValueError),
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|name| format!("; did you mean {}?", quoted(name))).unwrap_or_default()
}

/// Everything that is wrong with a spec file, in the order of the file; never empty.
#[derive(Debug)]
pub struct SpecErrors(pub(super) Vec<SpecError>);

impl SpecErrors {
    pub fn iter(&self) -> std::slice::Iter<'_, SpecError> {
        self.0.iter()
    }
}

impl From<SpecError> for SpecErrors {
    fn from(error: SpecError) -> Self {
        SpecErrors(vec![error])
    }
}

impl<'a> IntoIterator for &'a SpecErrors {
    type Item = &'a SpecError;
    type IntoIter = std::slice::Iter<'a, SpecError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One error per line.
impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

// No source: the errors' own messages already hold theirs.
impl std::error::Error for SpecErrors {}

/// A field that was accepted and has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub place: Place,
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// The name in what may be a name with a secret behind it: up to what separates the two.
pub(super) fn name_alone(text: &str) -> String {
    match text.find(|c: char| matches!(c, '=' | ':') || c.is_whitespace()) {
        Some(end) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
