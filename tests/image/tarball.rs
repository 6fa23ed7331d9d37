//! Tar archives, built in code and however wrong.

use tar::{EntryType, Header};

/// A tar under construction. Every entry is root's, of mode 0644 (directories 0755) and of the time 1000
/// unless `with` says otherwise.
pub struct Tar {
    bytes: Vec<u8>,
    is_finished: bool,
}

impl Tar {
    pub fn new() -> Tar {
        Tar { bytes: Vec::new(), is_finished: true }
    }

    pub fn file(self, name: &str, content: &[u8]) -> Tar {
        self.entry(EntryType::Regular, name, None, content, |_| {})
    }

    pub fn directory(self, name: &str) -> Tar {
        self.entry(EntryType::Directory, name, None, b"", |header| header.set_mode(0o755))
    }

    pub fn symlink(self, name: &str, target: &str) -> Tar {
        self.entry(EntryType::Symlink, name, Some(target), b"", |header| header.set_mode(0o777))
    }

    pub fn hard_link(self, name: &str, target: &str) -> Tar {
        self.entry(EntryType::Link, name, Some(target), b"", |_| {})
    }

    pub fn device(self, name: &str, kind: EntryType, major: u32, minor: u32) -> Tar {
        self.entry(kind, name, None, b"", |header| {
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        })
    }

    /// Names and targets are written as they are, however wrong.
    pub fn entry(
        self,
        kind: EntryType,
        name: &str,
        target: Option<&str>,
        content: &[u8],
        with: impl FnOnce(&mut Header),
    ) -> Tar {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(target) = target {
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        }
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1000);
        with(&mut header);
        header.set_cksum();
        self.raw(header.as_bytes()).padded(content)
    }

    /// PAX records for the next entry.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Tar {
        let mut content = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            content.extend_from_slice(format!("{length} {key}=").as_bytes());
            content.extend_from_slice(value);
            content.push(b'\n');
        }
        self.entry(EntryType::XHeader, "pax", None, &content, |_| {})
    }

    /// These bytes as they are.
    pub fn raw(mut self, bytes: &[u8]) -> Tar {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn padded(mut self, content: &[u8]) -> Tar {
        self.bytes.extend_from_slice(content);
        let blocks = self.bytes.len() + content.len().next_multiple_of(512) - content.len();
        self.bytes.resize(blocks, 0);
        self
    }

    /// Without the two blocks of zeros that end an archive.
    pub fn unfinished(mut self) -> Tar {
        self.is_finished = false;
        self
    }

    pub fn bytes(mut self) -> Vec<u8> {
        if self.is_finished {
            self.bytes.extend_from_slice(&[0; 1024]);
        }
        self.bytes
    }
}
