//! Applies a layer's entries to an empty directory that is this process's root (chroot), so that no
//! name and no link can lead out of it.
//!
//! The rules are those of Docker and podman, whose results images are built against:
//! - Names are cleaned by their text; missing parents are made (0755, root's); links in parents are
//!   followed, inside the layer.
//! - An entry replaces what an earlier entry left at its name, also a whole directory; only a directory
//!   over a directory merges.
//! - Whiteouts concern the layers below alone: what the layer itself brings stays, in either order.
//! - Extended attributes are applied when they are the image's own business: `user.*` and file
//!   capabilities. Those that overlayfs or the host's security modules give a meaning to are not.

mod directories;

use super::archive::{Archive, Entry, Kind};
use super::error::{IdKind, Refusal, UnpackError};
use super::name::{LayerPath, Marker};
use super::sparse::SparseMap;
use crate::plan::IdMappings;
use directories::{DirectoryTimes, Parent};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstatat, futimens, makedev, mkdirat,
    mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, ftruncate, linkat, symlinkat, unlinkat};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use xattr::FileExt;

/// How the layer's root marks directories as opaque, by who will mount the overlay.
/// <https://docs.kernel.org/filesystems/overlayfs.html#whiteouts-and-opaque-directories>
pub const OPAQUE_ROOTFUL: &str = "trusted.overlay.opaque";
pub const OPAQUE_ROOTLESS: &str = "user.overlay.opaque";

/// What was done, and what was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnpackStats {
    pub entries: u64,
    /// Entries that got root's id because theirs is not mapped (single mapping only).
    pub squashed_owners: u64,
    /// Device nodes that a user without privileges cannot make.
    pub skipped_devices: u64,
    /// Extended attributes that are not the image's business or that the file system does not take.
    pub skipped_xattrs: u64,
}

/// Applies `archive` to the current directory.
pub struct Layer<'a> {
    /// `None`: root of the host, whose ids are the layer's.
    mappings: Option<&'a IdMappings>,
    stats: UnpackStats,
    /// Bytes that may still be taken by files with holes and by [`INODE`]s.
    left: Option<u64>,
    directory_times: DirectoryTimes,
    /// Kept open, for entries come in order of directories.
    parent: Option<Parent>,
}

/// Bytes that count for a file or directory, whatever is in it: a block, which directories take on common
/// file systems. It bounds their number, which the size of a tar does not: one name can stand for two
/// thousand directories.
const INODE: u64 = 4096;

const SPECIAL_BITS: u32 = 0o7000;

/// Applies every entry and reads the stream to its end. `largest` bounds what the layer takes; the tar's
/// own bytes are for the one who sends it to bound.
///
/// # Errors
/// The first entry that cannot be applied; the directory is then half made.
pub fn apply<R: Read>(
    archive: &mut Archive<R>,
    mappings: Option<&IdMappings>,
    largest: Option<u64>,
) -> Result<UnpackStats, UnpackError> {
    let mut layer = Layer {
        mappings,
        stats: UnpackStats::default(),
        left: largest,
        directory_times: DirectoryTimes::default(),
        parent: None,
    };
    while let Some(entry) = archive.next_entry()? {
        layer.entry(&entry, archive)?;
        layer.stats.entries += 1;
    }
    archive.drain()?;
    layer.set_directory_times()?;
    Ok(layer.stats)
}

