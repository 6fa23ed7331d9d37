//! The log of a mock container: bounded, and followed without polling.

use crate::engine::{LogEntry, LogEvent, LogQuery, LogStream};
use crate::log::LogStream as Stream;
use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

#[derive(Debug)]
pub(super) struct Log {
    /// Bytes of output that are kept.
    capacity: u64,
    kept: Mutex<Kept>,
    /// True when nothing more is written.
    changes: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<LogEntry>,
    /// Of the next entry.
    sequence: u64,
    bytes: u64,
    /// Bytes that were dropped before the oldest entry.
    dropped: u64,
}

impl Kept {
    /// Before the entry from which on there are so many bytes, or before all.
    fn before_last(&self, bytes: u64) -> Position {
        let mut position = Position { sequence: self.sequence, accounted: self.dropped + self.bytes };
        for entry in self.entries.iter().rev() {
            if self.dropped + self.bytes - position.accounted >= bytes {
                return position;
            }
            position = Position {
                sequence: entry.sequence,
                accounted: position.accounted.saturating_sub(entry.bytes.len() as u64),
            };
        }
        // With what was dropped, as when nothing is left out.
        Position { accounted: 0, ..position }
    }
}

impl Log {
    pub fn new(capacity: u64) -> Arc<Log> {
        Arc::new(Log { capacity, kept: Mutex::default(), changes: watch::Sender::new(false) })
    }

    pub fn write(&self, stream: Stream, timestamp: Timestamp, bytes: &[u8]) {
        let mut kept = self.kept();
        let entry = LogEntry {
            sequence: kept.sequence,
            stream,
            step: None,
            timestamp,
            bytes: bytes.to_vec(),
            missed_before: 0,
            capacity: self.capacity,
        };
        kept.sequence += 1;
        kept.bytes += bytes.len() as u64;
        kept.entries.push_back(entry);
        while kept.bytes > self.capacity
            && let Some(oldest) = kept.entries.pop_front()
        {
            kept.bytes -= oldest.bytes.len() as u64;
            kept.dropped += oldest.bytes.len() as u64;
        }
        drop(kept);
        self.changes.send_modify(|_| {});
    }

    pub fn close(&self) {
        self.changes.send_replace(true);
    }

    pub fn read(self: Arc<Log>, query: LogQuery) -> LogStream {
        let changes = self.changes.subscribe();
        let position = query.last_bytes.map(|bytes| self.kept().before_last(bytes)).unwrap_or_default();
        let reading = Reading { log: self, query, changes, position, last: None };
        stream::unfold(reading, async |mut reading| Some((reading.batch().await?, reading)))
            .flat_map(stream::iter)
            .map(Ok)
            .boxed()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic elsewhere leaves whole entries.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Reading {
    log: Arc<Log>,
    query: LogQuery,
    changes: watch::Receiver<bool>,
    position: Position,
    /// Whether the batch before was the last one; `None` before the first.
    last: Option<bool>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Position {
    sequence: u64,
    /// Bytes before it that were given or told as missed.
    accounted: u64,
}

impl Reading {
    async fn batch(&mut self) -> Option<Vec<LogEvent>> {
        match self.last {
            Some(true) => return None,
            // The writer is as old as the log that this holds.
            Some(false) => drop(self.changes.changed().await),
            None => {}
        }
        let is_closed = *self.changes.borrow_and_update();
        self.last = Some(is_closed || !self.query.follow);
        let kept = self.log.kept();
        let mut before = kept.dropped;
        let mut events = Vec::new();
        for entry in &kept.entries {
            if entry.sequence >= self.position.sequence {
                let missed_before = before.saturating_sub(self.position.accounted);
                events.push(LogEvent::Entry(LogEntry { missed_before, ..entry.clone() }));
                self.position.sequence = entry.sequence + 1;
                self.position.accounted = before + entry.bytes.len() as u64;
            }
            before += entry.bytes.len() as u64;
        }
        let missed = before.saturating_sub(self.position.accounted);
        self.position = Position { sequence: kept.sequence, accounted: before };
        events.push(LogEvent::CaughtUp { missed });
        Some(events)
    }
}
