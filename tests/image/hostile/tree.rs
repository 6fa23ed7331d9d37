//! Directory trees as lines of text. Opened step by step: their paths may be longer than the kernel takes.

use coracle::image::unpack::{OPAQUE_ROOTFUL, OPAQUE_ROOTLESS};
use nix::dir::Dir;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, major, minor};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use xattr::FileExt;

/// The tree below `root`, in the form of [`super::corpus::Case::tree`].
pub fn lines(root: &Path, is_rootful: bool) -> Vec<String> {
    let opaque = if is_rootful { OPAQUE_ROOTFUL } else { OPAQUE_ROOTLESS };
    let mut lines = Vec::new();
    walk(open(root), Path::new(""), &mut |directory, path, status| {
        let name = path.as_os_str().as_bytes().escape_ascii();
        lines.push(match kind(status) {
            SFlag::S_IFDIR => {
                let own = std::fs::File::from(openat(directory, path));
                let is_opaque = own.get_xattr(opaque).unwrap().as_deref() == Some(b"y");
                format!("{} {name}", if is_opaque { 'D' } else { 'd' })
            }
            SFlag::S_IFREG => format!("f {name} {}", status.st_size),
            SFlag::S_IFLNK => {
                let target = readlinkat(directory, path.file_name().unwrap()).unwrap();
                format!("l {name} -> {}", target.display())
            }
            SFlag::S_IFIFO => format!("p {name}"),
            SFlag::S_IFCHR if status.st_rdev == 0 => format!("w {name}"),
            SFlag::S_IFCHR => format!("c {name} {}:{}", major(status.st_rdev), minor(status.st_rdev)),
            SFlag::S_IFBLK => format!("b {name} {}:{}", major(status.st_rdev), minor(status.st_rdev)),
            other => format!("{other:?} {name}"),
        });
        true
    });
    lines
}

/// All that a change would show in, of everything below `root` that is not below one of `skipped`.
pub fn metadata(root: &Path, skipped: &[PathBuf]) -> Vec<String> {
    let skipped: Vec<PathBuf> = skipped.iter().map(|path| path.canonicalize().unwrap_or_default()).collect();
    let root = root.canonicalize().unwrap();
    let mut lines = Vec::new();
    walk(open(&root), Path::new(""), &mut |_, path, status| {
        let is_skipped = skipped.contains(&root.join(path));
        if !is_skipped {
            let FileStat { st_mode, st_nlink, st_uid, st_size, .. } = status;
            // What is made and removed in a directory shows in its own times, and may.
            let changed = (kind(status) != SFlag::S_IFDIR).then_some((status.st_mtime, status.st_ctime_nsec));
            lines.push(format!("{} {st_mode:o} {st_nlink} {st_uid} {st_size} {changed:?}", path.display()));
        }
        !is_skipped
    });
    lines
}

fn walk(mut directory: Dir, path: &Path, each: &mut dyn FnMut(&Dir, &Path, &FileStat) -> bool) {
    let names = directory.iter().map(|entry| OsString::from_vec(entry.unwrap().file_name().to_bytes().to_vec()));
    let mut names: Vec<OsString> = names.filter(|name| name != "." && name != "..").collect();
    names.sort();
    for name in names {
        let status = fstatat(&directory, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW).unwrap();
        let path = path.join(&name);
        if each(&directory, &path, &status) && kind(&status) == SFlag::S_IFDIR {
            walk(Dir::openat(&directory, name.as_os_str(), FLAGS, Mode::empty()).unwrap(), &path, each);
        }
    }
}

const FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

fn open(path: &Path) -> Dir {
    Dir::openat(AT_FDCWD, path, FLAGS, Mode::empty()).unwrap()
}

fn openat(directory: &Dir, path: &Path) -> std::os::fd::OwnedFd {
    let name: &OsStr = path.file_name().unwrap();
    nix::fcntl::openat(directory, name, FLAGS, Mode::empty()).unwrap()
}

fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits())
}
