//! Stands between a client and a registry and spoils what it carries.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// What to do to a connection. Bytes are counted on the way from the registry to the client.
pub enum Fault {
    None,
    /// Closes it after so many bytes.
    Cut(usize),
    /// Carries nothing more after so many bytes.
    Stall(usize),
    /// Changes the byte at this place.
    Corrupt(usize),
    /// Answers the first request with this and closes.
    Answer(&'static str),
    /// Is an HTTP proxy: leads to the registry whatever host is asked for (CONNECT).
    Tunnel,
}

/// Running until dropped.
pub struct Proxy {
    address: SocketAddr,
    count: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Before the registry at `upstream`; `fault` is told the number of the connection, from 0.
    pub fn start(upstream: &str, fault: impl Fn(usize) -> Fault + Send + 'static) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (upstream, count) = (upstream.to_owned(), Arc::new(AtomicUsize::new(0)));
        let is_over = Arc::new(AtomicBool::new(false));
        let (counter, over) = (count.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                if over.load(Ordering::SeqCst) {
                    return;
                }
                // A client may give up a connection that it has no use for.
                if client.peek(&mut [0]).unwrap_or(0) == 0 {
                    continue;
                }
                let fault = fault(counter.fetch_add(1, Ordering::SeqCst));
                if let Fault::Answer(answer) = fault {
                    read_head(&client);
                    // The client may be gone.
                    let _ = client.write_all(answer.as_bytes());
                    continue;
                }
                if let Fault::Tunnel = fault {
                    read_head(&client);
                    client.write_all(b"HTTP/1.1 200 X\r\n\r\n").unwrap();
                }
                let server = TcpStream::connect(&upstream).unwrap();
                let (up_from, up_to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || carry(up_from, up_to, Fault::None));
                std::thread::spawn(move || carry(server, client, fault));
            }
        });
        Proxy { address, count, is_over, thread: Some(thread) }
    }

    /// Host and port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// How many connections there were.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address).unwrap());
        self.thread.take().unwrap().join().unwrap();
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, fault: Fault) {
    let (mut carried, mut buffer) = (0, vec![0; 64 << 10]);
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        let (limit, at) = match fault {
            Fault::Cut(limit) | Fault::Stall(limit) => (limit - carried, None),
            Fault::Corrupt(at) => (usize::MAX, at.checked_sub(carried).filter(|at| *at < length)),
            Fault::None | Fault::Answer(_) | Fault::Tunnel => (usize::MAX, None),
        };
        if let Some(at) = at {
            buffer[at] ^= 1;
        }
        let length = length.min(limit);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
        carried += length;
        if length == limit {
            if matches!(fault, Fault::Stall(_)) {
                // Until the client has had enough; the registry may go on writing into its buffers.
                let _ = to.read_to_end(&mut Vec::new());
            }
            break;
        }
    }
    // Either end may be gone already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Reads to the end of a request without a body.
fn read_head(mut client: &TcpStream) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|length| length == 1) {
        head.push(byte[0]);
    }
}
