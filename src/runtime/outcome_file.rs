//! The hand-over from supervisor to record: a file that is complete or absent, for which room is
//! set aside before the job runs, so that a full disk cannot lose a result.

use crate::outcome::{OUTCOME_VERSION, Outcome};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Room for an outcome with its longest texts; four pages.
const RESERVED: usize = 16 * 1024;

/// A place for the outcome.
pub struct OutcomeFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
}

impl OutcomeFile {
    /// Sets room aside beside `path`.
    ///
    /// # Errors
    /// The file system's; a full disk shows here, before anything runs.
    pub fn reserve(path: &Path) -> io::Result<OutcomeFile> {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        let temporary = path.with_file_name(name);
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        // Written, not fallocate'd: the same on every file system.
        file.write_all(&[b' '; RESERVED])?;
        Ok(OutcomeFile { file, temporary, path: path.to_owned() })
    }

    /// Writes the outcome into the reserved room and makes it appear.
    ///
    /// Not fsynced: it has to survive processes; what survives the host is the record.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(self, outcome: &Outcome) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let mut bytes = serde_json::to_vec(outcome)?;
        if bytes.len() > RESERVED {
            // Only notes and messages can be that long.
            let mut short = outcome.clone();
            short.notes = vec!["more notes than there is room for".into()];
            bytes = serde_json::to_vec(&short)?;
        }
        let length = bytes.len();
        self.file.write_all_at(&bytes, 0)?;
        self.file.set_len(length as u64)?;
        std::fs::rename(&self.temporary, &self.path)
    }
}

/// Becomes readable when there may be an outcome at `path` that was not there before.
///
/// # Errors
/// The kernel's: too many watches, no such directory.
pub fn watch(path: &Path) -> io::Result<OwnedFd> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    // It is renamed into its place.
    inotify.add_watch(path.parent().unwrap_or(Path::new(".")), AddWatchFlags::IN_MOVED_TO)?;
    inotify.as_fd().try_clone_to_owned()
}

/// The outcome, `None` when there is none yet.
///
/// # Errors
/// The file system's, and content that is not ours or of a newer version.
pub fn read(path: &Path) -> io::Result<Option<Outcome>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let outcome: Outcome = serde_json::from_slice(&bytes)?;
    if outcome.version > OUTCOME_VERSION {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("version {} is from a newer coracle", outcome.version),
        ));
    }
    Ok(Some(outcome))
}
