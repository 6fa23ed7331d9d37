//! Reads a tar stream entry by entry.
//!
//! The `tar` crate gives the layout of the header block. What surrounds the blocks is read here,
//! for three reasons: extended headers from a hostile archive must not be buffered without a limit,
//! binary PAX values must survive, and where parsers differ on how much data follows an entry this
//! one must agree with Go's archive/tar, by which registries and other engines see the same layer.

use super::error::{Malformed, UnpackError};
use super::pax::{self, Pax};
use super::sparse::{self, Extent, SparseMap};
use std::collections::BTreeMap;
use std::io::{self, Read};
use tar::{EntryType, Header};

pub const BLOCK: usize = 512;

/// As in Go's archive/tar (`maxSpecialFileSize`).
const LONGEST_EXTENSION: u64 = 1 << 20;

/// The pipe's capacity that the front asks for, so that one read can empty it.
const BUFFER: usize = 1 << 20;

/// One entry; its data, if it is a file, is read from the [`Archive`] before the next entry.
#[derive(Debug)]
pub struct Entry {
    /// As written.
    pub name: Vec<u8>,
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    /// Seconds since the epoch and nanoseconds, the latter in 0..1_000_000_000.
    pub mtime: (i64, i64),
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    File {
        /// Bytes of data in the stream.
        size: u64,
        /// Where they belong; `None`: one after the other from the start.
        sparse: Option<SparseMap>,
    },
    Directory,
    SymbolicLink(Vec<u8>),
    HardLink(Vec<u8>),
    CharacterDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// A tar stream. After an error it is of no more use.
pub struct Archive<R> {
    input: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes of the stream handed out so far.
    offset: u64,
    /// Data of the current entry not yet read, and the zeros after it.
    data: u64,
    padding: u64,
}

impl<R: Read> Archive<R> {
    pub fn new(input: R) -> Archive<R> {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Archive { input, buffer, start: 0, end: 0, offset: 0, data: 0, padding: 0 }
    }

    /// The next entry, `None` at the end of the archive.
    ///
    /// # Errors
    /// [`UnpackError::Truncated`], [`UnpackError::Malformed`], or the stream's own error.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, UnpackError> {
        let (mut pax, mut long_name, mut long_link) = (None, None, None);
        loop {
            let rest = self.data;
            self.copy(rest, |_| Ok(()))?;
            let padding = std::mem::take(&mut self.padding);
            self.skip_padding(padding)?;
            let at = self.offset;
            let malformed = |what| UnpackError::Malformed { what, offset: at };
            let Some(block) = self.header_block()? else {
                return match (&pax, &long_name, &long_link) {
                    (None, None, None) => Ok(None),
                    _ => Err(malformed(Malformed::DanglingExtension)),
                };
            };
            let header = Header::from_byte_slice(&block);
            if !checksum_matches(&block) {
                return Err(malformed(Malformed::Checksum));
            }
            let size = number(&header.as_old().size).and_then(|size| u64::try_from(size).ok());
            let size = size.ok_or(malformed(Malformed::Number))?;
            match header.entry_type() {
                EntryType::XGlobalHeader => {
                    // Docker and podman ignore these too.
                    self.expect_data(size)?;
                }
                EntryType::XHeader => {
                    let content = self.extension(size, at)?;
                    pax = Some(pax::parse(&content).map_err(|_| malformed(Malformed::Pax))?);
                }
                EntryType::GNULongName => long_name = Some(self.long_name(size, at)?),
                EntryType::GNULongLink => long_link = Some(self.long_name(size, at)?),
                _ => {
                    let pax = pax.unwrap_or_default();
                    return self.entry(header, size, pax, long_name, long_link, at).map(Some);
                }
            }
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        size: u64,
        pax: Pax,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
        at: u64,
    ) -> Result<Entry, UnpackError> {
        let malformed = |what| UnpackError::Malformed { what, offset: at };
        let field = |field: &[u8]| number(field).ok_or(malformed(Malformed::Number));
        let unsigned = |value: i64| u64::try_from(value).map_err(|_| malformed(Malformed::Number));
        let old = header.as_old();
        let size = pax.size.unwrap_or(size);
        let mut name = long_name.or(pax.path).unwrap_or_else(|| header.path_bytes().into_owned());
        let link = || {
            let own = || header.link_name_bytes().map(std::borrow::Cow::into_owned);
            long_link.or(pax.link_path).or_else(own).unwrap_or_default()
        };
        let kind = match header.entry_type() {
            // Only of the type from before POSIX: this is how such an archive marks directories.
            EntryType::Regular if name.ends_with(b"/") && old.linkflag == [0] => {
                self.expect_data(size)?;
                Kind::Directory
            }
            EntryType::Regular | EntryType::Continuous => {
                self.expect_data(size)?;
                let map = self.pax_sparse_map(&pax.sparse, at)?;
                if let (Some(_), Some(own)) = (&map, pax.sparse.name) {
                    name = own;
                }
                Kind::File { size: self.data, sparse: map }
            }
            EntryType::GNUSparse => {
                let map = self.gnu_sparse_map(header, size, at)?;
                self.expect_data(size)?;
                Kind::File { size, sparse: Some(map) }
            }
            // No data follows these, whatever their size field says.
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::SymbolicLink(link()),
            EntryType::Link => Kind::HardLink(link()),
            EntryType::Fifo => Kind::Fifo,
            kind @ (EntryType::Char | EntryType::Block) => {
                let (major, minor) = device(header).ok_or(malformed(Malformed::Number))?;
                if kind == EntryType::Char {
                    Kind::CharacterDevice { major, minor }
                } else {
                    Kind::BlockDevice { major, minor }
                }
            }
            _ => return Err(malformed(Malformed::EntryType)),
        };
        let uid = pax.uid.map_or_else(|| field(&old.uid).and_then(unsigned), Ok)?;
        let gid = pax.gid.map_or_else(|| field(&old.gid).and_then(unsigned), Ok)?;
        let mtime = pax.mtime.map_or_else(|| field(&old.mtime).map(|seconds| (seconds, 0)), Ok)?;
        let mode = unsigned(field(&old.mode)?)? & 0o7777;
        let mode = u32::try_from(mode).map_err(|_| malformed(Malformed::Number))?;
        Ok(Entry { name, kind, mode, uid, gid, mtime, xattrs: pax.xattrs })
    }

