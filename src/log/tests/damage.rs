//! Files that a crash, a broken disk or a hostile hand left.

use super::super::LogError;
use super::super::format::{Identity, SLOT_OFFSETS, Slot};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

const SIZE: u64 = 4096;
const FILE_SIZE: usize = 4096 + SIZE as usize;

type WornLog = (Vec<Vec<u8>>, BTreeMap<u64, Given>);

/// A small log that has gone round, the bytes of its file after every append, and all records ever
/// written by sequence number.
fn worn_log() -> &'static WornLog {
    static WORN: OnceLock<WornLog> = OnceLock::new();
    WORN.get_or_init(wear_a_log)
}

fn wear_a_log() -> WornLog {
    let directory = temporary();
    let path = log_in(&directory);
    let mut writer = create(&path, SIZE);
    let mut reader = Reader::open(&path).expect("the log opens");
    let (mut versions, mut records, mut total) = (Vec::new(), BTreeMap::new(), 0);
    for index in 0..60usize {
        let length = 1 + index * 37 % 250;
        writer.append(LogStream::Stdout, Some(index as u16), time(index as i64), &output(total, length));
        total += length as u64;
        records.extend(read(&mut reader).0.into_iter().map(|given| (given.sequence, given)));
        versions.push(std::fs::read(&path).expect("the log is readable"));
    }
    writer.close(time(60));
    versions.push(std::fs::read(&path).expect("the log is readable"));
    assert!(records.values().all(|record| record.missed_before == 0) && records.len() == 60);
    (versions, records)
}

/// Reads whatever is there and checks that it was written once.
fn check(path: &Path, written: &BTreeMap<u64, Given>) -> Result<(Vec<Given>, Progress), LogError> {
    let mut given: Vec<Given> = Vec::new();
    let progress = Reader::open(path)?.read_new(&mut |record| given.push(record.into()))?;
    for (index, record) in given.iter().enumerate() {
        let original = written.get(&record.sequence).expect("a sequence number that was never written");
        let same = Given { missed_before: original.missed_before, ..record.clone() };
        assert_eq!(&same, original);
        assert!(index == 0 || given[index - 1].sequence < record.sequence, "repeated or out of order");
    }
    Ok((given, progress))
}

#[test]
fn any_damaged_byte_costs_one_record_at_most() {
    let (versions, written) = worn_log();
    let whole = versions.last().expect("there are versions");
    let directory = temporary();
    let path = log_in(&directory);
    std::fs::write(&path, whole).expect("written");
    let (intact, intact_progress) = check(&path, written).expect("the intact log is readable");
    let file = File::options().write(true).open(&path).expect("opened");
    for at in 0..FILE_SIZE {
        for flip in [0x01, 0xff] {
            file.write_all_at(&[whole[at] ^ flip], at as u64).expect("damaged");
            match check(&path, written) {
                Ok((given, progress)) => {
                    assert!(given.len() + 1 >= intact.len(), "byte {at} cost {} records", intact.len() - given.len());
                    let bytes = given.concat_bytes().len() as u64;
                    // Damage to the newer slot takes us back to the one before, which knows one record less.
                    assert!(bytes + progress.missed_bytes == intact_progress.counts.total_bytes, "byte {at}");
                }
                Err(error) => assert!(at < 44, "byte {at}: {error}"),
            }
        }
        file.write_all_at(&whole[at..=at], at as u64).expect("repaired");
    }
}

