//! What can go wrong with a transfer.

use super::super::error::{one_line, shown};
use super::super::request::Direction;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Holds no secret: keys go into signatures alone.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    #[error("failed to use the bucket {bucket:?}: a name has 3 to 255 letters, digits, dots, hyphens and underscores")]
    Bucket { bucket: String },
    #[error(
        "failed to use the key {key:?}: it must not be empty, begin or end with /, or have an empty part, \
         a part of dots alone or a control character"
    )]
    Key { key: String },
    #[error("failed to set up the connection to S3; TLS needs the host's CA certificates (ca-certificates)")]
    Client { source: reqwest::Error },
    #[error(
        "failed to use the bucket {bucket:?} in the name of a host: it may have small letters, digits, dots and hyphens; \
         addressing_style: path has it in the path"
    )]
    BucketInHost { bucket: String },
    #[error(
        "failed to use the endpoint: it has no name that could begin with the bucket's; addressing_style: path has the \
         bucket in the path"
    )]
    NoHostName,
    #[error("failed to use the CA bundle {}: it must hold certificates in the PEM form", path.display())]
    Authorities { path: PathBuf, source: Option<reqwest::Error> },
    #[error("failed to set up the connection to S3")]
    Store { source: object_store::Error },
    #[error("failed to use the data pipe of this step")]
    Pipe { source: io::Error },
    #[error("failed to {verb} {place}: there is no such object")]
    NoObject { verb: Verb, place: Place },
    #[error("failed to {verb} {place}: there is no such bucket")]
    NoBucket { verb: Verb, place: Place },
    #[error("failed to {verb} {place}: access was refused; check the keys, the bucket and the region: {answer}")]
    Refused { verb: Verb, place: Place, answer: Answer },
    #[error("failed to {verb} {place}: {answer}")]
    Answered { verb: Verb, place: Place, answer: Answer },
    /// The cause in one line: its own words repeat those of its sources.
    #[error("failed to {verb} {place}: {cause}")]
    Request { verb: Verb, place: Place, cause: String },
    #[error("failed to pull {place}: it ended after {received} of {size} bytes")]
    TooShort { place: Place, received: u64, size: u64 },
    #[error("failed to pull {place}: its reader has gone")]
    Write { place: Place, source: io::Error },
    #[error("failed to push {place}: its content cannot be read")]
    Read { place: Place, source: io::Error },
    #[error("failed to push {place}: its content ended early, nothing was stored")]
    NotCommitted { place: Place },
    #[error("failed to push {place}: it is longer than {limit} bytes, nothing was stored")]
    TooLong { place: Place, limit: u64 },
}

/// An object with the store that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub bucket: String,
    pub key: String,
    /// Host and port, or `AWS` with a region.
    pub store: String,
}

/// `pull` or `push`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verb(pub Direction);

/// A refusal in the store's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer(String);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{} at {}", self.bucket, self.key, self.store)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 == Direction::Pull { "pull" } else { "push" })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl S3Error {
    /// A request that failed. The crate tells some kinds apart by type and the rest in words alone, which for an
    /// answer hold the store's document.
    pub fn of_request(direction: Direction, place: &Place, error: &object_store::Error) -> S3Error {
        use object_store::Error as E;
        let (verb, place, text) = (Verb(direction), place.clone(), one_line(error));
        let code = between(&text, "<Code>", "</Code>");
        let answer = Answer(match (code, between(&text, "<Message>", "</Message>")) {
            (None, _) => text.clone(),
            (Some(code), None) => shown(code),
            (Some(code), Some(message)) => shown(&format!("{code}: {message}")),
        });
        match (error, code) {
            (_, Some("NoSuchBucket")) => S3Error::NoBucket { verb, place },
            (E::NotFound { .. }, _) if direction == Direction::Pull => S3Error::NoObject { verb, place },
            (E::PermissionDenied { .. } | E::Unauthenticated { .. }, _) => S3Error::Refused { verb, place, answer },
            (_, Some(_)) => S3Error::Answered { verb, place, answer },
            (_, None) => S3Error::Request { verb, place, cause: text },
        }
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}
