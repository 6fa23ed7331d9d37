//! Files that are whole or absent, and readable for their owner alone, whatever the umask.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Replaces `path` by a file with these bytes that survives a crash of the host: a temporary file
/// beside it, fsync, rename, fsync of the directory. Readers see the old content or the new.
///
/// # Errors
/// The I/O error; `path` is then unchanged and the temporary file is gone.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, true)
}

/// As [`write_atomic`] without the fsyncs: survives the death of any process, not of the host.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_atomic_volatile(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, false)
}

fn replace(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let temporary = temporary_beside(path)?;
    let result = (|| {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        if durable {
            file.sync_all()?;
        }
        std::fs::rename(&temporary, path)
    })();
    if let Err(error) = result {
        // It may never have been made; the first error is the one to report.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    if durable && let Some(parent) = path.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no file name"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.tmp", uuid::Uuid::now_v7().simple()));
    Ok(path.with_file_name(hidden))
}
