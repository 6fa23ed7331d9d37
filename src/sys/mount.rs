//! Mount calls of the newer kind (Linux 5.2 and 5.12) that have no wrapper in nix.

#![allow(unsafe_code)] // raw system calls

use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

// include/uapi/linux/mount.h
const OPEN_TREE_CLONE: libc::c_uint = 1;
const OPEN_TREE_CLOEXEC: libc::c_uint = libc::O_CLOEXEC as libc::c_uint;
const MOUNT_ATTR_RDONLY: u64 = 0x1;
const MOUNT_ATTR_NOSUID: u64 = 0x2;
const MOUNT_ATTR_NODEV: u64 = 0x4;

/// struct mount_attr of mount_setattr(2).
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// This process's own binary, opened such that no one can write to it through the descriptor or
/// through the `exe` link of a process started from it: on a detached read-only mount that is in no
/// mount table and ends with its last user, or, where that cannot be had, a sealed copy in memory.
///
/// For a process with CAP_SYS_ADMIN over its mount namespace.
///
/// # Errors
/// The kernel's, of the copy.
pub fn own_binary_read_only() -> io::Result<OwnedFd> {
    read_only_view().or_else(|error| {
        tracing::debug!(%error, "the binary is copied, which takes longer");
        sealed_copy()
    })
}

/// This process's own binary on a detached read-only mount.
///
/// By path, for the link `/proc/self/exe` itself leads into the mount namespace in which this process
/// was started, and mounts of another namespace cannot be cloned. A file that has taken the
/// binary's place meanwhile, as by an upgrade, is not it.
///
/// # Errors
/// The kernel's: `EPERM` without CAP_SYS_ADMIN, `ENOSYS` before Linux 5.12; a binary that was replaced.
pub fn read_only_view() -> io::Result<OwnedFd> {
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::MetadataExt;
    let path = std::fs::read_link("/proc/self/exe")?;
    let view = read_only_clone(&CString::new(path.into_os_string().into_vec())?)?;
    let (view_file, own) = (nix::sys::stat::fstat(&view)?, std::fs::metadata("/proc/self/exe")?);
    if (view_file.st_dev, view_file.st_ino) != (own.dev(), own.ino()) {
        return Err(io::Error::other("the binary was replaced"));
    }
    Ok(view)
}

fn read_only_clone(path: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the path is a valid C string for the call; the result is checked before it is owned.
    let fd = Errno::result(unsafe {
        libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
    })?;
    // SAFETY: made by the kernel for this call alone.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    let attributes = MountAttr {
        attr_set: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the empty path with AT_EMPTY_PATH means the descriptor; the struct has the kernel's
    // layout (repr(C), four u64) and its size is passed along.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    })?;
    Ok(fd)
}

fn sealed_copy() -> io::Result<OwnedFd> {
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let fd = memfd_create(c"coracle", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut copy = File::from(fd);
    io::copy(&mut File::open("/proc/self/exe")?, &mut copy)?;
    let fd = OwnedFd::from(copy);
    let seals = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(fd.as_fd(), FcntlArg::F_ADD_SEALS(seals))?;
    Ok(fd)
}

/// Replaces this process by the program that `fd` is open on.
///
/// # Errors
/// execveat(2)'s; it returns only then.
pub fn execute(fd: BorrowedFd<'_>, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(arguments), pointers(environment));
    // SAFETY: both arrays are null-terminated and, like the strings, outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn sealed_copy_is_whole_and_cannot_be_written() {
        let copy = sealed_copy().unwrap();
        let mut bytes = Vec::new();
        File::open(format!("/proc/self/fd/{}", copy.as_raw_fd())).unwrap().read_to_end(&mut bytes).unwrap();
        assert!(bytes == std::fs::read("/proc/self/exe").unwrap());
        let refused = File::from(copy).write_all(b"x").unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    }
}
