//! Which members a tar archive has and where they lie in it.
//!
//! Where parsers differ this one agrees with Go's archive/tar, by which other engines see the archive.
//! Its data is read only later, by [`FileSlice`]s.

use super::error::{ArchiveProblem, Place, SourceError};
use super::files::FileSlice;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tar::{EntryType, Header, PaxExtensions};

const BLOCK: u64 = 512;

/// As in Go's archive/tar (`maxSpecialFileSize`).
const LONGEST_EXTENSION: usize = 1 << 20;

/// Bounds on memory, far above what a hundred images of a hundred layers need.
const MOST_MEMBERS: usize = 100_000;
const MOST_NAME_BYTES: usize = 16 << 20;

/// More than `docker save` ever needs, which is one.
const MOST_LINKS: usize = 16;

/// An archive and where its members are. Clones share them.
#[derive(Debug, Clone)]
pub struct Tarball {
    path: PathBuf,
    file: Arc<File>,
    members: Arc<HashMap<Vec<u8>, Member>>,
}

#[derive(Debug)]
struct Member {
    content: Content,
    /// There are several of the name; this is the last of them, as for tar(1).
    repeated: bool,
}

#[derive(Debug)]
enum Content {
    Data {
        offset: u64,
        length: u64,
    },
    /// To this member; `None`: out of the archive.
    Link(Option<Vec<u8>>),
}

/// What headers say about the entry after them.
#[derive(Debug, Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax_name: Option<Vec<u8>>,
    pax_link: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

