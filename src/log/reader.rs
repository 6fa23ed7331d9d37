//! The reading end.

use super::format::{
    BadIdentity, Found, Identity, MAX_PAYLOAD, PAGE, RECORD_HEADER, RecordHeader, SLOT_OFFSETS, SLOT_SIZE, Slot,
    extent, find_record, max_payload,
};
use super::{Counts, LogError, LogStream, LogWatch};
use jiff::Timestamp;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes copied from the file at once: a few records of the largest size.
const BATCH: u64 = 4 * (MAX_PAYLOAD as u64 + RECORD_HEADER as u64 + 8);

/// Tries to find a whole slot. One of two is whole unless the writer writes both during one pread.
const SLOT_TRIES: u32 = 100;

/// A piece of output, as it was handed to the log or a part of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Grows by one per record written.
    pub sequence: u64,
    pub stream: LogStream,
    /// Index in the plan's processes; `None`: coracle itself.
    pub process: Option<u16>,
    /// When the supervisor had it.
    pub timestamp: Timestamp,
    pub bytes: &'a [u8],
    /// Bytes of output (of any stream) between the record given before this one, or the start of the
    /// log, and this one, which were dropped, lost or damaged.
    pub missed_before: u64,
}

/// What one [`Reader::read_new`] came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records given.
    pub records: u64,
    /// Bytes of output that were missed in this call: the sum of [`Record::missed_before`], and what
    /// is missing after the last record.
    pub missed_bytes: u64,
    /// The log is complete and this was the last of it. Never true after the writer was killed.
    pub ended: bool,
    /// The writer's own counts for the whole log.
    pub counts: Counts,
}

/// Reads a log from its oldest record on, while it is written or after. Any number of readers may read
/// at the same time; none of them is seen by the writer.
#[derive(Debug)]
pub struct Reader {
    file: File,
    path: PathBuf,
    identity: Identity,
    /// Position of the next record to read.
    cursor: u64,
    /// Bytes of output before the cursor that were given or reported as missed.
    accounted: u64,
    /// Lowest sequence number that is not a repetition.
    next_sequence: u64,
    buffer: Vec<u8>,
}

/// A walk through what is in a log at its start, in steps; see [`Reader::begin`].
#[derive(Debug)]
pub struct Pass {
    first: Slot,
    before: Slot,
    progress: Progress,
}

impl Pass {
    /// What it has come to. Without its last step, that is a part.
    pub fn progress(&self) -> Progress {
        self.progress
    }
}

/// How a batch ended.
enum Batch {
    /// There may be more behind the cursor.
    More,
    /// Nothing more is written.
    CaughtUp,
}

