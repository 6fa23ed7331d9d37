//! `logs`, on logs written by the test.

use crate::harness::Host;
use coracle::log::{LogStream, RingWriter};
use coracle::outcome::End;
use coracle::runtime::state::{LiveState, Stage};
use coracle::sys::process::ProcessIdentity;
use jiff::Timestamp;
use std::io::Read;
use std::process::{Command, Stdio};

const ID: &str = "0199aaaa-0000-7000-8000-000000000001";

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn ring(host: &Host, size: u64) -> RingWriter {
    let directory = host.state().container(&Host::container(ID));
    std::fs::create_dir_all(directory.path()).expect("a writable root");
    RingWriter::create(&directory.log(), size, time(0)).expect("a writable root")
}

/// An execution that ended, with three lines, binary bytes and an unfinished line.
fn host() -> Host {
    let host = Host::new();
    host.ended(ID, "job", End::Exited { code: 0 });
    let mut ring = ring(&host, 1 << 20);
    ring.append(LogStream::Stdout, Some(0), time(1), b"one\ntw");
    ring.append(LogStream::Stderr, Some(0), time(2), b"oops\n");
    ring.append(LogStream::Stdout, Some(0), time(3), b"o\n\x00\xff\x1b[m\nend");
    ring.close(time(4));
    host
}

#[test]
fn bytes_come_out_as_they_went_in() {
    let host = host();
    let ran = host.run(["logs", ID]);
    ran.exits(0);
    assert_eq!((&*ran.stdout, &*ran.stderr), (&b"one\ntwo\n\x00\xff\x1b[m\nend"[..], "oops\n"));
    let ran = host.run(["logs", "-f", ID]);
    ran.exits(0);
    assert_eq!((&*ran.stdout, &*ran.stderr), (&b"one\ntwo\n\x00\xff\x1b[m\nend"[..], "oops\n"));
}

#[test]
fn one_stream_may_be_chosen() {
    let host = host();
    host.run(["logs", "--stream", "stderr", ID]).exits(0).prints("").complains(&["oops\n"]);
    let ran = host.run(["logs", "--stream", "stdout", ID]);
    ran.exits(0).is_quiet();
    assert_eq!(ran.stdout, b"one\ntwo\n\x00\xff\x1b[m\nend");
    host.run(["logs", "--stream", "both", ID]).exits(125).complains(&["invalid value 'both'"]);
}

#[test]
fn the_tail_counts_lines() {
    let host = host();
    let tail = |count: &str| host.run(["logs", "--stream", "stdout", "--tail", count, ID]).exits(0).stdout.clone();
    assert_eq!(tail("0"), b"");
    assert_eq!(tail("1"), b"end");
    assert_eq!(tail("3"), b"two\n\x00\xff\x1b[m\nend");
    assert_eq!(tail("100"), b"one\ntwo\n\x00\xff\x1b[m\nend");
}

#[test]
fn timestamps_are_those_of_the_line_starts() {
    let host = host();
    host.run(["logs", "--timestamps", "--tail", "4", "--stream", "stdout", ID]);
    let ran = host.run(["logs", "-t", ID]);
    ran.exits(0);
    let text = ran.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "1970-01-01T00:00:01.000000000Z one");
    assert_eq!(lines[1], "1970-01-01T00:00:01.000000000Z two");
    assert_eq!(lines[3], "1970-01-01T00:00:03.000000000Z end");
    assert_eq!(ran.stderr, "1970-01-01T00:00:02.000000000Z oops\n");
}

#[test]
fn what_was_dropped_is_told() {
    let host = Host::new();
    host.ended(ID, "job", End::Exited { code: 0 });
    let mut ring = ring(&host, 4096);
    for number in 0..1000 {
        ring.append(LogStream::Stdout, Some(0), time(number), format!("line {number}\n").as_bytes());
    }
    ring.close(time(1000));
    let ran = host.run(["logs", ID]);
    ran.exits(0).complains(&["coracle: note: ", "of output are missing here", "4.0 KiB"]);
    assert!(ran.text().ends_with("line 998\nline 999\n") && ran.text().starts_with("line "), "{}", ran.text());
    // The tail that was asked for is all there.
    host.run(["logs", "-n", "2", ID]).exits(0).prints("line 998\nline 999\n").is_quiet();
    host.run(["logs", "-n", "900", ID]).exits(0).complains(&["of output are missing here"]);
}

#[test]
fn an_execution_without_a_log_has_no_output() {
    let host = Host::new();
    host.ended(ID, "job", End::NotCreated { stage: "pull the image".into(), message: "no such image".into() });
    for arguments in [&["logs", ID][..], &["logs", "-f", ID]] {
        host.run(arguments)
            .exits(0)
            .prints("")
            .complains(&["coracle: note: ", "failed to pull the image: no such image"]);
    }
}

#[test]
fn a_damaged_log_is_named() {
    let host = host();
    let path = host.state().container(&Host::container(ID)).log();
    std::fs::write(&path, "this is no ring").expect("a writable root");
    host.run(["logs", ID]).exits(125).prints("").complains(&["coracle: error: ", path.to_str().expect("UTF-8")]);
}

#[test]
fn following_shows_what_comes_and_ends_with_the_execution() {
    let host = Host::new();
    let mut supervisor = Command::new("sleep").arg("1000").spawn().expect("a child");
    let identity = ProcessIdentity::of(supervisor.id().cast_signed()).expect("a live process");
    host.active(ID, "job", &identity);
    let mut ring = ring(&host, 1 << 20);
    let state =
        LiveState { supervisor: identity, stage: Stage::Running, since: time(0), init_pid: None, cgroups: Vec::new() };
    state.write(&host.state().container(&Host::container(ID)).state()).expect("a writable root");
    ring.append(LogStream::Stdout, Some(0), time(1), b"before\nprompt> ");
    let mut child = host.command(["logs", "-f", ID]).stdout(Stdio::piped()).spawn().expect("a child");
    let mut out = child.stdout.take().expect("a pipe");
    let mut seen = |expected: &str| {
        let mut bytes = vec![0; expected.len()];
        out.read_exact(&mut bytes).expect("as many bytes");
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
    };
    // Each is seen while the execution goes on, an unfinished line too.
    seen("before\nprompt> ");
    ring.append(LogStream::Stdout, Some(0), time(2), b"answer\n");
    seen("answer\n");
    ring.append(LogStream::Stdout, Some(0), time(3), b"last words");
    // The log is never closed.
    std::mem::forget(ring);
    supervisor.kill().expect("a child of this process");
    supervisor.wait().expect("a child of this process");
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("the rest");
    assert_eq!(rest, "last words");
    assert!(child.wait().expect("a child to wait for").success());
}
