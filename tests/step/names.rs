//! The job's own name servers.

use super::harness::{INTERVAL, Step};
use crate::common::host::{Feature, needs};
use coracle::step::{Resolve, StepRequest};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};

/// No other test's.
const SERVER: &str = "127.0.53.7";
/// Queries that are answered with "no such name".
const UNKNOWN_FOR: usize = 8;

/// The answer to one query: an address for A, nothing for other types, or that there is no such name.
/// <https://www.rfc-editor.org/rfc/rfc1035#section-4.1>
fn answer(query: &[u8], is_known: bool) -> Vec<u8> {
    let name = query[12..].iter().position(|byte| *byte == 0).expect("a name ends") + 13;
    let is_a = query[name..name + 2] == [0, 1];
    let answers = u8::from(is_known && is_a);
    let code = if is_known { 0x80 } else { 0x83 };
    let mut reply = [&query[..2], &[0x81, code, 0, 1, 0, answers, 0, 0, 0, 0], &query[12..name + 4]].concat();
    if answers == 1 {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    reply
}

#[test]
fn they_are_asked_anew_until_they_know_the_name() {
    static QUERIES: AtomicUsize = AtomicUsize::new(0);
    // Port 53.
    if !needs(Feature::Root) {
        return;
    }
    let server = UdpSocket::bind((SERVER, 53)).expect("port 53 of an unused address");
    std::thread::spawn(move || {
        let mut query = [0; 1500];
        while let Ok((length, from)) = server.recv_from(&mut query) {
            let is_known = QUERIES.fetch_add(1, Ordering::Relaxed) >= UNKNOWN_FOR;
            // One that has gone asks no more.
            let _ = server.send_to(&answer(&query[..length], is_known), from);
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let servers: Vec<IpAddr> = vec![SERVER.parse().expect("an address")];
    let ended = Step::start(&StepRequest::WaitTcp {
        host: "db.example".into(),
        port,
        interval: INTERVAL,
        resolve: Resolve { hosts: Vec::new(), servers },
    })
    .finish();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // Asked often, told once.
    let unknown = "failed to look up db.example: the job's name servers know no such name";
    assert_eq!(ended.lines, [format!("waiting for db.example:{port}: {unknown}")]);
    assert!(QUERIES.load(Ordering::Relaxed) > UNKNOWN_FOR);
}
