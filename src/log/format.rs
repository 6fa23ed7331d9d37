//! The bytes of the file: encoding and checked decoding, no I/O. The tables are in the module docs
//! of [`super`].

use super::Counts;
use jiff::Timestamp;

pub(super) const MAGIC: [u8; 8] = *b"CORACLOG";
pub(super) const VERSION: u32 = 1;
/// Size of the header page; the data starts here.
pub(super) const PAGE: u64 = 4096;
pub(super) const IDENTITY_SIZE: usize = 44;
/// Where the two state slots are in the header page.
pub(super) const SLOT_OFFSETS: [usize; 2] = [512, 1024];
pub(super) const SLOT_SIZE: usize = 96;
pub(super) const RECORD_HEADER: usize = 56;
const ALIGNMENT: u64 = 8;
const NO_PROCESS: u16 = u16::MAX;
const FLAG_CLOSED: u32 = 1;

/// Fewest bytes of data a ring may have.
pub const MIN_SIZE: u64 = 4096;
/// Most bytes of data a ring may have.
pub const MAX_SIZE: u64 = 64 << 30;
/// Most bytes of payload in one record: what a pipe gives at once by default (pipe(7)).
pub const MAX_PAYLOAD: usize = 64 << 10;

/// Where a piece of output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogStream {
    /// Standard output of a process of the job.
    Stdout,
    /// Standard error of a process of the job.
    Stderr,
    /// Coracle itself.
    System,
}

impl LogStream {
    fn code(self) -> u8 {
        match self {
            LogStream::Stdout => 1,
            LogStream::Stderr => 2,
            LogStream::System => 3,
        }
    }

    fn from_code(code: u8) -> Option<LogStream> {
        match code {
            1 => Some(LogStream::Stdout),
            2 => Some(LogStream::Stderr),
            3 => Some(LogStream::System),
            _ => None,
        }
    }
}

/// The usable part of `max_size`.
pub(super) fn capacity_of(max_size: u64) -> Option<u64> {
    let capacity = max_size / ALIGNMENT * ALIGNMENT;
    (MIN_SIZE..=MAX_SIZE).contains(&capacity).then_some(capacity)
}

/// Most bytes of payload in a record of this ring: a sixteenth of it, so that one new record never
/// costs more than a small part of the old ones.
pub(super) fn max_payload(capacity: u64) -> usize {
    let sixteenth = capacity / 16 / ALIGNMENT * ALIGNMENT;
    usize::try_from(sixteenth).map_or(MAX_PAYLOAD, |bytes| bytes.min(MAX_PAYLOAD))
}

/// Bytes of the ring that a record with this payload takes.
pub(super) fn extent(payload: usize) -> u64 {
    ((RECORD_HEADER + payload) as u64).next_multiple_of(ALIGNMENT)
}

/// Nanoseconds since 1970; times outside of 1677..2262 become the nearest that fits.
pub(super) fn nanoseconds(time: Timestamp) -> i64 {
    let wide = time.as_nanosecond();
    i64::try_from(wide).unwrap_or(if wide < 0 { i64::MIN } else { i64::MAX })
}

fn timestamp(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).expect("64 bits of nanoseconds are within jiff's range")
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has N bytes")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, at))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(bytes_at(bytes, at))
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

/// What never changes in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub capacity: u64,
    pub nonce: u64,
    pub created: i64,
}

/// Why the start of a file is not that of a log we can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadIdentity {
    NotALog(&'static str),
    Newer(u32),
    Damaged(&'static str),
}

impl Identity {
    pub fn encode(&self) -> [u8; IDENTITY_SIZE] {
        let mut bytes = [0; IDENTITY_SIZE];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, VERSION.to_le_bytes());
        put(&mut bytes, 16, self.capacity.to_le_bytes());
        put(&mut bytes, 24, self.nonce.to_le_bytes());
        put(&mut bytes, 32, self.created.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..40]);
        put(&mut bytes, 40, checksum.to_le_bytes());
        bytes
    }

    /// `bytes`: the start of the file, as much of the header page as there is.
    pub fn decode(bytes: &[u8]) -> Result<Identity, BadIdentity> {
        if bytes.is_empty() {
            return Err(BadIdentity::NotALog("it is empty"));
        }
        if bytes.len() < 12 || bytes[..8] != MAGIC {
            return Err(BadIdentity::NotALog("it does not start with CORACLOG"));
        }
        // Before the checksum, whose place a newer version may have changed.
        match u32_at(bytes, 8) {
            VERSION => {}
            0 => return Err(BadIdentity::Damaged("its format version is 0")),
            newer => return Err(BadIdentity::Newer(newer)),
        }
        if (bytes.len() as u64) < PAGE {
            return Err(BadIdentity::Damaged("its header page is cut short"));
        }
        if u32_at(bytes, 40) != crc32fast::hash(&bytes[..40]) {
            return Err(BadIdentity::Damaged("the checksum of its header is wrong"));
        }
        let capacity = u64_at(bytes, 16);
        if capacity_of(capacity) != Some(capacity) {
            return Err(BadIdentity::Damaged("its header names an impossible size"));
        }
        Ok(Identity { capacity, nonce: u64_at(bytes, 24), created: i64_at(bytes, 32) })
    }
}

/// The state of a ring, as one slot of the header page holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Slot {
    pub generation: u64,
    pub tail: u64,
    pub head: u64,
    pub end: u64,
    pub next_sequence: u64,
    pub counts: Counts,
    pub closed: Option<i64>,
}

