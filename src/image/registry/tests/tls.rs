//! TLS: authorities, client certificates, and registries that are used without.

use super::server::{Content, Reply, Server};
use super::*;
use crate::image::config::Identity;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use std::path::PathBuf;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// An authority of its own for each test.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority { issuer: CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap() }
    }

    fn pem(&self) -> Vec<u8> {
        self.issuer.pem().into_bytes()
    }

    /// Certificate and key of `name`.
    fn issue(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.extended_key_usages = vec![purpose];
        (parameters.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// For 127.0.0.1; with a certificate of `clients` required of clients.
    fn server(&self, clients: Option<&Authority>) -> ServerConfig {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (certificate, key) = self.issue("127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
        let builder = match clients {
            None => ServerConfig::builder().with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.issuer.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
                ServerConfig::builder().with_client_cert_verifier(verifier)
            }
        };
        builder.with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap()).unwrap()
    }

    fn identity(&self) -> Identity {
        let (certificate, key) = self.issue("client", ExtendedKeyUsagePurpose::ClientAuth);
        let file = |name: &str, pem: String| (PathBuf::from(name), pem.into_bytes());
        Identity {
            certificate: file("/certs.d/client.cert", certificate.pem()),
            key: file("/certs.d/client.key", key.serialize_pem()),
        }
    }
}

fn host(authorities: &[&Authority], identities: Vec<Identity>) -> Arc<Host> {
    let authorities = authorities.iter().map(|authority| (PathBuf::from("/certs.d/ca.crt"), authority.pem())).collect();
    Arc::new(Host { certificates: TlsFiles { authorities, identities }, ..Host::default() })
}

async fn tls_server(config: ServerConfig) -> (Server, Content) {
    let content = Content::new();
    let copy = content.clone();
    (Server::start_with(Some(config), move |seen| copy.reply(seen)).await, content)
}

fn secure(server: &Server, host: Arc<Host>) -> Registry {
    registry_at(vec![Endpoint { insecure: false, ..endpoint(server.host()) }], host, &quick())
}

#[tokio::test]
async fn an_authority_that_is_configured_is_trusted() {
    let authority = Authority::new();
    let (server, content) = tls_server(authority.server(None)).await;
    let registry = secure(&server, host(&[&authority], Vec::new()));
    registry.manifest(None).await.unwrap();
    read_all(&registry, &content).await;
}

