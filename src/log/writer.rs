//! The writing end.

use super::format::{Identity, PAGE, RecordHeader, SLOT_SIZE, Slot, capacity_of, extent, max_payload, nanoseconds};
use super::{Counts, LogError, LogStream};
use crate::sys::file::write_atomic_volatile;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// After a write error, output is dropped untried for this long (by the caller's clock): on a full
/// disk each try may make the file system search for space, and the job would feel that.
const RETRY_AFTER_NANOSECONDS: i64 = 100_000_000;

/// Neighbouring records are dropped together as long as they make up no more than this part of the
/// ring. It bounds the writer's memory at two entries per part, whatever the sizes of ring and records.
const DROP_GRANULARITY: u64 = 1024;

/// Where the bytes go; a seam for faults that no test can ask of a real disk.
pub trait Storage {
    /// pwritev(2): writes a part of the slices, at least one byte.
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;
}

impl Storage for File {
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        Ok(nix::sys::uio::pwritev(self, slices, offset)?)
    }
}

/// Records that are dropped together.
#[derive(Debug, Clone, Copy)]
struct Group {
    /// Bytes of the ring.
    extent: u64,
    payload: u64,
    records: u64,
}

/// Writes a log. There is one writer per file; no other process writes it.
///
/// Each append is two pwrites into the page cache. Dropped without [`RingWriter::close`], it leaves a
/// log that is not marked complete, just like a killed process.
#[derive(Debug)]
pub struct RingWriter<S = File> {
    storage: S,
    identity: Identity,
    max_payload: usize,
    /// The state as it will be written next.
    slot: Slot,
    /// From tail to head.
    groups: VecDeque<Group>,
    failure: Option<io::Error>,
    failed_at: Option<i64>,
}

impl RingWriter {
    /// Makes an empty log in place of whatever is at `path` (readers of an old log there keep it). It
    /// keeps up to `max_size` bytes of records, rounded down to a multiple of 8; each record takes
    /// 56 bytes beside its output. Only the owner can read the file.
    ///
    /// # Errors
    /// [`LogError::Size`] for a size outside of [`MIN_SIZE`](super::MIN_SIZE)..=[`MAX_SIZE`](super::MAX_SIZE),
    /// [`LogError::Io`].
    pub fn create(path: &Path, max_size: u64, now: Timestamp) -> Result<RingWriter, LogError> {
        let capacity = capacity_of(max_size).ok_or(LogError::Size { size: max_size })?;
        // The lower half of a version 7 UUID is random (RFC 9562 section 5.7).
        let nonce = uuid::Uuid::now_v7().as_u64_pair().1;
        let identity = Identity { capacity, nonce, created: nanoseconds(now) };
        let io = |action| move |source| LogError::Io { action, path: path.to_owned(), source };
        write_atomic_volatile(path, &header_page(&identity)).map_err(io("create the log"))?;
        let file = File::options().read(true).write(true).open(path).map_err(io("open the log"))?;
        file.set_permissions(PermissionsExt::from_mode(0o600)).map_err(io("restrict the log"))?;
        file.set_len(PAGE + capacity).map_err(io("size the log"))?;
        Ok(RingWriter::start(file, identity))
    }
}

/// The header page of an empty log.
pub(super) fn header_page(identity: &Identity) -> Vec<u8> {
    let mut page = vec![0; PAGE as usize];
    let fixed = identity.encode();
    page[..fixed.len()].copy_from_slice(&fixed);
    let slot = Slot::default();
    let at = slot.offset() as usize;
    page[at..at + SLOT_SIZE].copy_from_slice(&slot.encode());
    page
}

impl<S: Storage> RingWriter<S> {
    /// `storage` holds the header page of an empty log.
    pub(super) fn start(storage: S, identity: Identity) -> RingWriter<S> {
        RingWriter {
            storage,
            identity,
            max_payload: max_payload(identity.capacity),
            slot: Slot::default(),
            groups: VecDeque::new(),
            failure: None,
            failed_at: None,
        }
    }

    /// Adds output. `process` is the index in the plan's processes; `None`: coracle itself. More than
    /// 64 KiB (a sixteenth of a ring under 1 MiB) becomes several records; of more than the ring holds
    /// only the end is kept.
    ///
    /// Never fails and never waits: what cannot be written counts as lost.
    pub fn append(&mut self, stream: LogStream, process: Option<u16>, now: Timestamp, bytes: &[u8]) {
        let capacity = usize::try_from(self.identity.capacity).unwrap_or(usize::MAX);
        let (hopeless, kept) = bytes.split_at(bytes.len().saturating_sub(capacity));
        self.slot.counts.total_bytes += hopeless.len() as u64;
        self.slot.counts.overwritten_bytes += hopeless.len() as u64;
        for payload in kept.chunks(self.max_payload) {
            self.append_record(stream, process, nanoseconds(now), payload);
        }
    }

