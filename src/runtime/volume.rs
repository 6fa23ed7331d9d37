//! First filling of a volume with what the image has at its mountpoint, as Docker does.

use super::container::ContainerError;
use crate::plan::Volume;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs::{self, FileTimes, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, fchown, lchown, symlink};
use std::path::{Path, PathBuf};

/// Makes the volume's directory if it does not exist, with a copy of the image's directory at its
/// target. It appears by one rename, complete; whoever comes first wins.
///
/// # Errors
/// The file system's; nothing half-made stays.
pub fn fill(root: &pathrs::Root, volume: &Volume) -> Result<(), ContainerError> {
    let destination = &volume.source;
    if destination.is_dir() {
        return Ok(());
    }
    let failed = |source| ContainerError::Io { action: "fill the volume", path: destination.clone(), source };
    let name = destination.file_name().unwrap_or_default().to_string_lossy();
    let staging = destination.with_file_name(format!(".{name}.{}", uuid::Uuid::now_v7().simple()));
    let made =
        copy_image_content(root, &volume.target, &staging).and_then(|()| match fs::rename(&staging, destination) {
            Err(_) if destination.is_dir() => Ok(()), // another execution was faster
            other => other,
        });
    if staging.symlink_metadata().is_ok() {
        // Best effort on the way out; the error to report is the first one.
        let _ = fs::remove_dir_all(&staging);
    }
    made.map_err(failed)
}

fn copy_image_content(root: &pathrs::Root, target: &str, staging: &Path) -> io::Result<()> {
    let image_directory = root
        .resolve(target)
        .ok()
        .and_then(|handle| {
            handle.reopen(pathrs::flags::OpenFlags::O_RDONLY | pathrs::flags::OpenFlags::O_NONBLOCK).ok()
        })
        .filter(|file| file.metadata().is_ok_and(|metadata| metadata.is_dir()));
    match image_directory {
        // The root file system is ours alone until the first process runs, so paths below it are stable.
        Some(directory) => copy(&PathBuf::from(format!("/proc/self/fd/{}/.", directory.as_raw_fd())), staging),
        None => {
            fs::create_dir(staging)?;
            fs::set_permissions(staging, fs::Permissions::from_mode(0o755))
        }
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(from)?;
    let kind = metadata.file_type();
    if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
        return lchown(to, Some(metadata.uid()), Some(metadata.gid()));
    }
    if kind.is_dir() {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if kind.is_file() {
        fs::copy(from, to)?;
    } else if kind.is_fifo() {
        mkfifo(to, Mode::from_bits_truncate(metadata.mode() & 0o7777))?;
        return lchown(to, Some(metadata.uid()), Some(metadata.gid()));
    } else {
        return Ok(()); // sockets and device nodes mean nothing in a copy
    }
    copy_attributes(from, to, &metadata)
}

fn copy_attributes(from: &Path, to: &Path, metadata: &Metadata) -> io::Result<()> {
    let file = fs::File::open(to)?;
    fchown(&file, Some(metadata.uid()), Some(metadata.gid()))?;
    for name in xattr::list(from)? {
        if name.to_string_lossy().starts_with("user.")
            && let Some(value) = xattr::get(from, &name)?
        {
            xattr::set(to, &name, &value)?;
        }
    }
    // After the owner, whose change clears set-id bits.
    file.set_permissions(fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    file.set_times(FileTimes::new().set_accessed(metadata.accessed()?).set_modified(metadata.modified()?))
}