impl Reader {
    /// Opens the log at `path`; nothing is read yet but the header.
    ///
    /// # Errors
    /// [`LogError::Io`]; [`LogError::NotALog`], [`LogError::Damaged`] and [`LogError::Newer`] for a file
    /// that cannot be read as a log.
    pub fn open(path: &Path) -> Result<Reader, LogError> {
        let io = |source| LogError::Io { action: "open the log", path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        if !file.metadata().map_err(io)?.is_file() {
            return Err(LogError::NotALog { path: path.to_owned(), reason: "it is not a regular file" });
        }
        let mut page = vec![0; PAGE as usize];
        let read = read_at_most(&file, &mut page, 0).map_err(|source| LogError::Io {
            action: "read the log",
            path: path.to_owned(),
            source,
        })?;
        let identity = Identity::decode(&page[..read]).map_err(|bad| match bad {
            BadIdentity::NotALog(reason) => LogError::NotALog { path: path.to_owned(), reason },
            BadIdentity::Newer(found) => LogError::Newer { path: path.to_owned(), found },
            BadIdentity::Damaged(reason) => LogError::Damaged { path: path.to_owned(), reason },
        })?;
        let reader = Reader {
            file,
            path: path.to_owned(),
            identity,
            cursor: 0,
            accounted: 0,
            next_sequence: 0,
            buffer: Vec::new(),
        };
        reader.slot()?;
        Ok(reader)
    }

    /// Bytes of records that the ring can hold.
    pub fn capacity(&self) -> u64 {
        self.identity.capacity
    }

    /// Wakes when the log grows or ends. Make it before the [`Reader::read_new`] after which you wait.
    ///
    /// # Errors
    /// [`LogError::TooManyWatches`], [`LogError::Io`].
    pub fn watch(&self) -> Result<LogWatch, LogError> {
        LogWatch::new(&self.file, &self.path)
    }

    /// For a reader that has read nothing yet: leaves out what is older than about the last `bytes` bytes of output
    /// that the log has now, without reading it. What is left out does not count as missed.
    ///
    /// # Errors
    /// As [`Reader::read_new`].
    pub fn skip_to_last(&mut self, bytes: u64) -> Result<(), LogError> {
        let slot = self.slot()?;
        let mut window = bytes.max(BATCH);
        while window < slot.head.saturating_sub(slot.tail) {
            self.cursor = (slot.head - window).next_multiple_of(8);
            if let Some(header) = self.first_record(&slot)?
                && slot.counts.total_bytes.saturating_sub(header.preceding) >= bytes
            {
                self.cursor = header.position;
                self.accounted = header.preceding;
                self.next_sequence = header.sequence;
                return Ok(());
            }
            // Small pieces of output take more room than they have bytes.
            window = window.saturating_mul(4);
        }
        self.cursor = 0;
        Ok(())
    }

    /// The first record from the cursor on, if there is one not far from it.
    fn first_record(&self, slot: &Slot) -> Result<Option<RecordHeader>, LogError> {
        let mut buffer = Vec::new();
        let filled = self.copy(&mut buffer, slot)?;
        let found = (0..filled).step_by(8).find_map(|offset| {
            match find_record(&buffer[offset..filled], self.cursor + offset as u64, &self.identity) {
                Found::Record(header, _) => Some(header),
                Found::CutShort | Found::Torn(_) | Found::Nothing => None,
            }
        });
        Ok(found)
    }

    /// Gives every record that is in the log now and was not given before, oldest first. Returns when
    /// it has reached what was the log's end at the start of the call; a writer that goes on cannot
    /// hold it here. What it has already copied stays valid while `each` takes its time.
    ///
    /// # Errors
    /// [`LogError::Io`], [`LogError::Damaged`] when no state slot is whole. Damaged records are no error
    /// but missed bytes.
    pub fn read_new(&mut self, each: &mut impl FnMut(Record<'_>)) -> Result<Progress, LogError> {
        let mut pass = self.begin()?;
        while !self.read_batch(&mut pass, each)? {}
        Ok(pass.progress)
    }

    /// Begins what [`Reader::read_new`] does, for a caller who cannot hold a whole log: [`Reader::read_batch`] goes
    /// on with it. Begin the next one when this one is done.
    ///
    /// # Errors
    /// As [`Reader::read_new`].
    pub fn begin(&self) -> Result<Pass, LogError> {
        let first = self.slot()?;
        Ok(Pass { first, before: first, progress: Progress::default() })
    }

    /// Gives the next records of a pass, a few hundred KiB at most. True when that was the last of it.
    ///
    /// # Errors
    /// As [`Reader::read_new`].
    pub fn read_batch(&mut self, pass: &mut Pass, each: &mut impl FnMut(Record<'_>)) -> Result<bool, LogError> {
        let before = pass.before;
        let mut buffer = std::mem::take(&mut self.buffer);
        self.cursor = self.cursor.max(before.tail);
        let filled = self.copy(&mut buffer, &before)?;
        let last = self.slot()?;
        let batch = if filled == 0 {
            self.pass_missing_end(&before, &last)
        } else {
            self.take(&buffer[..filled], &before, &last, &mut pass.progress, each)
        };
        self.buffer = buffer;
        let moved_on = last.generation != pass.first.generation;
        let is_done = matches!(batch, Batch::CaughtUp) || (moved_on && self.cursor >= pass.first.end);
        if !is_done {
            pass.before = last;
            return Ok(false);
        }
        let progress = &mut pass.progress;
        if self.cursor == last.head {
            progress.missed_bytes += last.counts.total_bytes.saturating_sub(self.accounted);
            self.accounted = self.accounted.max(last.counts.total_bytes);
        }
        progress.ended = last.closed.is_some() && self.cursor >= last.head;
        progress.counts = last.counts;
        Ok(true)
    }

    /// Gives the records at the start of `bytes`, which was copied from the cursor on, between reading
    /// the slots `before` and `after`.
    fn take(
        &mut self,
        bytes: &[u8],
        before: &Slot,
        after: &Slot,
        progress: &mut Progress,
        each: &mut impl FnMut(Record<'_>),
    ) -> Batch {
        let start = self.cursor;
        while let Some(rest) = bytes.get((self.cursor - start) as usize..).filter(|rest| !rest.is_empty()) {
            if self.cursor < after.tail {
                // Overtaken: these bytes may have been overwritten while they were copied.
                return Batch::More;
            }
            let skip = match find_record(rest, self.cursor, &self.identity) {
                Found::Record(header, payload) if self.follows(&header) => {
                    self.give(&header, payload, progress, each);
                    continue;
                }
                Found::CutShort if self.cursor > start => return Batch::More,
                Found::Record(_, payload) => extent(payload.len()),
                Found::Torn(extent) => extent,
                Found::Nothing | Found::CutShort => 8,
            };
            if self.cursor >= before.head {
                // Nothing there yet, or only in part. If it was finished since, look again.
                return if after.head > self.cursor { Batch::More } else { Batch::CaughtUp };
            }
            // Complete once, and no longer: damaged. Look for the next record.
            self.cursor = (self.cursor + skip).min(before.head);
        }
        Batch::More
    }

    fn follows(&self, header: &RecordHeader) -> bool {
        header.sequence >= self.next_sequence
            && header.sequence < u64::MAX
            && (self.accounted..=u64::MAX / 2).contains(&header.preceding)
    }

    fn give(
        &mut self,
        header: &RecordHeader,
        payload: &[u8],
        progress: &mut Progress,
        each: &mut impl FnMut(Record<'_>),
    ) {
        let missed_before = header.preceding - self.accounted;
        self.cursor += extent(payload.len());
        self.accounted = header.preceding + payload.len() as u64;
        self.next_sequence = header.sequence + 1;
        progress.records += 1;
        progress.missed_bytes += missed_before;
        each(Record {
            sequence: header.sequence,
            stream: header.stream,
            process: header.process,
            timestamp: header.timestamp(),
            bytes: payload,
            missed_before,
        });
    }

    /// The file ends before the cursor's place: what was there is gone, up to where the ring begins anew.
    fn pass_missing_end(&mut self, before: &Slot, after: &Slot) -> Batch {
        if self.cursor >= before.head {
            return if after.head > self.cursor { Batch::More } else { Batch::CaughtUp };
        }
        let capacity = self.identity.capacity;
        self.cursor = (self.cursor + capacity - self.cursor % capacity).min(before.head);
        Batch::More
    }

    /// Copies data from the cursor on into `buffer`: up to the end, and always enough for one record
    /// more, which may be there without the slot saying so. Returns how many bytes there are.
    fn copy(&self, buffer: &mut Vec<u8>, slot: &Slot) -> Result<usize, LogError> {
        let capacity = self.identity.capacity;
        let one_record = extent(max_payload(capacity));
        let wanted = slot.end.saturating_sub(self.cursor).clamp(one_record, BATCH).min(capacity) as usize;
        if buffer.len() < wanted {
            buffer.resize(wanted, 0);
        }
        let at = self.cursor % capacity;
        let (now, wrapped) = buffer[..wanted].split_at_mut(wanted.min((capacity - at) as usize));
        let mut filled = self.read_at_most(now, PAGE + at)?;
        if filled == now.len() && !wrapped.is_empty() {
            filled += self.read_at_most(wrapped, PAGE)?;
        }
        Ok(filled)
    }

    fn slot(&self) -> Result<Slot, LogError> {
        let [first, second] = SLOT_OFFSETS;
        let mut bytes = [0; 640];
        for _ in 0..SLOT_TRIES {
            let filled = self.read_at_most(&mut bytes[..second - first + SLOT_SIZE], first as u64)?;
            let decode = |at: usize| Slot::decode(bytes[..filled].get(at..)?, self.identity.capacity);
            let newest = [decode(0), decode(second - first)].into_iter().flatten().max_by_key(|slot| slot.generation);
            if let Some(slot) = newest {
                return Ok(slot);
            }
            std::thread::yield_now();
        }
        Err(LogError::Damaged { path: self.path.clone(), reason: "both of its state slots are invalid" })
    }

    fn read_at_most(&self, buffer: &mut [u8], offset: u64) -> Result<usize, LogError> {
        read_at_most(&self.file, buffer, offset).map_err(|source| LogError::Io {
            action: "read the log",
            path: self.path.clone(),
            source,
        })
    }
}

/// Fills `buffer` from the file as far as the file goes.
fn read_at_most(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
