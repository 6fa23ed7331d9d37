//! Registered jobs.

use super::{ExecutionDocument, secrets};
use crate::exec::{JobExecution, JobStats, RegisteredJob};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// A job; see the module documentation.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct JobDocument<'a> {
    name: &'a str,
    deployment: Option<&'a str>,
    image: &'a str,
    registered_at: Timestamp,
    updated_at: Timestamp,
    running: u64,
    waiting: u64,
    last: Option<ExecutionDocument<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<Value>,
}

impl<'a> JobDocument<'a> {
    pub(in crate::cli) fn new(
        job: &'a RegisteredJob,
        stats: &JobStats,
        last: Option<&'a JobExecution>,
    ) -> JobDocument<'a> {
        JobDocument {
            name: &job.name,
            deployment: job.spec.deployment.as_deref(),
            image: &job.spec.image.name,
            registered_at: job.registered_at,
            updated_at: job.updated_at,
            running: stats.running,
            waiting: stats.waiting,
            last: last.map(ExecutionDocument::new),
            spec: None,
        }
    }

    pub(in crate::cli) fn with_spec(
        job: &'a RegisteredJob,
        stats: &JobStats,
        last: Option<&'a JobExecution>,
    ) -> JobDocument<'a> {
        let spec = serde_json::to_value(&job.spec).unwrap_or_default();
        JobDocument { spec: Some(secrets::without_secrets(&spec)), ..JobDocument::new(job, stats, last) }
    }
}
