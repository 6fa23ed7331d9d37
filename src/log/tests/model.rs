//! The ring against a model that keeps everything.

use super::super::format::{Identity, PAGE, extent};
use super::super::writer::{Storage, header_page};
use super::*;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};

#[derive(Debug, Clone)]
enum Step {
    Append {
        stream: LogStream,
        process: Option<u16>,
        length: usize,
    },
    /// A follower reads what is new.
    Follow,
}

fn step() -> impl Strategy<Value = Step> {
    let stream = prop_oneof![Just(LogStream::Stdout), Just(LogStream::Stderr), Just(LogStream::System)];
    let process = prop_oneof![Just(None), (0..3u16).prop_map(Some)];
    let length = prop_oneof![8 => 1..64usize, 4 => 1..700usize, 1 => 1..20_000usize];
    prop_oneof![
        6 => (stream, process, length).prop_map(|(stream, process, length)| Step::Append { stream, process, length }),
        1 => Just(Step::Follow),
    ]
}

/// What a reader has seen, checked against the output as it was written.
#[derive(Default)]
struct Seen {
    /// Bytes given or reported as missed.
    accounted: u64,
    given: u64,
    missed: u64,
    next_sequence: u64,
}

impl Seen {
    fn check(&mut self, records: &[Given], progress: &Progress) {
        let mut missed = 0;
        for record in records {
            missed += record.missed_before;
            self.accounted += record.missed_before;
            assert_eq!(record.bytes, output(self.accounted, record.bytes.len()), "bytes that were never written there");
            assert!(record.sequence >= self.next_sequence, "repeated or out of order");
            self.next_sequence = record.sequence + 1;
            self.accounted += record.bytes.len() as u64;
            self.given += record.bytes.len() as u64;
        }
        assert!(missed <= progress.missed_bytes);
        self.accounted += progress.missed_bytes - missed;
        self.missed += progress.missed_bytes;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn kept_output_is_a_suffix_and_the_counts_are_exact(
        size in 4096..12_000u64,
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let directory = temporary();
        let path = log_in(&directory);
        let mut writer = create(&path, size);
        let mut follower = Reader::open(&path).expect("the log opens");
        let mut followed = Seen::default();
        let mut total = 0;
        for (index, step) in steps.iter().enumerate() {
            match step {
                Step::Append { stream, process, length } => {
                    writer.append(*stream, *process, time(index as i64), &output(total, *length));
                    total += *length as u64;
                }
                Step::Follow => {
                    let (given, progress) = read(&mut follower);
                    followed.check(&given, &progress);
                    prop_assert_eq!(followed.accounted, total, "the follower is not up to date");
                }
            }
        }
        let counts = writer.close(time(0));
        let (given, progress) = read(&mut follower);
        followed.check(&given, &progress);
        prop_assert!(progress.ended);
        prop_assert_eq!(followed.given + followed.missed, total);

        let (given, progress) = read_all(&path);
        let kept = given.concat_bytes();
        prop_assert_eq!(&kept, &output(total - kept.len() as u64, kept.len()), "not a suffix");
        prop_assert_eq!(progress.counts, counts);
        prop_assert_eq!(counts.total_bytes, total);
        prop_assert_eq!(counts.lost_bytes, 0);
        prop_assert_eq!(counts.overwritten_bytes, total - kept.len() as u64);
        prop_assert_eq!(progress.missed_bytes, counts.overwritten_bytes);
        if let Some(first) = given.first() && total - (kept.len() as u64) < size {
            // No chunk was too large for the ring, so each dropped one was a record.
            prop_assert_eq!(first.sequence, counts.overwritten_records);
        }
        // Not dropped before there is need: what is kept and one more record would not fit.
        let used: u64 = given.iter().map(|record| extent(record.bytes.len())).sum();
        prop_assert!(counts.overwritten_bytes == 0 || used + extent(size as usize / 16) + 8 > size - size % 8 - 16);
    }

    #[test]
    fn write_errors_lose_no_more_than_they_say(
        size in 4096..12_000u64,
        steps in proptest::collection::vec((step(), fault(), fault(), fault()), 1..120),
    ) {
        let directory = temporary();
        let path = log_in(&directory);
        let identity = Identity { capacity: size / 8 * 8, nonce: 77, created: 0 };
        std::fs::write(&path, header_page(&identity)).expect("written");
        let file = File::options().write(true).open(&path).expect("opened");
        file.set_len(PAGE + identity.capacity).expect("sized");
        let faults = RefCell::new(VecDeque::new());
        let mut writer = RingWriter::start(Faulty { file, faults: &faults }, identity);
        let mut follower = Reader::open(&path).expect("the log opens");
        let mut followed = Seen::default();
        let mut total = 0;
        for (index, (step, first, second, third)) in steps.iter().enumerate() {
            // A second later each time, so that every append tries again.
            let now = time(index as i64 * 1_000_000_000);
            faults.replace([*first, *second, *third].into());
            match step {
                Step::Append { stream, process, length } => {
                    let lost = writer.counts().lost_bytes;
                    writer.append(*stream, *process, now, &output(total, *length));
                    let failed = [first, second, third].into_iter().any(|fault| matches!(fault, Fault::NoSpace));
                    prop_assert!(failed || writer.counts().lost_bytes == lost, "lost without a failure");
                    total += *length as u64;
                }
                Step::Follow => {
                    let (given, progress) = read(&mut follower);
                    followed.check(&given, &progress);
                }
            }
        }
        faults.borrow_mut().clear();
        let counts = writer.close(time(0));
        let (given, progress) = read(&mut follower);
        followed.check(&given, &progress);
        prop_assert!(progress.ended);
        prop_assert_eq!(followed.given + followed.missed, total);

        let (given, progress) = read_all(&path);
        Seen::default().check(&given, &progress);
        let kept = given.concat_bytes().len() as u64;
        prop_assert_eq!(kept + counts.overwritten_bytes + counts.lost_bytes, total);
        prop_assert_eq!(progress.counts, counts);
    }
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    Short(usize),
    Interrupted,
    NoSpace,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        6 => Just(Fault::None),
        2 => (1..200usize).prop_map(Fault::Short),
        1 => Just(Fault::Interrupted),
        2 => Just(Fault::NoSpace),
    ]
}

