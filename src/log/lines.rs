//! From records to lines, for display. Pure: no I/O and no clock.

use super::{LogStream, Record};
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};

/// A longer line is given in pieces, so that output without line ends needs no memory to speak of.
const MAX_LINE: usize = 64 << 10;

/// A line, or a piece of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    pub process: Option<u16>,
    pub stream: LogStream,
    /// Of the record in which this line (not: this piece) starts.
    pub timestamp: Timestamp,
    /// With the line feed, if it has one.
    pub bytes: &'a [u8],
    /// False: the line goes on from the piece before of the same process and stream.
    pub starts: bool,
    /// False: no line feed (yet): the line is unfinished, or goes on in a further piece.
    pub ends: bool,
}

impl Line<'_> {
    /// Writes the bytes as they are, with the time (RFC 3339, UTC, nanoseconds) and a space before the
    /// start of a line when `timestamps` are wanted, as `docker logs --timestamps` does.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(&self, out: &mut impl Write, timestamps: bool) -> io::Result<()> {
        if timestamps && self.starts {
            write!(out, "{:.9} ", self.timestamp)?;
        }
        out.write_all(self.bytes)
    }

    pub fn to_owned(&self) -> OwnedLine {
        OwnedLine {
            process: self.process,
            stream: self.stream,
            timestamp: self.timestamp,
            bytes: self.bytes.to_vec(),
            starts: self.starts,
            ends: self.ends,
        }
    }
}

/// A [`Line`] with bytes of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedLine {
    pub process: Option<u16>,
    pub stream: LogStream,
    pub timestamp: Timestamp,
    pub bytes: Vec<u8>,
    pub starts: bool,
    pub ends: bool,
}

impl OwnedLine {
    pub fn as_line(&self) -> Line<'_> {
        Line {
            process: self.process,
            stream: self.stream,
            timestamp: self.timestamp,
            bytes: &self.bytes,
            starts: self.starts,
            ends: self.ends,
        }
    }
}

/// Where a line comes from; lines of different sources never mix.
type Source = (Option<u16>, LogStream);

/// Assembles lines per process and stream, out of records in order. Binary-safe: only the byte 0x0A
/// ends a line. A line is given when it ends, so lines of different streams come in the order of their
/// ends.
#[derive(Debug, Default)]
pub struct Lines {
    unfinished: BTreeMap<Source, Unfinished>,
}

#[derive(Debug)]
struct Unfinished {
    timestamp: Timestamp,
    bytes: Vec<u8>,
    /// No piece of this line was given yet.
    starts: bool,
}

impl Lines {
    pub fn new() -> Lines {
        Lines::default()
    }

    /// Adds a record. Output missed before it ends all lines that were unfinished.
    pub fn push(&mut self, record: &Record<'_>, each: &mut impl FnMut(Line<'_>)) {
        if record.missed_before > 0 {
            self.flush(each);
            self.unfinished.clear();
        }
        let source = (record.process, record.stream);
        for piece in record.bytes.split_inclusive(|byte| *byte == b'\n') {
            self.push_piece(source, record.timestamp, piece, each);
        }
    }

    fn push_piece(&mut self, source: Source, time: Timestamp, piece: &[u8], each: &mut impl FnMut(Line<'_>)) {
        let (process, stream) = source;
        let ends = piece.ends_with(b"\n");
        if !self.unfinished.contains_key(&source) && ends {
            return each(Line { process, stream, timestamp: time, bytes: piece, starts: true, ends });
        }
        let line = self.unfinished.entry(source).or_insert_with(|| Unfinished {
            timestamp: time,
            bytes: Vec::new(),
            starts: true,
        });
        line.bytes.extend_from_slice(piece);
        if ends || line.bytes.len() >= MAX_LINE {
            line.give(source, ends, each);
        }
        if ends {
            self.unfinished.remove(&source);
        }
    }

    /// Gives what there is of unfinished lines: at the log's end, or to show a prompt without waiting.
    /// What comes later of the same line is a further piece of it.
    pub fn flush(&mut self, each: &mut impl FnMut(Line<'_>)) {
        for (source, line) in &mut self.unfinished {
            if !line.bytes.is_empty() {
                line.give(*source, false, each);
            }
        }
    }
}

impl Unfinished {
    fn give(&mut self, (process, stream): Source, ends: bool, each: &mut impl FnMut(Line<'_>)) {
        let (timestamp, bytes, starts) = (self.timestamp, &self.bytes[..], self.starts);
        each(Line { process, stream, timestamp, bytes, starts, ends });
        self.bytes.clear();
        self.starts = false;
    }
}

/// Keeps the last lines of those pushed; pieces of one line count once.
#[derive(Debug)]
pub struct Tail {
    limit: usize,
    starts: usize,
    lines: VecDeque<OwnedLine>,
}

impl Tail {
    /// `limit`: how many lines to keep.
    pub fn new(limit: usize) -> Tail {
        Tail { limit, starts: 0, lines: VecDeque::new() }
    }

    pub fn push(&mut self, line: &Line<'_>) {
        self.starts += usize::from(line.starts);
        self.lines.push_back(line.to_owned());
        while self.starts > self.limit || self.lines.front().is_some_and(|first| !first.starts) {
            if self.lines.pop_front().is_some_and(|first| first.starts) {
                self.starts -= 1;
            }
        }
    }

    /// The lines kept, in the order in which they were pushed.
    pub fn into_lines(self) -> impl Iterator<Item = OwnedLine> {
        self.lines.into_iter()
    }
}
