//! Registries that misbehave, in this process.

mod login;
mod places;
mod server;
mod tls;
mod transfer;

use super::clients::Access;
use super::{NetworkPolicy, Registry, RegistryError};
use crate::image::config::{AuthError, CertificateError, Credentials, Endpoint, Serves, TlsFiles};
use crate::image::digest::Digest;
use crate::image::name::ImageName;
use crate::image::progress::{Observer, PullEvent};
use crate::image::reference::RegistryName;
use bytes::BytesMut;
use futures_util::TryStreamExt;
use server::{Content, Server};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the host's configuration says, the same for every endpoint.
struct Host {
    credentials: Credentials,
    certificates: TlsFiles,
    /// How often credentials were looked up.
    asked: AtomicUsize,
}

impl Default for Host {
    fn default() -> Host {
        let (credentials, certificates) = (Credentials::Anonymous, TlsFiles::default());
        Host { credentials, certificates, asked: AtomicUsize::new(0) }
    }
}

impl Host {
    fn with_login() -> Host {
        Host { credentials: Credentials::Basic { user: "ada".into(), password: "lovelace".into() }, ..Host::default() }
    }
}

impl Access for Host {
    fn credentials(&self, _: &Endpoint) -> Result<Credentials, AuthError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(self.credentials.clone())
    }

    fn certificates(&self, _: &Endpoint) -> Result<TlsFiles, CertificateError> {
        Ok(self.certificates.clone())
    }
}

/// Pauses too short to be noticed.
fn quick() -> NetworkPolicy {
    let first_pause = Duration::from_millis(1);
    NetworkPolicy { first_pause, longest_pause: first_pause, ..NetworkPolicy::default() }
}

/// As [`quick`], and it does not wait long for bytes either.
fn impatient() -> NetworkPolicy {
    NetworkPolicy { stall: Duration::from_millis(300), ..quick() }
}

fn name(text: &str) -> RegistryName {
    match ImageName::parse(text).unwrap() {
        ImageName::Registry(name) => name,
        other => panic!("{other:?}"),
    }
}

fn endpoint(registry: impl Into<String>) -> Endpoint {
    Endpoint { registry: registry.into(), repository: "team/image".into(), insecure: true, serves: Serves::All }
}

/// `team/image:v1` at these places.
fn registry_at(endpoints: Vec<Endpoint>, host: Arc<Host>, network: &NetworkPolicy) -> Registry {
    Registry::at(&name("registry.example/team/image:v1"), endpoints, host, network, None).unwrap()
}

fn registry(server: &Server) -> Registry {
    registry_at(vec![endpoint(server.host())], Arc::default(), &quick())
}

/// A registry with a record of its retries.
fn observed(server: &Server, network: &NetworkPolicy) -> (Registry, Arc<Mutex<Vec<PullEvent>>>) {
    let events = Arc::<Mutex<Vec<PullEvent>>>::default();
    let kept = events.clone();
    let observer: Observer = Arc::new(move |event| kept.lock().unwrap().push(event.clone()));
    let name = name("registry.example/team/image:v1");
    let endpoints = vec![endpoint(server.host())];
    (Registry::at(&name, endpoints, Arc::<Host>::default(), network, Some(observer)).unwrap(), events)
}

async fn read(registry: &Registry, digest: &Digest, size: u64) -> Result<Vec<u8>, RegistryError> {
    let pieces = registry.blob(digest, size);
    let whole = pieces.try_fold(BytesMut::new(), async |mut whole, piece| {
        whole.extend_from_slice(&piece);
        Ok(whole)
    });
    whole.await.map(Vec::from)
}

/// Reads the blob of `content` and compares it.
async fn read_all(registry: &Registry, content: &Content) {
    let blob = read(registry, &content.digest(), content.size()).await.unwrap();
    assert!(blob == content.blob, "{} of {} bytes", blob.len(), content.blob.len());
}
