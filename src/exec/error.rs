//! Why an execution could not be triggered, found or changed.

use super::model::JobExecutionId;
use crate::engine::RuntimeError;
use crate::record::RecordError;
use crate::spec::ValueError;
use std::io;
use std::path::PathBuf;

/// A failure of the executor; a job that fails is none, it is a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A value that a job cannot have.
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error("failed to {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "the executor's root {} is not the runtime's, {}; leave JobExecutorConfig::root out", executor.display(), runtime.display()
    )]
    RootsDiffer { executor: PathBuf, runtime: PathBuf },
    #[error("no execution {prefix}")]
    NotFound { prefix: String },
    #[error("no job {name} is registered")]
    NoJob { name: String },
    #[error("{prefix} is the start of several ids: {}", ids.join(", "))]
    Ambiguous { prefix: String, ids: Vec<String> },
    #[error("execution {id} has ended already: it is {status}")]
    Ended { id: JobExecutionId, status: String },
    #[error("execution {id} is {status}; cancel it first")]
    NotEnded { id: JobExecutionId, status: String },
    #[error("execution {id} has no log")]
    NoLog { id: JobExecutionId },
    /// `on_conflict: forbid`.
    #[error(
        "of the job {job} no more than {limit} may run at once, and there is {}",
        with.iter().map(JobExecutionId::as_str).collect::<Vec<_>>().join(", ")
    )]
    Conflict { job: String, limit: u32, with: Vec<JobExecutionId> },
    #[error("the job {job} is refused: this executor is shutting down")]
    ShuttingDown { job: String },
    #[error("executions have not ended within {limit:?}: {}", ids.iter().map(JobExecutionId::as_str).collect::<Vec<_>>().join(", "))]
    NotDrained { limit: std::time::Duration, ids: Vec<JobExecutionId> },
    #[error("execution {id} belongs to a process that does not answer")]
    Unreachable { id: JobExecutionId },
    #[error("the spec recorded with {what} is not one of this version")]
    Spec { what: String, source: serde_json::Error },
}

impl ExecError {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> ExecError {
        let path = path.into();
        move |source| ExecError::Io { action, path, source }
    }
}
