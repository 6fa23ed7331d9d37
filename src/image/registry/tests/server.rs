//! An HTTP server that does what a test says, with or without TLS.

use crate::image::digest::Digest;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    /// With the query.
    pub path: String,
    /// By lower-case names.
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The first byte that a range begins with.
    fn from(&self) -> usize {
        let range = self.header("range").strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
        range.map_or(0, |first| first.parse().unwrap())
    }
}

/// What comes after the head.
pub enum Body {
    Whole(Vec<u8>),
    /// The whole is announced, so much of it comes, then the connection closes.
    Cut(Vec<u8>, usize),
    /// As `Cut`, but the connection stays open.
    Stall(Vec<u8>, usize),
    /// A byte every ten milliseconds.
    Drip,
    /// Zeros as long as anyone reads.
    Endless,
}

pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Body,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, headers: Vec::new(), body: Body::Whole(body.into()) }
    }

    pub fn of(body: Body) -> Reply {
        Reply { status: 200, headers: Vec::new(), body }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }
}

type Behaviour = dyn Fn(&Seen) -> Reply + Send + Sync;

/// Runs until it is dropped.
pub struct Server {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    sent: Arc<Mutex<u64>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub async fn start(behaviour: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Server {
        Server::start_with(None, behaviour).await
    }

    pub async fn start_with(
        tls: Option<ServerConfig>,
        behaviour: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, sent) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<Mutex<u64>>::default());
        let site = Arc::new(Site { behaviour: Box::new(behaviour), seen: seen.clone(), sent: sent.clone() });
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (site, acceptor) = (site.clone(), acceptor.clone());
                connections.spawn(async move {
                    // A client may go away at any time.
                    let _ = match acceptor {
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => site.serve(stream).await,
                            Err(error) => Err(error),
                        },
                        None => site.serve(stream).await,
                    };
                });
            }
        });
        Server { address, seen, sent, task }
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Requests whose path contains this.
    pub fn of(&self, part: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.path.contains(part)).collect()
    }

    pub fn count(&self, part: &str) -> usize {
        self.of(part).len()
    }

    /// Bytes of endless bodies that were taken off its hands.
    pub fn sent(&self) -> u64 {
        *self.sent.lock().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Site {
    behaviour: Box<Behaviour>,
    seen: Arc<Mutex<Vec<Seen>>>,
    sent: Arc<Mutex<u64>>,
}

impl Site {
    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        while let Some(request) = read(&mut stream).await? {
            self.seen.lock().unwrap().push(request.clone());
            let reply = (self.behaviour)(&request);
            let length = match &reply.body {
                Body::Whole(bytes) | Body::Cut(bytes, _) | Body::Stall(bytes, _) => Some(bytes.len()),
                Body::Drip | Body::Endless => None,
            };
            let mut head = format!("HTTP/1.1 {} X\r\n", reply.status);
            for (name, value) in &reply.headers {
                head += &format!("{name}: {value}\r\n");
            }
            head += &length
                .map_or("Transfer-Encoding: chunked\r\n".into(), |length| format!("Content-Length: {length}\r\n"));
            stream.write_all(format!("{head}\r\n").as_bytes()).await?;
            if request.method == "HEAD" {
                continue;
            }
            match reply.body {
                Body::Whole(bytes) => stream.write_all(&bytes).await?,
                Body::Cut(bytes, length) => {
                    stream.write_all(&bytes[..length]).await?;
                    return stream.shutdown().await;
                }
                Body::Stall(bytes, length) => {
                    stream.write_all(&bytes[..length]).await?;
                    return stream.read_to_end(&mut Vec::new()).await.map(drop);
                }
                Body::Drip => {
                    let mut clock = tokio::time::interval(Duration::from_millis(10));
                    loop {
                        clock.tick().await;
                        stream.write_all(b"1\r\nx\r\n").await?;
                    }
                }
                Body::Endless => loop {
                    stream.write_all(&[&b"10000\r\n"[..], &[0; 0x10000], b"\r\n"].concat()).await?;
                    *self.sent.lock().unwrap() += 0x10000;
                },
            }
        }
        Ok(())
    }
}

/// `None` at the end, and for what is no HTTP.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<Seen>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            // A TLS handshake.
            Ok(0x16) if bytes.is_empty() => return Ok(None),
            Ok(byte) => bytes.push(byte),
            Err(_) => return Ok(None),
        }
    }
    let head = String::from_utf8(bytes).unwrap();
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers = lines.filter_map(|line| line.split_once(": "));
    // Several of one name are joined, as HTTP allows.
    let mut joined = HashMap::<String, String>::new();
    for (name, value) in headers {
        let entry = joined.entry(name.to_lowercase()).or_default();
        *entry = if entry.is_empty() { value.to_owned() } else { format!("{entry}, {value}") };
    }
    let mut body = vec![0; joined.get("content-length").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await?;
    Ok(Some(Seen { method, path, headers: joined, body: String::from_utf8(body).unwrap() }))
}

/// A repository with one manifest under every tag, and one blob.
#[derive(Clone)]
pub struct Content {
    pub manifest: Vec<u8>,
    pub blob: Vec<u8>,
}

impl Content {
    pub fn new() -> Content {
        let blob = (0..2_000_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        Content { manifest: br#"{"schemaVersion":2,"layers":[]}"#.to_vec(), blob }
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.blob)
    }

    pub fn size(&self) -> u64 {
        self.blob.len() as u64
    }

    /// As a registry answers that does everything right.
    pub fn reply(&self, seen: &Seen) -> Reply {
        let path = seen.path.split('?').next().unwrap_or_default();
        let last = path.rsplit('/').next().unwrap_or_default();
        let digest = Digest::of(&self.manifest).to_string();
        if seen.path.ends_with("/v2/") {
            Reply::new(200, "{}")
        } else if seen.path.contains("/manifests/") && (last == digest || !last.contains(':')) {
            Reply::new(200, self.manifest.clone()).with("Docker-Content-Digest", digest)
        } else if seen.path.contains("/blobs/") && last == self.digest().to_string() {
            self.part(seen)
        } else {
            Reply::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such thing"}]}"#)
        }
    }

    fn part(&self, seen: &Seen) -> Reply {
        let (from, whole) = (seen.from(), self.blob.len());
        if from == 0 {
            return Reply::new(200, self.blob.clone());
        }
        let reply = Reply::new(206, &self.blob[from..]);
        reply.with("Content-Range", format!("bytes {from}-{}/{whole}", whole - 1))
    }
}
