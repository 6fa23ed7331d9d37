//! The store: what is resolved from what is there, and pulling the rest.

mod blobs;
mod gc;
mod layer;
mod layers;
mod lease;
mod limits;
mod load;
mod local;
mod note;
mod pull;
mod request;
mod resolve;
mod staging;

pub use blobs::BlobError;
pub use gc::{
    DropReason, DroppedReference, Fate, GcPolicy, GcReport, GcRequest, HeldReference, Inventory, KeepReason,
    KeptReference, LiveUse, Removed, RemovedKind, StoredImage, StoredLayer,
};
pub use layer::LayerError;
pub use layers::ListError;
pub use lease::{Exclusive, Lease};
pub use limits::Limits;
pub use load::LoadedImage;
pub use note::ImageNote;
pub use request::{ImageRequest, PullPolicy, References};
pub use staging::{StagingError, Work};

use crate::image::digest::Digest;
use crate::image::manifest::{LayerRef, ManifestError};
use crate::image::name::ImageName;
use crate::image::policy::PolicyError;
use crate::image::progress::{Observer, Reporter};
use crate::image::registry::{NetworkPolicy, RegistryError};
use crate::image::source::SourceError;
use crate::image::surroundings::Surroundings;
use crate::image::unpack::{OPAQUE_ROOTFUL, OPAQUE_ROOTLESS};
use crate::plan::IdMappings;
use crate::state_dir::StateDir;
use blobs::Blobs;
use layers::{LayerState, Layers};
use oci_spec::image::ImageConfiguration;
use staging::Staging;
use std::collections::HashSet;
use std::path::PathBuf;

/// Layers worked on at once, as Docker does (`max-concurrent-downloads`).
const PARALLEL_LAYERS: usize = 3;

/// An image that is ready to be run.
#[derive(Debug, Clone)]
pub struct Image {
    /// The name in its complete form: which of its candidates a short name is, local paths absolute.
    pub reference: String,
    /// What the reference names: an index, or the manifest itself. The caller records it while it has
    /// the image, and answers with it the next time that [`References`] is asked.
    pub digest: Digest,
    /// Of the image's own manifest, not of an index that led to it.
    pub manifest_digest: Digest,
    pub config: ImageConfiguration,
    /// Root directories of the layers, lowest (base) first, none twice: ready for an overlay mount.
    /// Empty for an image without content.
    pub layers: Vec<PathBuf>,
    /// True when something was fetched or unpacked for it.
    pub pulled: bool,
    /// What the user should know.
    pub notes: Vec<ImageNote>,
    /// As long as the image is kept, no collection removes anything.
    pub lease: Lease,
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
    #[error("failed to look up {name}")]
    References { name: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("failed to resolve the path in {name}")]
    Path { name: String, source: std::io::Error },
    #[error("failed to lock {}", path.display())]
    Lock { path: PathBuf, source: std::io::Error },
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
    #[error(transparent)]
    List(#[from] ListError),
    #[error("failed to complete the work on {name}: a worker thread ended early")]
    Worker { name: String },
}

impl From<SourceError> for ImageError {
    fn from(error: SourceError) -> ImageError {
        ImageError::Source(Box::new(error))
    }
}

impl ImageError {
    /// True when the registry could not be asked for the image, a part of it or its signatures.
    fn is_unreachable(&self) -> bool {
        match self {
            ImageError::Registry(error) => error.is_unreachable(),
            ImageError::Layer { source, .. } => match &**source {
                LayerError::Registry(error) => error.is_unreachable(),
                _ => false,
            },
            ImageError::Policy(PolicyError::Signatures { source, .. }) => source.is_unreachable(),
            _ => false,
        }
    }
}

/// Images on this machine. Cheap to open and to clone; any number of processes may use one state root
/// at once.
#[derive(Debug, Clone)]
pub struct ImageStore {
    pub(super) blobs: Blobs,
    pub(super) layers: Layers,
    pub(super) staging: Staging,
    /// See [`lease`].
    lock: PathBuf,
    pub(super) parallel_layers: usize,
    pub(super) reporter: Reporter,
    pub(super) limits: Limits,
    pub(super) network: NetworkPolicy,
    pub(super) signature_policy: Option<PathBuf>,
    pub(super) surroundings: Surroundings,
}

/// Manifest and config of one image, verified, and where its layers are to be found.
pub(super) struct Candidate {
    /// As the user wrote it, for messages.
    pub name: String,
    pub reference: String,
    pub digest: Digest,
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
        ImageStore {
            blobs: Blobs::new(state.blobs()),
            layers: Layers::new(state.layers(), mappings.clone()),
            staging: Staging { directory: state.staging(), binary, mappings, work: None },
            lock: state.images_lock(),
            parallel_layers: PARALLEL_LAYERS,
            reporter: Reporter::default(),
            limits: Limits::default(),
            network: NetworkPolicy::default(),
            signature_policy: None,
            surroundings: Surroundings::default(),
        }
    }

