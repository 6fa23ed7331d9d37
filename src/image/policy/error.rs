//! Why a policy cannot be used, or an image not be accepted.

use super::key::KeyError;
use super::signature::SignatureProblem;
use crate::image::digest::Digest;
use crate::image::manifest::ManifestError;
use crate::image::reference::ReferenceError;
use crate::image::registry::RegistryError;
use std::io;
use std::path::PathBuf;

/// An image was not accepted, or it could not be decided. Nothing of it was unpacked.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("failed to read {}, which the signature policy needs", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to parse the signature policy {}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("failed to use the signature policy {}: {place} {problem}", path.display())]
    Malformed { path: PathBuf, place: String, problem: Box<MalformedPolicy> },
    #[error("failed to use {key}, which {place} of the signature policy {} names", path.display())]
    Key { path: PathBuf, place: String, key: String, source: Box<KeyError> },
    #[error(transparent)]
    Refused(Box<Refusal>),
    #[error("failed to look for the signatures of {image}")]
    Signatures { image: String, source: Box<RegistryError> },
    #[error("failed to read the list of signatures of {image}, {tag} in its repository")]
    SignatureList { image: String, tag: String, source: Box<ManifestError> },
}

/// What is wrong at a place of a policy. Completes a sentence that names the place.
#[derive(Debug, thiserror::Error)]
pub enum MalformedPolicy {
    #[error("is not {0}")]
    Not(&'static str),
    #[error("has the unknown key {0:?}")]
    UnknownKey(String),
    #[error("lacks the key {0:?}")]
    Missing(&'static str),
    #[error("is empty; to require nothing write {{\"type\": \"insecureAcceptAnything\"}}")]
    Empty,
    #[error("must have no scope but \"\"")]
    ScopeNotAllowed,
    #[error("is no scope: it must be an absolute path without \"..\", doubled slashes and a slash at its end")]
    ScopePath,
    #[error("needs exactly one of keyPath, keyPaths, keyData, keyDatas, fulcio and pki")]
    KeySources,
    #[error("has the relative path {}; the path of a key must be absolute", .0.display())]
    RelativePath(PathBuf),
    #[error("is not base64: {0}")]
    Base64(base64::DecodeError),
    #[error("has the invalid reference {text:?}: {source}")]
    Reference { text: String, source: ReferenceError },
    #[error("has the reference {0:?}, which has neither a tag nor a digest")]
    NameOnly(String),
    #[error("has {0:?}, which is neither a registry nor a repository or the beginning of one")]
    Prefix(String),
}

/// The policy's answer is no.
#[derive(Debug, thiserror::Error)]
#[error("failed to accept the image {image}: {reason} ({place} of {})", path.display())]
pub struct Refusal {
    pub image: String,
    /// The policy file.
    pub path: PathBuf,
    /// The requirement that is not met.
    pub place: String,
    pub reason: RefusalReason,
}

/// Why a requirement is not met.
#[derive(Debug, thiserror::Error)]
pub enum RefusalReason {
    #[error("the signature policy rejects it")]
    Rejected,
    #[error(
        "its signature policy has {0}, which cannot be checked by coracle; what can be is reject, \
         insecureAcceptAnything, and sigstoreSigned with public keys"
    )]
    Uncheckable(String),
    #[error(
        "the signature policy requires a sigstore signature, and images of {0}: have none; get it from its registry"
    )]
    Local(&'static str),
    #[error(
        "the signature policy requires a sigstore signature, and its repository has none for {digest}{}",
        if *is_of_index { "; a signature of the index it was chosen from does not count (cosign sign --recursive)" }
        else { "" }
    )]
    Unsigned { digest: Digest, is_of_index: bool },
    #[error("none of its signatures is accepted: {}", list(problems))]
    NoneAccepted { problems: Vec<SignatureProblem> },
    #[error("it has {count} signatures, more than the {most} that are looked at")]
    TooMany { count: usize, most: usize },
}

fn list(problems: &[SignatureProblem]) -> String {
    match problems {
        [only] => only.to_string(),
        several => {
            let numbered = several.iter().enumerate().map(|(at, problem)| format!("{}: {problem}", at + 1));
            numbered.collect::<Vec<_>>().join("; ")
        }
    }
}
