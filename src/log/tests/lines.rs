//! Assembly of lines.

use super::super::{Line, Lines, Tail};
use super::*;
use proptest::prelude::*;

fn record(stream: LogStream, process: u16, at: i64, bytes: &[u8]) -> Record<'_> {
    Record { sequence: 0, stream, process: Some(process), timestamp: time(at), bytes, missed_before: 0 }
}

fn shown(records: &[Record<'_>], timestamps: bool) -> String {
    let mut lines = Lines::new();
    let mut out = Vec::new();
    let mut show = |line: Line<'_>| line.write_to(&mut out, timestamps).expect("memory takes everything");
    for record in records {
        lines.push(record, &mut show);
    }
    lines.flush(&mut show);
    String::from_utf8(out).expect("text")
}

fn tail(records: &[Record<'_>], limit: usize) -> String {
    let mut lines = Lines::new();
    let mut tail = Tail::new(limit);
    for record in records {
        lines.push(record, &mut |line| tail.push(&line));
    }
    lines.flush(&mut |line| tail.push(&line));
    tail.into_lines().map(|line| String::from_utf8(line.bytes).expect("text")).collect()
}

use LogStream::{Stderr, Stdout};

#[test]
fn lines_carry_the_time_of_their_start() {
    let records = [record(Stdout, 0, 1, b"a"), record(Stdout, 0, 1_500_000_000, b"b\nc\nd")];
    assert_eq!(
        shown(&records, true),
        "1970-01-01T00:00:00.000000001Z ab\n1970-01-01T00:00:01.500000000Z c\n1970-01-01T00:00:01.500000000Z d"
    );
}

#[test]
fn streams_and_processes_do_not_mix_within_a_line() {
    let records = [
        record(Stdout, 0, 1, b"out "),
        record(Stderr, 0, 1, b"err "),
        record(Stdout, 1, 1, b"other\n"),
        record(Stderr, 0, 1, b"err\n"),
        record(Stdout, 0, 1, b"out\n"),
    ];
    assert_eq!(shown(&records, false), "other\nerr err\nout out\n");
}

#[test]
fn missed_output_ends_the_line_before_it() {
    let mut records = [record(Stdout, 0, 1, b"start"), record(Stdout, 0, 2, b"end\n")];
    records[1].missed_before = 9;
    assert_eq!(shown(&records, true), "1970-01-01T00:00:00.000000001Z start1970-01-01T00:00:00.000000002Z end\n");
}

#[test]
fn a_prompt_can_be_shown_and_its_line_goes_on() {
    let mut lines = Lines::new();
    let mut pieces = Vec::new();
    let mut keep = |line: Line<'_>| pieces.push((line.bytes.to_vec(), line.starts, line.ends));
    lines.push(&record(Stdout, 0, 1, b"name? "), &mut keep);
    lines.flush(&mut keep);
    lines.flush(&mut keep);
    lines.push(&record(Stdout, 0, 1, b"x\ny\n"), &mut keep);
    let expected = [(b"name? ".to_vec(), true, false), (b"x\n".to_vec(), false, true), (b"y\n".to_vec(), true, true)];
    assert_eq!(pieces, expected);
}

#[test]
fn endless_lines_are_given_in_pieces() {
    let mut lines = Lines::new();
    let (mut longest, mut total, mut starts) = (0, 0, 0);
    for _ in 0..64 {
        lines.push(&record(Stdout, 0, 1, &[b'x'; 65_000]), &mut |line| {
            longest = longest.max(line.bytes.len());
            total += line.bytes.len();
            starts += usize::from(line.starts);
        });
    }
    lines.flush(&mut |line| total += line.bytes.len());
    assert_eq!((total, starts), (64 * 65_000, 1));
    assert!(longest <= 128 << 10);
}

#[test]
fn the_tail_is_counted_in_lines() {
    let long = "x".repeat(200_000);
    let records = [
        record(Stdout, 0, 1, b"1\n2\n3\n"),
        record(Stdout, 0, 1, long.as_bytes()),
        record(Stdout, 0, 1, b"\n5\nunfinished"),
    ];
    assert_eq!(tail(&records, 0), "");
    assert_eq!(tail(&records, 1), "unfinished");
    assert_eq!(tail(&records, 2), "5\nunfinished");
    assert_eq!(tail(&records, 4), format!("3\n{long}\n5\nunfinished"));
    assert_eq!(tail(&records, 100), format!("1\n2\n3\n{long}\n5\nunfinished"));
}

proptest! {
    #[test]
    fn lines_of_one_stream_are_its_exact_bytes(chunks in proptest::collection::vec("[a\n]{1,9}", 0..20)) {
        let records: Vec<_> = chunks.iter().map(|chunk| record(Stdout, 0, 1, chunk.as_bytes())).collect();
        let all = chunks.concat();
        prop_assert_eq!(shown(&records, false), all.clone());
        let lines: Vec<_> = all.split_inclusive('\n').collect();
        for limit in 0..5 {
            prop_assert_eq!(tail(&records, limit), lines[lines.len().saturating_sub(limit)..].concat());
        }
    }
}
