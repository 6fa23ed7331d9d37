//! The store: what is resolved from what is there, and pulling the rest.

use super::blobs::{BlobError, Blobs, Stored};
use super::digest::Digest;
use super::layer::{LayerError, ROOT};
use super::layout::{Layout, LayoutError};
use super::manifest::{self, Document, LayerRef, ManifestError};
use super::platform::{self, Platform};
use super::pull::{self, BlobSource};
use super::reference::{ImageName, RegistryName};
use super::registry::{Registry, RegistryError};
use super::staging::{Staging, StagingError};
use super::unpack::{OPAQUE_ROOTFUL, OPAQUE_ROOTLESS, UnpackStats};
use crate::plan::IdMappings;
use crate::state_dir::StateDir;
use oci_spec::image::{ImageConfiguration, ImageManifest};
use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// When to ask the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Every time; the registry must answer. Layers that are here are not fetched again.
    Always,
    /// Every time; when the registry cannot be reached, what is here serves, with a note.
    Newer,
    /// When the image is not here.
    IfNotPresent,
    /// Not at all.
    Never,
}

/// An image that is ready to be run.
#[derive(Debug, Clone)]
pub struct Image {
    /// Of the image's own manifest, not of an index that led to it. For a registry reference the
    /// caller records it and passes it as `known` the next time.
    pub manifest_digest: Digest,
    pub config: ImageConfiguration,
    /// Root directories of the layers, lowest (base) first, none twice: ready for an overlay mount.
    /// Empty for an image without content.
    pub layers: Vec<PathBuf>,
    /// True when something was fetched or unpacked for it.
    pub pulled: bool,
    /// What the user should know.
    pub notes: Vec<ImageNote>,
}

/// Something that went otherwise than one may expect. For the user's eyes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageNote {
    /// The registry was not reached and the image that was here is used.
    Offline { name: String, reason: String },
    /// The image is not made for this host, and no platform was asked for.
    OtherPlatform { wanted: Platform, found: Platform },
    /// A damaged file of the store, got again.
    Replaced { path: PathBuf },
    /// Parts of a layer that were left out or changed.
    Unpacked { diff_id: Digest, stats: UnpackStats },
}

/// An image could not be resolved. Nothing half-made is in the store.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("failed to use the image {name}")]
    Manifest { name: String, source: ManifestError },
    #[error("failed to get the layer {digest} of {name}")]
    Layer { name: String, digest: Digest, source: Box<LayerError> },
    #[error("failed to find {name} in the store, and the pull policy is never; pull it first or choose another policy")]
    NotPresent { name: String },
    #[error("failed to use {name}: {} is damaged, and the pull policy is never; choose another policy to get it again", path.display())]
    Damaged { name: String, path: PathBuf },
    #[error(transparent)]
    Store(#[from] BlobError),
    #[error(transparent)]
    Staging(#[from] StagingError),
    #[error("failed to complete the work on {name}: a worker thread ended early")]
    Worker { name: String },
}

/// Images on this machine. Cheap to open and to clone; any number of processes may use one state root
/// at once.
#[derive(Debug, Clone)]
pub struct ImageStore {
    pub(super) blobs: Blobs,
    /// Parent of the layers' directories.
    pub(super) layers: PathBuf,
    pub(super) staging: Staging,
    pub(super) largest_layer: Option<u64>,
}

/// Manifest and config of one image, verified, and where its layers are to be found.
pub(super) struct Candidate {
    pub name: String,
    pub manifest_digest: Digest,
    pub manifest: Vec<u8>,
    pub config_bytes: Vec<u8>,
    pub config: ImageConfiguration,
    pub layers: Vec<LayerRef>,
    pub notes: Vec<ImageNote>,
}

/// What the store has for a digest.
enum Found {
    Candidate(Box<Candidate>),
    Damaged(PathBuf),
    Nothing,
}

/// The platform to look for, and whether the user named it.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    platform: &'a Platform,
    is_explicit: bool,
}

