//! Readers beside a writer, and a writer that is killed.

use super::*;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A wake that does not come within this time never comes.
const PATIENCE: Duration = Duration::from_secs(60);
const CHILD_LOG: &str = "CORACLE_TEST_LOG";

/// Reads along until the log ends; returns bytes given and missed.
fn follow(path: &Path) -> (u64, u64) {
    let mut reader = Reader::open(path).expect("the log opens");
    let watch = reader.watch().expect("the log can be watched");
    let (mut accounted, mut given, mut missed) = (0, 0, 0);
    loop {
        let mut inline = 0;
        let progress = reader
            .read_new(&mut |record| {
                inline += record.missed_before;
                accounted += record.missed_before;
                assert!(record.bytes == output(accounted, record.bytes.len()), "bytes never written there");
                accounted += record.bytes.len() as u64;
                given += record.bytes.len() as u64;
            })
            .expect("the log is readable");
        accounted += progress.missed_bytes - inline;
        missed += progress.missed_bytes;
        if progress.ended {
            assert_eq!(accounted, progress.counts.total_bytes);
            return (given, missed);
        }
        assert!(watch.wait_readable(&[], Some(PATIENCE)).expect("waiting works").log, "not woken");
    }
}

fn write_along(path: &Path, size: u64, chunks: u64, length: impl Fn(u64) -> usize) -> (u64, Vec<(u64, u64)>) {
    let mut writer = create(path, size);
    std::thread::scope(|scope| {
        let followers: Vec<_> = (0..2).map(|_| scope.spawn(|| follow(path))).collect();
        let mut total = 0;
        for chunk in 0..chunks {
            let bytes = output(total, length(chunk));
            writer.append(LogStream::Stdout, Some(0), time(0), &bytes);
            total += bytes.len() as u64;
        }
        writer.close(time(0));
        (total, followers.into_iter().map(|follower| follower.join().expect("a follower failed")).collect())
    })
}

#[test]
fn followers_of_a_large_ring_get_everything() {
    let directory = temporary();
    let (total, followers) = write_along(&log_in(&directory), 1 << 20, 3000, |chunk| 1 + (chunk * 7 % 200) as usize);
    assert_eq!(followers, [(total, 0), (total, 0)]);
}

#[test]
fn followers_of_a_small_ring_know_what_they_missed() {
    let directory = temporary();
    for (size, chunks) in [(4096, 20_000), (32768, 5_000)] {
        let length = |chunk: u64| 1 + (chunk * 31 % (size / 10)) as usize;
        let (total, followers) = write_along(&log_in(&directory), size, chunks, length);
        for (given, missed) in followers {
            assert_eq!(given + missed, total);
            assert!(given > 0, "the end of the log is always there");
        }
    }
}

#[test]
fn a_wait_ends_with_the_other_file_descriptor_or_the_time() {
    let directory = temporary();
    let path = log_in(&directory);
    let mut writer = create(&path, 4096);
    let reader = Reader::open(&path).expect("the log opens");
    let watch = reader.watch().expect("the log can be watched");
    let (supervisor_end, ours) = std::io::pipe().map(|(read, write)| (write, read)).expect("a pipe");
    let wait = || watch.wait_readable(&[ours.as_fd()], Some(Duration::ZERO)).expect("waiting works");
    assert_eq!(wait(), super::super::Wake::default());
    writer.append(LogStream::Stdout, None, time(0), b"x");
    assert_eq!((wait().log, wait().log), (true, false));
    drop(supervisor_end);
    assert_eq!((wait().log, wait().extra), (false, vec![0]));
    drop(writer);
    assert!(wait().log, "the writer's end wakes");
}

#[test]
fn a_reader_keeps_the_log_it_opened() {
    let directory = temporary();
    let path = log_in(&directory);
    let mut first = create(&path, 4096);
    let mut reader = Reader::open(&path).expect("the log opens");
    let mut second = create(&path, 4096);
    second.append(LogStream::Stdout, None, time(0), b"second");
    first.append(LogStream::Stdout, None, time(0), b"first");
    assert_eq!(read(&mut reader).0.concat_bytes(), b"first");
    assert_eq!(read_all(&path).0.concat_bytes(), b"second");
}

#[test]
fn a_killed_writer_leaves_a_readable_log() {
    for round in 0..12u64 {
        let directory = temporary();
        let path = log_in(&directory);
        drop(create(&path, 64 << 10));
        let mut reader = Reader::open(&path).expect("the log opens");
        let watch = reader.watch().expect("the log can be watched");
        let arguments = child_command("log::tests::concurrent::child_floods_a_log");
        let mut child = Command::new(&arguments[0])
            .args(&arguments[1..])
            .env(CHILD_LOG, &path)
            .stdout(Stdio::null())
            .spawn()
            .expect("the child starts");
        // The child makes the log anew: wait for the old one to go, then for records of the new one.
        while !watch.wait_readable(&[], Some(PATIENCE)).expect("waiting works").log {}
        reader = Reader::open(&path).expect("the log opens");
        let watch = reader.watch().expect("the log can be watched");
        let mut seen = 0;
        while seen < 20 + round * 100 {
            let progress = reader.read_new(&mut |record| seen = record.sequence + 1).expect("the log is readable");
            assert!(!progress.ended);
            let waited = watch.wait_readable(&[], Some(PATIENCE)).expect("waiting works");
            assert!(waited.log, "the child does not write");
        }
        child.kill().expect("killed");
        child.wait().expect("reaped");

        let (given, progress) = read_all(&path);
        assert!(!progress.ended, "a killed writer did not close its log");
        assert!(given.last().is_some_and(|last| last.sequence + 1 >= seen), "records that were seen are gone");
        assert!(given.concat_bytes().len() > 48 << 10 || progress.counts.overwritten_bytes == 0);
        let mut accounted = 0;
        for record in &given {
            accounted += record.missed_before;
            assert_eq!(record.bytes, output(accounted, record.bytes.len()));
            accounted += record.bytes.len() as u64;
        }
        assert_eq!(progress.missed_bytes, given[0].missed_before, "no gap but at the start");
    }
}

#[test]
#[ignore = "the child of a_killed_writer_leaves_a_readable_log"]
fn child_floods_a_log() {
    let Some(path) = std::env::var_os(CHILD_LOG).map(PathBuf::from) else { return };
    // When the parent's assertions fail, nobody else ends this loop.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).expect("prctl works");
    let mut writer = create(&path, 64 << 10);
    let mut total = 0;
    for chunk in 0u64.. {
        let bytes = output(total, 1 + (chunk * 613 % 3000) as usize);
        writer.append(LogStream::Stdout, Some(0), time(0), &bytes);
        total += bytes.len() as u64;
    }
}
