//! The namespaces and mounts that all processes of one execution share. Carried out by the first
//! launcher, in namespaces of its own, so that nothing shows up in the host's mount table and
//! everything ends with the last process or descriptor that holds the namespaces.

use crate::plan::{Overlay, Plan, SharedTmpfs};
use crate::sys::userns::{self, UserNsError};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// mount(2) takes at most a page of options.
const MAX_OPTIONS: usize = 4095;
const CGROUP_ROOT: &str = "/sys/fs/cgroup";
const NONE: Option<&str> = None;

/// What could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    #[error(transparent)]
    UserNamespace(#[from] UserNsError),
    #[error("failed to create {what}: {source}")]
    Namespace { what: &'static str, source: io::Error },
    #[error("failed to mount {what}: {source}")]
    Mount { what: String, source: io::Error },
    #[error("failed to make the directory {} anew: {source}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("failed to open {}: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("failed to bring up the loopback interface: {0}")]
    Loopback(io::Error),
    #[error("failed to set the sysctl {name} to {value:?}: {source}")]
    Sysctl { name: String, value: String, source: io::Error },
    #[error("the image has {layers} layers; this kernel's mount(2) takes about {} of them", MAX_OPTIONS / 20)]
    TooManyLayers { layers: usize },
}

/// Moves the calling process, which has one thread, into namespaces of its own and mounts the job's
/// root file system in them. Returns the namespaces in the order in which setns(2) must enter them.
///
/// # Errors
/// [`RootfsError`]; whatever was mounted ends with the process.
pub fn prepare(plan: &Plan) -> Result<Vec<OwnedFd>, RootfsError> {
    let mut kinds = vec!["mnt", "cgroup"];
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP;
    if plan.private_network {
        flags |= CloneFlags::CLONE_NEWNET;
        kinds.push("net");
    }
    match &plan.rootless {
        Some(mappings) => {
            userns::enter(mappings, flags)?;
            kinds.insert(0, "user");
        }
        None => unshare(flags).map_err(|error| RootfsError::Namespace { what: "namespaces", source: error.into() })?,
    }
    if plan.private_network {
        crate::sys::network::bring_up_loopback().map_err(RootfsError::Loopback)?;
        for (name, value) in &plan.network_sysctls {
            set_sysctl(name, value).map_err(|source| RootfsError::Sysctl {
                name: name.clone(),
                value: value.clone(),
                source,
            })?;
        }
    }
    // Unmounts on the host reach us, so that we never pin what the host gives up; nothing goes back.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE).map_err(failed("slave propagation of /"))?;
    mount_overlay(&plan.rootfs, plan.rootless.is_some())?;
    plan.shared_tmpfs.iter().try_for_each(mount_tmpfs)?;
    hide_cgroups(plan.rootless.is_some())?;
    kinds
        .into_iter()
        .map(|kind| {
            let path = PathBuf::from(format!("/proc/self/ns/{kind}"));
            match File::open(&path) {
                Ok(file) => Ok(file.into()),
                Err(source) => Err(RootfsError::Open { path, source }),
            }
        })
        .collect()
}

/// For a launcher in the job's namespaces: mounts another root file system in a mount namespace of its own,
/// so that the mount ends with the step. What an earlier try has left of it is removed.
///
/// # Errors
/// [`RootfsError`].
pub fn prepare_step(root: &Overlay, rootless: bool) -> Result<(), RootfsError> {
    unshare(CloneFlags::CLONE_NEWNS)
        .map_err(|error| RootfsError::Namespace { what: "a mount namespace", source: error.into() })?;
    // The upper directory becomes the container's root directory.
    for (path, mode) in [(&root.upper, 0o755), (&root.work, 0o700), (&root.mountpoint, 0o700)] {
        crate::sys::tree::remove(path)
            .and_then(|()| std::fs::DirBuilder::new().recursive(true).mode(mode).create(path))
            .map_err(|source| RootfsError::Directory { path: path.clone(), source })?;
    }
    mount_overlay(root, rootless)
}

/// `/proc/sys/net` shows the network namespace of whoever opens it (proc_sys_net(5)).
fn set_sysctl(name: &str, value: &str) -> io::Result<()> {
    let path = Path::new("/proc/sys").join(name.replace('.', "/"));
    File::options().write(true).open(path)?.write_all(value.as_bytes())
}

fn failed(what: impl Into<String>) -> impl FnOnce(Errno) -> RootfsError {
    let what = what.into();
    move |error| RootfsError::Mount { what, source: error.into() }
}

/// Paths go to the kernel as `/proc/self/fd/N`: they need no quoting, and a hundred layers fit into
/// the page that mount(2) takes.
fn mount_overlay(overlay: &Overlay, rootless: bool) -> Result<(), RootfsError> {
    let open_directory = |path: &Path| {
        open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|error| RootfsError::Open { path: path.to_owned(), source: error.into() })
    };
    // overlayfs wants at least one lower directory; an empty image has the mountpoint, still empty.
    let lower: Vec<&Path> = match overlay.layers.as_slice() {
        [] => vec![&overlay.mountpoint],
        layers => layers.iter().rev().map(PathBuf::as_path).collect(),
    };
    let lower: Vec<OwnedFd> = lower.into_iter().map(open_directory).collect::<Result<_, _>>()?;
    let (upper, work) = (open_directory(&overlay.upper)?, open_directory(&overlay.work)?);
    let by_fd = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let lower_list = lower.iter().map(by_fd).collect::<Vec<_>>().join(":");
    let mut options = format!("lowerdir={lower_list},upperdir={},workdir={}", by_fd(&upper), by_fd(&work));
    if rootless {
        options.push_str(",userxattr");
    }
    if options.len() > MAX_OPTIONS {
        return Err(RootfsError::TooManyLayers { layers: lower.len() });
    }
    // nodev: device nodes of an image are of no use; the job's own /dev is a mount of its own.
    mount(Some("coracle"), &overlay.mountpoint, Some("overlay"), MsFlags::MS_NODEV, Some(options.as_str()))
        .map_err(failed(format!("the overlay on {}", overlay.mountpoint.display())))
}

