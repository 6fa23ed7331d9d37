//! Images: what a name refers to, where its content comes from, and the store of unpacked layers.
//!
//! [`ImageStore::resolve`] is the way in: an [`ImageName`] becomes an [`Image`], whose layers are
//! directories ready for an overlay mount. [`ImageStore::load`] does it for all images of a file.
//!
//! # On disk
//! ```text
//! blobs/sha256/HEX              manifests, indexes and configs; verified at every read
//! layers/KIND/HEX/              one layer, by its diff id; mode 0700
//! layers/KIND/HEX/diff/         its root, whiteouts and opaque directories in overlayfs's own form
//! layers/KIND/HEX/layer.json    what it was made of, see `layers`
//! staging/                      see `staging`
//! images.lock                   see `lease`
//! ```
//! A layer is there whole or not at all: it is built in `staging/`, written to disk, and renamed after
//! the size and digest of the blob, the digest of the tar and the unpacker's result are good.
//!
//! # Processes
//! Whatever parses a layer's tar runs in the unpacker, a process of its own that has the layer's
//! directory as its root and nothing else (see [`unpack`]). Decompression is the front's: it must
//! hash what comes out.

mod config;
mod decompress;
mod foreign;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod host_cpu;
mod manifest;
mod platform;
mod policy;
mod progress;
mod registry;
mod source;
mod store;
mod surroundings;
pub mod unpack;

pub use crate::naming::{ArchivedImage, Digest, DigestError, ImageName, ReferenceError, RegistryName};
use crate::naming::{digest, name, reference};
pub use config::{
    AuthError, CertificateError, ConfigError, Credentials, Endpoint, HelperError, HostConfig, Identity, Serves,
    TlsFiles,
};
pub use manifest::ManifestError;
pub use platform::{Platform, PlatformError};
pub use policy::{KeyError, MalformedPolicy, Origin, PolicyError, Refusal, RefusalReason, SignatureProblem};
pub use progress::{LayerProgress, Observer, PullEvent};
pub use registry::{NetworkPolicy, RegistryError};
pub use source::{ArchiveProblem, BlobProblem, LoadInput, Place, SourceError};
pub use store::{
    BlobError, DropReason, DroppedReference, Exclusive, Fate, GcPolicy, GcReport, GcRequest, HeldReference, Image,
    ImageError, ImageNote, ImageRequest, ImageStore, Inventory, KeepReason, KeptReference, LayerError, Lease, Limits,
    ListError, LiveUse, LoadedImage, PullPolicy, References, Removed, RemovedKind, StagingError, StoredImage,
    StoredLayer, Work,
};
pub use surroundings::Surroundings;
