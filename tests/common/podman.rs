//! podman(1) with storage of its own, to see what it writes.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Images of podman in a temporary directory. Without root it would leave a process behind.
pub struct Podman {
    storage: TempDir,
}

impl Podman {
    pub fn new() -> Podman {
        let storage = tempfile::Builder::new().prefix("coracle-podman.").tempdir().expect("a temporary directory");
        Podman { storage }
    }

    /// `podman load` of an archive.
    pub fn load(&self, archive: &Path) {
        self.run(&["load".as_ref(), "--quiet".as_ref(), "--input".as_ref(), archive.as_os_str()]);
    }

    /// `podman save` to `output`, which is replaced.
    pub fn save(&self, options: &[&str], output: &Path, images: &[&str]) {
        // It refuses to write to what is there.
        let _ = std::fs::remove_file(output);
        let options = options.iter().map(OsStr::new);
        let output = ["--quiet".as_ref(), "--output".as_ref(), output.as_os_str()];
        let arguments: Vec<&OsStr> = [OsStr::new("save")]
            .into_iter()
            .chain(options)
            .chain(output)
            .chain(images.iter().map(OsStr::new))
            .collect();
        self.run(&arguments);
    }

    fn run(&self, arguments: &[&OsStr]) {
        let directory = |name: &str| self.storage.path().join(name);
        let output = Command::new("podman")
            .args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"])
            .arg("--root")
            .arg(directory("root"))
            .arg("--runroot")
            .arg(directory("run"))
            .arg("--tmpdir")
            .arg(directory("tmp"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("podman starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
