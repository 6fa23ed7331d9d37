//! The directories that entries go into.

use super::{Layer, is_kind, is_whiteout, time};
use crate::image::unpack::error::UnpackError;
use crate::image::unpack::name::LayerPath;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags, fstat, fstatat, mkdirat, utimensat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// The directory that the last entry went into.
pub(super) struct Parent {
    path: Vec<u8>,
    pub fd: OwnedFd,
    /// Files made in it get its group.
    pub is_setgid: bool,
}

/// Modification times to be set when nothing is written into the directories any more.
#[derive(Default)]
pub(super) struct DirectoryTimes {
    times: Vec<(LayerPath, (i64, i64))>,
    /// Bytes that the list takes.
    size: usize,
}

/// Bytes of names whose times are kept for the end: hundreds of thousands of directories.
const MOST_TIMES: usize = 16 << 20;

const DEFAULT_DIRECTORY: Mode = Mode::from_bits_truncate(0o755);

impl Layer<'_> {
    pub(super) fn parent(&self) -> Result<&OwnedFd, UnpackError> {
        // Every user of a parent opens it first.
        self.parent.as_ref().map(|parent| &parent.fd).ok_or_else(|| UnpackError::system("open", b".", Errno::EBADF))
    }

    /// Makes `directory` the current one, creating it if need be.
    pub(super) fn open_parent(&mut self, directory: &[u8]) -> Result<(), UnpackError> {
        let directory = if directory.is_empty() { b"." } else { directory };
        if self.parent.as_ref().is_some_and(|parent| parent.path == directory) {
            return Ok(());
        }
        let system = |errno: Errno| UnpackError::system("open the directory", directory, errno);
        let fd = match open_directory(AT_FDCWD, directory) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => self.make_directories(directory)?,
            result => result.map_err(system)?,
        };
        let status = fstat(&fd).map_err(system)?;
        let is_setgid = Mode::from_bits_truncate(status.st_mode).contains(Mode::S_ISGID);
        self.parent = Some(Parent { path: directory.to_owned(), fd, is_setgid });
        Ok(())
    }

    /// Makes the missing directories of a path. One that the layer itself marked as removed comes back
    /// without what is below.
    fn make_directories(&mut self, directory: &[u8]) -> Result<OwnedFd, UnpackError> {
        let ends: Vec<usize> =
            (1..=directory.len()).filter(|end| directory.get(*end).is_none_or(|byte| *byte == b'/')).collect();
        // Where a directory exists, so do its parents: a few lookups of the whole path find the first that
        // is missing. One for each component would take minutes for what a hostile layer can nest.
        let existing = ends.partition_point(|end| open_directory(AT_FDCWD, &directory[..*end]).is_ok());
        let mut start = existing.checked_sub(1).map_or(0, |index| ends[index] + 1);
        let base: &[u8] = if start == 0 { b"." } else { &directory[..start - 1] };
        let mut fd =
            open_directory(AT_FDCWD, base).map_err(|errno| UnpackError::system("open the directory", base, errno))?;
        for end in &ends[existing..] {
            let (prefix, name) = (&directory[..*end], &directory[start..*end]);
            let system = |errno: Errno| UnpackError::system("create the directory", prefix, errno);
            self.charge_inode()?;
            match mkdirat(&fd, OsStr::from_bytes(name), DEFAULT_DIRECTORY) {
                Err(Errno::EEXIST) => {
                    let status = fstatat(&fd, OsStr::from_bytes(name), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(system)?;
                    if !is_whiteout(&status) {
                        // A file, or a link that leads to none or nowhere.
                        let errno = open_directory(&fd, name).err().unwrap_or(Errno::EEXIST);
                        return Err(system(errno));
                    }
                    unlinkat(&fd, OsStr::from_bytes(name), UnlinkatFlags::NoRemoveDir).map_err(system)?;
                    mkdirat(&fd, OsStr::from_bytes(name), DEFAULT_DIRECTORY).map_err(system)?;
                    self.set_opaque(&LayerPath::parse(prefix)?)?;
                }
                result => result.map_err(system)?,
            }
            fd = open_directory(&fd, name).map_err(system)?;
            start = end + 1;
        }
        Ok(fd)
    }

    pub(super) fn remember_time(&mut self, path: &LayerPath, mtime: (i64, i64)) -> Result<(), UnpackError> {
        self.directory_times.size += path.as_bytes().len() + size_of::<(LayerPath, (i64, i64))>();
        self.directory_times.times.push((path.clone(), mtime));
        if self.directory_times.size > MOST_TIMES {
            // Those that still get entries will have the time of unpacking, which is no harm; memory
            // without bound would be.
            self.set_directory_times()?;
        }
        Ok(())
    }

    pub(super) fn set_directory_times(&mut self) -> Result<(), UnpackError> {
        for (path, mtime) in std::mem::take(&mut self.directory_times).times {
            let name = OsStr::from_bytes(path.as_bytes());
            // It may have been replaced by an entry of another type since.
            let is_directory = |status: FileStat| is_kind(&status, SFlag::S_IFDIR);
            if fstatat(AT_FDCWD, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(is_directory) {
                let time = time(mtime);
                utimensat(AT_FDCWD, name, &time, &time, UtimensatFlags::NoFollowSymlink)
                    .map_err(|errno| UnpackError::system("set the times of", path.as_bytes(), errno))?;
            }
        }
        Ok(())
    }
}

fn open_directory(at: impl AsFd, path: &[u8]) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(at, OsStr::from_bytes(path), flags, Mode::empty())
}
