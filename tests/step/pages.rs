//! An HTTP server that does what a test says, with or without TLS.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `GET /path HTTP/1.1`
    pub first: String,
    /// The lines after it.
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        let value = |line: &'_ str| -> Option<usize> {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| line.len() - value.len())
        };
        self.headers.iter().find_map(|line| Some(line[value(line)?..].trim())).unwrap_or_default()
    }
}

/// What to answer to the nth request (from 0): everything from the status line on. The connection is closed then.
type Behaviour = dyn Fn(usize, &Seen) -> Vec<u8> + Send + Sync;

/// Lives as long as the test process.
pub struct Pages {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Pages {
    pub fn start(behaviour: impl Fn(usize, &Seen) -> Vec<u8> + Send + Sync + 'static) -> Pages {
        Pages::start_with(None, behaviour)
    }

    pub fn start_with(
        tls: Option<ServerConfig>,
        behaviour: impl Fn(usize, &Seen) -> Vec<u8> + Send + Sync + 'static,
    ) -> Pages {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (behaviour, tls, copy): (Arc<Behaviour>, _, _) = (Arc::new(behaviour), tls.map(Arc::new), seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (behaviour, tls, seen) = (behaviour.clone(), tls.clone(), copy.clone());
                std::thread::spawn(move || {
                    // A client may go away at any time.
                    let _ = match tls {
                        None => serve(stream, &seen, &*behaviour),
                        Some(tls) => {
                            let connection = ServerConnection::new(tls).expect("a server's side");
                            serve(StreamOwned::new(connection, stream), &seen, &*behaviour)
                        }
                    };
                });
            }
        });
        Pages { address, seen }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no test has failed").clone()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

trait Ending {
    fn end(&mut self) -> io::Result<()>;
}

impl Ending for TcpStream {
    fn end(&mut self) -> io::Result<()> {
        self.shutdown(std::net::Shutdown::Write)
    }
}

impl Ending for StreamOwned<ServerConnection, TcpStream> {
    fn end(&mut self) -> io::Result<()> {
        self.conn.send_close_notify();
        self.flush()?;
        self.sock.end()
    }
}

fn serve(stream: impl Read + Write + Ending, seen: &Mutex<Vec<Seen>>, behaviour: &Behaviour) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let mut request = Seen { first: lines.remove(0), headers: lines, body: Vec::new() };
    let length = request.header("content-length").parse().unwrap_or(0);
    reader.by_ref().take(length).read_to_end(&mut request.body)?;
    let number = {
        let mut seen = seen.lock().expect("no test has failed");
        seen.push(request.clone());
        seen.len() - 1
    };
    let mut stream = reader.into_inner();
    stream.write_all(&behaviour(number, &request))?;
    stream.flush()?;
    stream.end()
}

/// An answer with a status, header lines and a body.
pub fn answer(status: u16, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Answer\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    for header in headers {
        head += &format!("{header}\r\n");
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// A server's certificate for 127.0.0.1, and that of its authority as PEM.
pub fn certificates() -> (ServerConfig, String) {
    // Fails when another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    let certificate = parameters.signed_by(&key, &authority).expect("a certificate");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().expect("a key's form"))
        .expect("key and certificate match");
    (config, authority.pem())
}
