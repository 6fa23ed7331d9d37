//! Turns whatever an archive comes as into a file that can be read anywhere.

use super::error::{ArchiveProblem, Place, SourceError};
use super::local::Scratch;
use crate::image::decompress::{decompress, is_compressed};
use nix::errno::Errno;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes copied at a time.
const PIECE: usize = 256 << 10;

/// `file` itself, if it is a regular one at its start and not compressed; else a temporary file without
/// a name that holds the tar that comes out of it. `path` is what messages call it.
///
/// A copy is bounded by the space that is free: nothing tells how large an archive may be.
///
/// # Errors
/// [`SourceError`]; nothing is left behind.
pub fn in_place(mut file: File, path: &Path, scratch: &Scratch) -> Result<File, SourceError> {
    let read = |source| SourceError::Read { place: Place::file(path), source };
    let metadata = file.metadata().map_err(read)?;
    if metadata.is_dir() {
        return Err(SourceError::Directory { path: path.to_owned() });
    }
    if metadata.is_file() && file.stream_position().map_err(read)? == 0 {
        let mut magic = [0; 4];
        let length = file.read_at(&mut magic, 0).map_err(read)?;
        if length == 0 {
            return Err(SourceError::Archive { path: path.to_owned(), problem: ArchiveProblem::Empty });
        }
        if !is_compressed(&magic[..length]) {
            return Ok(file);
        }
    }
    copy(file, path, scratch)
}

fn copy(file: File, path: &Path, scratch: &Scratch) -> Result<File, SourceError> {
    let directory = scratch.directory();
    let spool = |source: io::Error| {
        let (path, directory) = (path.to_owned(), directory.to_owned());
        // As from write(2): the file system, or the user's part of it.
        match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOSPC | Errno::EDQUOT) => SourceError::OutOfSpace { path, disk: directory, source },
            _ => SourceError::Spool { path, directory, source },
        }
    };
    let damaged = |source| SourceError::Decompress { path: path.to_owned(), source };
    let mut copy = tempfile::tempfile_in(directory).map_err(spool)?;
    let mut tar = decompress(BufReader::with_capacity(PIECE, file)).map_err(damaged)?;
    let mut buffer = vec![0; PIECE];
    let mut is_empty = true;
    loop {
        if scratch.is_cancelled() {
            return Err(SourceError::Cancelled { path: path.to_owned() });
        }
        match tar.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => copy.write_all(&buffer[..length]).map_err(spool)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(damaged(error)),
        }
        is_empty = false;
    }
    if is_empty {
        return Err(SourceError::Archive { path: path.to_owned(), problem: ArchiveProblem::Empty });
    }
    Ok(copy)
}
