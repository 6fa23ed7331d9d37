//! The test images, built by `scripts/fixtures` when they are not there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The source tree; tests may read it, never write outside `target`.
pub fn source() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `oci:` reference of the image with many small applets (fixtures/toolbox).
pub fn toolbox() -> String {
    reference("toolbox")
}

/// `oci:` reference of the image with a shell.
pub fn busybox() -> String {
    reference("busybox")
}

/// `oci:` reference of a Debian root file system with Python, made when it is missing.
pub fn debian() -> String {
    if !layout("debian").exists() {
        build(&["--debian"]);
    }
    reference("debian")
}

/// The same program on the host, to compare with what it does in a container.
pub fn toolbox_on_host() -> PathBuf {
    directory().join("toolbox-host")
}

/// The OCI layout itself, for tests that corrupt a copy.
pub fn layout(name: &str) -> PathBuf {
    directory().join(name)
}

fn reference(name: &str) -> String {
    format!("oci:{}:latest", layout(name).display())
}

fn directory() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // scripts/test names the directory it has built already.
        if let Some(directory) = std::env::var_os("CORACLE_FIXTURES") {
            return directory.into();
        }
        build(&[]);
        source().join("target/fixtures")
    })
}

fn build(arguments: &[&str]) {
    let output =
        Command::new(source().join("scripts/fixtures")).args(arguments).output().expect("scripts/fixtures starts");
    assert!(
        output.status.success(),
        "scripts/fixtures failed; run scripts/install-deps test first\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
