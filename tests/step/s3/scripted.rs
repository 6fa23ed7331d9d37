//! What a real server does not show: signatures, and answers that go wrong in a certain way.

use super::{Transfer, env};
use crate::pages::{Pages, answer, certificates};
use coracle::step::{Addressing, Direction, StepRequest};

const DATE: &str = "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT";
const TAG: &str = "ETag: \"1\"";
const CONTENT: &[u8] = b"0123456789";

#[test]
fn region_and_token_go_into_the_signature() {
    let pages = Pages::start(|_, _| answer(200, &[DATE, TAG], CONTENT));
    let keys = env(&[
        ("AWS_ACCESS_KEY_ID", "ID"),
        ("AWS_SECRET_ACCESS_KEY", "hidden"),
        ("AWS_SESSION_TOKEN", "token"),
        ("AWS_REGION", "eu-west-2"),
    ]);
    let transfer = Transfer { env: keys, ..Transfer::of(&pages.url("/base/"), "my.bucket", "a b/c") };
    let (ended, content) = transfer.pull();
    ended.succeeded();
    assert_eq!(content, CONTENT);
    Transfer { region: Some("eu-central-1".into()), ..transfer.clone() }.pull().0.succeeded();
    Transfer { env: transfer.env[..3].to_vec(), ..transfer }.pull().0.succeeded();
    let seen = pages.seen();
    // The bucket is part of the path.
    assert_eq!(seen[0].first, "GET /base/my.bucket/a%20b/c HTTP/1.1");
    assert_eq!(seen[0].header("x-amz-security-token"), "token");
    for (seen, region) in seen.iter().zip(["eu-west-2", "eu-central-1", "us-east-1"]) {
        let signed = seen.header("authorization");
        assert!(
            signed.contains("Credential=ID/") && signed.contains(&format!("/{region}/s3/aws4_request")),
            "{signed}"
        );
    }
}

#[test]
fn an_authority_of_its_own_is_the_only_one() {
    let (config, authority) = certificates();
    let pages = Pages::start_with(Some(config), |_, _| answer(200, &[DATE, TAG], CONTENT));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("the directory takes a file");
        Some(path)
    };
    let plain = Transfer::of(&format!("https://{}", pages.address), "bucket", "key");
    let with = |ca_bundle| Transfer { ca_bundle, ..plain.clone() };
    // Two of them, the right one last, with words between them.
    let both = format!("# mine\n{}\n{authority}", certificates().1);
    let (ended, content) = with(file("both", &both)).pull();
    ended.succeeded();
    assert_eq!(content, CONTENT);
    let seen = pages.seen().len();
    let refused = with(file("other", &certificates().1)).pull().0.failed();
    assert!(refused.contains("certificate"), "{refused}");
    for (ca_bundle, expected) in [
        (file("none", "no certificate\n"), "it must hold certificates in the PEM form"),
        (file("bad", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "failed to"),
        (Some("/nowhere/ca.pem".into()), "failed to read the CA bundle /nowhere/ca.pem"),
    ] {
        let line = with(ca_bundle).pull().0.failed();
        assert!(line.contains(expected), "{line}");
    }
    assert_eq!(pages.seen().len(), seen);
}

#[test]
fn anonymous_requests_carry_no_signature() {
    let pages = Pages::start(|_, _| answer(200, &[DATE, TAG], CONTENT));
    let transfer = Transfer { anonymous: true, ..Transfer::of(&pages.url(""), "bucket", "key") };
    // With keys at hand, and without.
    transfer.pull().0.succeeded();
    Transfer { env: Vec::new(), ..transfer }.pull().0.succeeded();
    for seen in pages.seen() {
        assert_eq!((seen.header("authorization"), seen.header("x-amz-security-token")), ("", ""));
    }
}

