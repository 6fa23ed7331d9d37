//! The store's own copies of manifests, indexes and configs: `blobs/sha256/HEX`.

use crate::image::digest::Digest;
use crate::image::manifest::LARGEST_DOCUMENT;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// Documents by digest. Whole or absent, and verified whenever they are read.
#[derive(Debug, Clone)]
pub struct Blobs {
    directory: PathBuf,
}

/// A stored document cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// What was found under a digest.
#[derive(Debug, PartialEq, Eq)]
pub enum Stored {
    Good(Vec<u8>),
    /// Something that has another digest, at this path.
    Corrupt(PathBuf),
    Missing,
}

impl Blobs {
    /// `directory`: the store's `blobs`.
    pub fn new(directory: PathBuf) -> Blobs {
        Blobs { directory: directory.join("sha256") }
    }

    /// # Errors
    /// [`BlobError::Read`].
    pub fn read(&self, digest: &Digest) -> Result<Stored, BlobError> {
        let path = self.directory.join(digest.hex());
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(LARGEST_DOCUMENT + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) if Digest::of(&bytes) == *digest => Ok(Stored::Good(bytes)),
            Ok(_) => Ok(Stored::Corrupt(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Stored::Missing),
            Err(source) => Err(BlobError::Read { path, source }),
        }
    }

    /// Stores `bytes` under their digest, replacing what is there. Survives a crash of the host.
    ///
    /// # Errors
    /// [`BlobError::Write`].
    pub fn write(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        let digest = Digest::of(bytes);
        if !matches!(self.read(&digest), Ok(Stored::Good(_))) {
            let path = self.directory.join(digest.hex());
            crate::sys::file::write_atomic(&path, bytes).map_err(|source| BlobError::Write { path, source })?;
        }
        Ok(digest)
    }
}
