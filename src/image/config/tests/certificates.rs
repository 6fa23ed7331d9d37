//! What certs.d directories hold.

use super::{Host, chain, contains, display};
use crate::image::config::{CertificateError, Endpoint, Serves, TlsFiles};

const DIRECTORY: &str = "etc/containers/certs.d/example.com:5000";

fn found(host: &Host) -> Result<TlsFiles, CertificateError> {
    let (registry, repository) = ("example.com:5000".to_owned(), "a".to_owned());
    host.config().certificates(&Endpoint { registry, repository, insecure: false, serves: Serves::All })
}

fn authorities(host: &Host) -> Vec<String> {
    let authorities = found(host).unwrap().authorities.into_iter();
    authorities.map(|(_, pem)| String::from_utf8(pem).unwrap()).collect()
}

#[test]
fn a_registry_has_its_own_certificates() {
    let host = Host::new();
    assert_eq!(found(&host).unwrap(), TlsFiles::default());
    for name in ["b.crt", "a.crt", "client.cert", "client.key", "other.cert", "other.key", "README"] {
        host.file(&format!("{DIRECTORY}/{name}"), name);
    }
    host.file("etc/containers/certs.d/example.com/c.crt", "another port");
    assert_eq!(authorities(&host), ["a.crt", "b.crt"]);
    let files = found(&host).unwrap();
    let pairs: Vec<_> = files.identities.iter().map(|pair| (&pair.certificate.1[..], &pair.key.1[..])).collect();
    assert_eq!(pairs, [(&b"client.cert"[..], &b"client.key"[..]), (b"other.cert", b"other.key")]);
    assert_eq!(files.identities[0].key.0, host.path(&format!("{DIRECTORY}/client.key")));
    assert!(!format!("{files:?}").contains(&format!("{:?}", b"client.key")), "no key in debug output");
}

#[test]
fn the_first_directory_counts_alone() {
    let host = Host::new();
    host.file("etc/docker/certs.d/example.com:5000/ca.crt", "docker");
    assert_eq!(authorities(&host), ["docker"]);
    host.file(&format!("{DIRECTORY}/ca.crt"), "containers");
    assert_eq!(authorities(&host), ["containers"]);
    host.file("home/.config/containers/certs.d/example.com:5000/ca.crt", "mine");
    assert_eq!(authorities(&host), ["mine"]);
}

#[test]
fn half_a_pair_is_named() {
    let host = Host::new();
    let certificate = host.file(&format!("{DIRECTORY}/client.cert"), "");
    let error = chain(&found(&host).unwrap_err());
    contains(&error, &[display(&certificate), "client.key is missing", "*.crt"]);
    std::fs::remove_file(&certificate).unwrap();
    let key = host.file(&format!("{DIRECTORY}/client.key"), "");
    contains(&chain(&found(&host).unwrap_err()), &[display(&key), "client.cert is missing"]);
}

#[test]
fn a_link_that_leads_nowhere_is_passed_over_and_what_cannot_be_read_is_not() {
    let host = Host::new();
    host.file(&format!("{DIRECTORY}/a.crt"), "a");
    std::os::unix::fs::symlink("/nonexistent", host.path(&format!("{DIRECTORY}/b.crt"))).unwrap();
    assert_eq!(authorities(&host), ["a"]);
    std::fs::create_dir(host.path(&format!("{DIRECTORY}/c.crt"))).unwrap();
    contains(&chain(&found(&host).unwrap_err()), &["failed to read", "c.crt"]);
}