impl Tarball {
    /// Reads the headers of `file`, which is a regular file. `path` is what messages call it.
    ///
    /// # Errors
    /// [`SourceError::Read`], [`SourceError::Archive`].
    pub fn open(file: File, path: &Path) -> Result<Tarball, SourceError> {
        let walk = Walk { file: &file, path, length: length(&file, path)? };
        let members = walk.members()?;
        Ok(Tarball { path: path.to_owned(), file: Arc::new(file), members: Arc::new(members) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn place(&self, name: &str) -> Place {
        Place { path: self.path.clone(), member: Some(name.to_owned()) }
    }

    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The data of a regular file, through links within the archive.
    pub fn find(&self, name: &str) -> Option<FileSlice> {
        let mut name = clean(name.as_bytes())?;
        for _ in 0..=MOST_LINKS {
            match &self.members.get(&name)?.content {
                Content::Link(target) => name = target.clone()?,
                &Content::Data { offset, length } => {
                    return Some(FileSlice { file: self.file.clone(), path: self.path.clone(), offset, length });
                }
            }
        }
        None
    }

    /// As [`Tarball::find`], of a file whose content nothing vouches for: it must be there once.
    ///
    /// # Errors
    /// [`ArchiveProblem::Repeated`].
    pub fn find_only(&self, name: &str) -> Result<Option<FileSlice>, SourceError> {
        let member = clean(name.as_bytes()).and_then(|name| self.members.get(&name));
        if member.is_some_and(|member| member.repeated) {
            let problem = ArchiveProblem::Repeated { member: name.to_owned() };
            return Err(SourceError::Archive { path: self.path.clone(), problem });
        }
        Ok(self.find(name))
    }
}

fn length(file: &File, path: &Path) -> Result<u64, SourceError> {
    let metadata = file.metadata().map_err(|source| SourceError::Read { place: Place::file(path), source })?;
    Ok(metadata.len())
}

/// One pass over the headers.
struct Walk<'a> {
    file: &'a File,
    path: &'a Path,
    length: u64,
}

impl Walk<'_> {
    fn members(&self) -> Result<HashMap<Vec<u8>, Member>, SourceError> {
        let mut members = HashMap::new();
        let (mut at, mut count, mut name_bytes) = (0_u64, 0, 0);
        let mut extensions = Extensions::default();
        while let Some(block) = self.header(at)? {
            count += 1;
            if count > MOST_MEMBERS {
                return Err(self.problem(ArchiveProblem::TooMany));
            }
            let problem = ArchiveProblem::Header { offset: at };
            let header = Header::from_byte_slice(&block);
            let kind = header.entry_type();
            let is_extension = matches!(
                kind,
                EntryType::XHeader | EntryType::XGlobalHeader | EntryType::GNULongName | EntryType::GNULongLink
            );
            let size = match (header.entry_size(), extensions.size) {
                (Err(_), _) => return Err(self.problem(problem)),
                _ if has_no_data(kind) => 0,
                (Ok(_), Some(size)) if !is_extension => size,
                (Ok(size), _) => size,
            };
            let data = at + BLOCK;
            let end = data.checked_add(size).filter(|end| *end <= self.length);
            let end = end.ok_or_else(|| self.problem(ArchiveProblem::Truncated))?;
            // A file's length is far from the end of what an u64 can hold.
            at = end.next_multiple_of(BLOCK);
            if is_extension {
                if kind != EntryType::XGlobalHeader && !self.extend(&mut extensions, kind, data, size)? {
                    return Err(self.problem(problem));
                }
                continue;
            }
            let Some((name, content)) = self.member(header, std::mem::take(&mut extensions), data, size)? else {
                continue;
            };
            let target = if let Content::Link(Some(target)) = &content { target.len() } else { 0 };
            name_bytes += name.len() + target;
            if name_bytes > MOST_NAME_BYTES {
                return Err(self.problem(ArchiveProblem::TooMany));
            }
            let repeated = members.contains_key(&name);
            members.insert(name, Member { content, repeated });
        }
        Ok(members)
    }

    /// What an entry adds to the members; `None` for directories, devices and names that lead out.
    fn member(
        &self,
        header: &Header,
        extensions: Extensions,
        offset: u64,
        length: u64,
    ) -> Result<Option<(Vec<u8>, Content)>, SourceError> {
        let kind = header.entry_type();
        let name = extensions.name.or(extensions.pax_name).unwrap_or_else(|| header.path_bytes().into_owned());
        if extensions.is_sparse || kind == EntryType::GNUSparse {
            let member = String::from_utf8_lossy(&name).into_owned();
            return Err(self.problem(ArchiveProblem::Sparse { member }));
        }
        // A regular file whose name ends in a slash is a directory of an old archive.
        let is_file = matches!(kind, EntryType::Regular | EntryType::Continuous) && !name.ends_with(b"/");
        let Some(name) = clean(&name) else { return Ok(None) };
        let own = || header.link_name_bytes().map(std::borrow::Cow::into_owned);
        let link = || extensions.link.or(extensions.pax_link).or_else(own).unwrap_or_default();
        let content = match kind {
            _ if is_file => Content::Data { offset, length },
            EntryType::Symlink => Content::Link(follow(&name, &link())),
            EntryType::Link => Content::Link(clean(&link())),
            _ => return Ok(None),
        };
        Ok(Some((name, content)))
    }

    /// The header at `at`; `None` at the end of the archive, which is a block of zeros or the file's end.
    fn header(&self, at: u64) -> Result<Option<[u8; BLOCK as usize]>, SourceError> {
        let mut block = [0; BLOCK as usize];
        match self.length.saturating_sub(at) {
            0 => return Ok(None),
            1..BLOCK if at > 0 => return Err(self.problem(ArchiveProblem::Truncated)),
            1..BLOCK => return Err(self.problem(ArchiveProblem::NotATar)),
            _ => self.read(&mut block, at)?,
        }
        if block.iter().all(|byte| *byte == 0) {
            return if at == 0 { Err(self.problem(ArchiveProblem::Empty)) } else { Ok(None) };
        }
        let expected = Header::from_byte_slice(&block).cksum();
        // With the field of the sum itself taken as spaces.
        let sum: u32 = block[..148].iter().chain(&[b' '; 8]).chain(&block[156..]).map(|byte| u32::from(*byte)).sum();
        if expected.is_ok_and(|expected| expected == sum) {
            return Ok(Some(block));
        }
        Err(self.problem(if at == 0 { no_tar(&block) } else { ArchiveProblem::Header { offset: at } }))
    }

    /// Reads an extended header; false when it makes no sense.
    fn extend(&self, extensions: &mut Extensions, kind: EntryType, at: u64, size: u64) -> Result<bool, SourceError> {
        let length = usize::try_from(size).ok().filter(|length| *length <= LONGEST_EXTENSION);
        let mut content = vec![0; length.ok_or_else(|| self.problem(ArchiveProblem::TooMany))?];
        self.read(&mut content, at)?;
        if kind != EntryType::XHeader {
            content.truncate(content.iter().position(|byte| *byte == 0).unwrap_or(content.len()));
            *(if kind == EntryType::GNULongName { &mut extensions.name } else { &mut extensions.link }) = Some(content);
            return Ok(true);
        }
        for record in PaxExtensions::new(&content) {
            let Ok(record) = record else { return Ok(false) };
            match record.key_bytes() {
                b"path" => extensions.pax_name = Some(record.value_bytes().to_owned()),
                b"linkpath" => extensions.pax_link = Some(record.value_bytes().to_owned()),
                b"size" => {
                    let digits = record.value().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                    let Some(size) = digits.and_then(|text| text.parse().ok()) else { return Ok(false) };
                    extensions.size = Some(size);
                }
                key if key.starts_with(b"GNU.sparse.") => extensions.is_sparse = true,
                _ => {}
            }
        }
        Ok(true)
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> Result<(), SourceError> {
        match self.file.read_exact_at(buffer, at) {
            // It was longer when its length was asked for.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.problem(ArchiveProblem::Truncated)),
            result => result.map_err(|source| SourceError::Read { place: Place::file(self.path), source }),
        }
    }

    fn problem(&self, problem: ArchiveProblem) -> SourceError {
        SourceError::Archive { path: self.path.to_owned(), problem }
    }
}

/// What a file is that begins like this and not with the header of a tar. podman reads these compressions.
fn no_tar(start: &[u8]) -> ArchiveProblem {
    match start {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => ArchiveProblem::Compression { program: "xz" },
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => ArchiveProblem::Compression { program: "bzip2" },
        _ => ArchiveProblem::NotATar,
    }
}

/// No data follows these, whatever their size field says.
fn has_no_data(kind: EntryType) -> bool {
    use EntryType::{Block, Char, Directory, Fifo, Link, Symlink};
    matches!(kind, Link | Symlink | Char | Block | Directory | Fifo)
}

/// A name from the archive's root, without `.`, `..` and doubled slashes; `None` for one that leads out
/// of it, which then names nothing.
fn clean(name: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

/// Where a symbolic link of this name leads.
fn follow(name: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    if target.starts_with(b"/") {
        return clean(target);
    }
    let directory = name.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |slash| &name[..slash]);
    clean(&[directory, target].join(&b'/'))
}

#[cfg(test)]
#[path = "tarball_tests.rs"]
mod tests;