#[test]
fn a_log_cut_short_anywhere_is_read_as_far_as_it_goes() {
    let (versions, written) = worn_log();
    let whole = versions.last().expect("there are versions");
    let directory = temporary();
    let path = log_in(&directory);
    std::fs::write(&path, whole).expect("written");
    let file = File::options().write(true).open(&path).expect("opened");
    let mut left = check(&path, written).expect("the intact log is readable").0.len();
    for length in (0..FILE_SIZE).rev() {
        file.set_len(length as u64).expect("cut");
        match check(&path, written) {
            Ok((given, progress)) => {
                assert!(length >= 4096);
                assert!(given.len() + 1 >= left, "one byte less cost {} records", left - given.len());
                left = given.len();
                let bytes = given.concat_bytes().len() as u64;
                assert_eq!(bytes + progress.missed_bytes, progress.counts.total_bytes, "cut to {length}");
            }
            Err(LogError::NotALog { .. }) => assert!(length < 12),
            Err(LogError::Damaged { .. }) => assert!((12..4096).contains(&length)),
            Err(error) => panic!("cut to {length}: {error}"),
        }
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let (versions, _) = worn_log();
    let directory = temporary();
    let path = log_in(&directory);
    let message = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("written");
        Reader::open(&path).expect_err("not readable").to_string()
    };
    assert!(message(b"").contains("it is empty"));
    assert!(message(b"hello world, this is text").contains("is not a coracle log"));
    let mut newer = versions[0].clone();
    newer[8] = 2;
    assert!(message(&newer).contains("written by a newer coracle (format version 2"));
    let mut no_slots = versions[0].clone();
    no_slots[500..2000].fill(0);
    assert!(message(&no_slots).contains("both of its state slots are invalid"));
    let missing = Reader::open(&directory.path().join("nothing")).expect_err("not readable");
    assert!(matches!(&missing, LogError::Io { path, .. } if path.ends_with("nothing")));
    assert!(Reader::open(directory.path()).expect_err("a directory").to_string().contains("not a regular file"));
}

#[test]
fn output_that_looks_like_a_record_is_not_taken_for_one() {
    let directory = temporary();
    let path = log_in(&directory);
    let other = directory.path().join("other.ring");
    // A record of another log, at the very position where it will be looked for after the damage.
    let mut forger = create(&other, SIZE);
    forger.append(LogStream::System, None, time(1), &[b'.'; 8]);
    forger.append(LogStream::System, None, time(1), b"forged!!");
    let forged = std::fs::read(&other).expect("read")[4096 + 64..4096 + 128].to_vec();
    let mut writer = create(&path, SIZE);
    writer.append(LogStream::Stdout, None, time(1), &[&[b' '; 8][..], &forged].concat());
    writer.append(LogStream::Stdout, None, time(1), b"after");
    let file = File::options().write(true).open(&path).expect("opened");
    file.write_all_at(&[0; 56], 4096).expect("damaged");
    let (given, progress) = read_all(&path);
    assert_eq!(given.concat_bytes(), b"after");
    assert_eq!(progress.missed_bytes, 72);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// After a crash of the host each block of the file may be of any age.
    #[test]
    fn blocks_of_different_ages_yield_only_what_was_written(
        ages in proptest::collection::vec(0..61usize, FILE_SIZE / 512),
    ) {
        let (versions, written) = worn_log();
        let mixed: Vec<u8> = ages.iter().enumerate()
            .flat_map(|(block, age)| versions[*age][block * 512..][..512].to_vec()).collect();
        let directory = temporary();
        let path = log_in(&directory);
        std::fs::write(&path, mixed).expect("written");
        check(&path, written).expect("the header is whole in all versions");
    }

    /// Slots with right checksums that say anything at all, over the data of a real log.
    #[test]
    fn hostile_positions_neither_hang_nor_invent(
        tail in any::<u64>(), head in any::<u64>(), end in any::<u64>(), near in any::<bool>(),
        closed in any::<Option<i64>>(), cut in 4096..=FILE_SIZE,
    ) {
        let (versions, written) = worn_log();
        let scale = |position: u64| if near { position % 20_000 / 8 * 8 } else { position / 8 * 8 };
        let mut positions = [tail, head, end].map(scale);
        positions.sort_unstable();
        let [tail, head, end] = positions;
        let slot = Slot { generation: 2, tail, head, end, closed, ..Slot::default() };
        let mut bytes = versions[59].clone();
        bytes[SLOT_OFFSETS[1]..][..96].fill(0);
        bytes[SLOT_OFFSETS[0]..][..96].copy_from_slice(&slot.encode());
        bytes.truncate(cut);
        let directory = temporary();
        let path = log_in(&directory);
        std::fs::write(&path, bytes).expect("written");
        // An error and an empty log are both right; what is given must have been written.
        if let Err(error) = check(&path, written) {
            prop_assert!(matches!(error, LogError::Damaged { .. }), "{}", error);
        }
    }

    #[test]
    fn any_bytes_behind_a_good_header_are_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
        let identity = Identity { capacity: SIZE, nonce: 0, created: 0 };
        let mut file = identity.encode().to_vec();
        file.extend_from_slice(&bytes);
        let directory = temporary();
        let path = log_in(&directory);
        std::fs::write(&path, file).expect("written");
        if let Ok((given, _)) = check(&path, &BTreeMap::new()) {
            prop_assert!(given.is_empty());
        }
    }
}
