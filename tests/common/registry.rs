//! A real registry (Debian's docker-registry) on a loopback port, filled with skopeo.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// User and password of [`Registry::start_with_login`], and the latter's bcrypt as htpasswd -B makes it.
pub const USER: &str = "ada";
pub const PASSWORD: &str = "lovelace";
const HTPASSWD: &str = "ada:$2y$05$1hQAIsA1h/HRn1cqrpLhAep/AOfwG35KMuTqbC2hq3Gkv1BMEvQDC\n";

const AUTH_FILE: &str = "auth.json";

/// A registry; ends when dropped.
pub struct Registry {
    server: Child,
    address: String,
    storage: TempDir,
}

impl Registry {
    /// Starts it on a free port, open to everyone, and returns when it listens.
    pub fn start() -> Registry {
        Registry::launch("", false)
    }

    /// As [`Registry::start`], for [`USER`] alone.
    pub fn start_with_login() -> Registry {
        Registry::launch("", true)
    }

    /// As [`Registry::start`], over TLS with `server.crt` and `server.key` of this directory, for clients
    /// that have a certificate of its `ca.crt`.
    pub fn start_with_tls(directory: &Path) -> Registry {
        let file = |name: &str| directory.join(name).display().to_string();
        let (certificate, key, authority) = (file("server.crt"), file("server.key"), file("ca.crt"));
        let tls = format!(", tls: {{ certificate: {certificate}, key: {key}, clientcas: [{authority}] }}");
        Registry::launch(&tls, false)
    }

    fn launch(tls: &str, with_login: bool) -> Registry {
        let storage = tempfile::Builder::new().prefix("coracle-registry.").tempdir().expect("a temporary directory");
        let config = storage.path().join("config.yml");
        let mut text = format!(
            "version: 0.1\nlog: {{ level: info }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\n\
             http: {{ addr: \"127.0.0.1:0\"{tls} }}\ncompatibility: {{ schema1: {{ enabled: true }} }}\n",
            storage.path().join("data").display()
        );
        if with_login {
            let file = storage.path().join("htpasswd");
            std::fs::write(&file, HTPASSWD).expect("the directory takes a file");
            text += &format!("auth: {{ htpasswd: {{ realm: test, path: {} }} }}\n", file.display());
        }
        std::fs::write(&config, text).expect("the directory takes a file");
        // What skopeo reads for credentials by default may not be readable to this user.
        std::fs::write(storage.path().join(AUTH_FILE), "{}").expect("the directory takes a file");
        let mut server = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry starts");
        let mut log = BufReader::new(server.stderr.take().expect("stderr is a pipe"));
        let mut seen = String::new();
        let address = loop {
            let mut line = String::new();
            let count = log.read_line(&mut line).expect("the log can be read");
            assert!(count > 0, "docker-registry ended:\n{seen}");
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split(['"', ' ', ',', '\n']).next().expect("split gives one part").to_owned();
            }
            seen += &line;
        };
        // The rest must be read, or the server stops when the pipe is full.
        std::thread::spawn(move || std::io::copy(&mut log.by_ref(), &mut std::io::sink()));
        Registry { server, address, storage }
    }

    /// `127.0.0.1:PORT/NAME`
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Pushes an image, as skopeo names it, and returns its reference.
    pub fn push(&self, image: &str, name: &str) -> String {
        self.push_with(&[], image, name)
    }

    /// As [`Registry::push`] with further options for `skopeo copy`.
    pub fn push_with(&self, options: &[&str], image: &str, name: &str) -> String {
        let reference = self.reference(name);
        let output = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"])
            .args(options)
            .arg(image)
            .arg(format!("docker://{reference}"))
            .env("REGISTRY_AUTH_FILE", self.storage.path().join(AUTH_FILE))
            .output()
            .expect("skopeo starts");
        assert!(output.status.success(), "{image}: {}", String::from_utf8_lossy(&output.stderr));
        reference
    }
}

/// What skopeo does not push, over the protocol itself.
/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#push>
impl Registry {
    /// Pushes a blob with this digest to a repository.
    pub fn put_blob(&self, repository: &str, digest: &str, bytes: &[u8]) {
        let started = self.request("POST", &format!("/v2/{repository}/blobs/uploads/"), "", b"");
        let location = started.lines().find_map(|line| line.strip_prefix("Location: ")).expect("a place to upload to");
        let path = location.strip_prefix(&format!("http://{}", self.address)).unwrap_or(location);
        let separator = if path.contains('?') { '&' } else { '?' };
        let put = self.request("PUT", &format!("{path}{separator}digest={digest}"), "application/octet-stream", bytes);
        assert!(put.starts_with("HTTP/1.1 201"), "{put}");
    }

    /// Pushes a manifest, whose blobs are there, under a tag.
    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) {
        let put = self.request("PUT", &format!("/v2/{repository}/manifests/{tag}"), media_type, bytes);
        assert!(put.starts_with("HTTP/1.1 201"), "{put}");
    }

    fn request(&self, method: &str, path: &str, media_type: &str, body: &[u8]) -> String {
        let mut connection = TcpStream::connect(&self.address).expect("the registry listens");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {media_type}\r\n\
             Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        connection.write_all(&[head.as_bytes(), body].concat()).expect("the registry takes the request");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("the registry answers");
        answer
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about it then.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
