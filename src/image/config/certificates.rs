//! Certificates for registries: `certs.d`.
//! <https://github.com/containers/image/blob/main/docs/containers-certs.d.5.md>

use std::io;
use std::path::PathBuf;

/// What to verify a registry with, and what to show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM files with certificates of authorities to trust beside the host's.
    pub authorities: Vec<(PathBuf, Vec<u8>)>,
    /// PEM files of a client certificate and of its key.
    pub identities: Vec<Identity>,
}

/// A client certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub certificate: (PathBuf, Vec<u8>),
    pub key: (PathBuf, Vec<u8>),
}

/// Certificates that are there but cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
}

pub(super) fn find(_registry: &str) -> Result<TlsFiles, CertificateError> {
    Ok(TlsFiles::default())
}
