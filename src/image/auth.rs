//! Credentials for registries, from the configuration that Docker keeps.
//! <https://docs.docker.com/reference/cli/docker/login/#credential-stores>

use super::reference::RegistryName;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_distribution::secrets::RegistryAuth;
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

/// What to present to the registry of `name`; anonymous when nothing is configured for it. May run a
/// credential helper, so it blocks.
///
/// # Errors
/// See [`AuthError`]: what is configured wrongly is not passed over.
pub fn credentials(name: &RegistryName) -> Result<RegistryAuth, AuthError> {
    let Some(path) = config_path() else { return Ok(RegistryAuth::Anonymous) };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(RegistryAuth::Anonymous),
        Err(source) => return Err(AuthError::Open { path, source }),
    };
    let registry = name.registry();
    let key = if registry == "docker.io" { DOCKER_HUB_KEY } else { registry };
    match docker_credential::get_credential_from_reader(BufReader::new(file), key) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(RegistryAuth::Basic(user, password)),
        Ok(DockerCredential::IdentityToken(_)) => Err(AuthError::IdentityToken { registry: registry.to_owned(), path }),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(RegistryAuth::Anonymous),
        Err(source) => Err(AuthError::Retrieve { registry: registry.to_owned(), path, source }),
    }
}

/// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
pub fn config_path() -> Option<PathBuf> {
    let directory = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let directory = directory.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker")));
    directory.map(|directory| directory.join("config.json"))
}
