//! Garbage collection: drop references as a policy says, then remove what no reference and no live
//! execution needs.
//!
//! # Contract
//! A collection has the store alone ([`Exclusive`](super::Exclusive)) while it looks at what there is and
//! moves layers out of their places, which takes moments; their files are removed afterwards. References
//! are forgotten before anything is removed, and everything that is removed was unreachable by then: a
//! collection that is killed has lost nothing, and the next one finishes its work.
//!
//! What a damaged index, manifest or config leads to is not known. While one is needed, nothing but
//! leftovers is removed, and the report says what to do.

mod catalog;
mod choose;
mod collect;
mod report;

pub use catalog::{Inventory, StoredImage, StoredLayer};
pub use collect::{Fate, GcRequest, HeldReference, LiveUse};
pub use report::{DropReason, DroppedReference, GcPolicy, GcReport, KeepReason, KeptReference, Removed, RemovedKind};
