//! Executions: start, wait, cancel, settle, reconcile.

mod model;

pub use model::{
    JobExecution, JobExecutionId, JobStatus, JobTrigger, ListQuery, Live, LiveStage, StatusFilter, UnknownStatus,
};