    /// Hands the next `length` bytes of the current entry's data to `sink`, piece by piece.
    ///
    /// # Errors
    /// As [`Archive::next_entry`], and the sink's.
    pub fn copy(
        &mut self,
        length: u64,
        mut sink: impl FnMut(&[u8]) -> Result<(), UnpackError>,
    ) -> Result<(), UnpackError> {
        let mut left = length.min(self.data);
        self.data -= left;
        while left > 0 {
            let piece = self.fill()?;
            if piece.is_empty() {
                return Err(UnpackError::Truncated);
            }
            let length = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            sink(&piece[..length])?;
            self.consume(length);
            left -= length as u64;
        }
        Ok(())
    }

    /// Reads to the end of the stream whatever follows the archive, so that its writer can finish.
    ///
    /// # Errors
    /// The stream's.
    pub fn drain(&mut self) -> Result<(), UnpackError> {
        loop {
            let length = self.fill()?.len();
            if length == 0 {
                return Ok(());
            }
            self.consume(length);
        }
    }

    /// From here on `size` bytes of data follow, padded to whole blocks.
    fn expect_data(&mut self, size: u64) -> Result<(), UnpackError> {
        // The kernel's largest file; Go refuses a negative size as well.
        if i64::try_from(size).is_err() {
            return Err(UnpackError::Malformed { what: Malformed::Number, offset: self.offset });
        }
        self.data = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    fn extension(&mut self, size: u64, at: u64) -> Result<Vec<u8>, UnpackError> {
        if size > LONGEST_EXTENSION {
            return Err(UnpackError::Malformed { what: Malformed::ExtensionTooLong, offset: at });
        }
        self.expect_data(size)?;
        let mut content = Vec::new();
        self.copy(size, |piece| {
            content.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(content)
    }

    fn long_name(&mut self, size: u64, at: u64) -> Result<Vec<u8>, UnpackError> {
        let mut name = self.extension(size, at)?;
        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
        Ok(name)
    }

    /// The map of a sparse file of one of the PAX formats; of 1.0 it is the start of the data.
    fn pax_sparse_map(&mut self, records: &pax::SparseRecords, at: u64) -> Result<Option<SparseMap>, UnpackError> {
        let malformed = || UnpackError::Malformed { what: Malformed::Sparse, offset: at };
        let numbers = match (records.major, records.minor) {
            (None | Some(0), _) if records.numbers.is_empty() => return Ok(None),
            (None | Some(0), _) => records.numbers.clone(),
            (Some(1), Some(0)) => self.sparse_numbers(at)?,
            _ => return Err(malformed()),
        };
        let real_size = records.real_size.ok_or_else(malformed)?;
        let extents = numbers.chunks(2).map(|pair| match *pair {
            [offset, length] => Some(Extent { offset, length }),
            _ => None,
        });
        let extents: Option<Vec<Extent>> = extents.collect();
        sparse::map(extents.ok_or_else(malformed)?, real_size, self.data).map(Some).ok_or_else(malformed)
    }

    /// Decimal numbers in lines, the first one telling how many pairs follow, filled up to whole blocks.
    fn sparse_numbers(&mut self, at: u64) -> Result<Vec<u64>, UnpackError> {
        let malformed = || UnpackError::Malformed { what: Malformed::Sparse, offset: at };
        let mut numbers = Vec::new();
        let mut line = Vec::new();
        let mut wanted = 1;
        while numbers.len() < wanted {
            if self.data < BLOCK as u64 {
                return Err(malformed());
            }
            let mut block = Vec::with_capacity(BLOCK);
            self.copy(BLOCK as u64, |piece| {
                block.extend_from_slice(piece);
                Ok(())
            })?;
            for byte in block {
                if numbers.len() == wanted {
                    break;
                }
                if byte != b'\n' {
                    line.push(byte);
                    continue;
                }
                let value = pax::number(&line).ok_or_else(malformed)?;
                line.clear();
                if numbers.is_empty() {
                    let pairs = usize::try_from(value).ok().filter(|pairs| *pairs <= sparse::MOST_EXTENTS);
                    wanted = 1 + 2 * pairs.ok_or_else(malformed)?;
                }
                numbers.push(value);
            }
            if line.len() > BLOCK {
                return Err(malformed());
            }
        }
        numbers.remove(0);
        Ok(numbers)
    }

    /// The map of a sparse file of GNU tar's old format: in the header and in blocks after it.
    fn gnu_sparse_map(&mut self, header: &Header, size: u64, at: u64) -> Result<SparseMap, UnpackError> {
        let malformed = || UnpackError::Malformed { what: Malformed::Sparse, offset: at };
        let unsigned = |field: &[u8]| number(field).and_then(|value| u64::try_from(value).ok());
        let gnu = header.as_gnu().ok_or_else(malformed)?;
        let mut extents = Vec::new();
        let mut add = |headers: &[tar::GnuSparseHeader]| -> Result<(), UnpackError> {
            for header in headers.iter().filter(|header| !header.is_empty()) {
                let (offset, length) = (unsigned(&header.offset), unsigned(&header.numbytes));
                let (Some(offset), Some(length)) = (offset, length) else { return Err(malformed()) };
                extents.push(Extent { offset, length });
            }
            if extents.len() > sparse::MOST_EXTENTS { Err(malformed()) } else { Ok(()) }
        };
        add(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut extended = tar::GnuExtSparseHeader::new();
            extended.as_mut_bytes().copy_from_slice(&self.block()?.ok_or(UnpackError::Truncated)?);
            add(extended.sparse())?;
            more = extended.is_extended();
        }
        let real_size = unsigned(&gnu.realsize).ok_or_else(malformed)?;
        sparse::map(extents, real_size, size).ok_or_else(malformed)
    }

    /// The next block that is not the end of the archive: that is a block of zeros or of the stream.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, UnpackError> {
        Ok(self.block()?.filter(|block| block.iter().any(|byte| *byte != 0)))
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, UnpackError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let piece = self.fill()?;
            if piece.is_empty() {
                return if filled == 0 { Ok(None) } else { Err(UnpackError::Truncated) };
            }
            let length = piece.len().min(BLOCK - filled);
            block[filled..filled + length].copy_from_slice(&piece[..length]);
            self.consume(length);
            filled += length;
        }
        Ok(Some(block))
    }

    /// The archive may end here: `umoci insert` leaves out the zeros after the last file, and Go does not miss them.
    fn skip_padding(&mut self, mut left: u64) -> Result<(), UnpackError> {
        while left > 0 {
            let length = self.fill()?.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if length == 0 {
                break;
            }
            self.consume(length);
            left -= length as u64;
        }
        Ok(())
    }

    /// What is buffered, after a read if that is nothing; empty at the end of the stream.
    fn fill(&mut self) -> Result<&[u8], UnpackError> {
        while self.start == self.end {
            self.start = 0;
            self.end = 0;
            match self.input.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(length) => self.end = length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(UnpackError::system("read", b"the layer", error)),
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, length: usize) {
        self.start += length;
        self.offset += length as u64;
    }
}

fn device(header: &Header) -> Option<(u32, u32)> {
    let (major, minor) = if let Some(ustar) = header.as_ustar() {
        (&ustar.dev_major, &ustar.dev_minor)
    } else if let Some(gnu) = header.as_gnu() {
        (&gnu.dev_major, &gnu.dev_minor)
    } else {
        return Some((0, 0));
    };
    Some((number(major)?.try_into().ok()?, number(minor)?.try_into().ok()?))
}

/// The sum over the block with the checksum field taken as spaces; some old programs added signed bytes.
fn checksum_matches(block: &[u8; BLOCK]) -> bool {
    const FIELD: std::ops::Range<usize> = 148..156;
    let Some(expected) = number(&block[FIELD]) else { return false };
    let (mut unsigned, mut signed) = (0_i64, 0_i64);
    for (position, byte) in block.iter().enumerate() {
        let byte = if FIELD.contains(&position) { b' ' } else { *byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    expected == unsigned || expected == signed
}

/// A numeric field: octal digits amid spaces and NULs (none: zero), or GNU's base-256 with the first
/// bit set, two's complement.
fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // Sign-extend the remaining seven bits of the first byte.
        let mut value = i64::from((first << 1).cast_signed() >> 1);
        for byte in &field[1..] {
            value = value.checked_mul(256)?.checked_add(i64::from(*byte))?;
        }
        return Some(value);
    }
    let padding = |byte: &u8| matches!(byte, b' ' | 0);
    let digits = match (field.iter().position(|byte| !padding(byte)), field.iter().rposition(|byte| !padding(byte))) {
        (Some(from), Some(to)) => &field[from..=to],
        _ => return Some(0),
    };
    let text = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with(['+', '-']))?;
    i64::from_str_radix(text, 8).ok()
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
