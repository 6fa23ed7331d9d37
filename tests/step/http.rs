//! `init.wait_http`.

use super::harness::{INTERVAL, Step, host_resolver, hosts};
use super::pages::{Pages, answer, certificates};
use coracle::step::{Resolve, StepRequest};
use std::path::Path;

/// A check of `url` that a test changes.
#[derive(Clone)]
struct Check {
    url: String,
    method: &'static str,
    headers: Vec<(String, String)>,
    expect_status: Vec<u16>,
    insecure: bool,
    resolve: Resolve,
}

impl Check {
    fn of(url: impl Into<String>) -> Check {
        Check {
            url: url.into(),
            method: "GET",
            headers: Vec::new(),
            expect_status: Vec::new(),
            insecure: false,
            resolve: host_resolver(),
        }
    }

    fn request(&self) -> StepRequest {
        StepRequest::WaitHttp {
            url: self.url.clone(),
            method: self.method.to_owned(),
            headers: self.headers.clone(),
            expect_status: self.expect_status.clone(),
            interval: INTERVAL,
            insecure_skip_verify: self.insecure,
            resolve: self.resolve.clone(),
        }
    }

    fn start(&self) -> Step {
        Step::start(&self.request())
    }
}

#[test]
fn it_asks_until_the_answer_is_a_success_and_tells_each_cause_once() {
    let pages = Pages::start(|number, _| answer([503, 503, 500, 204][number.min(3)], &[], b""));
    let ended = Check::of(pages.url("/health?token=hidden")).start().finish();
    assert_eq!(ended.code, Some(0));
    let line = |status: u16| format!("waiting for http://{}: it answered with status {status}", pages.address);
    assert_eq!(ended.lines, [line(503), line(500)]);
    assert_eq!(pages.seen()[0].first, "GET /health?token=hidden HTTP/1.1");
    assert_eq!(pages.seen().len(), 4);
}

#[test]
fn method_headers_and_status_are_the_specs() {
    let pages = Pages::start(|_, _| answer(401, &[], b""));
    let check = Check {
        method: "OPTIONS",
        headers: vec![("X-Key".into(), "hidden".into()), ("Host".into(), "app.example".into())],
        expect_status: vec![418, 401],
        resolve: hosts(&[("web.test", "127.0.0.1")]),
        ..Check::of(format!("http://web.test:{}/", pages.address.port()))
    };
    check.start().finish().succeeded();
    let seen = &pages.seen()[0];
    assert_eq!(seen.first, "OPTIONS / HTTP/1.1");
    assert_eq!((seen.header("x-key"), seen.header("host")), ("hidden", "app.example"));
    // No success when others are expected.
    let pages = Pages::start(|_, _| answer(200, &[], b""));
    let step = Check { expect_status: vec![401], ..Check::of(pages.url("/")) }.start();
    assert!(step.line().ends_with("it answered with status 200"));
}

#[test]
fn redirects_are_followed_on_the_same_host_alone() {
    let pages = Pages::start(|_, seen| match seen.first.split(' ').nth(1) {
        Some("/old") => answer(302, &["Location: /new"], b""),
        Some("/new") => answer(200, &[], b""),
        Some("/circle") => answer(307, &["Location: /circle"], b""),
        _ => answer(302, &["Location: http://elsewhere.invalid/"], b""),
    });
    Check::of(pages.url("/old")).start().finish().succeeded();
    assert_eq!(pages.seen().len(), 2);
    assert!(Check::of(pages.url("/away")).start().line().ends_with("it answered with status 302"));
    let circle = Check::of(pages.url("/circle")).start().line();
    assert!(circle.contains("it redirects without end"), "{circle}");
    // Expected ones are answers.
    let before = pages.seen().len();
    Check { expect_status: vec![302], ..Check::of(pages.url("/old")) }.start().finish().succeeded();
    assert!(pages.seen()[before..].iter().all(|seen| !seen.first.contains("/new")));
}

