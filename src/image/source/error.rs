//! What can be wrong with images in files.

use crate::image::digest::Digest;
use crate::image::manifest::ManifestError;
use crate::image::reference::ReferenceError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A file of its own, or one in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Of the host.
    pub path: PathBuf,
    /// The member of the archive that `path` is.
    pub member: Option<String>,
}

impl Place {
    pub(super) fn file(path: &Path) -> Place {
        Place { path: path.to_owned(), member: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.member {
            Some(member) => write!(f, "{member} in {}", self.path.display()),
            None => self.path.display().fmt(f),
        }
    }
}

/// A local file or directory from which no image can be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("failed to read {place}")]
    Read { place: Place, source: io::Error },
    #[error("failed to open {}: it is not an OCI layout directory (no index.json)", path.display())]
    NotALayout { path: PathBuf },
    #[error(
        "failed to open {}: there is no such directory; `oci:` takes the path of an OCI layout, relative to the \
         current directory", path.display()
    )]
    NoDirectory { path: PathBuf },
    #[error("failed to open {}: there is no such file (paths are relative to the current directory)", path.display())]
    NoFile { path: PathBuf },
    #[error("failed to open {}: it is a directory; name it as oci:{}", path.display(), path.display())]
    Directory { path: PathBuf },
    #[error("failed to read {}: {problem}", path.display())]
    Archive { path: PathBuf, problem: ArchiveProblem },
    #[error("failed to decompress {}; it is damaged or cut off", path.display())]
    Decompress { path: PathBuf, source: io::Error },
    #[error("failed to copy {} to a temporary file: the disk that holds {} is full", path.display(), disk.display())]
    OutOfSpace { path: PathBuf, disk: PathBuf, source: io::Error },
    #[error("failed to copy {} to a temporary file in {}", path.display(), directory.display())]
    Spool { path: PathBuf, directory: PathBuf, source: io::Error },
    #[error("failed to parse {place}")]
    Parse { place: Place, source: serde_json::Error },
    #[error("failed to use a name in {place}")]
    Name { place: Place, source: ReferenceError },
    #[error("failed to find {tag} in {}: {}", path.display(), list(tags))]
    NoTag { path: PathBuf, tag: String, tags: Vec<String> },
    #[error("failed to find the image @{index} in {}: it holds {count}, the first one being @0", path.display())]
    NoIndex { path: PathBuf, index: usize, count: usize },
    #[error("failed to choose an image of {}: it holds {count}; name one as {form} ({})", path.display(), list(tags))]
    Ambiguous { path: PathBuf, count: usize, form: &'static str, tags: Vec<String> },
    #[error("failed to use {place}: {problem}; the file is damaged or was changed, make it again")]
    Blob { place: Place, problem: BlobProblem },
    #[error("failed to use {place}")]
    Manifest { place: Place, source: ManifestError },
    #[error("failed to read {}: cancelled", path.display())]
    Cancelled { path: PathBuf },
}

/// What is wrong with a file as an archive of images.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveProblem {
    #[error("it is empty")]
    Empty,
    #[error("it is no tar archive")]
    NotATar,
    #[error("it is compressed with {program}, and only gzip and zstd are read; decompress it with `{program} -d`")]
    Compression { program: &'static str },
    #[error("it ends in the middle of a member; it is cut off")]
    Truncated,
    #[error("what is at byte {offset} is no header of a tar archive; the file is damaged")]
    Header { offset: u64 },
    #[error("the member {member:?} is sparse; write the archive without --sparse")]
    Sparse { member: String },
    #[error("it has more members, or longer names, than any archive of images")]
    TooMany,
    #[error("{member} is in it more than once, so what it holds is not certain")]
    Repeated { member: String },
    #[error("it is neither an OCI nor a docker archive: there is no index.json and no manifest.json in it")]
    NoImages,
    #[error("it is not an OCI archive: there is no index.json in it")]
    NotOci,
    #[error("it is not a docker archive: there is no manifest.json in it")]
    NotDocker,
    #[error(
        "it is in the format of Docker before 1.10 (`repositories` without manifest.json), which is not supported; \
         load it with docker and save it again"
    )]
    Legacy,
    #[error("it holds no image")]
    None,
}

/// What is wrong with a blob of a layout or a member of an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobProblem {
    #[error("the blob is missing")]
    Missing,
    #[error("its size is {found} bytes instead of {expected}")]
    Size { expected: u64, found: u64 },
    #[error("its digest is {found}")]
    Digest { found: Digest },
}

fn list(tags: &[String]) -> String {
    if tags.is_empty() { "no image in it has a tag".into() } else { format!("there is {}", tags.join(", ")) }
}