    /// Tells `observer` what pulls do. By default nobody is told, which costs nothing.
    #[must_use]
    pub fn with_observer(mut self, observer: Observer) -> ImageStore {
        self.reporter = Reporter::new(observer);
        self
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

    /// Keeps `work` until this store, its clones and every thread that makes or removes a layer for them
    /// have ended: when its sender is closed, dropped futures of this store have left nothing half made.
    #[must_use]
    pub fn with_work(mut self, work: Work) -> ImageStore {
        self.staging.work = Some(work);
        self
    }

    /// Works on so many layers of an image at once, at least on one. Three by default.
    #[must_use]
    pub fn with_parallel_layers(mut self, count: usize) -> ImageStore {
        self.parallel_layers = count.max(1);
        self
    }

    /// Takes the signature policy from `file` instead of the user's or the host's
    /// (containers-policy.json(5)). It is read whenever content is taken from a source.
    #[must_use]
    pub fn with_signature_policy(mut self, file: PathBuf) -> ImageStore {
        self.signature_policy = Some(file);
        self
    }

    /// Finds the user's configuration, credentials and proxies by other variables than this process's own.
    #[must_use]
    pub fn with_surroundings(mut self, surroundings: Surroundings) -> ImageStore {
        self.surroundings = surroundings;
        self
    }

    /// Makes the image that is asked for available and returns it.
    ///
    /// What is here already takes a few file reads and no network. A layer that several images or
    /// processes want at once is fetched once. What is damaged in the store is made again, with a note.
    /// Dropping the future stops the work; what is half made is removed by the threads that made it.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub async fn resolve(&self, request: &ImageRequest<'_>) -> Result<Image, ImageError> {
        let lease = self.lease().await?;
        match request.name {
            ImageName::Layout { .. } | ImageName::OciArchive { .. } | ImageName::DockerArchive { .. } => {
                self.resolve_local(request, &lease).await
            }
            ImageName::Stored(digest) => self.resolve_stored(request, digest, &lease),
            ImageName::Registry(name) => self.resolve_registry(request, &lease, name).await,
        }
    }

    /// Removes what pulls that were killed have left. Blocks.
    ///
    /// # Errors
    /// [`ImageError::Staging`]; everything that could be removed is.
    pub fn sweep(&self) -> Result<(), ImageError> {
        Ok(self.staging.sweep()?)
    }

    /// The image, if all its layers are there.
    pub(super) fn image(&self, candidate: &Candidate, lease: &Lease, pulled: bool) -> Option<Image> {
        let opaque = if self.staging.mappings.is_some() { OPAQUE_ROOTLESS } else { OPAQUE_ROOTFUL };
        let roots: Option<Vec<PathBuf>> = candidate
            .layers
            .iter()
            .map(|layer| match self.layers.find(&layer.diff_id) {
                LayerState::Ready(root) => Some(root),
                LayerState::Absent | LayerState::Broken(_) => None,
            })
            .collect();
        let mut layers = Vec::with_capacity(candidate.layers.len());
        let mut seen = HashSet::new();
        for (layer, root) in candidate.layers.iter().zip(roots?).rev() {
            // Overlayfs refuses a directory that is there twice. The upper one covers the lower whole.
            if !seen.insert(&layer.diff_id) {
                continue;
            }
            // Overlayfs does not look at this mark on the root of a layer.
            let hides_the_rest = xattr::get(&root, opaque).is_ok_and(|value| value.as_deref() == Some(b"y"));
            layers.push(root);
            if hides_the_rest {
                break;
            }
        }
        layers.reverse();
        Some(Image {
            reference: candidate.reference.clone(),
            digest: candidate.digest.clone(),
            manifest_digest: candidate.manifest_digest.clone(),
            config: candidate.config.clone(),
            layers,
            pulled,
            notes: candidate.notes.clone(),
            lease: lease.clone(),
        })
    }
}
