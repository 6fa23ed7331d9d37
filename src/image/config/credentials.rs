//! Credentials for registries, from the configuration that Docker keeps.
//! <https://docs.docker.com/reference/cli/docker/login/#credential-stores>

use docker_credential::{CredentialRetrievalError, DockerCredential};
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;

/// The key of Docker Hub in config.json.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Credentials that are configured but cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("failed to open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("failed to get the credentials for {registry} from {}", path.display())]
    Retrieve { registry: String, path: PathBuf, source: CredentialRetrievalError },
    #[error(
        "failed to use the credentials for {registry} from {}: identity tokens are not supported yet; \
         log in with a user name and a password or access token", path.display()
    )]
    IdentityToken { registry: String, path: PathBuf },
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

/// What to present to `registry`; anonymous when nothing is configured for it. May run a
/// credential helper, so it blocks.
///
/// # Errors
/// See [`AuthError`]: what is configured wrongly is not passed over.
pub(super) fn find(registry: &str, _repository: &str) -> Result<Credentials, AuthError> {
    let Some(path) = config_path() else { return Ok(Credentials::Anonymous) };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Credentials::Anonymous),
        Err(source) => return Err(AuthError::Open { path, source }),
    };
    let key = if registry == "docker.io" { DOCKER_HUB_KEY } else { registry };
    match docker_credential::get_credential_from_reader(BufReader::new(file), key) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(Credentials::Basic { user, password }),
        Ok(DockerCredential::IdentityToken(_)) => Err(AuthError::IdentityToken { registry: registry.to_owned(), path }),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(Credentials::Anonymous),
        Err(source) => Err(AuthError::Retrieve { registry: registry.to_owned(), path, source }),
    }
}

/// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
fn config_path() -> Option<PathBuf> {
    let directory = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let directory = directory.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker")));
    directory.map(|directory| directory.join("config.json"))
}
