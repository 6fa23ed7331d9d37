//! Credentials for registries: where to look, in which order.
//! <https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md>

use super::auth_file::{AuthFile, Found};
use super::error::ConfigError;
use super::helper::{self, HelperError};
use super::places::{Named, Places};
use super::registries::CredentialSource;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Credentials that are configured but cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// It says where credentials are kept.
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("failed to find {}: {variable} names it; log in again, or correct or unset {variable}", path.display())]
    Missing { path: PathBuf, variable: &'static str },
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to get the credentials from {}:{line}:{column}: {problem}", path.display())]
    Malformed { path: PathBuf, line: usize, column: usize, problem: &'static str },
    #[error(
        "failed to get the credentials for {key} from {}: its \"auth\" is not the base64 of USER:PASSWORD; log in again",
        path.display()
    )]
    Entry { path: PathBuf, key: String },
    #[error("failed to get the credentials for {registry} from the helper {name} that {} names", file.display())]
    Helper { registry: String, name: String, file: PathBuf, source: Box<HelperError> },
    #[error(
        "failed to get the credentials for {registry} from the helper {name} of credential-helpers in registries.conf"
    )]
    DefaultHelper { registry: String, name: String, source: Box<HelperError> },
}

/// What to present to a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Anonymous,
    Basic {
        user: String,
        password: String,
    },
    /// An OAuth 2 refresh token, to be exchanged for access tokens.
    /// <https://distribution.github.io/distribution/spec/auth/oauth/>
    IdentityToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Anonymous => f.write_str("Anonymous"),
            Credentials::Basic { user, .. } => write!(f, "Basic({user}, …)"),
            Credentials::IdentityToken(_) => f.write_str("IdentityToken(…)"),
        }
    }
}

/// A search for the credentials of one repository.
pub(super) struct Search<'a> {
    pub places: &'a Places,
    pub registry: &'a str,
    pub repository: &'a str,
    /// For a helper to answer.
    pub timeout: Duration,
}

impl Search<'_> {
    /// Asks the sources one after the other; anonymous when none has anything. A source that fails
    /// matters only when no other has credentials.
    ///
    /// # Errors
    /// See [`AuthError`]: what is configured wrongly is not passed over.
    pub fn run(&self, sources: &[CredentialSource<'_>]) -> Result<Credentials, AuthError> {
        let mut failure = None;
        for source in sources {
            let found = match source {
                CredentialSource::Files => self.files(),
                CredentialSource::Helper(name) => {
                    let (registry, name) = (self.registry.to_owned(), (*name).to_owned());
                    self.ask(&name, self.registry).map_err(|source| AuthError::DefaultHelper {
                        registry,
                        name,
                        source: source.into(),
                    })
                }
            };
            match found {
                Ok(Some(credentials)) => return Ok(credentials),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(registry = self.registry, %error, "a source of credentials failed");
                    failure.get_or_insert(error);
                }
            }
        }
        failure.map_or(Ok(Credentials::Anonymous), Err)
    }

    /// The first file that has something.
    fn files(&self) -> Result<Option<Credentials>, AuthError> {
        let of = &self.places.auth;
        if let Some(Named { path, variable }) = &of.named {
            let text = self.read(path)?.ok_or_else(|| AuthError::Missing { path: path.clone(), variable })?;
            return self.file(path, &AuthFile::parse(path, &text)?);
        }
        for path in &of.usual {
            if let Some(text) = self.read(path)?
                && let Some(found) = self.file(path, &AuthFile::parse(path, &text)?)?
            {
                return Ok(Some(found));
            }
        }
        let Some(path) = &of.dockercfg else { return Ok(None) };
        match self.read(path)? {
            Some(text) => self.file(path, &AuthFile::parse_dockercfg(path, &text)?),
            None => Ok(None),
        }
    }

    fn file(&self, path: &Path, file: &AuthFile) -> Result<Option<Credentials>, AuthError> {
        match file.find(self.registry, self.repository)? {
            Found::Credentials(credentials) => Ok(Some(credentials)),
            Found::Nothing => Ok(None),
            Found::Helper { name, server } => self.ask(&name, &server).map_err(|source| {
                let (registry, file) = (self.registry.to_owned(), path.to_owned());
                AuthError::Helper { registry, name, file, source: source.into() }
            }),
        }
    }

    fn ask(&self, name: &str, server: &str) -> Result<Option<Credentials>, HelperError> {
        helper::ask(self.places, name, server, self.timeout)
    }

    fn read(&self, path: &Path) -> Result<Option<String>, AuthError> {
        self.places.read(path).map_err(|source| AuthError::Read { path: path.to_owned(), source })
    }
}
