//! Registries, over the distribution protocol.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>
//!
//! [`Registry`] is one repository with all the places that it may be read from: its mirrors, then the
//! registry itself. What fails in a way that may pass is asked for again ([`NetworkPolicy`]); what
//! fails for good is asked for at the next place. The place that gave the manifest is the first to be
//! asked for all else.
//!
//! Whatever comes is hostile until its digest is known: every body is bounded in size, silence and
//! slowness, redirects in number, and what a registry says is cleaned before it is shown. Credentials
//! and tokens go to the registry that they are for and to the token server that it names, over TLS
//! unless the registry itself is spoken to without, and never along with a redirect to another host.

mod auth;
mod body;
mod clients;
mod connection;
mod download;
mod error;
mod redirect;
mod retry;
#[cfg(test)]
mod tests;
mod token;

pub use error::RegistryError;
pub use retry::NetworkPolicy;

use super::config::{Endpoint, HostConfig, Serves};
use super::digest::Digest;
use super::manifest::LARGEST_DOCUMENT;
use super::progress::Observer;
use super::reference::RegistryName;
use bytes::Bytes;
use clients::Access;
use connection::Connection;
use download::Download;
use futures_util::{Stream, stream};
use reqwest::Method;
use retry::Attempts;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One repository, with what is needed to read from it. Clones share connections and tokens.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    name: RegistryName,
    /// In the order to try; at least one.
    connections: Vec<Connection>,
    /// The one that gave the last manifest.
    chosen: AtomicUsize,
    network: NetworkPolicy,
    observer: Option<Observer>,
}

impl Registry {
    /// Prepares to read `name`'s repository; no connection is made and no credentials are looked up yet.
    ///
    /// # Errors
    /// [`RegistryError::Config`], [`RegistryError::Host`].
    pub fn open(
        name: &RegistryName,
        config: &HostConfig,
        network: &NetworkPolicy,
        observer: Option<Observer>,
    ) -> Result<Registry, RegistryError> {
        Registry::at(name, config.endpoints(name)?, Arc::new(config.clone()), network, observer)
    }

    fn at(
        name: &RegistryName,
        endpoints: Vec<Endpoint>,
        access: Arc<dyn Access>,
        network: &NetworkPolicy,
        observer: Option<Observer>,
    ) -> Result<Registry, RegistryError> {
        let serves = |endpoint: &Endpoint| match endpoint.serves {
            Serves::All => true,
            Serves::DigestOnly => name.digest().is_some(),
            Serves::TagOnly => name.digest().is_none(),
        };
        let connections = endpoints
            .into_iter()
            .filter(serves)
            .map(|endpoint| Connection::new(endpoint, access.clone(), network))
            .collect::<Result<Vec<_>, _>>()?;
        if connections.is_empty() {
            return Err(RegistryError::Host { registry: name.registry().to_owned() });
        }
        let (name, network) = (name.clone(), network.clone());
        let chosen = AtomicUsize::new(0);
        Ok(Registry { inner: Arc::new(Inner { name, connections, chosen, network, observer }) })
    }

    /// The digest that the reference has now, without its content. It is what the registry says and
    /// proves nothing.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn digest(&self) -> Result<Digest, RegistryError> {
        let inner = &self.inner;
        let what = inner.name.to_string();
        let mut trail = Trail::default();
        let mut index = inner.chosen.load(Ordering::Relaxed);
        loop {
            match inner.digest_at(index, &what).await {
                Ok(digest) => {
                    inner.chosen.store(index, Ordering::Relaxed);
                    return Ok(digest);
                }
                Err(error) => trail = trail.add(inner, &mut index, error)?,
            }
        }
    }

    /// The manifest or index of the reference, or of `digest` in the same repository, verified.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn manifest(&self, digest: Option<&Digest>) -> Result<(Digest, Vec<u8>), RegistryError> {
        let inner = &self.inner;
        let what = digest.map_or_else(|| inner.name.to_string(), |digest| format!("the manifest {digest}"));
        let wanted = digest.or(inner.name.digest());
        let reference = inner.reference(wanted);
        let mut trail = Trail::default();
        let mut index = inner.chosen.load(Ordering::Relaxed);
        loop {
            match inner.manifest_at(index, &what, &reference, wanted).await {
                Ok(manifest) => {
                    inner.chosen.store(index, Ordering::Relaxed);
                    return Ok(manifest);
                }
                Err(error) => trail = trail.add(inner, &mut index, error)?,
            }
        }
    }

    /// The manifest that another tag of the repository has; `None` when there is no such tag.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn manifest_of_tag(&self, tag: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        let inner = &self.inner;
        let what = format!("the tag {tag} of {}/{}", inner.name.registry(), inner.name.repository());
        let mut trail = Trail::default();
        let mut index = inner.chosen.load(Ordering::Relaxed);
        loop {
            match inner.manifest_at(index, &what, tag, None).await {
                Ok((_, bytes)) => return Ok(Some(bytes)),
                Err(error) if error.is_not_found() && inner.is_last(index) => return Ok(None),
                Err(error) => trail = trail.add(inner, &mut index, error)?,
            }
        }
    }

    /// A document of known size, verified.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn document(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, RegistryError> {
        let inner = &self.inner;
        let mut trail = Trail::default();
        let mut index = inner.chosen.load(Ordering::Relaxed);
        loop {
            let what = format!("the blob {digest}");
            let mut download = Download::new(inner.clone(), digest, size, index, true);
            let verified = download.whole().await.and_then(|bytes| inner.verified(index, &what, bytes, Some(digest)));
            match verified {
                Ok((_, bytes)) => return Ok(bytes),
                Err(error) => trail = trail.add(inner, &mut index, error)?,
            }
        }
    }

    /// Where blobs come from at this moment, for [`Registry::distrust`].
    pub fn place(&self) -> usize {
        self.inner.chosen.load(Ordering::Relaxed)
    }

    /// Takes nothing more from `place`, whose content was wrong. False when there is none to go on with.
    pub fn distrust(&self, place: usize) -> bool {
        if self.inner.is_last(place) {
            return false;
        }
        // Whoever works on another layer may have found out before.
        let _ = self.inner.chosen.compare_exchange(place, place + 1, Ordering::Relaxed, Ordering::Relaxed);
        true
    }

    /// A blob as it comes, resumed where a connection broke. The receiver verifies it. Ends with an
    /// error after at most `size` bytes, or after exactly `size`.
    pub fn blob(
        &self,
        digest: &Digest,
        size: u64,
    ) -> impl Stream<Item = Result<Bytes, RegistryError>> + Send + 'static {
        let chosen = self.inner.chosen.load(Ordering::Relaxed);
        let download = Download::new(self.inner.clone(), digest, size, chosen, false);
        stream::unfold(download, async |mut download| Some((download.next().await?, download)))
    }
}

