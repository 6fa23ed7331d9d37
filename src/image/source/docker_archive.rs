//! The archives of `docker save` and `podman save`: a `manifest.json` that names configs and layers.
//! <https://github.com/moby/docker-image-spec/blob/main/spec.md>
//!
//! They hold no manifest of the registry's kind. One is made from the config, byte for byte the one that
//! containers/image makes (skopeo and podman), so that an image has the same digest there and here: its
//! layers are the tars of the config's diff ids. Only where a layer lies compressed in the archive, as some
//! tools write them, its blob is named by its own digest; to find that the member is read at each use.

use super::error::{ArchiveProblem, BlobProblem, SourceError};
use super::files::FileSlice;
use super::local::{LayerFiles, LocalImage, NamedImage, Scratch};
use super::tarball::Tarball;
use crate::image::decompress::is_compressed;
use crate::image::digest::Digest;
use crate::image::manifest::{DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, LARGEST_DOCUMENT, ManifestError};
use crate::image::name::ArchivedImage;
use crate::image::reference::RegistryName;
use oci_spec::image::{ImageConfiguration, ImageManifest};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;

const MANIFEST: &str = "manifest.json";

/// What Docker before 1.10 wrote instead, and later beside it.
const REPOSITORIES: &str = "repositories";

/// What Docker writes for an image without a name, in some versions.
const NO_NAME: &str = "<none>:<none>";

/// An archive, opened.
#[derive(Debug)]
pub struct DockerArchive {
    tarball: Tarball,
    images: Vec<Item>,
}

/// One image in `manifest.json`. There may be more fields.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// A manifest with its fields in the order in which Go writes them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: &'static str,
    config: Blob,
    layers: Vec<Blob>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Blob {
    media_type: &'static str,
    size: u64,
    digest: Digest,
}

impl DockerArchive {
    /// # Errors
    /// [`ArchiveProblem::NotDocker`], [`ArchiveProblem::Legacy`], [`SourceError::Parse`].
    pub fn open(tarball: Tarball) -> Result<DockerArchive, SourceError> {
        let Some(slice) = tarball.find_only(MANIFEST)? else {
            let problem =
                if DockerArchive::is_in(&tarball) { ArchiveProblem::Legacy } else { ArchiveProblem::NotDocker };
            return Err(SourceError::Archive { path: tarball.path().to_owned(), problem });
        };
        let place = || tarball.place(MANIFEST);
        let bytes = slice.read(LARGEST_DOCUMENT).map_err(|source| SourceError::Read { place: place(), source })?;
        let images = serde_json::from_slice(&bytes).map_err(|source| SourceError::Parse { place: place(), source })?;
        Ok(DockerArchive { tarball, images })
    }

    /// True for an archive that claims to be of this kind, however old.
    pub fn is_in(tarball: &Tarball) -> bool {
        tarball.has(MANIFEST) || tarball.has(REPOSITORIES)
    }

    /// How many images it holds.
    pub fn count(&self) -> usize {
        self.images.len()
    }