impl Slot {
    /// Where this generation is written, relative to the file.
    pub fn offset(&self) -> u64 {
        SLOT_OFFSETS[(self.generation & 1) as usize] as u64
    }

    pub fn encode(&self) -> [u8; SLOT_SIZE] {
        let mut bytes = [0; SLOT_SIZE];
        let numbers = [
            self.generation,
            self.tail,
            self.head,
            self.end,
            self.next_sequence,
            self.counts.total_bytes,
            self.counts.overwritten_bytes,
            self.counts.overwritten_records,
            self.counts.lost_bytes,
            self.counts.lost_records,
        ];
        for (index, number) in numbers.into_iter().enumerate() {
            put(&mut bytes, index * 8, number.to_le_bytes());
        }
        put(&mut bytes, 80, self.closed.unwrap_or(0).to_le_bytes());
        put(&mut bytes, 88, if self.closed.is_some() { FLAG_CLOSED } else { 0 }.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..92]);
        put(&mut bytes, 92, checksum.to_le_bytes());
        bytes
    }

    /// `None`: torn, never written, or contradicting itself.
    pub fn decode(bytes: &[u8], capacity: u64) -> Option<Slot> {
        let bytes = bytes.get(..SLOT_SIZE)?;
        if u32_at(bytes, 92) != crc32fast::hash(&bytes[..92]) {
            return None;
        }
        let closed = u32_at(bytes, 88) & FLAG_CLOSED != 0;
        let slot = Slot {
            generation: u64_at(bytes, 0),
            tail: u64_at(bytes, 8),
            head: u64_at(bytes, 16),
            end: u64_at(bytes, 24),
            next_sequence: u64_at(bytes, 32),
            counts: Counts {
                total_bytes: u64_at(bytes, 40),
                overwritten_bytes: u64_at(bytes, 48),
                overwritten_records: u64_at(bytes, 56),
                lost_bytes: u64_at(bytes, 64),
                lost_records: u64_at(bytes, 72),
            },
            closed: closed.then(|| i64_at(bytes, 80)),
        };
        let aligned = [slot.tail, slot.head, slot.end].iter().all(|position| position % ALIGNMENT == 0);
        let ordered = slot.tail <= slot.head && slot.head <= slot.end;
        // The upper bounds keep every later sum of positions or counts from overflowing.
        let bounded = slot.end <= u64::MAX / 2
            && slot.counts.overwritten_bytes <= u64::MAX / 2
            && slot.counts.lost_bytes <= u64::MAX / 2;
        (aligned && ordered && bounded && slot.end - slot.tail <= capacity).then_some(slot)
    }
}

/// The head of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub position: u64,
    pub sequence: u64,
    pub preceding: u64,
    pub time: i64,
    pub length: u32,
    pub stream: LogStream,
    pub process: Option<u16>,
    pub payload_checksum: u32,
}

impl RecordHeader {
    pub fn timestamp(&self) -> Timestamp {
        timestamp(self.time)
    }

    pub fn encode(&self, nonce: u64) -> [u8; RECORD_HEADER] {
        let mut bytes = [0; RECORD_HEADER];
        put(&mut bytes, 0, nonce.to_le_bytes());
        put(&mut bytes, 8, self.position.to_le_bytes());
        put(&mut bytes, 16, self.sequence.to_le_bytes());
        put(&mut bytes, 24, self.preceding.to_le_bytes());
        put(&mut bytes, 32, self.time.to_le_bytes());
        put(&mut bytes, 40, self.length.to_le_bytes());
        bytes[44] = self.stream.code();
        put(&mut bytes, 46, self.process.unwrap_or(NO_PROCESS).to_le_bytes());
        put(&mut bytes, 48, self.payload_checksum.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..52]);
        put(&mut bytes, 52, checksum.to_le_bytes());
        bytes
    }
}

/// What is found at a position.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Record(RecordHeader, &'a [u8]),
    /// The bytes at hand end before the record does.
    CutShort,
    /// A whole header, but not its payload; the record takes this many bytes of the ring.
    Torn(u64),
    /// No header.
    Nothing,
}

/// Looks for the record that starts at `position` with the first of `bytes`.
pub(super) fn find_record<'a>(bytes: &'a [u8], position: u64, identity: &Identity) -> Found<'a> {
    if bytes.len() >= 8 && u64_at(bytes, 0) != identity.nonce {
        return Found::Nothing;
    }
    let Some(head) = bytes.get(..RECORD_HEADER) else { return Found::CutShort };
    if u64_at(head, 8) != position || u32_at(head, 52) != crc32fast::hash(&head[..52]) {
        return Found::Nothing;
    }
    let length = u32_at(head, 40);
    let (Some(stream), 1..) = (LogStream::from_code(head[44]), length) else { return Found::Nothing };
    if length as usize > max_payload(identity.capacity) {
        return Found::Nothing;
    }
    let process = u16::from_le_bytes(bytes_at(head, 46));
    let header = RecordHeader {
        position,
        sequence: u64_at(head, 16),
        preceding: u64_at(head, 24),
        time: i64_at(head, 32),
        length,
        stream,
        process: (process != NO_PROCESS).then_some(process),
        payload_checksum: u32_at(head, 48),
    };
    let Some(payload) = bytes.get(RECORD_HEADER..RECORD_HEADER + length as usize) else { return Found::CutShort };
    if crc32fast::hash(payload) != header.payload_checksum {
        return Found::Torn(extent(payload.len()));
    }
    Found::Record(header, payload)
}