impl Inner {
    fn is_last(&self, index: usize) -> bool {
        index + 1 == self.connections.len()
    }

    /// As it stands at the end of a manifest's path.
    fn reference(&self, digest: Option<&Digest>) -> String {
        let tag = || self.name.tag().unwrap_or("latest").to_owned();
        digest.map_or_else(tag, Digest::to_string)
    }

    async fn digest_at(&self, index: usize, what: &str) -> Result<Digest, RegistryError> {
        const HEADER: &str = "docker-content-digest";
        let path = format!("manifests/{}", self.reference(self.name.digest()));
        let mut attempts = Attempts::new(&self.network, self.observer.as_ref());
        let answer = loop {
            let head = self.connections[index].get(what, &path, |request| {
                request.method = Method::HEAD;
                request.wants_manifest = true;
            });
            match head.await {
                Ok(answer) => break Some(answer),
                // It may still answer the question whose answer has a body.
                Err(RegistryError::Status { source, .. }) if matches!(source.status, 400 | 405 | 501) => break None,
                Err(error) => attempts.failed(what, error).await?,
            }
        };
        let header = answer.as_ref().and_then(|answer| answer.headers().get(HEADER)?.to_str().ok()?.parse().ok());
        match header {
            Some(digest) => Ok(digest),
            // Not told, or of another algorithm than the store's.
            None => Ok(self.manifest_at(index, what, &self.reference(self.name.digest()), None).await?.0),
        }
    }

    async fn manifest_at(
        &self,
        index: usize,
        what: &str,
        reference: &str,
        wanted: Option<&Digest>,
    ) -> Result<(Digest, Vec<u8>), RegistryError> {
        let connection = &self.connections[index];
        let mut attempts = Attempts::new(&self.network, self.observer.as_ref());
        let attempt = async || {
            let path = format!("manifests/{reference}");
            let answer = connection.get(what, &path, |request| request.wants_manifest = true).await?;
            connection.body(what, answer).whole(LARGEST_DOCUMENT).await
        };
        let bytes = loop {
            match attempt().await {
                Ok(bytes) => break bytes,
                Err(error) => attempts.failed(what, error).await?,
            }
        };
        self.verified(index, what, bytes, wanted)
    }

    fn verified(
        &self,
        index: usize,
        what: &str,
        bytes: Vec<u8>,
        wanted: Option<&Digest>,
    ) -> Result<(Digest, Vec<u8>), RegistryError> {
        let found = Digest::of(&bytes);
        if wanted.is_some_and(|wanted| *wanted != found) {
            let registry = self.connections[index].endpoint.registry.clone();
            return Err(RegistryError::Digest { what: what.to_owned(), registry, found });
        }
        Ok((found, bytes))
    }
}

/// The mirrors that were passed over, with the reasons.
#[derive(Default)]
struct Trail {
    mirrors: Vec<String>,
}

impl Trail {
    /// Goes on to the next endpoint.
    ///
    /// # Errors
    /// `error` with all before it, when there is no next.
    fn add(self, inner: &Inner, index: &mut usize, error: RegistryError) -> Result<Trail, RegistryError> {
        if inner.is_last(*index) {
            return Err(self.end(inner, error));
        }
        let trail = self.passed(&inner.connections[*index].endpoint, &error);
        *index += 1;
        Ok(trail)
    }

    fn passed(mut self, mirror: &Endpoint, error: &RegistryError) -> Trail {
        let reason = error.with_sources();
        tracing::debug!(mirror = mirror.registry, reason, "passing over a mirror");
        self.mirrors.push(reason);
        self
    }

    fn end(self, inner: &Inner, error: RegistryError) -> RegistryError {
        if self.mirrors.is_empty() {
            return error;
        }
        let registry = inner.name.registry().to_owned();
        RegistryError::Mirrors { registry, mirrors: self.mirrors, source: Box::new(error) }
    }
}
