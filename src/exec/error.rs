//! Why an execution could not be triggered, found or changed.

use super::model::JobExecutionId;
use crate::engine::RuntimeError;
use crate::quote::brief;
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
    #[error("no execution {}", brief(prefix))]
    NotFound { prefix: String },
    #[error("no job {} is registered", brief(name))]
    NoJob { name: String },
    /// Not necessarily all of those ids.
    #[error("{prefix} is the start of several ids: {}", listed(ids, "at least "))]
    Ambiguous { prefix: String, ids: Vec<String> },
    #[error("execution {id} has ended already: it is {status}")]
    Ended { id: JobExecutionId, status: String },
    #[error("execution {id} is {status}; cancel it first")]
    NotEnded { id: JobExecutionId, status: String },
    #[error("execution {id} has no log")]
    NoLog { id: JobExecutionId },
    /// `on_conflict: forbid`.
    #[error("of the job {job} no more than {limit} may run at once, and there is {}", listed(with, ""))]
    Conflict { job: String, limit: u32, with: Vec<JobExecutionId> },
    #[error("the job {job} is refused: this executor is shutting down")]
    ShuttingDown { job: String },
    #[error("executions have not ended within {limit:?}: {}", listed(ids, ""))]
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

/// The first of them, and how many more there are.
fn listed<T: std::fmt::Display>(ids: &[T], more: &str) -> String {
    const SHOWN: usize = 3;
    let first: Vec<String> = ids.iter().take(SHOWN).map(ToString::to_string).collect();
    match ids.len().saturating_sub(SHOWN) {
        0 => first.join(", "),
        rest => format!("{} and {more}{rest} more", first.join(", ")),
    }
}