impl ImageStore {
    /// `binary` is a `coracle` program for the roles, `mappings` what containers run under: `None` for
    /// root's.
    pub fn open(state: &StateDir, mappings: Option<IdMappings>, binary: PathBuf) -> ImageStore {
        // With a single mapping all owners become one. Such layers are of no use once there are more
        // ids, so they have a place of their own.
        let is_single = mappings.as_ref().is_some_and(IdMappings::is_single);
        ImageStore {
            blobs: Blobs::new(state.blobs()),
            layers: state.layers().join(if is_single { "sha256-single-id" } else { "sha256" }),
            staging: Staging { directory: state.staging(), binary, mappings },
            largest_layer: None,
        }
    }

    /// Refuses layers of more than `bytes` unpacked. No limit by default.
    #[must_use]
    pub fn with_largest_layer(mut self, bytes: u64) -> ImageStore {
        self.largest_layer = Some(bytes);
        self
    }

    /// Makes the image of `name` for `platform` (default: the host's) available and returns it.
    ///
    /// `known` is the manifest digest that this registry reference had when it was last resolved. What
    /// is here already takes a few file reads and no network. A layer that several images or processes
    /// want at once is fetched once. Dropping the future stops the work; what is half made is removed
    /// by the threads that made it.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub async fn resolve(
        &self,
        name: &ImageName,
        policy: PullPolicy,
        platform: Option<&Platform>,
        known: Option<&Digest>,
    ) -> Result<Image, ImageError> {
        let host = Platform::host();
        let wanted = Wanted { platform: platform.unwrap_or(&host), is_explicit: platform.is_some() };
        match name {
            ImageName::Layout { path, tag } => self.resolve_layout(name, path, tag.as_deref(), policy, wanted).await,
            ImageName::Registry(reference) => self.resolve_registry(reference, policy, wanted, known).await,
        }
    }

    /// Removes what pulls that were killed have left. Blocks.
    ///
    /// # Errors
    /// [`ImageError::Staging`]; everything that could be removed is.
    pub fn sweep(&self) -> Result<(), ImageError> {
        Ok(self.staging.sweep()?)
    }

    async fn resolve_layout(
        &self,
        name: &ImageName,
        path: &Path,
        tag: Option<&str>,
        policy: PullPolicy,
        wanted: Wanted<'_>,
    ) -> Result<Image, ImageError> {
        let name = name.to_string();
        let layout = Layout::open(path)?;
        let (digest, bytes, manifest) = layout.manifest(tag, wanted.platform)?;
        let failed = |source| ImageError::Manifest { name: name.clone(), source };
        let (config_digest, config_size) = manifest::config_of(&manifest).map_err(failed)?;
        let config = layout.blob(&config_digest, config_size)?;
        let candidate = candidate(&name, digest, bytes, &manifest, config, wanted)?;
        if let Some(image) = self.image(&candidate, false) {
            return Ok(image);
        }
        if policy == PullPolicy::Never {
            return Err(ImageError::NotPresent { name });
        }
        pull::complete(self, candidate, BlobSource::Layout(Box::new(layout))).await
    }

    async fn resolve_registry(
        &self,
        name: &RegistryName,
        policy: PullPolicy,
        wanted: Wanted<'_>,
        known: Option<&Digest>,
    ) -> Result<Image, ImageError> {
        let text = name.to_string();
        // A digest in the name is as good as one that was seen before.
        let known = name.digest().or(known);
        let mut notes = Vec::new();
        let mut here = None;
        if let Some(known) = known {
            match self.find(&text, known, wanted)? {
                Found::Candidate(candidate) => here = self.image(&candidate, false),
                Found::Damaged(path) if policy == PullPolicy::Never => {
                    return Err(ImageError::Damaged { name: text, path });
                }
                Found::Damaged(path) => notes.push(ImageNote::Replaced { path }),
                Found::Nothing => {}
            }
        }
        match (policy, here) {
            (PullPolicy::IfNotPresent | PullPolicy::Never, Some(image)) => return Ok(image),
            (PullPolicy::Never, None) => return Err(ImageError::NotPresent { name: text }),
            // What a digest names cannot have changed.
            (PullPolicy::Newer, Some(image)) if name.digest().is_some() => return Ok(image),
            (PullPolicy::Newer, Some(mut image)) => match self.newer(name, &image, wanted).await {
                Ok(None) => return Ok(image),
                Ok(Some(pulled)) => return Ok(pulled),
                Err(ImageError::Registry(error)) if error.is_unreachable() => {
                    image.notes.push(ImageNote::Offline { name: text, reason: error.to_string() });
                    return Ok(image);
                }
                Err(error) => return Err(error),
            },
            (PullPolicy::Always, _) | (PullPolicy::IfNotPresent | PullPolicy::Newer, None) => {}
        }
        let registry = open_registry(name).await?;
        let candidate = self.fetch(&registry, name, wanted).await?;
        let mut image = pull::complete(self, candidate, BlobSource::Registry(registry)).await?;
        image.notes.extend(notes);
        Ok(image)
    }

    /// The image that the registry has now, if that is another than `image`.
    async fn newer(&self, name: &RegistryName, image: &Image, wanted: Wanted<'_>) -> Result<Option<Image>, ImageError> {
        let registry = open_registry(name).await?;
        let current = registry.digest().await?;
        // The reference may lead to an index; whichever image that leads to is compared.
        if let Some(current) = current
            && let Found::Candidate(candidate) = self.find(&name.to_string(), &current, wanted)?
            && candidate.manifest_digest == image.manifest_digest
        {
            return Ok(None);
        }
        let candidate = self.fetch(&registry, name, wanted).await?;
        if candidate.manifest_digest == image.manifest_digest {
            return Ok(None);
        }
        pull::complete(self, candidate, BlobSource::Registry(registry)).await.map(Some)
    }

    /// Gets manifest and config of a reference, through indexes, and keeps them.
    async fn fetch(
        &self,
        registry: &Registry,
        name: &RegistryName,
        wanted: Wanted<'_>,
    ) -> Result<Candidate, ImageError> {
        let text = name.to_string();
        let failed = |source| ImageError::Manifest { name: text.clone(), source };
        let (mut digest, mut bytes) = registry.manifest(None).await?;
        for _ in 0..=MOST_NESTED {
            match manifest::parse(&bytes).map_err(failed)? {
                Document::Manifest(manifest) => {
                    let (config_digest, config_size) = manifest::config_of(&manifest).map_err(failed)?;
                    let config = match self.blobs.read(&config_digest)? {
                        Stored::Good(config) => config,
                        Stored::Corrupt(_) | Stored::Missing => registry.document(&config_digest, config_size).await?,
                    };
                    return candidate(&text, digest, bytes, &manifest, config, wanted);
                }
                Document::Index(index) => {
                    let chosen = platform::choose(index.manifests(), wanted.platform).map_err(|offered| {
                        failed(ManifestError::NoPlatform { wanted: Box::new(wanted.platform.clone()), offered })
                    })?;
                    let next = manifest::digest_of(chosen).map_err(failed)?;
                    self.blobs.write(&bytes)?;
                    (digest, bytes) = match self.blobs.read(&next)? {
                        Stored::Good(bytes) => (next, bytes),
                        Stored::Corrupt(_) | Stored::Missing => registry.manifest(Some(&next)).await?,
                    };
                }
            }
        }
        Err(failed(ManifestError::TooDeep(MOST_NESTED)))
    }

    /// What the store holds under `digest`, a manifest's or an index's.
    fn find(&self, name: &str, digest: &Digest, wanted: Wanted<'_>) -> Result<Found, ImageError> {
        let failed = |source| ImageError::Manifest { name: name.to_owned(), source };
        let mut digest = digest.clone();
        for _ in 0..=MOST_NESTED {
            let bytes = match self.blobs.read(&digest)? {
                Stored::Good(bytes) => bytes,
                Stored::Corrupt(path) => return Ok(Found::Damaged(path)),
                Stored::Missing => return Ok(Found::Nothing),
            };
            match manifest::parse(&bytes).map_err(failed)? {
                Document::Manifest(manifest) => {
                    let (config_digest, _) = manifest::config_of(&manifest).map_err(failed)?;
                    let config = match self.blobs.read(&config_digest)? {
                        Stored::Good(config) => config,
                        Stored::Corrupt(path) => return Ok(Found::Damaged(path)),
                        Stored::Missing => return Ok(Found::Nothing),
                    };
                    return match candidate(name, digest, bytes, &manifest, config, wanted) {
                        // It was pulled for another platform; the registry may have this one.
                        Err(ImageError::Manifest { source: ManifestError::OtherPlatform { .. }, .. }) => {
                            Ok(Found::Nothing)
                        }
                        result => result.map(|candidate| Found::Candidate(Box::new(candidate))),
                    };
                }
                Document::Index(index) => match platform::choose(index.manifests(), wanted.platform) {
                    Ok(chosen) => digest = manifest::digest_of(chosen).map_err(failed)?,
                    Err(_) => return Ok(Found::Nothing),
                },
            }
        }
        Err(failed(ManifestError::TooDeep(MOST_NESTED)))
    }

    /// The directory of a layer, there or not.
    pub(super) fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.layers.join(diff_id.hex())
    }

    /// The image, if all its layers are there.
    pub(super) fn image(&self, candidate: &Candidate, pulled: bool) -> Option<Image> {
        let opaque = if self.staging.mappings.is_some() { OPAQUE_ROOTLESS } else { OPAQUE_ROOTFUL };
        if !candidate.layers.iter().all(|layer| self.layer(&layer.diff_id).is_dir()) {
            return None;
        }
        let mut layers = Vec::with_capacity(candidate.layers.len());
        let mut seen = HashSet::new();
        for layer in candidate.layers.iter().rev() {
            // Overlayfs refuses a directory that is there twice. The upper one covers the lower whole.
            if !seen.insert(&layer.diff_id) {
                continue;
            }
            let root = self.layer(&layer.diff_id).join(ROOT);
            // Overlayfs does not look at this mark on the root of a layer.
            let hides_the_rest = xattr::get(&root, opaque).is_ok_and(|value| value.as_deref() == Some(b"y"));
            layers.push(root);
            if hides_the_rest {
                break;
            }
        }
        layers.reverse();
        Some(Image {
            manifest_digest: candidate.manifest_digest.clone(),
            config: candidate.config.clone(),
            layers,
            pulled,
            notes: candidate.notes.clone(),
        })
    }
}

