//! `init.wait_tcp`.

use super::harness::{INTERVAL, Step, host_resolver, hosts};
use coracle::step::{Resolve, StepRequest};
use std::net::TcpListener;

fn wait(host: &str, port: u16, resolve: Resolve) -> StepRequest {
    StepRequest::WaitTcp { host: host.to_owned(), port, interval: INTERVAL, resolve }
}

/// A port on which nobody listens.
fn free_port(address: &str) -> u16 {
    let listener = TcpListener::bind((address, 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

#[test]
fn it_waits_for_a_listener_that_comes_later_and_says_why() {
    let port = free_port("127.0.0.1");
    let step = Step::start(&wait("127.0.0.1", port, host_resolver()));
    assert_eq!(step.line(), format!("waiting for 127.0.0.1:{port}: Connection refused (os error 111)"));
    let _listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is still free");
    step.finish().succeeded();
}

#[test]
fn an_ipv6_address_may_stand_in_brackets() {
    for host in ["::1", "[::1]"] {
        let port = free_port("::1");
        let step = Step::start(&wait(host, port, host_resolver()));
        assert_eq!(step.line(), format!("waiting for [::1]:{port}: Connection refused (os error 111)"));
        let _listener = TcpListener::bind(("::1", port)).expect("the port is still free");
        step.finish().succeeded();
    }
}

#[test]
fn every_address_of_a_name_is_tried() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let both = hosts(&[("db.example", "127.0.0.2"), ("other", "127.0.0.3"), ("db.example", "127.0.0.1")]);
    Step::start(&wait("DB.example", port, both)).finish().succeeded();
}

#[test]
fn the_cause_at_each_address_is_told() {
    let step = Step::start(&wait("db", 1, hosts(&[("db", "127.0.0.3"), ("db", "127.0.0.2")])));
    assert_eq!(
        step.line(),
        "waiting for db:1: 127.0.0.2:1: Connection refused (os error 111); \
         127.0.0.3:1: Connection refused (os error 111)"
    );
}

#[test]
fn the_hosts_own_names_are_known() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    Step::start(&wait("localhost", port, host_resolver())).finish().succeeded();
}
