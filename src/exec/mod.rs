//! Executions: start, wait, cancel, settle, reconcile.

mod model;

pub use model::{JobExecution, JobExecutionId, JobStatus, JobTrigger, ListQuery, StatusFilter, UnknownStatus};
