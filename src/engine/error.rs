//! Why a runtime could not do what it was asked for.

use crate::bundle::BundleError;
use crate::id::{ContainerId, JobExecutionId};
use crate::image::{ImageError, ReferenceError};
use crate::log::LogError;
use crate::record::RecordError;
use crate::runtime::cgroup::CgroupError;
use crate::seccomp::SeccompError;
use crate::state_dir::StateDirError;
use crate::sys::userns::UserNsError;
use std::io;
use std::path::PathBuf;

/// A failure of the runtime; a job that fails is none, it is an outcome.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Limits(#[from] CgroupError),
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    #[error(transparent)]
    UserNamespace(#[from] UserNsError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("failed to {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("failed to start the supervisor {}", binary.display())]
    Spawn { binary: PathBuf, source: io::Error },
    #[error(
        "the supervisor of container {container} ended before the job could start; its directory may be unwritable or full"
    )]
    SupervisorGone { container: ContainerId },
    #[error(
        "this program cannot be its own supervisor: call coracle::init() first in its main function, \
         or set OciRuntimeConfig::binary to a coracle binary"
    )]
    NotInitialised,
    #[error("failed to get the image of init step {step:?}")]
    StepImage { step: String, source: Box<RuntimeError> },
    #[error("container {container} was not created by this process")]
    NotCreatedHere { container: ContainerId },
    #[error("container {container} has no log")]
    NoLog { container: ContainerId },
    #[error("no image {reference} in the store")]
    ImageNotFound { reference: String },
    #[error("{reference} names several images: {}; give more of it, or use --force to mean all of them", references.join(", "))]
    AmbiguousImage { reference: String, references: Vec<String> },
    #[error(
        "the image {reference} is used by {}, which has not ended; cancel it first, or use --force to drop the reference alone",
        executions.iter().map(JobExecutionId::as_str).collect::<Vec<_>>().join(", ")
    )]
    ImageInUse { reference: String, executions: Vec<JobExecutionId> },
    #[error("failed to inspect the image {reference}: {problem}")]
    ImageIncomplete { reference: String, problem: String },
    /// Of a runtime that is none of this crate's.
    #[error("{message}")]
    Other { message: String, source: Option<Box<dyn std::error::Error + Send + Sync>> },
}

impl RuntimeError {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> RuntimeError {
        let path = path.into();
        move |source| RuntimeError::Io { action, path, source }
    }
}