impl Layer<'_> {
    fn entry<R: Read>(&mut self, entry: &Entry, archive: &mut Archive<R>) -> Result<(), UnpackError> {
        self.charge_inode()?;
        let path = LayerPath::parse(&entry.name)?;
        match path.marker()? {
            Marker::None => {}
            Marker::Whiteout(hidden) => return self.whiteout(&hidden),
            Marker::Opaque(directory) => {
                self.open_parent(directory.as_bytes())?;
                return self.set_opaque(&directory);
            }
            Marker::Ignored => return Ok(()),
        }
        if path.is_root() && entry.kind != Kind::Directory {
            return Err(UnpackError::refused(&entry.name, Refusal::RootIsNotADirectory));
        }
        let (directory, name) = path.split();
        let name = OsStr::from_bytes(name);
        self.open_parent(directory)?;
        let owner = self.owner(entry)?;
        match &entry.kind {
            Kind::File { size, sparse } => {
                return self.file(&path, name, entry, owner, (*size, sparse.as_ref()), archive);
            }
            Kind::Directory => return self.directory(&path, name, entry, owner),
            Kind::HardLink(target) => return self.hard_link(&path, name, target),
            Kind::SymbolicLink(target) => {
                let target = OsStr::from_bytes(target);
                self.replacing(&path, name, |parent| symlinkat(target, parent, name))?;
            }
            Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                let is_character = matches!(entry.kind, Kind::CharacterDevice { .. });
                // What users may make is the device that is a whiteout.
                if self.mappings.is_some() && !(is_character && *major == 0 && *minor == 0) {
                    self.stats.skipped_devices += 1;
                    return Ok(());
                }
                let kind = if is_character { SFlag::S_IFCHR } else { SFlag::S_IFBLK };
                let device = makedev(u64::from(*major), u64::from(*minor));
                self.replacing(&path, name, |parent| mknodat(parent, name, kind, permissions(entry), device))?;
            }
            Kind::Fifo => {
                self.replacing(&path, name, |parent| mknodat(parent, name, SFlag::S_IFIFO, permissions(entry), 0))?;
            }
        }
        self.attributes_by_name(&path, name, entry, owner)
    }

    fn file<R: Read>(
        &mut self,
        path: &LayerPath,
        name: &OsStr,
        entry: &Entry,
        owner: (Uid, Gid),
        (size, sparse): (u64, Option<&SparseMap>),
        archive: &mut Archive<R>,
    ) -> Result<(), UnpackError> {
        if let Some(map) = sparse {
            self.charge(map.real_size)?;
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = self.replacing(path, name, |parent| openat(parent, name, flags, permissions(entry)))?;
        let mut file = File::from(fd);
        let failed = |action, error: std::io::Error| UnpackError::system(action, path.as_bytes(), error);
        match sparse {
            None => archive.copy(size, |piece| file.write_all(piece).map_err(|error| failed("write", error)))?,
            Some(map) => {
                for extent in &map.extents {
                    file.seek(SeekFrom::Start(extent.offset)).map_err(|error| failed("write", error))?;
                    archive
                        .copy(extent.length, |piece| file.write_all(piece).map_err(|error| failed("write", error)))?;
                }
                let size = i64::try_from(map.real_size).unwrap_or(i64::MAX);
                ftruncate(&file, size).map_err(|errno| failed("write", errno.into()))?;
            }
        }
        // The owner first: changing it drops the special mode bits and the capabilities.
        let system = |action| move |errno: Errno| UnpackError::system(action, path.as_bytes(), errno);
        if self.needs_owner(owner) {
            fchown(&file, Some(owner.0), Some(owner.1)).map_err(system("change the owner of"))?;
        }
        if entry.mode & SPECIAL_BITS != 0 {
            fchmod(&file, mode(entry)).map_err(system("change the mode of"))?;
        }
        for (name, value) in &entry.xattrs {
            self.xattr(path, name, |name| file.set_xattr(name, value))?;
        }
        let time = time(entry.mtime);
        futimens(&file, &time, &time).map_err(system("set the times of"))
    }

    fn directory(
        &mut self,
        path: &LayerPath,
        name: &OsStr,
        entry: &Entry,
        owner: (Uid, Gid),
    ) -> Result<(), UnpackError> {
        let existing = self.look(path, name)?;
        if !existing.as_ref().is_some_and(|status| is_kind(status, SFlag::S_IFDIR)) {
            self.replacing(path, name, |parent| mkdirat(parent, name, permissions(entry)))?;
            if existing.as_ref().is_some_and(is_whiteout) {
                self.set_opaque(path)?;
            }
        }
        let parent = self.parent()?;
        let system = |action| move |errno: Errno| UnpackError::system(action, path.as_bytes(), errno);
        // Neither is a link: it was just seen or made, and nobody else works in here.
        if existing.is_some() || self.needs_owner(owner) {
            fchownat(parent, name, Some(owner.0), Some(owner.1), AtFlags::AT_SYMLINK_NOFOLLOW)
                .map_err(system("change the owner of"))?;
        }
        if existing.is_some() || entry.mode & SPECIAL_BITS != 0 || parent_is_setgid(self.parent.as_ref()) {
            fchmodat(parent, name, mode(entry), FchmodatFlags::FollowSymlink).map_err(system("change the mode of"))?;
        }
        for (name, value) in &entry.xattrs {
            self.xattr(path, name, |name| xattr::set(Path::new(OsStr::from_bytes(path.as_bytes())), name, value))?;
        }
        if entry.mode & 0o2000 != 0 {
            // It may be the directory held open, whose bit was looked at before.
            self.parent = None;
        }
        self.remember_time(path, entry.mtime)
    }

    fn hard_link(&mut self, path: &LayerPath, name: &OsStr, target: &[u8]) -> Result<(), UnpackError> {
        let target = LayerPath::parse(target)?;
        let target_name = OsStr::from_bytes(target.as_bytes());
        let status = fstatat(AT_FDCWD, target_name, AtFlags::AT_SYMLINK_NOFOLLOW);
        let status =
            status.map_err(|errno| UnpackError::system("find the target of the link to", target.as_bytes(), errno))?;
        if self.look(path, name)?.is_some_and(|there| there.st_ino == status.st_ino && there.st_dev == status.st_dev) {
            return Ok(());
        }
        self.replacing(path, name, |parent| linkat(AT_FDCWD, target_name, parent, name, AtFlags::empty()))
    }

    /// Hides `path` in the layers below.
    fn whiteout(&mut self, path: &LayerPath) -> Result<(), UnpackError> {
        let (directory, name) = path.split();
        let name = OsStr::from_bytes(name);
        self.open_parent(directory)?;
        match self.look(path, name)? {
            None => mknodat(self.parent()?, name, SFlag::S_IFCHR, Mode::empty(), 0)
                .map_err(|errno| UnpackError::system("mark as removed", path.as_bytes(), errno)),
            Some(status) if is_kind(&status, SFlag::S_IFDIR) => self.set_opaque(path),
            // Of this layer, and hides what is below by being there.
            Some(_) => Ok(()),
        }
    }

    fn set_opaque(&mut self, directory: &LayerPath) -> Result<(), UnpackError> {
        let name = if self.mappings.is_some() { OPAQUE_ROOTLESS } else { OPAQUE_ROOTFUL };
        // The name may be a link to the directory, inside the layer.
        xattr::set_deref(Path::new(OsStr::from_bytes(directory.as_bytes())), name, b"y")
            .map_err(|error| UnpackError::system("mark as opaque", directory.as_bytes(), error))
    }

    fn attributes_by_name(
        &mut self,
        path: &LayerPath,
        name: &OsStr,
        entry: &Entry,
        owner: (Uid, Gid),
    ) -> Result<(), UnpackError> {
        let parent = self.parent()?;
        let system = |action| move |errno: Errno| UnpackError::system(action, path.as_bytes(), errno);
        if self.needs_owner(owner) {
            fchownat(parent, name, Some(owner.0), Some(owner.1), AtFlags::AT_SYMLINK_NOFOLLOW)
                .map_err(system("change the owner of"))?;
        }
        if entry.mode & SPECIAL_BITS != 0 && !matches!(entry.kind, Kind::SymbolicLink(_)) {
            fchmodat(parent, name, mode(entry), FchmodatFlags::FollowSymlink).map_err(system("change the mode of"))?;
        }
        let time = time(entry.mtime);
        utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink).map_err(system("set the times of"))?;
        for (name, value) in &entry.xattrs {
            self.xattr(path, name, |name| xattr::set(Path::new(OsStr::from_bytes(path.as_bytes())), name, value))?;
        }
        Ok(())
    }

    /// Sets one attribute if it is one that an image may set.
    fn xattr(
        &mut self,
        path: &LayerPath,
        name: &[u8],
        set: impl FnOnce(&OsStr) -> std::io::Result<()>,
    ) -> Result<(), UnpackError> {
        let is_users = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
        if !is_users && name != b"security.capability" {
            self.stats.skipped_xattrs += 1;
            return Ok(());
        }
        match set(OsStr::from_bytes(name)) {
            // The file system has none, or none for this kind of file.
            Err(error) if is_users && matches!(error.raw_os_error(), Some(libc::ENOTSUP | libc::EPERM)) => {
                self.stats.skipped_xattrs += 1;
                Ok(())
            }
            result => {
                result.map_err(|error| UnpackError::system("set an extended attribute of", path.as_bytes(), error))
            }
        }
    }

    /// The ids to give to an entry.
    fn owner(&mut self, entry: &Entry) -> Result<(Uid, Gid), UnpackError> {
        let id = |id: u64| {
            // The largest number means "unchanged" to chown(2) and is no id.
            u32::try_from(id).ok().filter(|id| *id != u32::MAX)
        };
        let (Some(mut uid), Some(mut gid)) = (id(entry.uid), id(entry.gid)) else {
            return Err(UnpackError::refused(&entry.name, Refusal::OwnerOutOfRange));
        };
        if let Some(mappings) = self.mappings {
            let unmapped = match (mappings.has_uid(uid), mappings.has_gid(gid)) {
                (true, true) => None,
                (false, _) => Some((IdKind::User, entry.uid)),
                (_, false) => Some((IdKind::Group, entry.gid)),
            };
            match unmapped {
                None => {}
                Some(_) if mappings.is_single() => {
                    self.stats.squashed_owners += 1;
                    (uid, gid) = (0, 0);
                }
                Some((kind, id)) => {
                    let name = String::from_utf8_lossy(&entry.name).into_owned();
                    return Err(UnpackError::UnmappedId { name, kind, id });
                }
            }
        }
        Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
    }

    /// True when a new file in the current directory does not already have this owner: this process is root's.
    fn needs_owner(&self, (uid, gid): (Uid, Gid)) -> bool {
        uid.as_raw() != 0 || gid.as_raw() != 0 || parent_is_setgid(self.parent.as_ref())
    }

    /// Runs `make`; when something is there already, removes that and runs it again.
    fn replacing<T>(
        &mut self,
        path: &LayerPath,
        name: &OsStr,
        make: impl Fn(&OwnedFd) -> nix::Result<T>,
    ) -> Result<T, UnpackError> {
        let system = |action, errno: Errno| UnpackError::system(action, path.as_bytes(), errno);
        match make(self.parent()?) {
            Err(Errno::EEXIST) => {}
            result => return result.map_err(|errno| system("create", errno)),
        }
        match unlinkat(self.parent()?, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR | Errno::EPERM) => crate::sys::tree::remove_at(self.parent()?, name)
                .map_err(|error| UnpackError::system("replace", path.as_bytes(), error))?,
            result => result.map_err(|errno| system("replace", errno))?,
        }
        let made = make(self.parent()?).map_err(|errno| system("create", errno))?;
        // What was removed may have led to the directory held open. The caller still needs a parent.
        let (directory, _) = path.split();
        self.parent = None;
        self.open_parent(directory)?;
        Ok(made)
    }

    fn charge_inode(&mut self) -> Result<(), UnpackError> {
        self.charge(INODE)
    }

    fn charge(&mut self, bytes: u64) -> Result<(), UnpackError> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(bytes).ok_or(UnpackError::TooLarge)?;
        }
        Ok(())
    }

    fn look(&self, path: &LayerPath, name: &OsStr) -> Result<Option<FileStat>, UnpackError> {
        match fstatat(self.parent()?, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(status) => Ok(Some(status)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(UnpackError::system("look at", path.as_bytes(), errno)),
        }
    }
}

fn parent_is_setgid(parent: Option<&Parent>) -> bool {
    parent.is_some_and(|parent| parent.is_setgid)
}

/// The mode to create with; the special bits come after the owner.
fn permissions(entry: &Entry) -> Mode {
    Mode::from_bits_truncate(entry.mode & !SPECIAL_BITS)
}

fn mode(entry: &Entry) -> Mode {
    Mode::from_bits_truncate(entry.mode)
}

fn time((seconds, nanoseconds): (i64, i64)) -> TimeSpec {
    TimeSpec::new(seconds, nanoseconds)
}

fn is_kind(status: &FileStat, kind: SFlag) -> bool {
    status.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

fn is_whiteout(status: &FileStat) -> bool {
    is_kind(status, SFlag::S_IFCHR) && status.st_rdev == 0
}
