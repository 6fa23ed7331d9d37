//! Room on the disk that is kept for what gives room back: on a full disk a removal could not be recorded otherwise.

use nix::fcntl::posix_fallocate;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes: each page that a removal changes is written to the write-ahead log anew, and its index grows by 32 KiB at a
/// time (<https://sqlite.org/walformat.html#the_wal_index_file_format>). Removals of many have given room back by
/// then: files go before rows.
const SIZE: u64 = 256 << 10;

/// The file of that size beside the database.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    pub fn beside(database: &Path) -> Reserve {
        Reserve { path: database.with_file_name("reserve") }
    }

    /// Makes it where it is missing and there is room: without it everything goes on as long as the disk is not
    /// full.
    pub fn keep(&self) {
        if let Err(error) = self.make() {
            tracing::debug!(%error, "no room is kept for removals");
            self.spend();
        }
    }

    fn make(&self) -> io::Result<()> {
        let mut options = File::options();
        let options = options.create(true).truncate(false).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(&self.path)?;
        if file.metadata()?.len() < SIZE {
            let size = libc::off_t::try_from(SIZE).unwrap_or(libc::off_t::MAX);
            posix_fallocate(&file, 0, size)?;
        }
        Ok(())
    }

    /// Gives it up. False when it was not there.
    pub fn spend(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
}
