//! Garbage collection.

mod report;

pub use report::{DropReason, DroppedReference, GcPolicy, GcReport, KeepReason, KeptReference, Removed, RemovedKind};