#[test]
fn headers_go_to_no_other_server_on_the_same_host() {
    let other = Pages::start(|_, _| answer(200, &[], b""));
    let location = format!("Location: {}", other.url("/"));
    let pages = Pages::start(move |_, _| answer(302, &[&location], b""));
    let with_header = Check { headers: vec![("Authorization".into(), "hidden".into())], ..Check::of(pages.url("/")) };
    assert!(with_header.start().line().ends_with("it answered with status 302"));
    assert!(other.seen().is_empty());
    Check::of(pages.url("/")).start().finish().succeeded();
    assert_eq!(other.seen().len(), 1);
}

#[test]
fn a_server_that_does_not_answer_is_named_before_the_try_is_over() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let step = Check::of(format!("http://{address}/hidden?hidden")).start();
    let connection = listener.accept().expect("the check connects");
    // The path may be a secret, as that of a webhook.
    assert_eq!(step.line(), format!("waiting for http://{address}: there is no answer yet"));
    drop(connection);
}

#[test]
fn certificates_are_verified_unless_the_spec_says_otherwise() {
    let (config, authority) = certificates();
    let pages = Pages::start_with(Some(config), |_, _| answer(200, &[], b""));
    let check = Check::of(format!("https://{}/", pages.address));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (own, other) = (directory.path().join("own.pem"), directory.path().join("other.pem"));
    std::fs::write(&own, authority).expect("the directory takes a file");
    std::fs::write(&other, certificates().1).expect("the directory takes a file");
    let refused = Step::start_trusting(&check.request(), &other).line();
    assert!(refused.contains("certificate"), "{refused}");
    assert!(pages.seen().is_empty());
    Step::start_trusting(&check.request(), &own).finish().succeeded();
    let insecure = Check { insecure: true, ..check };
    Step::start_trusting(&insecure.request(), &other).finish().succeeded();
}

#[test]
fn a_redirect_out_of_tls_is_not_followed() {
    let (config, authority) = certificates();
    let plain = Pages::start(|_, _| answer(200, &[], b""));
    let location = format!("Location: {}", plain.url("/"));
    let pages = Pages::start_with(Some(config), move |_, _| answer(301, &[&location], b""));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, authority).expect("the directory takes a file");
    let line = Step::start_trusting(&Check::of(format!("https://{}/", pages.address)).request(), &path).line();
    assert!(line.ends_with("it answered with status 301"), "{line}");
    assert!(plain.seen().is_empty());
}

#[test]
fn a_host_without_ca_certificates_can_check_without_tls() {
    let pages = Pages::start(|_, _| answer(200, &[], b""));
    Step::start_trusting(&Check::of(pages.url("/")).request(), Path::new("/dev/null")).finish().succeeded();
    let failed = Step::start_trusting(&Check::of("https://127.0.0.1/").request(), Path::new("/dev/null")).finish();
    assert!(failed.failed().contains("ca-certificates"));
}

#[test]
fn a_body_without_end_is_not_read() {
    // More is announced than comes.
    let pages = Pages::start(|_, _| b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\nx".to_vec());
    Check::of(pages.url("/")).start().finish().succeeded();
}

#[test]
fn what_is_no_http_is_a_cause_on_one_line() {
    let pages =
        Pages::start(|number, _| if number == 0 { b"\x1b[2J\r\nhello\r\n".to_vec() } else { answer(200, &[], b"") });
    let ended = Check::of(pages.url("/")).start().finish();
    assert_eq!((ended.code, ended.lines.len()), (Some(0), 1), "{ended:?}");
    assert!(ended.lines[0].starts_with("waiting for http://127.0.0.1:") && !ended.lines[0].contains('\x1b'));
}

#[test]
fn a_request_that_cannot_be_made_ends_the_step() {
    for url in ["127.0.0.1", "ftp://127.0.0.1/", "http://", "http://user:hidden@127.0.0.1/", "http://hidden@127.0.0.1/"]
    {
        let line = Check::of(url).start().finish().failed();
        assert!(line.starts_with("failed to use the url") && !line.contains("hidden"), "{line}");
    }
    let line = Check { method: "GE T", ..Check::of("http://127.0.0.1/") }.start().finish().failed();
    assert!(line.contains("\"GE T\""), "{line}");
    let headers = vec![("X-Key".to_owned(), "hidden\r\nX: y".to_owned())];
    let line = Check { headers, ..Check::of("http://127.0.0.1/") }.start().finish().failed();
    assert!(line.contains("\"X-Key\"") && !line.contains("hidden"), "{line}");
}
