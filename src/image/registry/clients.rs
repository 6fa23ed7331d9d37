//! HTTP clients for an endpoint and for the places that it leads to.

use super::error::RegistryError;
use super::redirect::is_loopback;
use super::retry::NetworkPolicy;
use crate::image::config::{AuthError, CertificateError, TlsFiles};
use crate::image::config::{Credentials, Endpoint, HostConfig};
use crate::image::surroundings::Surroundings;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, Identity, NoProxy, Proxy, Url};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

/// What the host's configuration knows of an endpoint. Both methods may read files and run programs,
/// so they block; neither is called again after it has succeeded.
pub trait Access: Send + Sync {
    /// # Errors
    /// What is configured wrongly is not passed over.
    fn credentials(&self, endpoint: &Endpoint) -> Result<Credentials, AuthError>;
    /// # Errors
    /// What is configured wrongly is not passed over.
    fn certificates(&self, endpoint: &Endpoint) -> Result<TlsFiles, CertificateError>;
    /// Where proxies are named; does not block.
    fn surroundings(&self) -> Surroundings {
        Surroundings::default()
    }
}

impl Access for HostConfig {
    fn credentials(&self, endpoint: &Endpoint) -> Result<Credentials, AuthError> {
        HostConfig::credentials(self, endpoint)
    }

    fn certificates(&self, endpoint: &Endpoint) -> Result<TlsFiles, CertificateError> {
        HostConfig::certificates(self, endpoint)
    }

    fn surroundings(&self) -> Surroundings {
        HostConfig::surroundings(self).clone()
    }
}

/// The clients of one endpoint; each holds the connections of its kind.
pub struct Clients {
    endpoint: Endpoint,
    /// The endpoint's host name, without the port.
    host: String,
    /// True for a registry on this machine.
    is_here: bool,
    access: Arc<dyn Access>,
    connect: Duration,
    /// `NO_PROXY`, or `no_proxy`.
    no_proxy: String,
    surroundings: Surroundings,
    files: OnceCell<TlsFiles>,
    built: [OnceCell<Client>; 8],
}

/// What sets requests to one place apart from those to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    /// To the endpoint's own host: shows it the client certificate.
    own: bool,
    /// By no proxy.
    direct: bool,
    /// Certificates are verified.
    verify: bool,
}

impl Clients {
    pub fn new(endpoint: &Endpoint, url: &Url, access: Arc<dyn Access>, network: &NetworkPolicy) -> Clients {
        let host = url.host_str().unwrap_or_default().to_owned();
        let connect = network.connect;
        let surroundings = access.surroundings();
        let no_proxy = first_of(&surroundings, &["NO_PROXY", "no_proxy"]).unwrap_or_default();
        Clients {
            endpoint: endpoint.clone(),
            host,
            is_here: is_loopback(url),
            access,
            connect,
            no_proxy,
            surroundings,
            files: OnceCell::new(),
            built: Default::default(),
        }
    }

    /// The client to ask `url` with.
    ///
    /// # Errors
    /// Certificates that cannot be read or used; [`RegistryError::SetUp`].
    pub async fn of(&self, url: &Url) -> Result<&Client, RegistryError> {
        let own = url.host_str() == Some(self.host.as_str());
        // As Go's programs (docker, podman) have it.
        let direct = is_loopback(url) || is_spared(url, &self.no_proxy);
        let kind = Kind { own, direct, verify: self.verifies(url).await? };
        let index = usize::from(kind.own) | usize::from(kind.direct) << 1 | usize::from(kind.verify) << 2;
        self.built[index].get_or_try_init(async || self.build(kind).await).await
    }

    /// True when the certificate of `url`'s host is verified. A registry on this machine is trusted
    /// without, unless a certificate is configured for it; that says nothing about other hosts.
    ///
    /// # Errors
    /// Certificates that cannot be read.
    pub async fn verifies(&self, url: &Url) -> Result<bool, RegistryError> {
        if !self.endpoint.insecure {
            return Ok(true);
        }
        Ok(match (self.is_here, is_loopback(url)) {
            (false, _) => false,
            (true, false) => true,
            (true, true) => !self.files().await?.authorities.is_empty(),
        })
    }

    async fn files(&self) -> Result<&TlsFiles, RegistryError> {
        let find = async || {
            let (access, endpoint) = (self.access.clone(), self.endpoint.clone());
            let found = tokio::task::spawn_blocking(move || access.certificates(&endpoint)).await;
            Ok(found.map_err(|_| RegistryError::Worker { registry: self.endpoint.registry.clone() })??)
        };
        self.files.get_or_try_init(find).await
    }

