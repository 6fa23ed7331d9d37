//! What can go wrong between here and a registry.

use super::auth::ChallengeError;
use super::redirect::RedirectError;
use super::retry::Retry;
use crate::image::config::{AuthError, CertificateError, ConfigError};
use crate::image::digest::Digest;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A registry did not give what was asked for. Holds no secret: URLs are named by their host alone.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("failed to use the certificate in {} for {registry}: it must be PEM", path.display())]
    CertificateForm { path: PathBuf, registry: String, source: reqwest::Error },
    #[error(
        "failed to use {registry}: this is no host that can be connected to; check the configuration of registries"
    )]
    Host { registry: String },
    #[error("failed to set up the connection to {registry}; TLS needs the host's CA certificates (ca-certificates)")]
    SetUp { registry: String, source: reqwest::Error },
    #[error("failed to reach {registry}: check its name, the network and the proxy settings")]
    Unreachable { registry: String, source: reqwest::Error },
    #[error("failed to reach {registry} over TLS: {advice}")]
    Tls { registry: String, advice: String, source: reqwest::Error },
    #[error("failed to get {what}: {registry} has not answered for {} seconds", waited.as_secs_f32())]
    NoAnswer { what: String, registry: String, waited: Duration },
    #[error(
        "failed to get {what}: {registry} refused access without credentials; \
         log in with podman login or docker login, or the name is wrong"
    )]
    LogIn { what: String, registry: String, source: Answer },
    #[error(
        "failed to get {what}: {registry} refused access with the credentials that are configured for it; \
         log in again with podman login or docker login"
    )]
    BadCredentials { what: String, registry: String, source: Answer },
    #[error(
        "failed to get {what}: the account that is logged in at {registry} is not allowed to; \
         ask for access, log in as another one, or the name is wrong"
    )]
    Forbidden { what: String, registry: String, source: Answer },
    #[error("failed to get {what}: {registry} does not have it; check the name and the tag")]
    NotFound { what: String, registry: String, source: Answer },
    #[error(
        "failed to get {what}: {registry} limits the rate of requests; log in or try again {}",
        wait.map_or_else(|| "later".to_owned(), |wait| format!("in {} seconds", wait.as_secs().max(1)))
    )]
    RateLimited { what: String, registry: String, wait: Option<Duration>, source: Answer },
    #[error("failed to get {what} from {registry}")]
    Status { what: String, registry: String, wait: Option<Duration>, source: Answer },
    #[error("failed to get {what} from {registry}")]
    Redirect { what: String, registry: String, source: RedirectError },
    #[error("failed to log in at {registry}")]
    Challenge { registry: String, source: ChallengeError },
    #[error("failed to get {what}: {registry} sent content of another digest, {found}")]
    Digest { what: String, registry: String, found: Digest },
    #[error("failed to get {what}: {registry} sends more than the {limit} bytes that it may have")]
    TooLarge { what: String, registry: String, limit: u64 },
    #[error("failed to get {what}: {registry} offers {found} bytes instead of the {expected} that it has")]
    Size { what: String, registry: String, expected: u64, found: u64 },
    #[error("failed to get {what}: {registry} ended it after {received} of {size} bytes")]
    TooShort { what: String, registry: String, received: u64, size: u64 },
    #[error("failed to get {what}: {registry} answered with another part than the one from byte {from} on")]
    Range { what: String, registry: String, from: u64 },
    #[error(
        "failed to get {what}: {registry} sent it with the encoding {encoding:?}, which was not asked for; \
         look for a proxy that changes content"
    )]
    Encoding { what: String, registry: String, encoding: String },
    #[error("failed to get {what}: the connection to {registry} broke")]
    Broken { what: String, registry: String, source: reqwest::Error },
    #[error("failed to get {what}: {registry} stalled, {received} bytes came in {} seconds", waited.as_secs_f32())]
    Stalled { what: String, registry: String, received: u64, waited: Duration },
    #[error("failed to get {registry}'s credentials or certificates: a worker thread ended early")]
    Worker { registry: String },
    #[error("failed at every mirror of {registry} ({}) and at the registry itself", mirrors.join("; "))]
    Mirrors { registry: String, mirrors: Vec<String>, source: Box<RegistryError> },
}

