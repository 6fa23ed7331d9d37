//! The store: what is resolved from what is there, and pulling the rest.

mod blobs;
mod layer;
mod limits;
mod load;
mod note;
mod pull;
mod resolve;
mod staging;

pub use blobs::BlobError;
pub use layer::LayerError;
pub use limits::Limits;
pub use load::LoadedImage;
pub use note::ImageNote;
pub use staging::StagingError;

use crate::image::digest::Digest;
use crate::image::manifest::{LayerRef, ManifestError};
use crate::image::name::ImageName;
use crate::image::platform::Platform;
use crate::image::policy::PolicyError;
use crate::image::registry::{NetworkPolicy, RegistryError};
use crate::image::source::SourceError;
use crate::image::unpack::{OPAQUE_ROOTFUL, OPAQUE_ROOTLESS};
use crate::plan::IdMappings;
use crate::state_dir::StateDir;
use blobs::Blobs;
use layer::ROOT;
use oci_spec::image::ImageConfiguration;
use resolve::Wanted;
use staging::Staging;
use std::collections::HashSet;
use std::path::PathBuf;

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

/// An image could not be resolved. Nothing half-made is in the store.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Source(Box<SourceError>),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("failed to use the image {name}")]
    Manifest { name: String, source: ManifestError },
    #[error("failed to get the layer {digest} of {name}")]
    Layer { name: String, digest: Digest, source: Box<LayerError> },
    #[error("failed to find {name} in the store, and the pull policy is never; pull it first or choose another policy")]
    NotPresent { name: String },
    #[error("failed to use {name}: {} is damaged, and the pull policy is never; choose another policy to get it again", path.display())]
    Damaged { name: String, path: PathBuf },
    #[error(
        "failed to find {name} in the store: images are named by digest only when they are here; load or pull it again"
    )]
    NotHere { name: String },
    #[error("failed to use {name}: layers of it are missing in the store; load or pull it again")]
    Incomplete { name: String },
    #[error("failed to use {name}: {} is damaged; load or pull the image again", path.display())]
    DamagedHere { name: String, path: PathBuf },
    #[error(transparent)]
    Store(#[from] BlobError),
    #[error(transparent)]
    Staging(#[from] StagingError),
    #[error("failed to complete the work on {name}: a worker thread ended early")]
    Worker { name: String },
}

impl ImageError {
    /// True when the registry could not be asked for the image or for its signatures.
    fn is_unreachable(&self) -> bool {
        match self {
            ImageError::Registry(error) => error.is_unreachable(),
            ImageError::Policy(PolicyError::Signatures { source, .. }) => source.is_unreachable(),
            _ => false,
        }
    }
}

impl From<SourceError> for ImageError {
    fn from(error: SourceError) -> ImageError {
        ImageError::Source(Box::new(error))
    }
}

/// Images on this machine. Cheap to open and to clone; any number of processes may use one state root
/// at once.
#[derive(Debug, Clone)]
pub struct ImageStore {
    pub(super) blobs: Blobs,
    /// Parent of the layers' directories.
    pub(super) layers: PathBuf,
    pub(super) staging: Staging,
    pub(super) limits: Limits,
    pub(super) network: NetworkPolicy,
    pub(super) signature_policy: Option<PathBuf>,
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
            limits: Limits::default(),
            network: NetworkPolicy::default(),
            signature_policy: None,
        }
    }

    /// Waits for registries in another way than by default.
    #[must_use]
    pub fn with_network(mut self, network: NetworkPolicy) -> ImageStore {
        self.network = network;
        self
    }

    /// Other bounds on layers than the default ones.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> ImageStore {
        self.limits = limits;
        self
    }

    /// Takes the signature policy from `file` instead of the user's or the host's
    /// (containers-policy.json(5)). It is read whenever content is taken from a source.
    #[must_use]
    pub fn with_signature_policy(mut self, file: PathBuf) -> ImageStore {
        self.signature_policy = Some(file);
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
            ImageName::Layout { .. } | ImageName::OciArchive { .. } | ImageName::DockerArchive { .. } => {
                self.resolve_local(name, policy, wanted).await
            }
            ImageName::Stored(digest) => self.resolve_stored(digest, wanted),
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
