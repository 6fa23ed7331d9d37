//! Large output: complete, in order, at any reader's pace, in little memory.

use super::lifecycle::until_line;
use crate::common::cli::Coracle;
use crate::common::fixture;
use crate::common::host::{HANGS_AFTER, Process, readable_within};
use nix::fcntl::{FcntlArg, fcntl};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

const MIB: usize = 1 << 20;

/// What the same program gives without a container.
fn expected(arguments: &[&str]) -> String {
    let mut child =
        Command::new(fixture::toolbox_on_host()).args(arguments).stdout(Stdio::piped()).spawn().expect("it starts");
    let (sum, _) = digest(&mut child.stdout.take().expect("a pipe"), MIB, 0);
    assert!(child.wait().expect("it ends").success());
    sum
}

/// SHA-256 and length of a stream read in blocks of `block` bytes; after each, `work` rounds of
/// hashing nothing, for a reader that is slower than the writer by more than a pipe's buffer.
fn digest(stream: &mut impl Read, block: usize, work: usize) -> (String, usize) {
    let (mut hasher, mut buffer, mut length) = (Sha256::new(), vec![0; block], 0);
    loop {
        let count = stream.read(&mut buffer).expect("the stream can be read");
        if count == 0 {
            let sum = hasher.finalize();
            return (sum.iter().map(|byte| format!("{byte:02x}")).collect(), length);
        }
        hasher.update(&buffer[..count]);
        length += count;
        for _ in 0..work {
            std::hint::black_box(Sha256::digest(&buffer[..count]));
        }
    }
}

fn through_coracle(arguments: &[&str], block: usize, work: usize) -> (String, usize) {
    let coracle = Coracle::new();
    let mut command = coracle.toolbox_command(&[], arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("it starts");
    let result = digest(&mut child.stdout.take().expect("a pipe"), block, work);
    assert!(child.wait().expect("it ends").success());
    result
}

#[test]
fn two_hundred_megabytes_arrive_as_they_were_written() {
    let arguments = ["flood", "200000000"];
    assert_eq!(through_coracle(&arguments, MIB, 0), (expected(&arguments), 200_000_000));
}

#[test]
fn a_slow_reader_gets_all_of_it_too() {
    let arguments = ["flood", "200000000"];
    assert_eq!(through_coracle(&arguments, 64 * 1024, 3), (expected(&arguments), 200_000_000));
}

#[test]
fn a_job_that_is_stopped_ends_though_nobody_reads_it() {
    for is_overdue in [true, false] {
        let coracle = Coracle::new();
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        // One page: less than what the job writes at once.
        fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).expect("a small pipe");
        let flags: &[&str] = if is_overdue { &["--deadline", "2s", "--grace", "0s"] } else { &[] };
        let mut command = coracle.toolbox_command(flags, &["flood", "200000000"]);
        let mut front = command.stdout(writer).stderr(Stdio::null()).spawn().expect("it starts");
        drop(command);
        let process = Process::open(front.id() as i32).expect("a child that was not waited for");
        if !is_overdue {
            assert!(readable_within(reader.as_fd(), HANGS_AFTER), "it writes nothing");
            let id = coracle.only_execution()["id"].as_str().expect("an id").to_owned();
            coracle.run(["cancel", "--grace", "0s", &id]).expect_code(0);
        }
        let hangs = !process.ends_within(HANGS_AFTER);
        let mut read = Vec::new();
        reader.read_to_end(&mut read).expect("a pipe");
        front.wait().expect("a child");
        assert!(!hangs, "it waits for its reader");
        let record = coracle.only_execution();
        assert_eq!(record["status"], if is_overdue { "failed" } else { "cancelled" }, "{record:#}");
        assert!(read.len() < 200_000_000 && record["notes"].to_string().contains("stdout is incomplete"), "{record:#}");
    }
}

#[test]
fn a_gigabyte_through_a_small_ring_leaves_the_supervisor_small() {
    let coracle = Coracle::new();
    let image = fixture::busybox();
    // After the flood it waits for a signal, so that the supervisor is still there to be looked at.
    let script = "yes $(printf %01022d 7) | head -c 1073741824; \
                  echo; echo flooded; trap 'exit 0' TERM; while :; do sleep 1000 & wait; done";
    let id = coracle.detach(&["--image", &image, "--", "sh", "-c", script]);
    until_line(&coracle, &id, "flooded");
    let supervisor = coracle.supervisor(&id);
    let peak = peak_memory(supervisor.pid) - program_memory(supervisor.pid);
    assert!(peak < 8 * 1024, "the supervisor's peak is {peak} KiB");
    coracle.run(["cancel", &id]).expect_code(0);
    coracle.run(["wait", &id]).expect_code(0);
    let log = coracle.run(["logs", "--tail", "3", &id]).expect_code(0);
    let lines = log.lines();
    assert_eq!(lines.last().map(String::as_str), Some("flooded"));
    assert_eq!(lines[1].len(), 1024 * MIB % 1023, "the last, shorter line before it");
}

/// The largest resident set that a process had, in KiB.
fn peak_memory(pid: i32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map(kilobytes).unwrap_or_else(|| panic!("no VmHWM: {status}"))
}

/// How much of that is the program itself, in KiB. Nothing in a release build; a debug build is ten
/// times as large, and its pages are no memory that the flood costs.
fn program_memory(pid: i32) -> usize {
    if !cfg!(debug_assertions) {
        return 0;
    }
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).expect("it lives").display().to_string();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).expect("it lives");
    let mut counts = false;
    let mut sum = 0;
    for line in maps.lines() {
        match line.strip_prefix("Rss:") {
            Some(value) if counts => sum += kilobytes(value),
            Some(_) => {}
            // The first line of a mapping begins with its addresses in lower-case hexadecimal.
            None if !line.starts_with(|first: char| first.is_ascii_uppercase()) => counts = line.ends_with(&program),
            None => {}
        }
    }
    assert!(sum > 0, "no mapping of {program}: {maps}");
    sum
}

/// The number of `   123 kB`.
fn kilobytes(text: &str) -> usize {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no size: {text:?}"))
}

#[test]
fn a_message_begins_a_line_of_its_own() {
    let coracle = Coracle::new();
    let script = ["sh", "-c", "printf unfinished; kill -9 $$"];
    let mut command = coracle.image_command(&fixture::busybox(), &["--progress", "none"], &script);
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    command.stdout(writer.try_clone().expect("a descriptor")).stderr(writer);
    assert_eq!(command.status().expect("it starts").code(), Some(137));
    drop(command);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("text");
    // Notes of the host may come before.
    assert!(text.starts_with("unfinished\n") || text.contains("\nunfinished\n"), "{text}");
    assert!(
        text.contains("\nunfinished\ncoracle: note: ") || text.starts_with("unfinished\ncoracle: note: "),
        "{text}"
    );
    // Elsewhere every byte is as it was written.
    let finished = coracle.finish(coracle.image_command(&fixture::busybox(), &["--progress", "none"], &script));
    let finished = finished.expect_code(137).expect_stdout("unfinished");
    assert!(finished.stderr().starts_with("coracle: note: "), "{finished}");
}