/// How many indexes may lead to a manifest.
const MOST_NESTED: u32 = 8;

fn candidate(
    name: &str,
    manifest_digest: Digest,
    manifest_bytes: Vec<u8>,
    manifest: &ImageManifest,
    config_bytes: Vec<u8>,
    wanted: Wanted<'_>,
) -> Result<Candidate, ImageError> {
    let failed = |source| ImageError::Manifest { name: name.to_owned(), source };
    let (config, layers) = manifest::parse_config(manifest, &config_bytes).map_err(failed)?;
    let found = Platform::of_config(&config);
    let mut notes = Vec::new();
    if !wanted.platform.accepts(&found) {
        let wanted_platform = wanted.platform.clone();
        if wanted.is_explicit {
            return Err(failed(ManifestError::OtherPlatform {
                wanted: Box::new(wanted_platform),
                found: Box::new(found),
            }));
        }
        // The host may emulate it.
        notes.push(ImageNote::OtherPlatform { wanted: wanted_platform, found });
    }
    let name = name.to_owned();
    Ok(Candidate { name, manifest_digest, manifest: manifest_bytes, config_bytes, config, layers, notes })
}

async fn open_registry(name: &RegistryName) -> Result<Registry, ImageError> {
    let text = name.to_string();
    let name = name.clone();
    let opened = tokio::task::spawn_blocking(move || Registry::open(&name)).await;
    Ok(opened.map_err(|_| ImageError::Worker { name: text })??)
}

impl fmt::Display for ImageNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageNote::Offline { name, reason } => write!(f, "using the {name} that is here: {reason}"),
            ImageNote::OtherPlatform { wanted, found } => {
                write!(f, "the image is made for {found}, this host is {wanted}")
            }
            ImageNote::Replaced { path } => write!(f, "{} was damaged and has been got again", path.display()),
            ImageNote::Unpacked { diff_id, stats } => {
                write!(f, "layer {diff_id}:")?;
                let mut separator = " ";
                for (count, what) in [
                    (stats.squashed_owners, "entries have no owner of their own for want of subordinate ids"),
                    (stats.skipped_devices, "device nodes were left out, which only root can make"),
                    (stats.skipped_xattrs, "extended attributes were left out"),
                ] {
                    if count > 0 {
                        write!(f, "{separator}{count} {what}")?;
                        separator = "; ";
                    }
                }
                Ok(())
            }
        }
    }
}
