//! OCI layouts, in a directory or in an archive.
//! <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>

use super::error::{ArchiveProblem, BlobProblem, SourceError};
use super::files::{FileSlice, Files};
use super::local::{LayerFiles, LocalImage, NamedImage};
use super::tarball::Tarball;
use crate::image::digest::Digest;
use crate::image::manifest::{self, Document, LARGEST_DOCUMENT, ManifestError};
use crate::image::platform::{self, Platform};
use crate::image::reference::RegistryName;
use oci_spec::image::{Descriptor, ImageIndex};
use std::path::Path;

/// The annotation that names a manifest of a layout.
/// <https://github.com/opencontainers/image-spec/blob/main/annotations.md>
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Where containerd and Docker (since 25) put the whole reference; the other one holds only the tag then.
/// <https://github.com/containerd/containerd/blob/main/core/images/annotations.go>
const IMAGE_NAME: &str = "io.containerd.image.name";

const INDEX: &str = "index.json";

/// How many indexes may lead from index.json to a manifest.
const MOST_NESTED: u32 = 8;

/// A layout, opened.
#[derive(Debug)]
pub struct Layout {
    files: Files,
    index: ImageIndex,
}

impl Layout {
    /// # Errors
    /// [`SourceError::NotALayout`], [`SourceError::NoDirectory`], [`SourceError::Parse`].
    pub fn directory(path: &Path) -> Result<Layout, SourceError> {
        let files = Files::Directory(path.to_owned());
        match files.find(INDEX)? {
            Some(index) => Layout::new(files, &index),
            None if path.is_dir() => Err(SourceError::NotALayout { path: path.to_owned() }),
            None => Err(SourceError::NoDirectory { path: path.to_owned() }),
        }
    }

    /// # Errors
    /// [`ArchiveProblem::NotOci`], [`SourceError::Parse`].
    pub fn archive(tarball: Tarball) -> Result<Layout, SourceError> {
        match tarball.find_only(INDEX)? {
            Some(index) => Layout::new(Files::Archive(tarball), &index),
            None => Err(SourceError::Archive { path: tarball.path().to_owned(), problem: ArchiveProblem::NotOci }),
        }
    }

    /// True for an archive that claims to hold a layout.
    pub fn is_in(tarball: &Tarball) -> bool {
        tarball.has(INDEX)
    }

    fn new(files: Files, index: &FileSlice) -> Result<Layout, SourceError> {
        let place = || files.place(INDEX);
        let bytes = index.read(LARGEST_DOCUMENT).map_err(|source| SourceError::Read { place: place(), source })?;
        let index = serde_json::from_slice(&bytes).map_err(|source| SourceError::Parse { place: place(), source })?;
        Ok(Layout { files, index })
    }

