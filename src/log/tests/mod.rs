//! Tests of the log ring against real files.

mod batches;
mod concurrent;
mod damage;
mod disk;
mod lines;
mod model;

use super::{LogStream, Progress, Reader, Record, RingWriter};
use jiff::Timestamp;
use std::path::{Path, PathBuf};

/// A record with bytes of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    sequence: u64,
    stream: LogStream,
    process: Option<u16>,
    timestamp: Timestamp,
    bytes: Vec<u8>,
    missed_before: u64,
}

impl From<Record<'_>> for Given {
    fn from(record: Record<'_>) -> Given {
        Given {
            sequence: record.sequence,
            stream: record.stream,
            process: record.process,
            timestamp: record.timestamp,
            bytes: record.bytes.to_vec(),
            missed_before: record.missed_before,
        }
    }
}

fn time(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).expect("within range")
}

/// The byte at each offset of the output that tests write: not periodic with any size used.
fn output(from: u64, length: usize) -> Vec<u8> {
    (from..from + length as u64).map(|offset| (offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

fn read(reader: &mut Reader) -> (Vec<Given>, Progress) {
    let mut given = Vec::new();
    let progress = reader.read_new(&mut |record| given.push(Given::from(record))).expect("the log is readable");
    (given, progress)
}

fn read_all(path: &Path) -> (Vec<Given>, Progress) {
    read(&mut Reader::open(path).expect("the log opens"))
}

fn log_in(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("log.ring")
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn create(path: &Path, size: u64) -> RingWriter {
    RingWriter::create(path, size, time(1)).expect("the log is created")
}

/// Runs an ignored test of this binary as a process of its own.
fn child_command(test: &str) -> Vec<std::ffi::OsString> {
    let program = std::env::current_exe().expect("the test binary").into_os_string();
    let arguments = [test, "--exact", "--ignored", "--nocapture"];
    std::iter::once(program).chain(arguments.map(Into::into)).collect()
}

#[test]
fn what_was_written_is_read_with_stream_process_and_time() {
    let directory = temporary();
    let path = log_in(&directory);
    let mut writer = create(&path, 1 << 20);
    writer.append(LogStream::Stdout, Some(0), time(10), b"out\n");
    writer.append(LogStream::Stderr, Some(1), time(-20), b"\x00\xff no line end");
    writer.append(LogStream::System, None, time(i64::MAX), b"note\n");
    writer.append(LogStream::Stdout, Some(1), time(40), b"");
    let counts = writer.close(time(50));

    let (given, progress) = read_all(&path);
    let summary: Vec<_> =
        given.iter().map(|g| (g.sequence, g.stream, g.process, g.timestamp, g.bytes.as_slice())).collect();
    assert_eq!(
        summary,
        [
            (0, LogStream::Stdout, Some(0), time(10), b"out\n".as_slice()),
            (1, LogStream::Stderr, Some(1), time(-20), b"\x00\xff no line end"),
            (2, LogStream::System, None, time(i64::MAX), b"note\n"),
        ]
    );
    assert_eq!(progress, Progress { records: 3, missed_bytes: 0, ended: true, counts });
    assert_eq!((counts.total_bytes, counts.dropped_bytes()), (23, 0));
}

#[test]
fn a_log_is_private_and_takes_no_space_before_it_is_filled() {
    use std::os::unix::fs::MetadataExt;
    let directory = temporary();
    let path = log_in(&directory);
    let _writer = create(&path, 8 << 20);
    let metadata = std::fs::metadata(&path).expect("the log exists");
    assert_eq!(metadata.mode() & 0o777, 0o600);
    assert_eq!(metadata.len(), 4096 + (8 << 20));
    assert!(metadata.blocks() * 512 <= 64 << 10, "{} blocks", metadata.blocks());
}

#[test]
fn an_open_log_has_not_ended_and_a_closed_one_has() {
    let directory = temporary();
    let path = log_in(&directory);
    let mut writer = create(&path, 4096);
    let mut reader = Reader::open(&path).expect("the log opens");
    assert!(!read(&mut reader).1.ended);
    writer.append(LogStream::Stdout, None, time(2), b"x");
    assert!(!read(&mut reader).1.ended);
    writer.close(time(3));
    let (given, progress) = read(&mut reader);
    assert!(given.is_empty() && progress.ended);
}

#[test]
fn a_chunk_larger_than_the_ring_keeps_its_end() {
    let directory = temporary();
    let path = log_in(&directory);
    let mut writer = create(&path, 4096);
    writer.append(LogStream::Stdout, None, time(2), &output(0, 100));
    writer.append(LogStream::Stdout, None, time(2), &output(100, 1_000_000));
    let counts = writer.close(time(3));
    let (given, progress) = read_all(&path);
    let kept = given.concat_bytes();
    assert!(kept.len() > 3000, "{} bytes kept", kept.len());
    assert_eq!(kept, output(1_000_100 - kept.len() as u64, kept.len()));
    assert_eq!(progress.missed_bytes, 1_000_100 - kept.len() as u64);
    assert_eq!(counts.overwritten_bytes, progress.missed_bytes);
}

#[test]
fn a_one_mebibyte_ring_keeps_nearly_a_mebibyte_of_large_chunks() {
    let directory = temporary();
    let path = log_in(&directory);
    let mut writer = create(&path, 1 << 20);
    for chunk in 0..100 {
        writer.append(LogStream::Stdout, Some(0), time(2), &output(chunk * 65536, 65536));
    }
    let (given, _) = read_all(&path);
    assert_eq!(given.len(), 15, "records of 64 KiB and 56 bytes in 1 MiB");
    assert_eq!(given.concat_bytes(), output(85 * 65536, 15 * 65536));
}

#[test]
fn sizes_out_of_range_are_refused_by_name() {
    let directory = temporary();
    for size in [0, 4095, u64::MAX] {
        let error = RingWriter::create(&log_in(&directory), size, time(1)).expect_err("refused");
        assert!(error.to_string().contains("choose 4096 to"), "{error}");
    }
    assert!(!log_in(&directory).exists());
}

trait ConcatBytes {
    fn concat_bytes(&self) -> Vec<u8>;
}

impl ConcatBytes for Vec<Given> {
    fn concat_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|given| given.bytes.iter().copied()).collect()
    }
}
