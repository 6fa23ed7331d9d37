//! A real S3 server (s3s-fs: signatures, multipart uploads) on a loopback port. A bucket is a directory and an
//! object a file in it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

pub const KEY_ID: &str = "ADAKEY";
pub const SECRET: &str = "lovelace/secret+key";
pub const BUCKET: &str = "files";

/// A server; ends when dropped.
pub struct Server {
    server: Child,
    pub endpoint: String,
    storage: TempDir,
}

impl Server {
    /// Starts it with an empty bucket and returns when it listens.
    pub fn start() -> Server {
        Server::listen(0, &["--access-key", KEY_ID, "--secret-key", SECRET])
    }

    /// As [`Server::start`], and asks for no signatures.
    pub fn start_for_everyone() -> Server {
        Server::listen(0, &[])
    }

    /// As [`Server::start`], with buckets below the name of a host.
    pub fn start_in(domain: &str) -> Server {
        // The server takes the port for a part of the name, so it has to be known before.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        let domain = format!("{domain}:{port}");
        Server::listen(port, &["--access-key", KEY_ID, "--secret-key", SECRET, "--domain", &domain])
    }

    fn listen(port: u16, arguments: &[&str]) -> Server {
        let storage = tempfile::Builder::new().prefix("coracle-s3.").tempdir().expect("a temporary directory");
        fs::create_dir(storage.path().join(BUCKET)).expect("the directory is empty");
        let mut server = Command::new("s3s-fs")
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(arguments)
            .arg(storage.path())
            .env("RUST_LOG", "s3s_fs=info")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("s3s-fs starts");
        let mut log = BufReader::new(server.stdout.take().expect("stdout is a pipe"));
        let mut seen = String::new();
        let endpoint = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).expect("the log can be read") > 0, "s3s-fs ended:\n{seen}");
            if let Some((_, rest)) = line.split_once("http://") {
                let end = rest.find(|character: char| !character.is_ascii_digit() && !".:".contains(character));
                break format!("http://{}", &rest[..end.unwrap_or(rest.len())]);
            }
            seen += &line;
        };
        // The rest must be read, or the server stops when the pipe is full.
        std::thread::spawn(move || std::io::copy(&mut log.by_ref(), &mut std::io::sink()));
        Server { server, endpoint, storage }
    }

    pub fn path(&self, key: &str) -> PathBuf {
        self.storage.path().join(BUCKET).join(key)
    }

    /// Parts of uploads that are neither complete nor aborted.
    pub fn parts(&self) -> Vec<String> {
        let names = fs::read_dir(self.storage.path()).expect("the storage").flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.contains("upload")).collect()
    }

    /// Ends it at once, with its connections.
    pub fn kill(&mut self) {
        self.server.kill().expect("a child that was not waited for");
        self.server.wait().expect("a child that was not waited for");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about it then.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
