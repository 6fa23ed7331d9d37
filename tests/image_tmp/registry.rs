//! A real registry on a loopback port: Debian's docker-registry, filled by skopeo.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Running until dropped; its storage is a temporary directory.
pub struct Registry {
    process: Child,
    address: SocketAddr,
    home: tempfile::TempDir,
}

/// User and password that [`Registry::start_with_login`] asks for.
pub const USER: &str = "ada";
pub const PASSWORD: &str = "lovelace";
/// bcrypt of [`PASSWORD`], as htpasswd -B makes it.
const HTPASSWD: &str = "ada:$2y$05$1hQAIsA1h/HRn1cqrpLhAep/AOfwG35KMuTqbC2hq3Gkv1BMEvQDC\n";

impl Registry {
    /// `None`, after saying so, where docker-registry or skopeo is not installed.
    pub fn start() -> Option<Registry> {
        Registry::launch(false)
    }

    pub fn start_with_login() -> Option<Registry> {
        Registry::launch(true)
    }

    fn launch(with_login: bool) -> Option<Registry> {
        for tool in ["docker-registry", "skopeo"] {
            if which(tool).is_none() {
                super::skip(tool);
                return None;
            }
        }
        let home = tempfile::tempdir().unwrap();
        // Another process may take the port between our finding it and the registry's binding it:
        // then the registry exits, and another port is tried.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let config = config(home.path(), address, with_login);
            let log = File::options().create(true).append(true).open(home.path().join("log")).unwrap();
            let mut process = Command::new(which("docker-registry").unwrap())
                .args(["serve".as_ref(), config.as_os_str()])
                .env_clear()
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            if is_ready(&mut process, address) {
                return Some(Registry { process, address, home });
            }
        }
        panic!("the registry does not start: {}", std::fs::read_to_string(home.path().join("log")).unwrap());
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Copies `source` (`oci:PATH:TAG`) to `name` in this registry with further arguments for skopeo.
    pub fn push(&self, source: &str, name: &str, arguments: &[&str]) {
        let output = Command::new("skopeo")
            .args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"])
            .args(arguments)
            .arg(source)
            .arg(format!("docker://{}/{name}", self.address))
            .env("TMPDIR", self.home.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "skopeo copy {source}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The registry's log so far: one line for each request.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap()
    }

    /// Where the registry keeps a blob.
    pub fn stored_blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        self.home.path().join("storage/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn config(home: &Path, address: SocketAddr, with_login: bool) -> PathBuf {
    let storage = home.join("storage");
    let mut text = format!(
        "version: 0.1\nlog:\n  level: info\n  accesslog:\n    disabled: false\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
        storage.display()
    );
    if with_login {
        std::fs::write(home.join("htpasswd"), HTPASSWD).unwrap();
        text += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", home.join("htpasswd").display());
    }
    let path = home.join("config.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Waits until the registry takes connections; false when it ended instead.
fn is_ready(process: &mut Child, address: SocketAddr) -> bool {
    loop {
        if TcpStream::connect(address).is_ok() {
            // Another process may be listening there.
            return process.try_wait().unwrap().is_none();
        }
        if process.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::yield_now();
    }
}

fn which(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin".into(), "/usr/bin".into()];
    std::env::split_paths(&path).chain(sbin).map(|directory| directory.join(tool)).find(|file| file.is_file())
}