/// An answer that is a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// What the registry says about it, made safe to be shown; may be empty.
    pub message: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it answered with status {}", self.status)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

impl Error for Answer {}

impl RegistryError {
    /// True when the registry said that it has no such image, or none for this user.
    pub fn is_refusal(&self) -> bool {
        match self {
            RegistryError::NotFound { .. }
            | RegistryError::LogIn { .. }
            | RegistryError::BadCredentials { .. }
            | RegistryError::Forbidden { .. } => true,
            RegistryError::Mirrors { source, .. } => source.is_refusal(),
            _ => false,
        }
    }

    /// True when the registry could not be asked, as against an answer that is no.
    pub fn is_unreachable(&self) -> bool {
        match self {
            RegistryError::Unreachable { .. }
            | RegistryError::Tls { .. }
            | RegistryError::NoAnswer { .. }
            | RegistryError::RateLimited { .. }
            | RegistryError::TooShort { .. }
            | RegistryError::Broken { .. }
            | RegistryError::Stalled { .. } => true,
            RegistryError::Status { source, .. } => source.status >= 500,
            RegistryError::Mirrors { source, .. } => source.is_unreachable(),
            _ => false,
        }
    }

    /// True when it has been asked and does not have it.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, RegistryError::NotFound { .. })
    }

    /// True when TLS is spoken there, though without success.
    pub(super) fn is_from_tls(&self) -> bool {
        let RegistryError::Tls { source, .. } = self else { return false };
        !matches!(find::<rustls::Error>(source), Some(rustls::Error::InvalidMessage(_)))
    }

    pub(super) fn retry(&self) -> Retry {
        match self {
            // Silence has been waited for long already, and a mirror or an image that is here may serve.
            RegistryError::Unreachable { source, .. } if source.is_timeout() || is_nobody_there(source) => Retry::Once,
            RegistryError::NoAnswer { .. } => Retry::Once,
            RegistryError::Unreachable { .. }
            | RegistryError::TooShort { .. }
            | RegistryError::Range { .. }
            | RegistryError::Broken { .. }
            | RegistryError::Stalled { .. } => Retry::Often,
            RegistryError::RateLimited { wait, .. } => wait.map_or(Retry::Often, Retry::After),
            RegistryError::Status { source: Answer { status: 503, .. }, wait: Some(wait), .. } => Retry::After(*wait),
            RegistryError::Status { source: Answer { status: 408 | 500 | 502 | 503 | 504, .. }, .. } => Retry::Often,
            _ => Retry::No,
        }
    }

    /// The whole chain on one line.
    pub(super) fn with_sources(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(error) = next {
            text = format!("{text}: {error}");
            next = error.source();
        }
        text
    }

    /// A request that got no answer. `registry` is the host that it was sent to.
    pub(super) fn of_request(what: &str, registry: String, error: reqwest::Error) -> RegistryError {
        // URLs may be signed, which makes them secrets.
        let source = error.without_url();
        if let Some(tls) = find::<rustls::Error>(&source) {
            let advice = advice(tls, &registry);
            return RegistryError::Tls { registry, advice, source };
        }
        if source.is_connect() || source.is_timeout() {
            return RegistryError::Unreachable { registry, source };
        }
        RegistryError::Broken { what: what.to_owned(), registry, source }
    }
}

fn advice(error: &rustls::Error, registry: &str) -> String {
    match error {
        rustls::Error::InvalidCertificate(_) => format!(
            "if the certificate is right, put that of its authority into /etc/containers/certs.d/{registry}/ca.crt"
        ),
        rustls::Error::AlertReceived(_) => format!(
            "it may want a client certificate: client.cert and client.key in /etc/containers/certs.d/{registry}"
        ),
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS; if it is to be used without, set insecure = true for it in registries.conf".into()
        }
        _ => "check its certificate and its settings for TLS".into(),
    }
}

/// No such host, nobody listening or no way there.
fn is_nobody_there(error: &reqwest::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    let no_way = |error: &io::Error| matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable);
    error.is_dns() || find::<io::Error>(error).is_some_and(no_way)
}

/// The first `T` in a chain of errors. What an I/O error was made of is no source of it by
/// [`Error::source`], and TLS errors come in that form.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
