//! Registries, over the distribution protocol.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>

use crate::image::config::{AuthError, ConfigError, Credentials, Endpoint, HostConfig};
use crate::image::digest::Digest;
use crate::image::manifest::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::image::reference::RegistryName;
use futures_util::{Stream, StreamExt};
use oci_distribution::Reference;
use oci_distribution::client::{Client, ClientConfig, ClientProtocol};
use oci_distribution::errors::{OciDistributionError, OciErrorCode};
use oci_distribution::secrets::RegistryAuth;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A registry that does not take a connection for so long is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A registry that sends nothing for so long has stalled.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// One repository of a registry, with what is needed to read from it. Clones share connections and
/// tokens.
#[derive(Clone)]
pub struct Registry {
    client: Client,
    name: Arc<RegistryName>,
    endpoint: Arc<Endpoint>,
    auth: RegistryAuth,
}

/// A registry did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error("failed to set up the connection to {registry}")]
    SetUp { registry: String, source: Box<OciDistributionError> },
    #[error("failed to reach {registry}: check its name, the network and the proxy settings")]
    Unreachable { registry: String, source: Box<OciDistributionError> },
    #[error(
        "failed to get {what}: {registry} refused access {}",
        if *with_credentials { "with the credentials that are configured for it; log in again or check the name" }
        else { "without credentials; log in with docker login, or the name is wrong" }
    )]
    Unauthorised { what: String, registry: String, with_credentials: bool, source: Box<OciDistributionError> },
    #[error("failed to get {what}: {registry} does not have it; check the name and the tag")]
    NotFound { what: String, registry: String, source: Box<OciDistributionError> },
    #[error("failed to get {what}: {registry} limits the rate of requests; try again later or log in")]
    RateLimited { what: String, registry: String, source: Box<OciDistributionError> },
    #[error("failed to get {what}: {registry} sent content of another digest")]
    Digest { what: String, registry: String, source: Option<Box<OciDistributionError>> },
    #[error("failed to get {what} from {registry}")]
    Protocol { what: String, registry: String, source: Box<OciDistributionError> },
    #[error("failed to get {what}: the connection to {registry} broke")]
    Broken { what: String, registry: String, source: io::Error },
}

impl RegistryError {
    /// True when the registry could not be asked, as against an answer that is no.
    pub fn is_unreachable(&self) -> bool {
        match self {
            RegistryError::Unreachable { .. } | RegistryError::Broken { .. } => true,
            RegistryError::Protocol { source, .. } => {
                matches!(**source, OciDistributionError::ServerError { code: 500.., .. })
            }
            _ => false,
        }
    }
}

impl RegistryError {
    /// True when the registry said that it has no such image, or none for this user.
    pub fn is_refusal(&self) -> bool {
        matches!(self, RegistryError::NotFound { .. } | RegistryError::Unauthorised { .. })
    }
}

impl Registry {
    /// Prepares to read `name`'s repository; no connection is made yet. May run a credential helper
    /// and reads the host's CA certificates, so it blocks.
    ///
    /// # Errors
    /// [`RegistryError::Auth`], [`RegistryError::SetUp`].
    pub fn open(name: &RegistryName, config: &HostConfig) -> Result<Registry, RegistryError> {
        let endpoints = config.endpoints(name)?;
        let endpoint = endpoints.last().expect("the registry itself is always among its endpoints");
        let auth = match config.credentials(endpoint)? {
            Credentials::Anonymous => RegistryAuth::Anonymous,
            Credentials::Basic { user, password } => RegistryAuth::Basic(user, password),
            Credentials::IdentityToken(token) => RegistryAuth::Bearer(token),
        };
        // Fails when a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = |without_certificates| ClientConfig {
            protocol: if endpoint.insecure { ClientProtocol::Http } else { ClientProtocol::Https },
            accept_invalid_certificates: without_certificates,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(STALL_TIMEOUT),
            user_agent: concat!("coracle/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = match Client::try_from(config(false)) {
            // On a host without CA certificates no TLS client can be set up. None is needed here.
            Err(_) if endpoint.insecure => Client::try_from(config(true)),
            result => result,
        };
        let registry = name.registry().to_owned();
        let client = client.map_err(|source| RegistryError::SetUp { registry, source: Box::new(source) })?;
        Ok(Registry { client, name: Arc::new(name.clone()), endpoint: Arc::new(endpoint.clone()), auth })
    }