#[test]
fn a_pull_that_is_cut_goes_on_where_it_was() {
    let pages = Pages::start(|number, seen| {
        if number == 0 {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n{DATE}\r\n{TAG}\r\n\r\n");
            return [head.as_bytes(), &CONTENT[..4]].concat();
        }
        assert_eq!(seen.header("range"), "bytes=4-9");
        answer(206, &[DATE, TAG, "Content-Range: bytes 4-9/10"], &CONTENT[4..])
    });
    let (ended, content) = Transfer::of(&pages.url(""), "bucket", "key").pull();
    ended.succeeded();
    assert_eq!(content, CONTENT);
}

#[test]
fn a_rest_that_is_shorter_than_announced_is_no_success() {
    let pages = Pages::start(|number, _| {
        if number == 0 {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n{DATE}\r\n{TAG}\r\n\r\n");
            return [head.as_bytes(), &CONTENT[..4]].concat();
        }
        answer(206, &[DATE, TAG, "Content-Range: bytes 4-9/10"], &CONTENT[4..7])
    });
    let line = Transfer::of(&pages.url(""), "bucket", "key").pull().0.failed();
    assert!(line.ends_with("it ended after 7 of 10 bytes"), "{line}");
}

#[test]
fn an_object_that_changes_meanwhile_is_not_pieced_together() {
    let pages = Pages::start(|number, _| {
        if number == 0 {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n{DATE}\r\n{TAG}\r\n\r\n");
            return [head.as_bytes(), &CONTENT[..4]].concat();
        }
        answer(206, &[DATE, "ETag: \"2\"", "Content-Range: bytes 4-9/10"], b"abcdef")
    });
    let (ended, content) = Transfer::of(&pages.url(""), "bucket", "key").pull();
    ended.failed();
    assert_eq!(content, &CONTENT[..4]);
}

#[test]
fn what_the_store_says_is_shown_on_one_line() {
    let body = "<?xml version=\"1.0\"?>\n<Error><Code>AuthorizationHeaderMalformed</Code>\
                <Message>the region is wrong;\n\x1b[2Jexpecting 'eu-west-1'</Message></Error>";
    let pages = Pages::start(move |_, _| answer(400, &[], body.as_bytes()));
    let line = Transfer::of(&pages.url(""), "bucket", "key").pull().0.failed();
    let said = "AuthorizationHeaderMalformed: the region is wrong;  [2Jexpecting 'eu-west-1'";
    assert!(line.ends_with(said), "{line}");
    let line = Transfer::of(&pages.url(""), "bucket", "key").push(b"x").failed();
    assert!(line.starts_with("failed to push s3://bucket/key at 127.0.0.1:") && line.ends_with(said), "{line}");
}

#[test]
fn a_bucket_that_is_missing_is_no_missing_object() {
    let pages = Pages::start(|_, _| answer(404, &[], b"<Error><Code>NoSuchBucket</Code></Error>"));
    let transfer = Transfer::of(&pages.url(""), "bucket", "key");
    assert!(transfer.pull().0.failed().ends_with("there is no such bucket"));
    assert!(transfer.push(b"x").failed().ends_with("there is no such bucket"));
    let pages = Pages::start(|_, _| answer(404, &[], b""));
    assert!(Transfer::of(&pages.url(""), "bucket", "key").pull().0.failed().ends_with("there is no such object"));
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Pages::start(|_, _| answer(200, &[DATE, TAG], CONTENT));
    let location = format!("Location: {}", elsewhere.url("/"));
    let pages = Pages::start(move |_, _| answer(307, &[&location], b""));
    Transfer::of(&pages.url(""), "bucket", "key").pull().0.failed();
    assert!(elsewhere.seen().is_empty());
}

#[test]
fn a_transfer_without_a_data_pipe_fails() {
    let request = StepRequest::S3 {
        direction: Direction::Pull,
        bucket: "bucket".into(),
        key: "key".into(),
        endpoint: Some("http://127.0.0.1:1".into()),
        region: None,
        env: env(&[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]),
        credentials_file: None,
        anonymous: false,
        ca_bundle: None,
        addressing: Addressing::Auto,
        resolve: crate::harness::host_resolver(),
    };
    let line = crate::harness::Step::start(&request).finish().failed();
    assert!(line.contains("failed to use the data pipe of this step"), "{line}");
}
