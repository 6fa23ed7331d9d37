//! Why a step was not done, and errors as one line.

use super::names::NamesError;
#[cfg(feature = "s3")]
use super::s3::{AccessError, S3Error};
use std::error::Error;
use std::io::{self, Write};

/// The most bytes of a line on standard error; what servers say may be long.
const LONGEST_LINE: usize = 2000;

/// What is wrong with the request itself, or a transfer that failed. A check that has not succeeded yet is no
/// error.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error("failed to read the request of this step")]
    Read { source: io::Error },
    #[error("failed to read the request of this step: it ended after {length} bytes, before its line did")]
    Unfinished { length: usize },
    // Not the cause in words, which would quote values.
    #[error("failed to read the request of this step: another version of coracle made it (byte {column})")]
    Form { column: usize },
    #[error("failed to set up the runtime of this step")]
    Runtime { source: io::Error },
    #[error("failed to look up names")]
    Names { source: NamesError },
    #[error("failed to use the url: it must be http://… or https://… with a host, without a user or a password")]
    Url,
    #[error("failed to use the method {method:?}: it must be a word such as GET or HEAD")]
    Method { method: String },
    #[error("failed to use the header {name:?}: a name is a word, a value is printable")]
    Header { name: String },
    #[error("failed to set up the check; TLS needs the host's CA certificates (ca-certificates)")]
    Client { source: reqwest::Error },
    #[cfg(feature = "s3")]
    #[error(transparent)]
    Access(#[from] AccessError),
    #[cfg(feature = "s3")]
    #[error(transparent)]
    S3(#[from] S3Error),
    #[cfg(not(feature = "s3"))]
    #[error("failed to move an object: this build of coracle has no S3 (feature `s3`)")]
    NoS3,
}

/// An error with what caused it as one line that is safe to be shown. An error whose text ends with that of its
/// source is left out.
pub(super) fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut parts = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        next = error.source();
        if next.is_none_or(|source| !text.ends_with(&source.to_string())) {
            parts.push(text);
        }
    }
    shown(&parts.join(": "))
}

/// One line for whoever started the step, who may have gone.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Text of others, without what moves a cursor or begins a line, and bounded.
pub(super) fn shown(text: &str) -> String {
    let mut line = String::new();
    for character in text.trim().chars() {
        if line.len() >= LONGEST_LINE {
            line.push('…');
            break;
        }
        line.push(if character.is_control() { ' ' } else { character });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn layers(texts: &[&'static str]) -> Layer {
        let (first, rest) = texts.split_first().unwrap();
        Layer { text: first, source: (!rest.is_empty()).then(|| Box::new(layers(rest))) }
    }

    #[test]
    fn causes_are_joined_and_repetitions_left_out() {
        assert_eq!(one_line(&layers(&["failed to push", "refused"])), "failed to push: refused");
        assert_eq!(one_line(&layers(&["failed", "generic: GET x: refused", "GET x: refused", "refused"])), {
            "failed: refused"
        });
    }

    #[test]
    fn what_a_server_says_stays_on_one_bounded_line() {
        assert_eq!(shown("a\r\n\x1b[2Jb\u{9b}c\n"), "a   [2Jb c");
        let long = shown(&"ä".repeat(LONGEST_LINE));
        assert_eq!((long.chars().last(), long.len()), (Some('…'), LONGEST_LINE + '…'.len_utf8()));
    }
}
