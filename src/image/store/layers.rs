//! The layers of the store: where each one is, what it was made of, and whether it can be used.
//!
//! ```text
//! layers/KIND/HEX/diff/        its root
//! layers/KIND/HEX/layer.json   see [`LayerRecord`]
//! ```
//! Files carry the ids of the host, so layers that were unpacked under different id mappings are of
//! different kinds: `sha256` holds root's, `sha256-single-id` those of users with one id, and
//! `sha256-ids-HASH` those under the subordinate ids that hash to this. A user whose ranges change makes
//! new layers; the old ones are not used again.

use crate::image::digest::Digest;
use crate::image::manifest::LayerRef;
use crate::plan::IdMappings;
use crate::sys::file::write_atomic_volatile;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The layer's root within its directory in the store. The directory itself is closed to others:
/// a layer may hold set-user-ID programs, which nobody on the host is to run (CVE-2021-41091).
pub const ROOT: &str = "diff";

const RECORD: &str = "layer.json";
/// Version of [`LayerRecord`].
const FORMAT: u32 = 1;
/// More than any record has; a bound on what is read of one.
const LARGEST_RECORD: u64 = 64 << 10;

/// Layers of root, and of users with subordinate ids as versions without [`LayerRecord`] made them.
const PLAIN: &str = "sha256";
const SINGLE: &str = "sha256-single-id";

/// What a layer was made of; written before the layer becomes visible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerRecord {
    pub format: u32,
    pub diff_id: Digest,
    /// The blob that it came as, and its bytes.
    pub blob: Digest,
    pub blob_size: u64,
    /// Bytes of the uncompressed tar.
    pub unpacked_bytes: u64,
    /// Entries of the tar.
    pub entries: u64,
    /// The ids that it was unpacked under; `None`: root's own.
    pub mappings: Option<IdMappings>,
}

/// How a layer stands.
#[derive(Debug, PartialEq, Eq)]
pub enum LayerState {
    /// It can be used; this is its root.
    Ready(PathBuf),
    Absent,
    /// This directory is there and cannot be used.
    Broken(PathBuf),
}

/// One directory of the store's layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskLayer {
    pub path: PathBuf,
    pub diff_id: Digest,
    /// See [`unpacked_bytes`].
    pub bytes: u64,
}

impl DiskLayer {
    /// What a mount uses of it.
    pub fn root(&self) -> PathBuf {
        self.path.join(ROOT)
    }
}

/// The layers cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("failed to list {}", path.display())]
pub struct ListError {
    path: PathBuf,
    source: io::Error,
}

/// Finds layers. Clones name the same place.
#[derive(Debug, Clone)]
pub struct Layers {
    directory: PathBuf,
    kind: String,
    mappings: Option<IdMappings>,
}

impl Layers {
    /// `directory`: the store's `layers`.
    pub fn new(directory: PathBuf, mappings: Option<IdMappings>) -> Layers {
        let kind = match &mappings {
            None => PLAIN.to_owned(),
            Some(mappings) if mappings.is_single() => SINGLE.to_owned(),
            Some(mappings) => format!("{PLAIN}-ids-{}", fingerprint(mappings)),
        };
        Layers { directory, kind, mappings }
    }

    /// Where a layer goes that is made now.
    pub fn target(&self, diff_id: &Digest) -> PathBuf {
        self.directory.join(&self.kind).join(diff_id.hex())
    }

    /// How the layer stands under these mappings.
    pub fn find(&self, diff_id: &Digest) -> LayerState {
        let own = state_of(&self.target(diff_id), diff_id, self.mappings.as_ref());
        if own == LayerState::Absent && self.kind != PLAIN && self.kind != SINGLE {
            return self.older(diff_id).map_or(LayerState::Absent, LayerState::Ready);
        }
        own
    }

    pub fn is_ready(&self, diff_id: &Digest) -> bool {
        matches!(self.find(diff_id), LayerState::Ready(_))
    }

    /// Every layer of every kind, usable or not.
    ///
    /// # Errors
    /// See [`ListError`].
    pub fn all(&self) -> Result<Vec<DiskLayer>, ListError> {
        let mut found = Vec::new();
        for kind in list(&self.directory)? {
            let is_kind = kind.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PLAIN));
            if !is_kind {
                // Not made by this module.
                continue;
            }
            for path in list(&kind)? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let Ok(diff_id) = format!("sha256:{name}").parse() else { continue };
                found.push(DiskLayer { bytes: unpacked_bytes(&path), path, diff_id });
            }
        }
        Ok(found)
    }

    /// The root of a layer that an older version made for a user with subordinate ids.
    fn older(&self, diff_id: &Digest) -> Option<PathBuf> {
        let path = self.directory.join(PLAIN).join(diff_id.hex());
        let root = path.join(ROOT);
        (root.is_dir() && !path.join(RECORD).exists()).then_some(root)
    }
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, ListError> {
    let failed = |source| ListError { path: directory.to_owned(), source };
    let entries = std::fs::read_dir(directory).map_err(failed)?;
    entries.map(|entry| Ok(entry.map_err(failed)?.path())).collect()
}