#[tokio::test]
async fn any_other_is_not() {
    let authority = Authority::new();
    let (server, _) = tls_server(authority.server(None)).await;
    let other = Authority::new();
    let error = secure(&server, host(&[&other], Vec::new())).manifest(None).await.unwrap_err();
    assert!(matches!(error, RegistryError::Tls { .. }), "{error:?}");
    let advice = format!("/etc/containers/certs.d/{}/ca.crt", server.host());
    assert!(error.to_string().contains(&advice), "{error}");
    assert!(error.with_sources().contains("certificate"), "{}", error.with_sources());
    assert!(error.is_unreachable());
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_the_registry_that_it_is_for() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let (server, content) = tls_server(authority.server(Some(&clients))).await;
    let registry = secure(&server, host(&[&authority], vec![clients.identity()]));
    registry.manifest(None).await.unwrap();
    read_all(&registry, &content).await;

    for identities in [Vec::new(), vec![authority.identity()]] {
        let error = secure(&server, host(&[&authority], identities)).manifest(None).await.unwrap_err();
        assert!(error.to_string().contains("client.cert"), "{error:?}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_not_shown_elsewhere() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let (storage, content) = tls_server(authority.server(Some(&clients))).await;
    // The same machine by another name.
    let elsewhere = format!("https://localhost:{}", storage.address.port());
    let server = Server::start_with(Some(authority.server(None)), move |seen| {
        Reply::new(307, "").with("Location", format!("{elsewhere}{}", seen.path))
    })
    .await;
    let registry = secure(&server, host(&[&authority], vec![clients.identity()]));
    read(&registry, &content.digest(), content.size()).await.unwrap_err();
    assert_eq!(storage.count(""), 0);
}

#[tokio::test]
async fn files_that_are_no_certificates_are_named() {
    let authority = Authority::new();
    let (server, _) = tls_server(authority.server(None)).await;
    let mut identity = authority.identity();
    identity.key.1 = b"-----BEGIN NOTHING-----".to_vec();
    let error = secure(&server, host(&[&authority], vec![identity])).manifest(None).await.unwrap_err();
    assert!(error.to_string().contains("/certs.d/client.cert"), "{error:?}");
    assert_eq!(server.count(""), 0);
}

#[tokio::test]
async fn tls_is_not_given_up_on_the_way() {
    let authority = Authority::new();
    let plain = Server::start(|_| Reply::new(200, "")).await;
    let location = format!("http://{}/", plain.host());
    let server = Server::start_with(Some(authority.server(None)), move |_| {
        Reply::new(307, "").with("Location", location.clone())
    })
    .await;
    let error = secure(&server, host(&[&authority], Vec::new())).manifest(None).await.unwrap_err();
    assert!(error.with_sources().contains("without TLS"), "{}", error.with_sources());
    assert_eq!(plain.count(""), 0);
}

#[tokio::test]
async fn a_password_is_not_sent_from_tls_to_a_server_without() {
    let authority = Authority::new();
    let plain = Server::start(|_| Reply::new(200, "")).await;
    let challenge = format!("Bearer realm=\"http://{}/token\"", plain.host());
    let server = Server::start_with(Some(authority.server(None)), move |_| {
        Reply::new(401, "").with("WWW-Authenticate", challenge.clone())
    })
    .await;
    let error = secure(&server, host(&[&authority], Vec::new())).manifest(None).await.unwrap_err();
    assert!(matches!(error, RegistryError::Challenge { .. }), "{error:?}");
    assert_eq!(plain.count(""), 0);
}

#[tokio::test]
async fn an_insecure_registry_is_used_with_and_without_tls() {
    let authority = Authority::new();
    let (with, content) = tls_server(authority.server(None)).await;
    let without = {
        let content = content.clone();
        Server::start(move |seen| content.reply(seen)).await
    };
    for server in [&with, &without] {
        // 0.0.0.0 is this machine too, but no address that is known to be.
        for address in ["127.0.0.1", "0.0.0.0"] {
            let place = endpoint(format!("{address}:{}", server.address.port()));
            let registry = registry_at(vec![place], Arc::default(), &quick());
            registry.manifest(None).await.unwrap_or_else(|error| panic!("{address}: {}", error.with_sources()));
            read_all(&registry, &content).await;
        }
        assert_eq!(server.count("/v2/") - server.count("/v2/team"), 2, "what is spoken is found out once");
    }
}

#[tokio::test]
async fn a_registry_that_says_little_is_used_without_tls() {
    let server = Server::start(|_| Reply::new(400, "what?")).await;
    let error = super::registry(&server).manifest(None).await.unwrap_err();
    assert!(error.with_sources().contains("what?"), "{error:?}");
}

#[tokio::test]
async fn a_registry_on_this_machine_is_verified_if_it_can_be() {
    let authority = Authority::new();
    let (server, _) = tls_server(authority.server(None)).await;
    let registry =
        |authority: &Authority| registry_at(vec![endpoint(server.host())], host(&[authority], Vec::new()), &quick());
    registry(&authority).manifest(None).await.unwrap();
    let error = registry(&Authority::new()).manifest(None).await.unwrap_err();
    assert!(matches!(error, RegistryError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn a_registry_that_speaks_no_tls_is_told_from_one_that_is_gone() {
    let server = Server::start(|_| Reply::new(200, "")).await;
    let error = secure(&server, Arc::default()).manifest(None).await.unwrap_err();
    assert!(error.is_unreachable(), "{error:?}");
    assert_eq!(server.count(""), 0);
}
