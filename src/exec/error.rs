//! Why an execution could not be started, found or changed.

use super::model::JobExecutionId;
use crate::bundle::BundleError;
use crate::image::{ImageError, ReferenceError};
use crate::log::LogError;
use crate::record::RecordError;
use crate::runtime::cgroup::CgroupError;
use crate::seccomp::SeccompError;
use crate::state_dir::StateDirError;
use crate::sys::userns::UserNsError;
use std::io;
use std::path::PathBuf;

/// A failure of the executor; a job that fails is none, it is a result.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
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
        "the supervisor of execution {id} ended before the job could start; its directory may be unwritable or full"
    )]
    SupervisorGone { id: JobExecutionId },
    #[error("execution {id} was cancelled before it started")]
    CancelledBeforeStart { id: JobExecutionId },
    #[error(
        "this program cannot be its own supervisor: call coracle::init() first in its main function, \
         or set JobExecutorConfig::binary to a coracle binary"
    )]
    NotInitialised,
    #[error("no execution {prefix}")]
    NotFound { prefix: String },
    #[error("{prefix} is the start of several ids: {}", ids.join(", "))]
    Ambiguous { prefix: String, ids: Vec<String> },
    #[error("execution {id} has ended already: it is {status}")]
    Ended { id: JobExecutionId, status: String },
    #[error("execution {id} is {status}; cancel it first")]
    NotEnded { id: JobExecutionId, status: String },
    #[error("execution {id} has no log")]
    NoLog { id: JobExecutionId },
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
    #[error("execution {id} belongs to a process that does not answer")]
    Unreachable { id: JobExecutionId },
}

impl ExecError {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> ExecError {
        let path = path.into();
        move |source| ExecError::Io { action, path, source }
    }
}
