//! Transfers to and from a real server.

use super::server::{BUCKET, KEY_ID, SECRET, Server};
use super::{Transfer, env};
use crate::common::host::{Feature, needs};
use crate::harness::hosts;
use coracle::step::Addressing;
use std::fs::{self, File};
use std::io::{Read, Write};

const MIB: usize = 1 << 20;
/// A transfer's memory, whatever the object's size.
const MOST_MEMORY: u64 = 64 * MIB as u64;
const LARGE: usize = 80 * MIB + 1;

/// Content of any length in which no two blocks are alike.
struct Content {
    at: usize,
    length: usize,
}

impl Content {
    fn new(length: usize) -> Content {
        Content { at: 0, length }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(self.length - self.at);
        for (index, byte) in buffer[..count].iter_mut().enumerate() {
            let at = self.at + index;
            *byte = ((at / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (8 * (at % 8))) as u8;
        }
        self.at += count;
        Ok(count)
    }
}

/// Takes only what comes out of the reader.
struct Check<R>(R);

impl<R: Read> Write for Check<R> {
    fn write(&mut self, found: &[u8]) -> std::io::Result<usize> {
        let mut expected = vec![0; found.len()];
        self.0.read_exact(&mut expected)?;
        if found == expected { Ok(found.len()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_large_object_goes_through_in_bounded_memory() {
    if !needs(Feature::S3) {
        return;
    }
    let server = Server::start();
    let transfer = Transfer::of(&server.endpoint, BUCKET, "large");
    let (mut step, mut writer) = transfer.start_push();
    std::io::copy(&mut Content::new(LARGE), &mut writer).expect("the step reads");
    let peak = step.peak_memory();
    assert!(peak < MOST_MEMORY, "{peak}");
    drop(writer);
    assert!(!server.path("large").exists(), "it is not committed yet");
    step.commit();
    step.finish().succeeded();
    let stored = File::open(server.path("large")).expect("the object is there");
    assert_eq!(stored.metadata().expect("an open file").len(), LARGE as u64);
    assert_eq!(std::io::copy(&mut Content::new(LARGE), &mut Check(stored)).expect("the same content"), LARGE as u64);
    assert_eq!(server.parts(), [""; 0]);

    let (step, mut reader) = transfer.start_pull();
    let mut check = Check(Content::new(LARGE));
    let most = LARGE as u64 - MIB as u64;
    assert_eq!(std::io::copy(&mut (&reader).take(most), &mut check).expect("the same content"), most);
    let peak = step.peak_memory();
    assert!(peak < MOST_MEMORY, "{peak}");
    assert_eq!(std::io::copy(&mut reader, &mut check).expect("the same content"), MIB as u64);
    step.finish().succeeded();
}

#[test]
fn small_and_empty_objects_and_odd_keys() {
    if !needs(Feature::S3) {
        return;
    }
    let server = Server::start();
    for (key, content) in [
        ("empty", &b""[..]),
        ("a", b"x"),
        ("dir one/\u{fc}n\u{ef} \u{65e5}\u{672c}/c+d%20&e?=#;'(1)*.txt", b"odd\0\xff"),
    ] {
        let transfer = Transfer::of(&server.endpoint, BUCKET, key);
        if let Some(directory) = server.path(key).parent() {
            fs::create_dir_all(directory).expect("the storage");
        }
        transfer.push(content).succeeded();
        assert_eq!(fs::read(server.path(key)).expect("the object is there"), content, "{key}");
        let (ended, found) = transfer.pull();
        ended.succeeded();
        assert_eq!(found, content, "{key}");
    }
    // One that is there is replaced.
    let transfer = Transfer::of(&server.endpoint, BUCKET, "a");
    transfer.push(b"yy").succeeded();
    assert_eq!(transfer.pull().1, b"yy");
}

#[test]
fn a_push_that_is_not_committed_leaves_nothing() {
    if !needs(Feature::S3) {
        return;
    }
    let server = Server::start();
    for length in [0, 10, 30 * MIB] {
        let (mut step, mut writer) = Transfer::of(&server.endpoint, BUCKET, "object").start_push();
        std::io::copy(&mut Content::new(length), &mut writer).expect("the step reads");
        drop(writer);
        step.abandon();
        assert!(step.finish().failed().ends_with("its content ended early, nothing was stored"));
        assert!(!server.path("object").exists());
        assert_eq!(server.parts(), [""; 0], "{length}");
    }
    // Also while its content is still coming.
    let (mut step, mut writer) = Transfer::of(&server.endpoint, BUCKET, "object").start_push();
    std::io::copy(&mut Content::new(40 * MIB), &mut writer).expect("the step reads");
    step.abandon();
    assert!(step.finish().failed().contains("s3://files/object at 127.0.0.1:"));
    assert_eq!((server.path("object").exists(), server.parts()), (false, Vec::new()));
    drop(writer);
}

#[test]
fn refusals_are_told_apart_and_no_secret_is_told() {
    if !needs(Feature::S3) {
        return;
    }
    let server = Server::start();
    fs::write(server.path("object"), "content").expect("the storage");
    let good = Transfer::of(&server.endpoint, BUCKET, "object");
    let keys = |id: &str, secret: &str| env(&[("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)]);
    let cases = [
        (Transfer { env: keys(KEY_ID, "hidden"), ..good.clone() }, "access was refused; check the keys", true),
        (Transfer { env: keys("NOBODY", SECRET), ..good.clone() }, "failed to", true),
        (Transfer { key: "absent".into(), ..good.clone() }, "there is no such object", false),
        (Transfer { env: Vec::new(), ..good.clone() }, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", true),
        (Transfer { bucket: "a/../b".into(), ..good.clone() }, "failed to use the bucket", true),
        (Transfer { key: "/object".into(), ..good.clone() }, "failed to use the key", true),
        (Transfer { key: "a/../object".into(), ..good.clone() }, "failed to use the key", true),
        (Transfer { endpoint: "127.0.0.1:1".into(), ..good.clone() }, "failed to use the endpoint", true),
    ];
    for (transfer, expected, also_push) in cases {
        let told = |line: String| assert!(line.contains(expected) && !line.contains("hidden"), "{expected}: {line}");
        let (ended, content) = transfer.pull();
        told(ended.failed());
        assert!(content.is_empty());
        if also_push {
            told(transfer.push(b"other").failed());
        }
    }
    assert_eq!(fs::read(server.path("object")).expect("the object is there"), b"content");
}

#[test]
fn keys_come_from_a_file_and_names_from_the_job() {
    if !needs(Feature::S3) {
        return;
    }
    let server = Server::start();
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let text = format!("[default]\n[ci]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n");
    fs::write(file.path(), text).expect("a temporary file");
    let port = server.endpoint.rsplit(':').next().expect("a port");
    let transfer = Transfer {
        env: env(&[("AWS_PROFILE", "ci")]),
        credentials_file: Some(file.path().to_owned()),
        resolve: hosts(&[("store.test", "127.0.0.1")]),
        ..Transfer::of(&format!("http://store.test:{port}"), BUCKET, "object")
    };
    transfer.push(b"content").succeeded();
    assert_eq!(transfer.pull().1, b"content");
    let line = Transfer { env: Vec::new(), ..transfer }.pull().0.failed();
    assert!(line.contains("no profile [default] with keys"), "{line}");
}

#[test]
fn a_server_that_dies_half_way_fails_the_transfer() {
    if !needs(Feature::S3) {
        return;
    }
    let mut server = Server::start();
    let transfer = Transfer::of(&server.endpoint, BUCKET, "large");
    std::io::copy(&mut Content::new(LARGE), &mut File::create(server.path("large")).expect("the storage"))
        .expect("the storage");
    let (step, mut reader) = transfer.start_pull();
    let mut check = Check(Content::new(LARGE));
    std::io::copy(&mut (&reader).take(MIB as u64), &mut check).expect("the same content");
    let (pushing, mut writer) = Transfer { key: "other".into(), ..transfer }.start_push();
    std::io::copy(&mut Content::new(33 * MIB), &mut writer).expect("the step reads");
    server.kill();
    // What comes of it is right, but not all.
    let rest = std::io::copy(&mut reader, &mut check).expect("the same content");
    assert!(rest < (LARGE - MIB) as u64);
    let line = step.finish().failed();
    assert!(line.starts_with("failed to pull s3://files/large at 127.0.0.1:"), "{line}");
    // Its data goes on until it notices.
    let _ = std::io::copy(&mut Content::new(33 * MIB), &mut writer);
    drop(writer);
    let ended = pushing.finish();
    let last = ended.lines.last().expect("it says why");
    assert_eq!(ended.code, Some(1));
    assert!(last.starts_with("failed to push s3://files/other at 127.0.0.1:"), "{last}");
}

#[test]
fn a_reader_that_goes_ends_the_pull() {
    if !needs(Feature::S3) {
        return;
    }
    let server = Server::start();
    fs::write(server.path("object"), vec![1; MIB]).expect("the storage");
    let (step, reader) = Transfer::of(&server.endpoint, BUCKET, "object").start_pull();
    drop(reader);
    let line = step.finish().failed();
    assert!(line.contains("its reader has gone: Broken pipe"), "{line}");
}

#[test]
fn a_bucket_for_everyone_is_asked_without_keys() {
    if !needs(Feature::S3) {
        return;
    }
    let server = Server::start_for_everyone();
    let transfer = Transfer { anonymous: true, env: Vec::new(), ..Transfer::of(&server.endpoint, BUCKET, "object") };
    transfer.push(b"content").succeeded();
    assert_eq!(transfer.pull().1, b"content");
    // One that is not for everyone says so.
    let server = Server::start();
    let line = Transfer { endpoint: server.endpoint.clone(), ..transfer }.push(b"x").failed();
    assert!(line.contains("access was refused"), "{line}");
}

#[test]
fn a_bucket_may_be_in_the_name_of_the_host() {
    if !needs(Feature::S3) {
        return;
    }
    let server = Server::start_in("store.test");
    let port = server.endpoint.rsplit(':').next().expect("a port");
    let transfer = Transfer {
        addressing: Addressing::Virtual,
        // Without the bucket, the name leads nowhere.
        resolve: hosts(&[(&format!("{BUCKET}.store.test"), "127.0.0.1")]),
        ..Transfer::of(&format!("http://store.test:{port}"), BUCKET, "a/object")
    };
    fs::create_dir(server.path("a")).expect("the storage");
    transfer.push(b"content").succeeded();
    assert_eq!(fs::read(server.path("a/object")).expect("the object is there"), b"content");
    assert_eq!(transfer.pull().1, b"content");
    let large = vec![7; 13 * MIB];
    transfer.push(&large).succeeded();
    assert!(transfer.pull().1 == large);
    let line = Transfer { endpoint: server.endpoint.clone(), ..transfer }.pull().0.failed();
    assert!(line.contains("failed to use the endpoint: it has no name"), "{line}");
}
