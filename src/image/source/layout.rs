//! OCI layout directories.
//! <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>

use crate::image::digest::Digest;
use crate::image::manifest::{self, Document, LARGEST_DOCUMENT, ManifestError};
use crate::image::platform::Platform;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The annotation that names a manifest of a layout.
/// <https://github.com/opencontainers/image-spec/blob/main/annotations.md>
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// How many indexes may lead from index.json to a manifest.
const MOST_NESTED: u32 = 8;

/// A layout, opened.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    index: ImageIndex,
}

/// A layout directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to open {}: it is not an OCI layout directory (no index.json)", path.display())]
    NotALayout { path: PathBuf },
    #[error(
        "failed to open {}: there is no such directory; `oci:` takes the path of an OCI layout, relative to the \
         current directory", path.display()
    )]
    NoDirectory { path: PathBuf },
    #[error("failed to parse {}", path.display())]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("failed to find the tag {tag} in {}: {}", path.display(), list(tags))]
    NoTag { path: PathBuf, tag: String, tags: Vec<String> },
    #[error(
        "failed to choose an image of {}: it holds {count}; name one as oci:PATH:TAG ({})", path.display(), list(tags)
    )]
    Ambiguous { path: PathBuf, count: usize, tags: Vec<String> },
    #[error("failed to use {}: {problem}; the layout is damaged, make it again", path.display())]
    Blob { path: PathBuf, problem: BlobProblem },
    #[error("failed to use the manifest {}", path.display())]
    Manifest { path: PathBuf, source: ManifestError },
}

/// What is wrong with a blob of a layout.
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

impl Layout {
    /// # Errors
    /// See [`LayoutError`].
    pub fn open(path: &Path) -> Result<Layout, LayoutError> {
        let file = path.join("index.json");
        let bytes = match read_bounded(&file, LARGEST_DOCUMENT) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_dir() => {
                return Err(LayoutError::NotALayout { path: path.to_owned() });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LayoutError::NoDirectory { path: path.to_owned() });
            }
            result => result.map_err(|source| LayoutError::Read { path: file.clone(), source })?,
        };
        let index = serde_json::from_slice(&bytes).map_err(|source| LayoutError::Parse { path: file, source })?;
        Ok(Layout { path: path.to_owned(), index })
    }

    /// The manifest of `tag`, or of the only image, for `platform`: its digest, its bytes and what
    /// they say.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn manifest(
        &self,
        tag: Option<&str>,
        platform: &Platform,
    ) -> Result<(Digest, Vec<u8>, ImageManifest), LayoutError> {
        let mut descriptor = self.descriptor(tag, platform)?;
        for _ in 0..=MOST_NESTED {
            let failed = |source| LayoutError::Manifest {
                path: self.path.join("blobs").join(descriptor.digest().to_string().replace(':', "/")),
                source,
            };
            let digest = manifest::digest_of(&descriptor).map_err(failed)?;
            let size = manifest::document_size("manifest", &descriptor).map_err(failed)?;
            let bytes = self.blob(&digest, size)?;
            match manifest::parse(&bytes).map_err(failed)? {
                Document::Manifest(manifest) => return Ok((digest, bytes, *manifest)),
                Document::Index(index) => {
                    let chosen = crate::image::platform::choose(index.manifests(), platform);
                    let wanted = Box::new(platform.clone());
                    descriptor =
                        chosen.map_err(|offered| failed(ManifestError::NoPlatform { wanted, offered }))?.clone();
                }
            }
        }
        Err(LayoutError::Manifest { path: self.path.clone(), source: ManifestError::TooDeep(MOST_NESTED) })
    }

    /// Reads a document whole, checked.
    ///
    /// # Errors
    /// [`LayoutError::Blob`], [`LayoutError::Read`].
    pub fn blob(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, LayoutError> {
        let path = self.blob_path(digest);
        let problem = |problem| LayoutError::Blob { path: path.clone(), problem };
        // One byte more than it should have is enough to see that it is too long.
        let bytes = match read_bounded(&path, size.saturating_add(1)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(problem(BlobProblem::Missing)),
            result => result.map_err(|source| LayoutError::Read { path: path.clone(), source })?,
        };
        if bytes.len() as u64 != size {
            let found = path.metadata().map_or(bytes.len() as u64, |metadata| metadata.len());
            return Err(problem(BlobProblem::Size { expected: size, found }));
        }
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(problem(BlobProblem::Digest { found }));
        }
        Ok(bytes)
    }

    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs/sha256").join(digest.hex())
    }

    fn descriptor(&self, tag: Option<&str>, platform: &Platform) -> Result<Descriptor, LayoutError> {
        let all = self.index.manifests();
        let name = |descriptor: &Descriptor| -> Option<String> {
            descriptor.annotations().as_ref().and_then(|annotations| annotations.get(REF_NAME)).cloned()
        };
        let tags = || {
            let mut tags: Vec<String> = all.iter().filter_map(name).collect();
            tags.sort();
            tags.dedup();
            tags
        };
        let path = || self.path.clone();
        let named: Vec<Descriptor> =
            all.iter().filter(|descriptor| tag.is_none() || name(descriptor).as_deref() == tag).cloned().collect();
        match (named.len(), tag) {
            (1, _) => {}
            (0, Some(tag)) => return Err(LayoutError::NoTag { path: path(), tag: tag.to_owned(), tags: tags() }),
            // Entries of one name, or all of them without, may be one image for several platforms.
            (count, _) => {
                let names: Vec<_> = named.iter().map(name).collect();
                let one_image = count > 0 && names.windows(2).all(|pair| pair[0] == pair[1]);
                let with_platform = named.iter().all(|descriptor| descriptor.platform().is_some());
                if !one_image || !with_platform {
                    return Err(LayoutError::Ambiguous { path: path(), count, tags: tags() });
                }
            }
        }
        match named.as_slice() {
            [only] => Ok(only.clone()),
            several => {
                crate::image::platform::choose(several, platform).cloned().map_err(|offered| LayoutError::Manifest {
                    path: self.path.join("index.json"),
                    source: ManifestError::NoPlatform { wanted: Box::new(platform.clone()), offered },
                })
            }
        }
    }
}

fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