    /// The image of `tag`, or the only one, for `platform`.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn image(&self, tag: Option<&str>, platform: &Platform) -> Result<LocalImage, SourceError> {
        let descriptor = self.descriptor(tag, platform)?;
        self.follow(descriptor, platform)
    }

    /// All images, each for the platform `wanted` and with the names that are whole references.
    ///
    /// # Errors
    /// See [`SourceError`]; one bad image takes the others with it.
    pub fn images(&self, wanted: &Platform) -> Result<Vec<NamedImage>, SourceError> {
        let mut names: Vec<Option<&str>> = Vec::new();
        let mut groups: Vec<Vec<&Descriptor>> = Vec::new();
        for descriptor in self.index.manifests().iter().filter(|descriptor| is_image(descriptor)) {
            let name = annotation(descriptor, IMAGE_NAME).or_else(|| annotation(descriptor, REF_NAME));
            // Entries of one name, or all without, are one image as long as each is for another platform.
            let platform = Platform::of_descriptor(descriptor);
            let joins = |group: &[&Descriptor]| {
                platform.is_some()
                    && group
                        .iter()
                        .map(|known| Platform::of_descriptor(known))
                        .all(|known| known.is_some() && known != platform)
            };
            let position = (0..groups.len()).find(|at| names[*at] == name && joins(&groups[*at]));
            match position {
                Some(position) => groups[position].push(descriptor),
                None => {
                    names.push(name);
                    groups.push(vec![descriptor]);
                }
            }
        }
        let unnamed = |source| SourceError::Name { place: self.files.place(INDEX), source };
        let mut images: Vec<NamedImage> = Vec::new();
        for (name, group) in names.into_iter().zip(groups) {
            let descriptor = match group.as_slice() {
                [only] => (*only).clone(),
                several => {
                    let several: Vec<Descriptor> = several.iter().copied().cloned().collect();
                    self.choose(&several, wanted)?
                }
            };
            let reference =
                name.filter(|name| name.contains(['/', ':'])).map(RegistryName::parse).transpose().map_err(unnamed)?;
            let image = match self.follow(descriptor, wanted) {
                // Signatures and other artifacts may lie beside images.
                Err(SourceError::Manifest { source: ManifestError::NotAnImage(_), .. }) => continue,
                image => image?,
            };
            match images.iter_mut().find(|known| known.image.manifest_digest == image.manifest_digest) {
                Some(known) => known.references.extend(reference),
                None => images.push(NamedImage { references: reference.into_iter().collect(), image }),
            }
        }
        Ok(images)
    }

    /// Reads manifest and config behind `descriptor`, through indexes.
    fn follow(&self, mut descriptor: Descriptor, platform: &Platform) -> Result<LocalImage, SourceError> {
        for _ in 0..=MOST_NESTED {
            let at_index = |source| SourceError::Manifest { place: self.files.place(INDEX), source };
            let digest = manifest::digest_of(&descriptor).map_err(at_index)?;
            let failed = |source| SourceError::Manifest { place: self.files.place(&blob_name(&digest)), source };
            let size = manifest::document_size("manifest", &descriptor).map_err(failed)?;
            let bytes = self.document(&digest, size)?;
            match manifest::parse(&bytes).map_err(failed)? {
                Document::Manifest(parsed) => {
                    let (config_digest, config_size) = manifest::config_of(&parsed).map_err(failed)?;
                    let config = self.document(&config_digest, config_size)?;
                    return Ok(LocalImage {
                        manifest_digest: digest,
                        manifest_bytes: bytes,
                        manifest: *parsed,
                        config,
                        layers: LayerFiles::Layout(self.files.clone()),
                    });
                }
                Document::Index(index) => {
                    let chosen = platform::choose(index.manifests(), platform).cloned();
                    let wanted = Box::new(platform.clone());
                    descriptor = chosen.map_err(|offered| failed(ManifestError::NoPlatform { wanted, offered }))?;
                }
            }
        }
        let source = ManifestError::TooDeep(MOST_NESTED);
        Err(SourceError::Manifest { place: self.files.place(INDEX), source })
    }

    /// Reads a document whole, checked.
    fn document(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, SourceError> {
        let place = || self.files.place(&blob_name(digest));
        let slice = blob(&self.files, digest)?;
        let problem = |problem| Err(SourceError::Blob { place: place(), problem });
        if slice.length != size {
            return problem(BlobProblem::Size { expected: size, found: slice.length });
        }
        let bytes = slice.read(size).map_err(|source| SourceError::Read { place: place(), source })?;
        let found = Digest::of(&bytes);
        if found == *digest { Ok(bytes) } else { problem(BlobProblem::Digest { found }) }
    }

    fn descriptor(&self, tag: Option<&str>, platform: &Platform) -> Result<Descriptor, SourceError> {
        let all = self.index.manifests();
        let name = |descriptor: &Descriptor| annotation(descriptor, REF_NAME).map(str::to_owned);
        let tags = || {
            let mut tags: Vec<String> = all.iter().filter_map(name).collect();
            tags.sort();
            tags.dedup();
            tags
        };
        let path = || self.files.path().to_owned();
        let named: Vec<Descriptor> =
            all.iter().filter(|descriptor| tag.is_none() || name(descriptor).as_deref() == tag).cloned().collect();
        match (named.len(), tag) {
            (1, _) => {}
            (0, Some(tag)) => {
                return Err(SourceError::NoTag { path: path(), tag: format!("the tag {tag}"), tags: tags() });
            }
            // Entries of one name, or all of them without, may be one image for several platforms.
            (count, _) => {
                let names: Vec<_> = named.iter().map(name).collect();
                let one_image = count > 0 && names.windows(2).all(|pair| pair[0] == pair[1]);
                let with_platform = named.iter().all(|descriptor| descriptor.platform().is_some());
                if !one_image || !with_platform {
                    let form = match self.files {
                        Files::Directory(_) => "oci:PATH:TAG",
                        Files::Archive(_) => "oci-archive:FILE:TAG",
                    };
                    return Err(SourceError::Ambiguous { path: path(), count, form, tags: tags() });
                }
            }
        }
        match named.as_slice() {
            [only] => Ok(only.clone()),
            several => self.choose(several, platform),
        }
    }

    fn choose(&self, several: &[Descriptor], platform: &Platform) -> Result<Descriptor, SourceError> {
        platform::choose(several, platform).cloned().map_err(|offered| SourceError::Manifest {
            place: self.files.place(INDEX),
            source: ManifestError::NoPlatform { wanted: Box::new(platform.clone()), offered },
        })
    }
}

/// The blob of this digest, not yet verified.
///
/// # Errors
/// [`BlobProblem::Missing`], [`SourceError::Read`].
pub fn blob(files: &Files, digest: &Digest) -> Result<FileSlice, SourceError> {
    let name = blob_name(digest);
    let missing = || SourceError::Blob { place: files.place(&name), problem: BlobProblem::Missing };
    files.find(&name)?.ok_or_else(missing)
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn annotation<'a>(descriptor: &'a Descriptor, key: &str) -> Option<&'a str> {
    descriptor.annotations().as_ref().and_then(|annotations| annotations.get(key)).map(String::as_str)
}

/// False for what lies in an index beside images: attestations of BuildKit (unknown/unknown), …
fn is_image(descriptor: &Descriptor) -> bool {
    let media_type = descriptor.media_type().as_ref();
    let is_unknown = Platform::of_descriptor(descriptor).is_some_and(|platform| platform.os == "unknown");
    (manifest::is_manifest(media_type) || manifest::is_index(media_type)) && !is_unknown
}
