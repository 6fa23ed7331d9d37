//! Files that are whole or absent, and readable for their owner alone, whatever the umask.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Replaces `path` by a file with these bytes that survives a crash of the host: a temporary file
/// beside it, fsync, rename, fsync of the directory. Readers see the old content or the new. The temporary file of
/// a process that is killed stays until [`sweep`].
///
/// # Errors
/// The I/O error; `path` is then unchanged and the temporary file is gone.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, true)
}

/// As [`write_atomic`] without the fsyncs: survives the death of any process, not of the host. For directories that
/// are removed as a whole: [`sweep`] must not be called there.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_atomic_volatile(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, false)
}

fn replace(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let (temporary, mut file) = create_temporary(path, durable)?;
    let result = (|| {
        file.write_all(bytes)?;
        if durable {
            file.sync_all()?;
        }
        std::fs::rename(&temporary, path)
    })();
    if let Err(error) = result {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    if durable && let Some(parent) = path.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// One to be flushed takes its time, and is locked until it is there.
fn create_temporary(path: &Path, is_locked: bool) -> io::Result<(PathBuf, File)> {
    loop {
        let temporary = temporary_beside(path)?;
        let file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        if !is_locked {
            return Ok((temporary, file));
        }
        file.lock()?;
        // Until it was locked, it looked like one whose writer is gone.
        if std::fs::symlink_metadata(&temporary).is_ok() {
            return Ok((temporary, file));
        }
    }
}

/// Removes what calls of [`write_atomic`] for files of `directory` have left whose processes were killed. Nothing
/// depends on it, so a failure is left to the next one who calls it.
pub fn sweep(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let mut options = File::options();
        options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        if entry.file_name().to_str().is_some_and(is_temporary)
            && let Ok(file) = options.open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// How the name of a temporary file ends, after a UUID.
const TEMPORARY: &str = ".tmp";

/// Whether a file of this name is one that [`write_atomic`] makes until it is whole.
pub fn is_temporary(name: &str) -> bool {
    let middle = name.strip_prefix('.').and_then(|name| name.strip_suffix(TEMPORARY)?.rsplit_once('.'));
    middle.is_some_and(|(_, unique)| uuid::Uuid::try_parse(unique).is_ok())
}

fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no file name"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}{TEMPORARY}", uuid::Uuid::now_v7().simple()));
    Ok(path.with_file_name(hidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_writer_left_is_swept_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("VERSION");
        write_atomic(&path, b"1").unwrap();
        let (held, file) = create_temporary(&path, true).unwrap();
        let (left, _) = create_temporary(&path, true).unwrap();
        let other = directory.path().join(".VERSION.mine.tmp");
        std::fs::write(&other, "").unwrap();
        sweep(directory.path());
        assert!(path.exists() && held.exists() && other.exists() && !left.exists());
        drop(file);
        sweep(directory.path());
        assert!(path.exists() && other.exists() && !held.exists());
    }

    #[test]
    fn writers_beside_a_sweeper_all_succeed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::thread::scope(|scope| {
            let writers: Vec<_> =
                (0..2).map(|_| scope.spawn(|| (0..200).for_each(|_| write_atomic(&path, b"whole").unwrap()))).collect();
            while !writers.iter().all(|writer| writer.is_finished()) {
                sweep(directory.path());
            }
        });
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
