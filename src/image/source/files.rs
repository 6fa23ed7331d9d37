//! Where the files of a source are: in a directory, or in an archive.

use super::error::{Place, SourceError};
use super::tarball::Tarball;

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a file on this machine.
#[derive(Debug, Clone)]
pub struct FileSlice {
    pub file: Arc<File>,
    /// For messages.
    pub path: PathBuf,
    pub offset: u64,
    pub length: u64,
}

impl FileSlice {
    /// Fills the start of `buffer` with what is at `position` of the slice; 0 is its end. A file that has
    /// become shorter ends early.
    ///
    /// # Errors
    /// As read(2).
    pub fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let left = self.length.saturating_sub(position);
        let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if length == 0 {
            return Ok(0);
        }
        self.file.read_at(&mut buffer[..length], self.offset.saturating_add(position))
    }

    /// At most `limit` bytes from the start.
    pub fn read(&self, limit: u64) -> io::Result<Vec<u8>> {
        /// Read at a time, so that a length that is a lie costs no memory.
        const PIECE: usize = 64 << 10;
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < limit {
            let at = bytes.len();
            let piece = PIECE.min(usize::try_from(limit - at as u64).unwrap_or(PIECE));
            bytes.resize(at + piece, 0);
            let read = match self.read_at(&mut bytes[at..], at as u64) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Ok(0) => {
                    bytes.truncate(at);
                    break;
                }
                result => result?,
            };
            bytes.truncate(at + read);
        }
        Ok(bytes)
    }
}

/// The files of a layout.
#[derive(Debug, Clone)]
pub enum Files {
    Directory(PathBuf),
    Archive(Tarball),
}

impl Files {
    /// The directory or archive.
    pub fn path(&self) -> &Path {
        match self {
            Files::Directory(path) => path,
            Files::Archive(tarball) => tarball.path(),
        }
    }

    pub fn place(&self, name: &str) -> Place {
        match self {
            Files::Directory(path) => Place::file(&path.join(name)),
            Files::Archive(tarball) => tarball.place(name),
        }
    }

    /// A file whose content is compared with a digest; `None` when there is none of that name.
    ///
    /// # Errors
    /// [`SourceError::Read`].
    pub fn find(&self, name: &str) -> Result<Option<FileSlice>, SourceError> {
        let path = match self {
            Files::Archive(tarball) => return Ok(tarball.find(name)),
            Files::Directory(path) => path.join(name),
        };
        match open(&path) {
            Ok((file, length)) => Ok(Some(FileSlice { file: Arc::new(file), path, offset: 0, length })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SourceError::Read { place: Place::file(&path), source }),
        }
    }
}

/// Opens a regular file, without waiting for the writer of a pipe.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok((file, metadata.len()))
}
