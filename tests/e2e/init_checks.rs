//! `init.wait_tcp` and `init.wait_http`, in the network that the job has.

use crate::common::cli::Coracle;
use crate::pages::{Pages, answer, certificates};
use std::net::TcpListener;

/// A port of the loopback interface on which nobody listens, for as long as the listener is kept: it is bound
/// but takes no connection.
pub struct Closed(tokio::net::TcpSocket, pub u16);

impl Closed {
    pub fn new() -> Closed {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let port = socket.local_addr().expect("it is bound").port();
        Closed(socket, port)
    }

    /// From here on it takes connections.
    pub fn open(&self) {
        nix::sys::socket::listen(&self.0, nix::sys::socket::Backlog::new(5).expect("a small number")).expect("bound");
    }
}

/// Returns when the log has this text. It goes to stderr there, of which no other helper waits for a line.
fn until_said(coracle: &Coracle, id: &str, text: &str) {
    let log = coracle.container(id).join("log.ring");
    coracle.until(text, || String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).contains(text));
}

#[test]
fn a_check_is_over_when_the_port_takes_connections() {
    let coracle = Coracle::new();
    let port = Closed::new();
    let spec = coracle.job(&format!(
        "init:\n  steps:\n  \
           - {{ id: database, uses: init.wait_tcp, with: {{ host: 127.0.0.1, port: {}, interval: 10ms }} }}\n\
         command: [echo, main]",
        port.1
    ));
    let id = coracle.detach(&[spec.to_str().expect("a plain name")]);
    until_said(&coracle, &id, &format!("waiting for 127.0.0.1:{}", port.1));
    assert_eq!(coracle.inspect(&id)["init_step"], "database");
    port.open();
    coracle.run(["wait", &id]).expect_code(0);
    assert!(coracle.run(["logs", &id]).expect_code(0).stdout().ends_with("main\n"));
}

#[test]
fn names_are_those_of_the_job() {
    let coracle = Coracle::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let spec = coracle.job(&format!(
        "extra_hosts: [\"database:127.0.0.1\"]\ninit:\n  steps:\n  \
           - {{ uses: init.wait_tcp, with: {{ host: database, port: {port} }} }}\ncommand: [echo, main]"
    ));
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0).expect_stdout("main\n");
}

#[test]
fn a_check_that_takes_too_long_says_what_it_was_waiting_for() {
    let coracle = Coracle::new();
    let port = Closed::new();
    let spec = coracle.job(&format!(
        "init:\n  steps:\n  \
           - {{ id: database, uses: init.wait_tcp, timeout: 1s, with: {{ host: 127.0.0.1, port: {}, interval: 10ms }} }}\n\
         command: [echo, main]",
        port.1
    ));
    let finished = coracle
        .run(["run".as_ref(), spec.as_os_str()])
        .expect_error(125, &["database", "did not end within 1s", "onnection refused"]);
    assert!(!finished.stdout().contains("main"), "{finished}");
}

#[test]
fn a_stop_tells_what_a_check_was_waiting_for() {
    let coracle = Coracle::new();
    let port = Closed::new();
    let body = format!(
        "init:\n  steps:\n  - {{ id: db, uses: init.wait_tcp, with: {{ host: 127.0.0.1, port: {}, interval: 10ms }} }}\n\
         command: [echo, main]",
        port.1
    );
    let said = format!("in init step \"db\": waiting for 127.0.0.1:{}: Connection refused", port.1);
    let spec = coracle.job(&format!("job: {{ deadline: 3s }}\n{body}"));
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_error(125, &["deadline of", "passed in", &said]);
    let spec = coracle.job(&body);
    let id = coracle.detach(&[spec.to_str().expect("a plain name")]);
    until_said(&coracle, &id, "waiting for");
    coracle.run(["cancel", &id]).expect_code(0);
    coracle.run(["wait", &id]).expect_code(143);
    let record = coracle.inspect(&id);
    assert!(record["reason"].as_str().is_some_and(|reason| reason.contains(&said)), "{record:#}");
}

#[test]
fn a_job_without_network_does_not_reach_the_hosts_loopback() {
    let coracle = Coracle::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    // First as the step that makes the job's namespaces, then as one that finds them.
    let check = format!(
        "  - {{ uses: init.wait_tcp, timeout: 1s, on_failure: warn, with: {{ host: 127.0.0.1, port: {port}, interval: 10ms }} }}\n"
    );
    let spec = coracle.job(&format!(
        "network_mode: none\ninit:\n  steps:\n{check}  \
           - {{ uses: init.run, with: {{ command: [echo, between] }} }}\n{check}command: [interfaces]"
    ));
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0);
    let notes = coracle.only_execution()["notes"].to_string();
    assert_eq!(notes.matches("did not end within 1s").count(), 2, "{notes}");
    assert!(notes.contains("step-1") && notes.contains("step-3"), "{notes}");
}

#[test]
fn a_page_is_waited_for_until_it_answers_as_expected() {
    let coracle = Coracle::new();
    let (tls, _) = certificates();
    let pages = Pages::start_with(Some(tls), |number, _| answer(if number < 2 { 503 } else { 204 }, &[], b""));
    let url = format!("https://{}/health", pages.address);
    let spec = coracle.job(&format!(
        "init:\n  steps:\n  \
           - uses: init.wait_http\n    with:\n      url: {url:?}\n      method: HEAD\n      interval: 10ms\n      \
             insecure_skip_verify: true\n      expect_status: 204\n      headers: {{ X-Asked-By: coracle }}\n\
         command: [echo, main]"
    ));
    let finished = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0);
    assert!(finished.stdout() == "main\n" && finished.stderr().contains("503"), "{finished}");
    let seen = pages.seen();
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen.iter().all(|seen| seen.first.starts_with("HEAD /health") && seen.header("x-asked-by") == "coracle"));
}

#[test]
fn an_unknown_certificate_is_not_accepted_unasked() {
    let coracle = Coracle::new();
    let (tls, _) = certificates();
    let pages = Pages::start_with(Some(tls), |_, _| answer(200, &[], b""));
    let spec = coracle.job(&format!(
        "init:\n  steps:\n  \
           - {{ id: page, uses: init.wait_http, timeout: 1s, with: {{ url: \"https://{}/\", interval: 10ms }} }}\n\
         command: [echo, main]",
        pages.address
    ));
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_error(125, &["page", "certificate"]);
    assert!(pages.seen().is_empty(), "no request was made");
}