    /// The digest that the reference has now, without its content.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn digest(&self) -> Result<Option<Digest>, RegistryError> {
        let reference = self.reference(self.name.digest());
        let digest = self.client.fetch_manifest_digest(&reference, &self.auth).await;
        // One of another algorithm says nothing to us.
        digest.map(|digest| digest.parse().ok()).map_err(|error| self.error(self.name.to_string(), error))
    }

    /// The manifest or index of the reference, or of `digest` in the same repository, verified.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn manifest(&self, digest: Option<&Digest>) -> Result<(Digest, Vec<u8>), RegistryError> {
        const ACCEPT: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];
        let wanted = digest.or(self.name.digest());
        let what = || digest.map_or_else(|| self.name.to_string(), |digest| format!("the manifest {digest}"));
        let reference = self.reference(wanted);
        let pulled = self.client.pull_manifest_raw(&reference, &self.auth, &ACCEPT).await;
        let (bytes, _) = pulled.map_err(|error| self.error(what(), error))?;
        let found = Digest::of(&bytes);
        if wanted.is_some_and(|wanted| *wanted != found) {
            let registry = self.name.registry().to_owned();
            return Err(RegistryError::Digest { what: what(), registry, source: None });
        }
        Ok((found, bytes.to_vec()))
    }

    /// The manifest under another tag of the same repository. `None` when there is no such tag.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn manifest_of_tag(&self, tag: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        let (registry, repository) = (self.name.registry().to_owned(), self.name.repository().to_owned());
        let what = format!("the tag {tag} of {registry}/{repository}");
        let reference = Reference::with_tag(registry, repository, tag.to_owned());
        match self.client.pull_manifest_raw(&reference, &self.auth, &[OCI_MANIFEST, DOCKER_MANIFEST]).await {
            Ok((bytes, _)) => Ok(Some(bytes.to_vec())),
            Err(error) => match self.error(what, error) {
                RegistryError::NotFound { .. } => Ok(None),
                error => Err(error),
            },
        }
    }

    /// A document of known size, verified.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn document(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, RegistryError> {
        let what = || format!("the blob {digest}");
        let registry = || self.name.registry().to_owned();
        let mut stream = std::pin::pin!(self.blob(digest).await?);
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece?);
            if bytes.len() as u64 > size {
                break;
            }
        }
        if bytes.len() as u64 != size || Digest::of(&bytes) != *digest {
            return Err(RegistryError::Digest { what: what(), registry: registry(), source: None });
        }
        Ok(bytes)
    }

    /// A blob as it comes. The receiver verifies it.
    ///
    /// # Errors
    /// See [`RegistryError`], also those of the stream's items.
    pub async fn blob(
        &self,
        digest: &Digest,
    ) -> Result<impl Stream<Item = Result<bytes::Bytes, RegistryError>> + Send + 'static, RegistryError> {
        let what = format!("the blob {digest}");
        // Manifests have been read before, which stored the credentials; a config that is cached has not.
        self.client.store_auth_if_needed(self.reference(None).resolve_registry(), &self.auth).await;
        let reference = self.reference(self.name.digest());
        let text = digest.to_string();
        let stream = self.client.pull_blob_stream(&reference, text.as_str()).await;
        let stream = stream.map_err(|error| self.error(what.clone(), error))?;
        let registry = self.name.registry().to_owned();
        Ok(stream.map(move |piece| piece.map_err(|source| broken(&what, &registry, source))))
    }

    fn reference(&self, digest: Option<&Digest>) -> Reference {
        let (registry, repository) = (self.endpoint.registry.clone(), self.endpoint.repository.clone());
        match (digest, self.name.tag()) {
            (Some(digest), _) => Reference::with_digest(registry, repository, digest.to_string()),
            (None, tag) => Reference::with_tag(registry, repository, tag.unwrap_or("latest").to_owned()),
        }
    }

    fn error(&self, what: String, source: OciDistributionError) -> RegistryError {
        let registry = self.name.registry().to_owned();
        let kind = kind(&source);
        let source = Box::new(source);
        match kind {
            Kind::Unreachable => RegistryError::Unreachable { registry, source },
            Kind::Unauthorised => {
                let with_credentials = self.auth != RegistryAuth::Anonymous;
                RegistryError::Unauthorised { what, registry, with_credentials, source }
            }
            Kind::NotFound => RegistryError::NotFound { what, registry, source },
            Kind::RateLimited => RegistryError::RateLimited { what, registry, source },
            Kind::Digest => RegistryError::Digest { what, registry, source: Some(source) },
            Kind::Other => RegistryError::Protocol { what, registry, source },
        }
    }
}

/// What an answer means for the user.
enum Kind {
    Unreachable,
    Unauthorised,
    NotFound,
    RateLimited,
    Digest,
    Other,
}

fn kind(error: &OciDistributionError) -> Kind {
    use OciDistributionError as E;
    match error {
        E::RequestError(error) if error.is_connect() || error.is_timeout() || error.is_request() => Kind::Unreachable,
        E::UnauthorizedError { .. } | E::AuthenticationFailure(_) | E::ServerError { code: 401 | 403, .. } => {
            Kind::Unauthorised
        }
        E::ServerError { code: 404, .. } | E::ImageManifestNotFoundError(_) => Kind::NotFound,
        E::ServerError { code: 429, .. } => Kind::RateLimited,
        E::DigestError(_) => Kind::Digest,
        E::RegistryError { envelope, .. } => {
            let codes = envelope.errors.iter().map(|error| &error.code);
            let kinds = codes.map(|code| match code {
                OciErrorCode::Unauthorized | OciErrorCode::Denied => Kind::Unauthorised,
                OciErrorCode::ManifestUnknown
                | OciErrorCode::NameUnknown
                | OciErrorCode::BlobUnknown
                | OciErrorCode::ManifestBlobUnknown
                | OciErrorCode::NotFound => Kind::NotFound,
                OciErrorCode::Toomanyrequests => Kind::RateLimited,
                _ => Kind::Other,
            });
            kinds.into_iter().find(|kind| !matches!(kind, Kind::Other)).unwrap_or(Kind::Other)
        }
        _ => Kind::Other,
    }
}

/// An error in mid-stream. The client verifies digests itself and reports a wrong one this way.
fn broken(what: &str, registry: &str, source: io::Error) -> RegistryError {
    let (what, registry) = (what.to_owned(), registry.to_owned());
    let is_digest =
        source.get_ref().is_some_and(|inner| inner.downcast_ref::<oci_distribution::errors::DigestError>().is_some());
    if is_digest {
        RegistryError::Digest { what, registry, source: Some(Box::new(OciDistributionError::IoError(source))) }
    } else {
        RegistryError::Broken { what, registry, source }
    }
}
