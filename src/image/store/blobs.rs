//! The store's own copies of manifests, indexes and configs: `blobs/sha256/HEX`.

use crate::image::digest::Digest;
use crate::image::manifest::LARGEST_DOCUMENT;
use crate::sys::file::write_atomic;
use crate::sys::tree;
use std::collections::BTreeMap;
use std::fs::{DirEntry, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
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
    #[error("failed to remove {}", path.display())]
    Remove { path: PathBuf, source: io::Error },
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

    /// Where the document is, there or not.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.hex())
    }

    /// # Errors
    /// [`BlobError::Read`].
    pub fn read(&self, digest: &Digest) -> Result<Stored, BlobError> {
        let path = self.path(digest);
        let mut bytes = Vec::new();
        // Whatever lies there in place of a file must not keep anybody waiting.
        let open = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
        let read = open.and_then(|file| file.take(LARGEST_DOCUMENT + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) if Digest::of(&bytes) == *digest => Ok(Stored::Good(bytes)),
            Ok(_) => Ok(Stored::Corrupt(path)),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(Stored::Corrupt(path)),
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
            let path = self.path(&digest);
            let written = write_atomic(&path, bytes).or_else(|error| match error.kind() {
                // Not ours, and in the way of a document.
                io::ErrorKind::IsADirectory => tree::remove(&path).and_then(|()| write_atomic(&path, bytes)),
                _ => Err(error),
            });
            written.map_err(|source| BlobError::Write { path, source })?;
        }
        Ok(digest)
    }

    /// Every document, whole or damaged, and its bytes on disk.
    ///
    /// # Errors
    /// [`BlobError::Read`].
    pub fn all(&self) -> Result<BTreeMap<Digest, u64>, BlobError> {
        let mut found = BTreeMap::new();
        for entry in self.entries()? {
            let digest = entry.file_name().to_str().and_then(|name| format!("sha256:{name}").parse().ok());
            if let Some(digest) = digest {
                found.insert(digest, entry.metadata().map_or(0, |metadata| metadata.len()));
            }
        }
        Ok(found)
    }

    /// Nothing there is success.
    ///
    /// # Errors
    /// [`BlobError::Remove`].
    pub fn remove(&self, digest: &Digest) -> Result<(), BlobError> {
        let path = self.path(digest);
        tree::remove(&path).map_err(|source| BlobError::Remove { path, source })
    }

    /// Removes what writers that were killed have left; nobody may be writing.
    ///
    /// # Errors
    /// [`BlobError::Read`], [`BlobError::Remove`].
    pub fn remove_temporaries(&self) -> Result<(), BlobError> {
        for entry in self.entries()? {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(".tmp")) {
                let path = entry.path();
                tree::remove(&path).map_err(|source| BlobError::Remove { path, source })?;
            }
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<DirEntry>, BlobError> {
        let failed = |source| BlobError::Read { path: self.directory.clone(), source };
        std::fs::read_dir(&self.directory).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
    }
}
