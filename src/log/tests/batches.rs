//! Reading a log in pieces.

use super::{Given, create, log_in, output, read, read_all, temporary, time};
use crate::log::{LogStream, Reader};

/// A batch holds at most what is copied at once: four records of the largest size.
const MOST: usize = 4 * (65536 + 64);

#[test]
fn a_pass_in_batches_gives_what_is_there_and_no_more_at_once() {
    let directory = temporary();
    let path = log_in(&directory);
    let mut writer = create(&path, 8 << 20);
    let mut at = 0;
    // More than fits: the oldest are gone.
    for length in (1..400).map(|number| number * 331 % 50_000 + 1) {
        writer.append(LogStream::Stdout, None, time(1), &output(at, length));
        at += length as u64;
    }
    let (expected, whole) = read_all(&path);
    assert!(whole.missed_bytes > 0 && expected.iter().map(|given| given.bytes.len()).sum::<usize>() > 10 * MOST);

    let mut reader = Reader::open(&path).expect("the log opens");
    let mut pass = reader.begin().expect("the log is readable");
    let (mut all, mut batches) = (Vec::new(), 0);
    loop {
        let mut batch: Vec<Given> = Vec::new();
        let is_done = reader.read_batch(&mut pass, &mut |record| batch.push(Given::from(record)));
        assert!(batch.iter().map(|given| given.bytes.len()).sum::<usize>() <= MOST);
        all.extend(batch);
        batches += 1;
        if is_done.expect("the log is readable") {
            break;
        }
    }
    assert!(batches > 10, "{batches} batches");
    assert_eq!((all, pass.progress()), (expected, whole));
}

#[test]
fn a_writer_that_goes_on_holds_no_pass_up() {
    let directory = temporary();
    let path = log_in(&directory);
    let mut writer = create(&path, 1 << 20);
    let mut at = 0;
    let mut write = |bytes: usize| {
        writer.append(LogStream::Stdout, None, time(1), &output(at, bytes));
        at += bytes as u64;
        at
    };
    for _ in 0..8 {
        write(60_000);
    }
    let mut reader = Reader::open(&path).expect("the log opens");
    let (mut given, mut missed, mut passes) = (Vec::new(), 0, 0);
    let mut pass = reader.begin().expect("the log is readable");
    let total = loop {
        let is_done = reader.read_batch(&mut pass, &mut |record| given.push(Given::from(record)));
        if is_done.expect("the log is readable") {
            passes += 1;
            missed += pass.progress().missed_bytes;
            if passes == 3 {
                break write(1);
            }
            pass = reader.begin().expect("the log is readable");
        }
        // As much as a batch holds, each time.
        for _ in 0..5 {
            write(50_000);
        }
    };
    let mut last = reader.begin().expect("the log is readable");
    while !reader.read_batch(&mut last, &mut |record| given.push(Given::from(record))).expect("the log is readable") {}
    missed += last.progress().missed_bytes;
    let bytes: u64 = given.iter().map(|given| given.bytes.len() as u64).sum();
    assert_eq!(bytes + missed, total);
    assert!(given.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
}

#[test]
fn the_end_of_a_log_is_read_without_the_rest() {
    let directory = temporary();
    let path = log_in(&directory);
    let mut writer = create(&path, 8 << 20);
    let mut at = 0;
    // At the end small pieces, which take more room in the file than they have bytes.
    for length in (1..400).map(|number| number * 331 % 50_000 + 1).chain(std::iter::repeat_n(3, 20_000)) {
        writer.append(LogStream::Stdout, None, time(1), &output(at, length));
        at += length as u64;
    }
    let (all, whole) = read_all(&path);
    let size = |given: &[Given]| given.iter().map(|given| given.bytes.len()).sum::<usize>();
    for wanted in [0, 1, 100, 59_000, 60_001, 1 << 20, size(&all), 9 << 20] {
        let mut reader = Reader::open(&path).expect("the log opens");
        reader.skip_to_last(wanted as u64).expect("the log is readable");
        let (given, progress) = read(&mut reader);
        assert!(size(&given) >= wanted.min(size(&all)), "{wanted}");
        assert!(all.ends_with(&given) || given == all, "{wanted}");
        let is_all = given.len() == all.len();
        assert_eq!(progress.missed_bytes, if is_all { whole.missed_bytes } else { 0 }, "{wanted}");
        assert!(wanted > 100 || size(&given) < 64 << 10, "{wanted}: {}", size(&given));
    }
}
