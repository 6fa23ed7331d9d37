//! Removal of directory trees whose content is not to be trusted.
//!
//! Symbolic links are never followed, other mounts never entered, and neither depth nor mode of a
//! directory is an obstacle: sub-directories are first renamed into the top directory, so that two
//! descriptors are enough for any depth and no path grows.

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Removes the file or the whole directory `path`; nothing there is success.
///
/// # Errors
/// `EACCES` or `EPERM` when something in it belongs to another user, `EXDEV` or `EBUSY` for a mount
/// point in it; what could be removed before is gone.
pub fn remove(path: &Path) -> io::Result<()> {
    let name = path.as_os_str();
    remove_at(AT_FDCWD, name)
}

/// As [`remove`], of `name` in the directory `parent`.
///
/// # Errors
/// As [`remove`].
pub fn remove_at(parent: impl AsFd, name: &OsStr) -> io::Result<()> {
    let name = CString::new(name.as_bytes())?;
    match fstatat(&parent, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
        Ok(status) if SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR => {}
        Ok(_) => return gone(unlinkat(&parent, name.as_c_str(), UnlinkatFlags::NoRemoveDir)),
    }
    // Most directories to be removed are empty or were made by this module's own flattening.
    if unlinkat(&parent, name.as_c_str(), UnlinkatFlags::RemoveDir).is_ok() {
        return Ok(());
    }
    // The tree's own name may lie behind a path; everything below it is opened name by name.
    let top = open_directory(&parent, &name, ResolveFlag::empty())?;
    flatten(&top)?;
    gone(unlinkat(&parent, name.as_c_str(), UnlinkatFlags::RemoveDir))
}

/// Empties the directory `top`.
fn flatten(top: &OwnedFd) -> io::Result<()> {
    let mut moved = 0_u64;
    loop {
        let mut found = false;
        for_each_name(top, |name| {
            found = true;
            remove_flat(top, name, &mut moved)
        })?;
        if !found {
            return Ok(());
        }
    }
}

/// Removes one entry of `top`; its sub-directories become entries of `top`.
fn remove_flat(top: &OwnedFd, name: &CStr, moved: &mut u64) -> io::Result<()> {
    match unlinkat(top, name, UnlinkatFlags::NoRemoveDir) {
        // POSIX has EPERM for a directory, Linux EISDIR.
        Err(Errno::EISDIR | Errno::EPERM) => {}
        other => return gone(other),
    }
    if unlinkat(top, name, UnlinkatFlags::RemoveDir).is_ok() {
        return Ok(());
    }
    let directory = open_directory(top, name, ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV)?;
    for_each_name(&directory, |child| {
        match unlinkat(&directory, child, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR | Errno::EPERM) => {}
            other => return gone(other),
        }
        match unlinkat(&directory, child, UnlinkatFlags::RemoveDir) {
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => {}
            other => return gone(other),
        }
        loop {
            let free = CString::new(format!(".coracle-removing-{moved}"))?;
            *moved += 1;
            match renameat(&directory, child, top, free.as_c_str()) {
                // The name is taken by something of the tree itself: try the next.
                Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR | Errno::EISDIR) => {}
                // Moving a directory writes its `..`, for which an owner without privileges needs
                // write permission.
                Err(Errno::EACCES) => {
                    make_accessible(&directory, child)?;
                    return gone(renameat(&directory, child, top, free.as_c_str()));
                }
                other => return gone(other),
            }
        }
    })?;
    gone(unlinkat(top, name, UnlinkatFlags::RemoveDir))
}

/// Calls `each` with every name in `directory` but `.` and `..`.
fn for_each_name(directory: &OwnedFd, mut each: impl FnMut(&CStr) -> io::Result<()>) -> io::Result<()> {
    let mut names =
        Dir::openat(directory, c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    for entry in names.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            each(name)?;
        }
    }
    Ok(())
}

/// Opens the directory `name` (not a symbolic link) such that its entries can be removed.
fn open_directory(parent: impl AsFd, name: &CStr, resolve: ResolveFlag) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let open = || openat2(&parent, name, OpenHow::new().flags(flags).resolve(resolve));
    let usable = |fd: &OwnedFd| {
        let rights = nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK;
        nix::unistd::faccessat(fd, c".", rights, AtFlags::AT_EACCESS).is_ok()
    };
    match open() {
        Ok(fd) if usable(&fd) => Ok(fd),
        Ok(_) | Err(Errno::EACCES) => {
            make_accessible(&parent, name)?;
            open().map_err(io::Error::from)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Gives the owner all rights over a directory that is to be removed.
fn make_accessible(parent: impl AsFd, name: &CStr) -> io::Result<()> {
    let status = fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFDIR {
        return Err(Errno::ENOTDIR.into());
    }
    // Whoever could swap the directory for a link between the two calls could change that mode anyway:
    // trees are removed when nothing runs in them any more.
    fchmodat(parent, name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink).map_err(io::Error::from)
}

/// Someone else removing the same thing is as good.
fn gone(result: nix::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::ENOENT) => Ok(()),
        other => other.map_err(io::Error::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn removes_only_the_tree_itself() {
        let home = tempfile::tempdir().unwrap();
        let outside = home.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        let tree = home.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::write(tree.join("a/b/c/file"), "x").unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        symlink("../..", tree.join("a/b/up")).unwrap();
        // Names that the flattening itself would choose.
        fs::create_dir_all(tree.join(".coracle-removing-0/x/y")).unwrap();
        fs::write(tree.join(".coracle-removing-1"), "x").unwrap();
        fs::set_permissions(tree.join("a/b"), Permissions::from_mode(0o0)).unwrap();
        fs::set_permissions(tree.join("a"), Permissions::from_mode(0o555)).unwrap();

        remove(&tree).unwrap();

        assert!(!tree.exists());
        assert_eq!(fs::read_to_string(outside.join("kept")).unwrap(), "x");
        remove(&tree).unwrap();
    }

    #[test]
    fn a_link_is_removed_and_not_followed() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("target")).unwrap();
        symlink("target", home.path().join("link")).unwrap();
        remove(&home.path().join("link")).unwrap();
        assert!(home.path().join("target").exists() && !home.path().join("link").exists());
    }

    #[test]
    fn depth_is_no_obstacle() {
        let home = tempfile::tempdir().unwrap();
        let tree = home.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut directory: OwnedFd = fs::File::open(&tree).unwrap().into();
        for _ in 0..3000 {
            nix::sys::stat::mkdirat(&directory, c"deeper", Mode::S_IRWXU).unwrap();
            directory = open_directory(&directory, c"deeper", ResolveFlag::empty()).unwrap();
        }
        remove(&tree).unwrap();
        assert!(!tree.exists());
    }
}