    async fn build(&self, kind: Kind) -> Result<Client, RegistryError> {
        let files = self.files().await?;
        let registry = || self.endpoint.registry.clone();
        // Fails when a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A proxy that compresses would change the bytes that digests are of.
        let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        let mut builder = Client::builder()
            .user_agent(concat!("coracle/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .referer(false)
            // Whether HTTP/2 is built in depends on what else is.
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(self.connect);
        if kind.direct {
            builder = builder.no_proxy();
        } else if self.surroundings.foreign().is_some() {
            builder = builder.no_proxy();
            for proxy in self.proxies().map_err(|source| RegistryError::SetUp { registry: registry(), source })? {
                builder = builder.proxy(proxy);
            }
        }
        if kind.verify {
            let mut authorities = Vec::new();
            let mut trust = |path: &Path, pem: &[u8]| {
                let failed =
                    |source| RegistryError::CertificateForm { path: path.to_owned(), registry: registry(), source };
                authorities.extend(Certificate::from_pem_bundle(pem).map_err(failed)?);
                Ok::<_, RegistryError>(())
            };
            files.authorities.iter().try_for_each(|(path, pem)| trust(path, pem))?;
            // In place of the host's, as the library takes it that finds those.
            let hosts = self.surroundings.foreign().and_then(|variables| variables.get("SSL_CERT_FILE"));
            if let Some(path) = hosts.map(PathBuf::from) {
                let read = tokio::fs::read(&path).await;
                let pem = read.map_err(|source| CertificateError::Read { path: path.clone(), source })?;
                trust(&path, &pem)?;
                builder = builder.tls_certs_only(authorities);
            } else if !authorities.is_empty() {
                builder = builder.tls_certs_merge(authorities);
            }
        } else {
            // Needs no CA certificates of the host, which may have none.
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        if kind.own
            && let Some(identity) = files.identities.first()
        {
            if files.identities.len() > 1 {
                let used = identity.certificate.0.display();
                tracing::warn!(registry = registry(), %used, "several client certificates, the first is used");
            }
            let path = identity.certificate.0.clone();
            let failed = |source| RegistryError::CertificateForm { path, registry: registry(), source };
            let pem = [&identity.certificate.1[..], b"\n", &identity.key.1[..]].concat();
            builder = builder.identity(Identity::from_pem(&pem).map_err(failed)?);
        }
        // Reads the host's CA certificates.
        let built = tokio::task::spawn_blocking(move || builder.build()).await;
        let built = built.map_err(|_| RegistryError::Worker { registry: registry() })?;
        built.map_err(|source| RegistryError::SetUp { registry: registry(), source })
    }
}

impl Clients {
    /// Those that another process's variables name, as the HTTP client takes them from this one's own. Without any,
    /// this process's are not used either.
    fn proxies(&self) -> reqwest::Result<Vec<Proxy>> {
        let spared = || NoProxy::from_string(&self.no_proxy);
        let named = |names: &[&str]| first_of(&self.surroundings, names).filter(|url| !url.is_empty());
        let mut proxies = Vec::new();
        if let Some(url) = named(&["HTTP_PROXY", "http_proxy"]) {
            proxies.push(Proxy::http(url)?.no_proxy(spared()));
        }
        if let Some(url) = named(&["HTTPS_PROXY", "https_proxy"]) {
            proxies.push(Proxy::https(url)?.no_proxy(spared()));
        }
        if let Some(url) = named(&["ALL_PROXY", "all_proxy"]) {
            proxies.push(Proxy::all(url)?.no_proxy(spared()));
        }
        Ok(proxies)
    }
}

fn first_of(surroundings: &Surroundings, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| surroundings.get(name)?.into_string().ok())
}

/// True when no proxy is to be used for `url` by one of the rules of Go's programs that the HTTP client
/// does not know: a star stands for addresses as well, and an entry may name a port.
/// <https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config>
fn is_spared(url: &Url, no_proxy: &str) -> bool {
    let host = url.host_str().unwrap_or_default();
    let with_port = url.port_or_known_default().map(|port| format!("{host}:{port}")).unwrap_or_default();
    no_proxy.split(',').map(str::trim).any(|entry| entry == "*" || entry.eq_ignore_ascii_case(&with_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_spared_a_proxy_as_by_docker() {
        let spared = |url: &str, no_proxy: &str| is_spared(&Url::parse(url).unwrap(), no_proxy);
        assert!(spared("https://10.0.0.1/", "*"));
        assert!(spared("https://a.example:5000/", "b.example, A.example:5000"));
        assert!(spared("https://a.example/", "a.example:443"));
        assert!(spared("http://[::2]:5000/", "[::2]:5000"));
        for no_proxy in ["", ",", "a.example:5001", "b.example:5000", "*.example"] {
            assert!(!spared("https://a.example:5000/", no_proxy), "{no_proxy}");
        }
    }
}