    /// Marks the log as complete and says what became of the output.
    pub fn close(mut self, now: Timestamp) -> Counts {
        self.slot.closed = Some(nanoseconds(now));
        if let Err(error) = self.write_slot(self.slot.head) {
            // The log stays as a killed writer leaves it; readers cope with that.
            tracing::debug!(%error, "failed to mark the log as complete");
        }
        self.slot.counts
    }

    /// What became of the output so far.
    pub fn counts(&self) -> Counts {
        self.slot.counts
    }

    /// The newest error that made output count as lost.
    pub fn write_error(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }

    fn append_record(&mut self, stream: LogStream, process: Option<u16>, time: i64, payload: &[u8]) {
        let length = payload.len() as u64;
        if self.failed_at.is_some_and(|failed| (0..RETRY_AFTER_NANOSECONDS).contains(&time.saturating_sub(failed))) {
            self.lose(length);
            return;
        }
        match self.try_append(stream, process, time, payload) {
            Ok(()) => {
                self.failed_at = None;
                self.slot.head += extent(payload.len());
                self.slot.next_sequence += 1;
                self.slot.counts.total_bytes += length;
                self.remember(payload.len());
            }
            Err(error) => {
                self.failure = Some(error);
                self.failed_at = Some(time);
                self.lose(length);
                // So that readers learn of the loss; when this fails too, the next try tells them.
                let _ = self.write_slot(self.slot.head);
            }
        }
    }

    fn lose(&mut self, length: u64) {
        self.slot.counts.total_bytes += length;
        self.slot.counts.lost_bytes += length;
        self.slot.counts.lost_records += 1;
    }

    fn try_append(
        &mut self,
        stream: LogStream,
        process: Option<u16>,
        time: i64,
        payload: &[u8],
    ) -> Result<(), io::Error> {
        let position = self.slot.head;
        let end = position + extent(payload.len());
        while end - self.slot.tail > self.identity.capacity {
            let group = self.groups.pop_front().expect("a record is never larger than the ring");
            self.slot.tail += group.extent;
            self.slot.counts.overwritten_bytes += group.payload;
            self.slot.counts.overwritten_records += group.records;
        }
        self.write_slot(end)?;
        let header = RecordHeader {
            position,
            sequence: self.slot.next_sequence,
            preceding: self.slot.counts.total_bytes,
            time,
            length: u32::try_from(payload.len()).expect("a payload is at most MAX_PAYLOAD"),
            stream,
            process,
            payload_checksum: crc32fast::hash(payload),
        };
        self.write_ring(position, &header.encode(self.identity.nonce), payload)
    }

    fn remember(&mut self, payload: usize) {
        let part = self.identity.capacity / DROP_GRANULARITY;
        let new = Group { extent: extent(payload), payload: payload as u64, records: 1 };
        match self.groups.back_mut() {
            Some(last) if last.extent + new.extent <= part => {
                last.extent += new.extent;
                last.payload += new.payload;
                last.records += 1;
            }
            _ => self.groups.push_back(new),
        }
    }

    fn write_slot(&mut self, end: u64) -> io::Result<()> {
        let next = Slot { generation: self.slot.generation + 1, end, ..self.slot };
        self.write_all(&next.encode(), &[], next.offset())?;
        // Only now: after a failure the same slot is tried again, and the other one stays whole.
        self.slot = next;
        Ok(())
    }

    fn write_ring(&self, position: u64, header: &[u8], payload: &[u8]) -> io::Result<()> {
        let at = position % self.identity.capacity;
        let room = usize::try_from(self.identity.capacity - at).unwrap_or(usize::MAX);
        if let Some(payload_room) = room.checked_sub(header.len()) {
            let (now, wrapped) = payload.split_at(payload_room.min(payload.len()));
            self.write_all(header, now, PAGE + at)?;
            self.write_all(wrapped, &[], PAGE)
        } else {
            let (now, wrapped) = header.split_at(room);
            self.write_all(now, &[], PAGE + at)?;
            self.write_all(wrapped, payload, PAGE)
        }
    }

    fn write_all(&self, mut first: &[u8], mut second: &[u8], mut offset: u64) -> io::Result<()> {
        while !(first.is_empty() && second.is_empty()) {
            let written = match self.storage.write_at(&[IoSlice::new(first), IoSlice::new(second)], offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let of_first = written.min(first.len());
            first = &first[of_first..];
            second = &second[written - of_first..];
            offset += written as u64;
        }
        Ok(())
    }
}
