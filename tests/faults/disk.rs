//! A state root on a file system of its own that can be full or read-only for a while. Takes root.

use crate::common::host::is_root;
use nix::mount::{MsFlags, mount, umount};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Set in the process that has a mount namespace of its own.
const MARK: &str = "CORACLE_FAULTS_NAMESPACE";

/// Bytes, far above what a run needs.
const SIZE: u64 = 2 << 30;

/// Runs this program again where its mounts are nobody else's: with the file system in the host's table, every
/// process of the host would have to do with this run. `None`: this is that process, or no mount can be made.
pub fn in_own_namespace(seed: u64) -> Option<ExitCode> {
    if !is_root() || std::env::var_os(MARK).is_some() {
        return None;
    }
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().expect("a program has a path"))
        .env(MARK, "1")
        .env("CORACLE_FAULTS_SEED", seed.to_string())
        .status()
        .expect("unshare(1) starts");
    Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Attempts to leave no room, each with a page more of slack: what is in use may change beneath each.
const TRIES: u64 = 1000;

/// The mounted file system; unmounted when dropped.
pub struct Disk {
    path: PathBuf,
    /// Begins and ends of its faults: odd while it is broken.
    changes: AtomicUsize,
}

impl Disk {
    /// `None` for an unprivileged user.
    pub fn mount(path: &Path) -> Option<Disk> {
        std::env::var_os(MARK)?;
        std::fs::create_dir_all(path).expect("a place for the disk");
        let disk = Disk { path: path.to_owned(), changes: AtomicUsize::new(0) };
        disk.set(MsFlags::empty(), SIZE).expect("a tmpfs can be mounted");
        Some(disk)
    }

    /// Changes with each begin and each end of a fault.
    pub fn changes(&self) -> usize {
        self.changes.load(Ordering::SeqCst)
    }

    /// Leaves no room. False when what is in use has changed all the time.
    pub fn fill(&self) -> bool {
        self.breaks(|| {
            (0..TRIES).any(|slack| {
                let status = nix::sys::statvfs::statvfs(&self.path).expect("a mounted disk");
                let used = status.blocks() - status.blocks_free() + slack;
                self.set(MsFlags::MS_REMOUNT, used * status.fragment_size()).is_ok()
            })
        })
    }

    /// False when a process has a file open to write, so that the kernel refuses.
    pub fn make_read_only(&self) -> bool {
        self.breaks(|| self.set(MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, SIZE).is_ok())
    }

    /// Takes back what broke it.
    pub fn repair(&self) {
        self.set(MsFlags::MS_REMOUNT, SIZE).expect("the disk can be repaired");
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// Counted first, so that whoever meets the fault sees a change.
    fn breaks(&self, fault: impl FnOnce() -> bool) -> bool {
        self.changes.fetch_add(1, Ordering::SeqCst);
        let is_broken = fault();
        if !is_broken {
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
        is_broken
    }

    fn set(&self, flags: MsFlags, size: u64) -> nix::Result<()> {
        let options = format!("mode=0700,size={size}");
        mount(Some("tmpfs"), &self.path, Some("tmpfs"), flags, Some(options.as_str()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = umount(&self.path) {
            // It goes with this process's namespace; what holds it is among the findings.
            eprintln!("{}: {error}", self.path.display());
        }
    }
}
