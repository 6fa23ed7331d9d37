//! What files on this host say about registries: the configuration that users of Docker and podman
//! already have.
//!
//! [`HostConfig`] answers four questions, and reads what it needs when the first of them is asked:
//! what a short name may stand for, where to read a repository from, what to present there, and which
//! certificates to use. Files are read as podman and skopeo read them (containers-registries.conf(5),
//! containers-auth.json(5), containers-certs.d(5)); keys that are unknown here are passed over,
//! because the files belong to those tools, and everything else that is not understood is an error.
//!
//! ```text
//! places          where the files are, for this user and environment
//! registries_conf one registries.conf → registries: all of them together
//! auth_file       one auth.json or config.json, helper: programs → credentials: the search
//! certificates    certs.d
//! ```

mod auth_file;
mod certificates;
mod credentials;
mod error;
mod helper;
mod places;
mod registries;
mod registries_conf;
#[cfg(test)]
mod tests;

pub use certificates::{CertificateError, Identity, TlsFiles};
pub use credentials::{AuthError, Credentials};
pub use error::ConfigError;
pub use helper::HelperError;

use super::reference::RegistryName;
use super::surroundings::Surroundings;
use credentials::Search;
use places::Places;
use registries::Registries;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// The host's configuration for registries. Clones share what has been read. The default is that of
/// a host without any such files.
#[derive(Debug, Clone, Default)]
pub struct HostConfig {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    places: Places,
    /// Read when first needed.
    registries: OnceLock<Registries>,
}

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

impl HostConfig {
    /// Finds out where the files of this host and user are. They are read when first needed, then kept.
    ///
    /// # Errors
    /// [`ConfigError::Place`] when the environment names a file by a path that means nothing here.
    pub fn load(surroundings: &Surroundings) -> Result<HostConfig, ConfigError> {
        Ok(HostConfig::of(Places::in_surroundings(surroundings)?))
    }

    /// A configuration of one text in the format of containers-registries.conf(5), without any files:
    /// no credentials and no certificates.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn from_toml(text: &str) -> Result<HostConfig, ConfigError> {
        let registries = Registries::from_toml(Path::new("registries.conf"), text)?;
        Ok(HostConfig { shared: Arc::new(Shared { places: Places::default(), registries: registries.into() }) })
    }

    fn of(places: Places) -> HostConfig {
        HostConfig { shared: Arc::new(Shared { places, registries: OnceLock::new() }) }
    }

    /// Full names that a name written without a registry may stand for, in the order to try: an alias,
    /// else one per search registry, else Docker Hub. Any other name stands for itself. Blocks.
    ///
    /// # Errors
    /// A file that is there but cannot be read or understood, or [`ConfigError::Ambiguous`].
    pub fn candidates(&self, name: &RegistryName) -> Result<Vec<RegistryName>, ConfigError> {
        match name.short_name() {
            Some(short) => self.registries()?.candidates(name, short),
            None => Ok(vec![name.clone()]),
        }
    }

    /// Where to look for `name`, in this order: its mirrors, then the registry itself. Blocks.
    ///
    /// # Errors
    /// A file that is there but cannot be read or understood, or [`ConfigError::Blocked`].
    pub fn endpoints(&self, name: &RegistryName) -> Result<Vec<Endpoint>, ConfigError> {
        self.registries()?.endpoints(name)
    }

    /// What to present to an endpoint. May run a credential helper, which has 30 seconds. Blocks.
    ///
    /// # Errors
    /// See [`AuthError`]: what is configured wrongly is not passed over.
    pub fn credentials(&self, endpoint: &Endpoint) -> Result<Credentials, AuthError> {
        let (registry, repository) = (&endpoint.registry, &endpoint.repository);
        let search = Search { places: &self.shared.places, registry, repository, timeout: helper::TIMEOUT };
        search.run(&self.registries()?.credential_sources())
    }

    /// Certificates that `certs.d` directories hold for an endpoint. Blocks.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn certificates(&self, endpoint: &Endpoint) -> Result<TlsFiles, CertificateError> {
        certificates::find(&self.shared.places, &endpoint.registry)
    }

    /// By which its files were found.
    pub(super) fn surroundings(&self) -> &Surroundings {
        &self.shared.places.surroundings
    }

    fn registries(&self) -> Result<&Registries, ConfigError> {
        if let Some(registries) = self.shared.registries.get() {
            return Ok(registries);
        }
        let registries = Registries::load(&self.shared.places)?;
        Ok(self.shared.registries.get_or_init(|| registries))
    }
}
