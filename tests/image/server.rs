//! A registry that misbehaves on demand: serves a layout over HTTP/1.1, one request per connection.

use crate::layout::{LayoutBuilder, digest};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What to do about a request for a path.
pub enum Answer {
    /// Serve it from the layout.
    Normal,
    Status(u16, &'static str),
    /// Other bytes than asked for.
    Body(Vec<u8>),
    /// The first half, then the connection closes.
    Cut,
    /// The first half, then nothing until the client goes away. Says so on the channel.
    Stall(tokio::sync::mpsc::UnboundedSender<()>),
}

type Behaviour = dyn Fn(&str) -> Answer + Send + Sync;

/// Running until dropped.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `manifest` (a digest of the layout) under every tag.
    pub fn start(
        layout: &LayoutBuilder,
        manifest: &str,
        behaviour: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let site = Arc::new(Site {
            blobs: layout.path().join("blobs/sha256"),
            manifest: manifest.to_owned(),
            requests: requests.clone(),
            behaviour: Box::new(behaviour),
        });
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                let site = site.clone();
                let mut connection = connection.unwrap();
                let Some((method, path)) = request(&connection) else { continue };
                if path == STOP {
                    return;
                }
                std::thread::spawn(move || {
                    // A client may go away at any time.
                    let _ = site.answer(&mut connection, &method, &path);
                });
            }
        });
        Server { address, requests, thread: Some(thread) }
    }

    /// A reference to the image.
    pub fn reference(&self) -> String {
        format!("{}/image:latest", self.address)
    }

    /// How many requests there were for paths that end like this.
    pub fn count(&self, end: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|path| path.ends_with(end)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut connection = TcpStream::connect(self.address).unwrap();
        write!(connection, "GET {STOP} HTTP/1.1\r\n\r\n").unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

const STOP: &str = "/stop";

struct Site {
    blobs: PathBuf,
    manifest: String,
    requests: Arc<Mutex<Vec<String>>>,
    behaviour: Box<Behaviour>,
}

impl Site {
    fn answer(&self, connection: &mut TcpStream, method: &str, path: &str) -> std::io::Result<()> {
        self.requests.lock().unwrap().push(format!("{method} {path}"));
        let wanted = path.rsplit('/').next().unwrap();
        let wanted = if wanted.starts_with("sha256:") { wanted } else { &self.manifest };
        let bytes = std::fs::read(self.blobs.join(wanted.strip_prefix("sha256:").unwrap_or("none")));
        let bytes = if path == "/v2/" { Ok(Vec::new()) } else { bytes };
        let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
        match ((self.behaviour)(path), bytes) {
            (Answer::Status(status, body), _) => respond(connection, status, body.len(), body.as_bytes()),
            (Answer::Body(body), _) => respond(connection, 200, body.len(), &body),
            (_, Err(_)) => respond(connection, 404, 0, b""),
            (Answer::Normal, Ok(bytes)) => {
                let body = if method == "HEAD" { &[] } else { &bytes[..] };
                write!(connection, "HTTP/1.1 200 X\r\nDocker-Content-Digest: {}\r\n", digest(&bytes))?;
                finish(connection, bytes.len(), body)
            }
            (Answer::Cut, Ok(bytes)) => respond(connection, 200, bytes.len(), &half(&bytes)),
            (Answer::Stall(stalled), Ok(bytes)) => {
                respond(connection, 200, bytes.len(), &half(&bytes))?;
                // The test may be over.
                let _ = stalled.send(());
                connection.read_to_end(&mut Vec::new()).map(drop)
            }
        }
    }
}

fn respond(connection: &mut TcpStream, status: u16, length: usize, body: &[u8]) -> std::io::Result<()> {
    write!(connection, "HTTP/1.1 {status} X\r\n")?;
    finish(connection, length, body)
}

fn finish(connection: &mut TcpStream, length: usize, body: &[u8]) -> std::io::Result<()> {
    write!(connection, "Connection: close\r\nContent-Length: {length}\r\n\r\n")?;
    connection.write_all(body)?;
    connection.flush()
}

/// Method and path of a request; `None` when the client went away.
fn request(connection: &TcpStream) -> Option<(String, String)> {
    let mut lines = BufReader::new(connection).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ').map(str::to_owned);
    let request = (words.next()?, words.next()?);
    lines.map_while(Result::ok).find(|line| line.is_empty());
    Some(request)
}

/// The digest of an image's manifest as its descriptor has it.
pub fn digest_of(descriptor: &serde_json::Value) -> String {
    descriptor["digest"].as_str().unwrap().to_owned()
}

/// The end of the path of a blob with these bytes.
pub fn blob_path(bytes: &[u8]) -> String {
    format!("/blobs/{}", digest(bytes))
}