/// Bytes of the layer in `path` as its record has them. Without a record it is the bytes of all files that
/// this user can see, those with several links once. Blocks.
pub fn unpacked_bytes(path: &Path) -> u64 {
    match read_record(path) {
        Ok(Some(record)) => record.unpacked_bytes,
        Ok(None) | Err(_) => bytes_below(path),
    }
}

/// Bytes of all files below `path`. Links are not followed; what cannot be looked at counts nothing.
pub fn bytes_below(path: &Path) -> u64 {
    let (mut bytes, mut linked, mut left) = (0, HashSet::new(), vec![path.to_owned()]);
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                left.push(entry.path());
            } else if metadata.nlink() == 1 || linked.insert((metadata.dev(), metadata.ino())) {
                bytes += metadata.len();
            }
        }
    }
    bytes
}

/// Names a set of mappings in a file name.
fn fingerprint(mappings: &IdMappings) -> String {
    let ids = |maps: &[crate::plan::IdMap]| {
        let lines: Vec<_> = maps.iter().map(|map| format!("{} {} {}", map.container, map.host, map.count)).collect();
        lines.join("\n")
    };
    Digest::of(format!("{}\n\n{}", ids(&mappings.uids), ids(&mappings.gids)).as_bytes()).hex()[..16].to_owned()
}

fn state_of(path: &Path, diff_id: &Digest, mappings: Option<&IdMappings>) -> LayerState {
    let root = path.join(ROOT);
    let broken = || LayerState::Broken(path.to_owned());
    match read_record(path) {
        _ if !root.is_dir() => {
            let is_absent = path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            if is_absent { LayerState::Absent } else { broken() }
        }
        Ok(Some(record)) if record.diff_id == *diff_id && record.mappings.as_ref() == mappings => {
            LayerState::Ready(root)
        }
        // Made by a version that kept no record.
        Ok(None) => LayerState::Ready(root),
        Ok(Some(_)) | Err(_) => broken(),
    }
}

/// The record of the layer in `path`; `None` when it has none.
///
/// # Errors
/// The I/O error; `InvalidData` for what no version up to this one wrote.
pub fn read_record(path: &Path) -> io::Result<Option<LayerRecord>> {
    let mut bytes = Vec::new();
    match File::open(path.join(RECORD)) {
        Ok(file) => file.take(LARGEST_RECORD).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let record: LayerRecord = serde_json::from_slice(&bytes)?;
    if record.format != FORMAT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "another format"));
    }
    Ok(Some(record))
}

/// Writes the record of a layer that is being made in `path`; the caller flushes it with the rest.
///
/// # Errors
/// The I/O error.
pub fn write_record(
    path: &Path,
    layer: &LayerRef,
    unpacked_bytes: u64,
    entries: u64,
    mappings: Option<&IdMappings>,
) -> io::Result<()> {
    let record = LayerRecord {
        format: FORMAT,
        diff_id: layer.diff_id.clone(),
        blob: layer.blob.clone(),
        blob_size: layer.size,
        unpacked_bytes,
        entries,
        mappings: mappings.cloned(),
    };
    write_atomic_volatile(&path.join(RECORD), &serde_json::to_vec(&record)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::IdMap;

    fn mappings(host: u32, count: u32) -> IdMappings {
        let ids = vec![IdMap { container: 0, host, count }];
        IdMappings { uids: ids.clone(), gids: ids }
    }

    fn make(layers: &Layers, layer: &LayerRef) {
        let path = layers.target(&layer.diff_id);
        std::fs::create_dir_all(path.join(ROOT)).unwrap();
        write_record(&path, layer, 10, 1, layers.mappings.as_ref()).unwrap();
    }

    #[test]
    fn layers_of_other_ids_are_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let kinds = [None, Some(mappings(1000, 1)), Some(mappings(100_000, 65_536)), Some(mappings(200_000, 65_536))];
        let kinds = kinds.map(|mappings| Layers::new(directory.path().to_owned(), mappings));
        let diff_id = Digest::of(b"tar");
        let layer = LayerRef { blob: Digest::of(b"blob"), size: 4, diff_id: diff_id.clone() };
        for (index, kind) in kinds.iter().enumerate() {
            assert_eq!(kind.find(&diff_id), LayerState::Absent, "{}", kind.kind);
            make(kind, &layer);
            assert_eq!(kind.find(&diff_id), LayerState::Ready(kind.target(&diff_id).join(ROOT)));
            assert_eq!(kind.all().unwrap().len(), index + 1);
        }
        // A record that says otherwise than the directory's name.
        let (from, to) = (kinds[2].target(&diff_id).join(RECORD), kinds[3].target(&diff_id));
        std::fs::copy(from, to.join(RECORD)).unwrap();
        assert_eq!(kinds[3].find(&diff_id), LayerState::Broken(to));
    }

    #[test]
    fn bytes_are_counted_once_and_links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("layer/diff/a");
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::write(inside.join("file"), "12345").unwrap();
        std::fs::hard_link(inside.join("file"), inside.join("again")).unwrap();
        std::fs::write(directory.path().join("outside"), "x".repeat(1000)).unwrap();
        std::os::unix::fs::symlink(directory.path(), inside.join("l")).unwrap();
        let link = directory.path().as_os_str().len() as u64;
        assert_eq!(unpacked_bytes(&directory.path().join("layer")), 5 + link);
    }
}
