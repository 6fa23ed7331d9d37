//! What a collection is asked to do and what it did.

use crate::image::digest::Digest;
use std::time::Duration;

/// Which references to drop. The default drops none, so that only what no reference needs is removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcPolicy {
    /// Those that were not used for longer than this.
    pub max_unused: Option<Duration>,
    /// The least recently used ones until layers and documents take at most so many bytes.
    pub max_bytes: Option<u64>,
}

/// What a collection did, or with `dry_run` would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    pub dry_run: bool,
    /// References that are no more.
    pub dropped: Vec<DroppedReference>,
    pub removed: Vec<Removed>,
    /// References that stay.
    pub kept: Vec<KeptReference>,
    /// What could not be done, each in words with what to do about it.
    pub problems: Vec<String>,
    /// Bytes of what was removed.
    pub freed: u64,
    /// Bytes of the layers and documents that stay.
    pub remaining: u64,
}

/// A reference that was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedReference {
    pub reference: String,
    pub digest: Digest,
    pub reason: DropReason,
}

/// Why a reference was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// Somebody asked for it.
    Asked,
    /// It was last used so long ago.
    Unused(Duration),
    /// Others were used more recently, and there was no room for all.
    OverBudget,
}

/// A reference that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptReference {
    pub reference: String,
    pub digest: Digest,
    pub reason: KeepReason,
}

/// Why a reference was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepReason {
    /// These executions have not ended.
    InUse(Vec<String>),
    /// The policy has nothing against it.
    Policy,
}

/// Something that is gone from the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    pub kind: RemovedKind,
    /// A layer's diff id, a document's digest, or the name of a leftover.
    pub name: String,
    pub bytes: u64,
}

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovedKind {
    Layer,
    /// A manifest, index or config.
    Document,
    /// What an unfinished pull or collection left.
    Leftover,
}
