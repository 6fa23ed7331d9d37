//! The log ring: a job's stdio in a file of bounded size.
//!
//! One process, the supervisor, writes ([`RingWriter`]); any number of others read at the same time
//! ([`Reader`], [`LogWatch`]) without a lock. The oldest output goes first when the ring is full.
//! [`Lines`] and [`Tail`] turn what was read into lines for display.
//!
//! # Promises
//! - The writer never fails outward and never waits for a reader: a write error (full disk, broken
//!   disk) makes the chunk count as lost, and writing goes on as soon as the disk lets it.
//! - A reader gets records whole, in order, each at most once, and never a byte that was not written.
//!   Whatever it did not get, it is told how many bytes that were ([`Record::missed_before`],
//!   [`Progress::missed_bytes`]).
//! - This holds after the writer's death at any moment, after a crash of the host (which may have
//!   written pages in any order, or not at all), for a truncated file and for any other bytes: what
//!   does not carry the right checksums is passed over, and a file that is no log is a [`LogError`].
//! - Nothing is fsynced: a log survives the death of every process; a crash of the host may cost its
//!   last seconds.
//!
//! # File format, version 1
//! All numbers are little-endian. The file is one header page of 4096 bytes and `capacity` bytes of
//! data; a shorter file has lost its end. It is sparse at first: a short log takes little disk. (Space
//! taken in advance would keep a log alive on a full disk, at the price of the full size for every
//! short one.) Checksums are CRC-32 (ISO-HDLC, as in gzip: RFC 1952 section 8).
//!
//! The stream of records is numbered by *position*: a byte offset that only grows. The byte at
//! position `p` is at `4096 + p % capacity` in the file, so records wrap around the end.
//!
//! Header page, written once:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `CORACLOG` |
//! | 8 | 4 | version: 1 |
//! | 12 | 4 | zero |
//! | 16 | 8 | capacity: bytes of data, a multiple of 8, [`MIN_SIZE`]..=[`MAX_SIZE`] |
//! | 24 | 8 | nonce: random; starts every record, so that no output can pass for one |
//! | 32 | 8 | creation time: nanoseconds since 1970 UTC, signed |
//! | 40 | 4 | checksum of bytes 0..40 |
//!
//! At offsets 512 and 1024 (own sectors) two slots hold the state. The writer writes them in turn, so
//! one is whole at any moment. The valid one of the higher generation counts:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | generation: grows by one per write; its lowest bit is the slot's number |
//! | 8 | 8 | tail: position of the oldest record kept |
//! | 16 | 8 | head: position behind the newest record that is complete |
//! | 24 | 8 | end: position behind the record being written; `head` when there is none |
//! | 32 | 8 | sequence number of the record at head |
//! | 40 | 8 | bytes handed to the log before head, whatever became of them |
//! | 48 | 8 | bytes dropped because newer ones took their place |
//! | 56 | 8 | records dropped for that reason |
//! | 64 | 8 | bytes lost to write errors |
//! | 72 | 8 | chunks lost to write errors |
//! | 80 | 8 | end time: nanoseconds since 1970 UTC, signed; 0 without flag 1 |
//! | 88 | 4 | flags: 1 = the log is complete; all others zero |
//! | 92 | 4 | checksum of bytes 0..92 |
//!
//! A record starts at a position that is a multiple of 8:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | nonce of the file |
//! | 8 | 8 | position of this record |
//! | 16 | 8 | sequence number: 0, 1, 2, … over the records written |
//! | 24 | 8 | bytes handed to the log before this record, whatever became of them |
//! | 32 | 8 | time: nanoseconds since 1970 UTC, signed |
//! | 40 | 4 | length of the payload, 1..=min(65536, capacity / 16) |
//! | 44 | 1 | stream: 1 stdout, 2 stderr, 3 system |
//! | 45 | 1 | zero |
//! | 46 | 2 | process: index in the plan; 65535 = none |
//! | 48 | 4 | checksum of the payload |
//! | 52 | 4 | checksum of bytes 0..52 |
//! | 56 | | payload, then up to 7 bytes of no meaning up to a multiple of 8 |
//!
//! # Order of writes
//! For each record the writer first writes a slot: it makes the record before complete (head), says
//! which bytes are about to be overwritten (tail, end), then it writes the record. A reader copies
//! records, reads the slots once more, and throws away what is now before tail. The record at head may
//! be in the middle of being written; it counts when its checksums are right. A watcher is woken after
//! each write, so at the latest when the record is there.

mod error;
mod format;
mod lines;
mod reader;
mod watch;
mod writer;

#[cfg(test)]
mod tests;

pub use error::LogError;
pub use format::{LogStream, MAX_PAYLOAD, MAX_SIZE, MIN_SIZE};
pub use lines::{Line, Lines, OwnedLine, Tail};
pub use reader::{Pass, Progress, Reader, Record};
pub use watch::{LogWatch, Wake};
pub use writer::RingWriter;

/// What became of the bytes handed to a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes handed to the log.
    pub total_bytes: u64,
    /// Bytes dropped because newer ones took their place.
    pub overwritten_bytes: u64,
    /// Records dropped for that reason.
    pub overwritten_records: u64,
    /// Bytes that could not be written (disk full, I/O error).
    pub lost_bytes: u64,
    /// Chunks that could not be written.
    pub lost_records: u64,
}

impl Counts {
    /// Bytes that are no longer, or never were, in the log.
    pub fn dropped_bytes(&self) -> u64 {
        self.overwritten_bytes + self.lost_bytes
    }
}
