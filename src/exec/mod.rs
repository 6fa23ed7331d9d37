//! Executions: start, wait, cancel, settle, reconcile.
//!
//! [`JobExecutor`] is what the command line is built on and what another program embeds. It holds
//! no state of its own beyond open files: any number of them, in any number of processes, may work on
//! one state root, and any of them may die at any moment.

mod collect;
mod error;
mod executor;
mod images;
mod model;
mod prepare;
mod references;
mod roles;
mod settle;
mod started;

pub use error::ExecError;
pub use executor::{ImageConfig, JobExecutor, JobExecutorConfig};
pub use images::{ImageDetails, ImageSummary, LayerDetails, LoadInput, PullOptions, PulledImage};
pub use model::{JobExecution, JobExecutionId, JobStatus, JobTrigger, ListQuery, StatusFilter, UnknownStatus};
pub use roles::init;
// What the functions above speak of.
pub use crate::image::{
    Digest, DropReason, DroppedReference, GcPolicy, GcReport, KeepReason, KeptReference, LayerProgress, Observer,
    Platform, PlatformError, PullEvent, Removed, RemovedKind,
};
pub use started::{Notice, Started, Stdio};