/// A file whose next writes fail as asked.
struct Faulty<'a> {
    file: File,
    faults: &'a RefCell<VecDeque<Fault>>,
}

impl Storage for Faulty<'_> {
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        match self.faults.borrow_mut().pop_front().unwrap_or(Fault::None) {
            Fault::None => self.file.write_at(slices, offset),
            Fault::Short(limit) => {
                let slice = slices.iter().find(|slice| !slice.is_empty()).expect("nothing to write");
                self.file.write_at(&[IoSlice::new(&slice[..limit.min(slice.len())])], offset)
            }
            Fault::Interrupted => Err(io::ErrorKind::Interrupted.into()),
            Fault::NoSpace => Err(io::ErrorKind::StorageFull.into()),
        }
    }
}

#[test]
fn a_full_disk_is_left_alone_for_a_tenth_of_a_second() {
    let directory = temporary();
    let path = log_in(&directory);
    let identity = Identity { capacity: 4096, nonce: 77, created: 0 };
    std::fs::write(&path, header_page(&identity)).expect("written");
    let file = File::options().write(true).open(&path).expect("opened");
    let faults = RefCell::new(VecDeque::from([Fault::None, Fault::NoSpace]));
    let mut writer = RingWriter::start(Faulty { file, faults: &faults }, identity);
    writer.append(LogStream::Stdout, None, time(0), b"lost");
    writer.append(LogStream::Stdout, None, time(99_999_999), b"untried");
    writer.append(LogStream::Stdout, None, time(100_000_000), b"written");
    assert_eq!(writer.write_error().map(io::Error::kind), Some(io::ErrorKind::StorageFull));
    let (given, progress) = read_all(&path);
    assert_eq!(given.concat_bytes(), b"written");
    assert_eq!((given[0].missed_before, progress.counts.lost_bytes, progress.counts.lost_records), (11, 11, 2));
}
