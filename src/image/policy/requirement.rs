//! What a policy can ask of an image.

use super::identity::SignedIdentity;
use std::path::PathBuf;

/// One requirement. All of a scope must be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    InsecureAcceptAnything,
    Reject,
    SigstoreSigned(SigstoreSigned),
    /// One that cannot be checked here, in words.
    Uncheckable(String),
}

/// A sigstore signature by one of these keys over one of these identities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigstoreSigned {
    pub keys: KeySource,
    pub identity: SignedIdentity,
}

/// Where public keys are, in PEM. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    Paths(Vec<PathBuf>),
    Data(Vec<Vec<u8>>),
}
