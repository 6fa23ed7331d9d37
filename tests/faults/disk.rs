//! A state root on a file system of its own that can be full or read-only for a while. Takes root.

use crate::common::host::is_root;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

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

/// The mounted file system; unmounted when dropped.
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// `None` for an unprivileged user.
    pub fn mount(path: &Path) -> Option<Disk> {
        std::env::var_os(MARK)?;
        std::fs::create_dir_all(path).expect("a place for the disk");
        let disk = Disk { path: path.to_owned() };
        assert!(disk.run("mount", &["-t", "tmpfs", "-o", &options(SIZE), "tmpfs"]), "no tmpfs can be mounted");
        Some(disk)
    }

    /// Leaves no room. False when what is in use has changed meanwhile.
    pub fn fill(&self) -> bool {
        let status = nix::sys::statvfs::statvfs(&self.path).expect("a mounted disk");
        let used = (status.blocks() - status.blocks_free()) * status.fragment_size();
        self.run("mount", &["-o", &format!("remount,{}", options(used))])
    }

    /// False when a process has a file open to write, so that the kernel refuses.
    pub fn make_read_only(&self) -> bool {
        self.run("mount", &["-o", "remount,ro"])
    }

    /// Takes back all of the above.
    pub fn repair(&self) {
        assert!(self.run("mount", &["-o", &format!("remount,rw,{}", options(SIZE))]), "the disk cannot be repaired");
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let status = Command::new(program).args(arguments).arg(&self.path).stderr(Stdio::null()).status();
        status.expect("mount(8) starts").success()
    }
}

fn options(size: u64) -> String {
    format!("mode=0700,size={size}")
}

impl Drop for Disk {
    fn drop(&mut self) {
        if !self.run("umount", &[]) {
            // It goes with this process's namespace; what holds it is among the findings.
            eprintln!("{} is in use", self.path.display());
        }
    }
}
