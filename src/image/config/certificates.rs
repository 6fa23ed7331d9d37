//! Certificates for registries: `certs.d`.
//! <https://github.com/containers/image/blob/main/docs/containers-certs.d.5.md>

use super::places::Places;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What to verify a registry with, and what to show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM files with certificates of authorities to trust beside the host's.
    pub authorities: Vec<(PathBuf, Vec<u8>)>,
    /// PEM files of a client certificate and of its key.
    pub identities: Vec<Identity>,
}

/// A client certificate with its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    pub certificate: (PathBuf, Vec<u8>),
    pub key: (PathBuf, Vec<u8>),
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, {})", self.certificate.0.display(), self.key.0.display())
    }
}

/// Certificates that are there but cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "failed to use the client certificate {}: its key {} is missing; a certificate of an authority is named *.crt",
        certificate.display(), key.display()
    )]
    NoKey { certificate: PathBuf, key: PathBuf },
    #[error("failed to use the client key {}: its certificate {} is missing", key.display(), certificate.display())]
    NoCertificate { key: PathBuf, certificate: PathBuf },
}

/// What the first directory for `registry` (host and port) holds.
///
/// # Errors
/// See [`CertificateError`].
pub(super) fn find(places: &Places, registry: &str) -> Result<TlsFiles, CertificateError> {
    for directory in &places.certificates {
        let directory = directory.join(registry);
        let failed = |source| CertificateError::Read { path: directory.clone(), source };
        let listed = places.unless_missing(&directory, std::fs::read_dir(&directory)).map_err(failed)?;
        if let Some(listed) = listed {
            let paths = listed.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<BTreeSet<_>>>();
            return read(places, &paths.map_err(failed)?);
        }
    }
    Ok(TlsFiles::default())
}

fn read(places: &Places, paths: &BTreeSet<PathBuf>) -> Result<TlsFiles, CertificateError> {
    let content = |path: &Path| {
        let content = std::fs::read(path).map_err(|source| CertificateError::Read { path: path.to_owned(), source });
        content.map(|content| (path.to_owned(), content))
    };
    let mut files = TlsFiles::default();
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => {
                let read = places.unless_missing(path, std::fs::read(path));
                match read.map_err(|source| CertificateError::Read { path: path.clone(), source })? {
                    Some(pem) => files.authorities.push((path.clone(), pem)),
                    // Packages leave such links behind.
                    None => tracing::warn!(path = %path.display(), "passed over: it leads nowhere"),
                }
            }
            Some("cert") => {
                let key = path.with_extension("key");
                if !paths.contains(&key) {
                    return Err(CertificateError::NoKey { certificate: path.clone(), key });
                }
                files.identities.push(Identity { certificate: content(path)?, key: content(&key)? });
            }
            Some("key") => {
                let certificate = path.with_extension("cert");
                if !paths.contains(&certificate) {
                    return Err(CertificateError::NoCertificate { key: path.clone(), certificate });
                }
            }
            _ => {}
        }
    }
    Ok(files)
}