/// In the job's mount namespace alone: it ends, with its content, when that does.
fn mount_tmpfs(tmpfs: &SharedTmpfs) -> Result<(), RootfsError> {
    let path = &tmpfs.mountpoint;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| RootfsError::Directory { path: path.clone(), source })?;
    let size = tmpfs.size.map(|size| format!(",size={size}")).unwrap_or_default();
    let options = format!("mode={:o}{size}", tmpfs.mode);
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    flags.set(MsFlags::MS_NOEXEC, !tmpfs.exec);
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options.as_str()))
        .map_err(failed(format!("the job's tmpfs on {}", path.display())))
}

/// libcontainer 0.7 has no switch for "no cgroups": it is shown a host that has none. The job's
/// cgroups are joined through descriptors opened before (see `cgroup`).
fn hide_cgroups(rootless: bool) -> Result<(), RootfsError> {
    if !Path::new(CGROUP_ROOT).is_dir() {
        return Ok(());
    }
    let tmpfs = || {
        mount(
            Some("coracle"),
            CGROUP_ROOT,
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Some("size=64k,mode=755"),
        )
        .map_err(failed("an empty /sys/fs/cgroup"))
    };
    if !rootless {
        match umount2(CGROUP_ROOT, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL) => {} // EINVAL: nothing is mounted there
            Err(error) => return Err(failed("away /sys/fs/cgroup")(error)),
        }
        return tmpfs();
    }
    // The host's mounts are locked in a user namespace and stay listed in mountinfo. Where those are
    // of version 1, an empty version 2 root makes libcontainer use that one, and do without when it
    // may not write there.
    match mount(Some("coracle"), CGROUP_ROOT, Some("cgroup2"), MsFlags::empty(), NONE) {
        Ok(()) if is_pure_v2() => tmpfs(),
        Ok(()) => Ok(()),
        Err(_) => tmpfs(),
    }
}

/// True when no controller is on a version 1 hierarchy.
fn is_pure_v2() -> bool {
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mountinfo") else { return false };
    !mounts.lines().any(|line| line.split(" - ").nth(1).is_some_and(|tail| tail.starts_with("cgroup ")))
}