    /// The image that `wanted` names, or the only one.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn image(&self, wanted: Option<&ArchivedImage>, scratch: &Scratch) -> Result<LocalImage, SourceError> {
        let path = || self.tarball.path().to_owned();
        let count = self.images.len();
        let item = match (wanted, self.images.as_slice()) {
            (Some(ArchivedImage::Index(index)), images) => {
                images.get(*index).ok_or_else(|| SourceError::NoIndex { path: path(), index: *index, count })?
            }
            (Some(ArchivedImage::Reference(wanted)), images) => {
                let mut found = None;
                for item in images {
                    if self.references(item)?.contains(wanted) {
                        found = Some(item);
                        break;
                    }
                }
                found.ok_or_else(|| SourceError::NoTag { path: path(), tag: wanted.to_string(), tags: self.tags() })?
            }
            (None, [only]) => only,
            (None, []) => return Err(SourceError::Archive { path: path(), problem: ArchiveProblem::None }),
            (None, _) => {
                let form = "docker-archive:FILE:REFERENCE or docker-archive:FILE:@INDEX";
                return Err(SourceError::Ambiguous { path: path(), count, form, tags: self.tags() });
            }
        };
        self.read(item, scratch)
    }

    /// All images with all their names.
    ///
    /// # Errors
    /// See [`SourceError`]; one bad image takes the others with it.
    pub fn images(&self, scratch: &Scratch) -> Result<Vec<NamedImage>, SourceError> {
        let named = |item| Ok(NamedImage { references: self.references(item)?, image: self.read(item, scratch)? });
        self.images.iter().map(named).collect()
    }

    fn tags(&self) -> Vec<String> {
        self.images.iter().flat_map(|item| item.repo_tags.iter().flatten().cloned()).collect()
    }

    fn references(&self, item: &Item) -> Result<Vec<RegistryName>, SourceError> {
        let names = item.repo_tags.iter().flatten().filter(|name| *name != NO_NAME);
        let failed = |source| SourceError::Name { place: self.tarball.place(MANIFEST), source };
        let parse = |name: &String| RegistryName::parse(name).map_err(failed);
        names.map(parse).collect()
    }

    fn read(&self, item: &Item, scratch: &Scratch) -> Result<LocalImage, SourceError> {
        let place = self.tarball.place(&item.config);
        let failed = |source| SourceError::Manifest { place: place.clone(), source };
        let missing = || SourceError::Blob { place: place.clone(), problem: BlobProblem::Missing };
        let slice = self.tarball.find_only(&item.config)?.ok_or_else(missing)?;
        if slice.length > LARGEST_DOCUMENT {
            return Err(failed(ManifestError::TooLarge { document: "image config", size: slice.length }));
        }
        let config = slice.read(slice.length).map_err(|source| SourceError::Read { place: place.clone(), source })?;
        let parsed: ImageConfiguration =
            serde_json::from_slice(&config).map_err(|source| SourceError::Parse { place: place.clone(), source })?;
        let (diff_ids, members) = (parsed.rootfs().diff_ids(), item.layers.as_deref().unwrap_or_default());
        if diff_ids.len() != members.len() {
            return Err(failed(ManifestError::LayerCount { layers: members.len(), diff_ids: diff_ids.len() }));
        }
        let mut layers = Vec::with_capacity(members.len());
        let mut slices: HashMap<Digest, FileSlice> = HashMap::new();
        for (member, diff_id) in members.iter().zip(diff_ids) {
            let diff_id: Digest = diff_id.parse().map_err(|source| failed(ManifestError::Digest(source)))?;
            let (digest, slice) = self.layer(member, diff_id, scratch)?;
            // The same layer may be there twice; as in containers/image the first counts.
            let slice = slices.entry(digest.clone()).or_insert(slice);
            layers.push(Blob { media_type: DOCKER_LAYER, size: slice.length, digest });
        }
        let config_blob = Blob { media_type: DOCKER_CONFIG, size: config.len() as u64, digest: Digest::of(&config) };
        let manifest = Manifest { schema_version: 2, media_type: DOCKER_MANIFEST, config: config_blob, layers };
        let parse = |source| SourceError::Parse { place: place.clone(), source };
        let bytes = serde_json::to_vec(&manifest).map_err(parse)?;
        let manifest: ImageManifest = serde_json::from_slice(&bytes).map_err(parse)?;
        Ok(LocalImage {
            manifest_digest: Digest::of(&bytes),
            manifest_bytes: bytes,
            manifest,
            config,
            layers: LayerFiles::Members { path: self.tarball.path().to_owned(), slices },
        })
    }

    /// Where a layer lies, and the digest that its bytes there must have.
    fn layer(&self, member: &str, diff_id: Digest, scratch: &Scratch) -> Result<(Digest, FileSlice), SourceError> {
        let place = || self.tarball.place(member);
        let missing = || SourceError::Blob { place: place(), problem: BlobProblem::Missing };
        let slice = self.tarball.find(member).ok_or_else(missing)?;
        let start = slice.read(4).map_err(|source| SourceError::Read { place: place(), source })?;
        let digest = if is_compressed(&start) { self.hash(member, &slice, scratch)? } else { diff_id };
        Ok((digest, slice))
    }

    fn hash(&self, member: &str, slice: &FileSlice, scratch: &Scratch) -> Result<Digest, SourceError> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 256 << 10];
        let mut position = 0;
        loop {
            if scratch.is_cancelled() {
                return Err(SourceError::Cancelled { path: self.tarball.path().to_owned() });
            }
            match slice.read_at(&mut buffer, position) {
                Ok(0) => return Ok(Digest::from_hash(hash)),
                Ok(length) => {
                    hash.update(&buffer[..length]);
                    position += length as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(SourceError::Read { place: self.tarball.place(member), source }),
            }
        }
    }
}
