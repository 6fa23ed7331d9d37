//! Registered jobs.

use super::error::ExecError;
use super::executor::JobExecutor;
use crate::record::Job;
use crate::spec::{Overrides, ServiceSpec};
use jiff::Timestamp;

/// A job on record.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisteredJob {
    pub name: String,
    pub spec: ServiceSpec,
    pub registered_at: Timestamp,
    /// When it was last registered again; at first as `registered_at`.
    pub updated_at: Timestamp,
}

impl JobExecutor {
    /// Remembers a job under a name, in place of one that was registered under it before. Executions that exist
    /// keep the spec that they were triggered with. Relative paths of images in local files start from this
    /// process's current directory.
    ///
    /// # Errors
    /// A name that a job cannot have, or the record cannot be written.
    pub async fn register_job(&self, name: &str, spec: ServiceSpec) -> Result<(), ExecError> {
        let spec = spec.with(Overrides { name: Some(name.to_owned()), ..Overrides::default() })?;
        let spec = spec.with_absolute_images()?;
        let json = serde_json::to_value(&spec).unwrap_or_default();
        Ok(self.record().register_job(name, &json, self.now())?)
    }

    /// Forgets a registered job; its executions stay. False when there is none.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub async fn unregister_job(&self, name: &str) -> Result<bool, ExecError> {
        Ok(self.record().unregister_job(name)?)
    }

    /// The spec of a registered job; `None` when there is none.
    ///
    /// # Errors
    /// When the record cannot be read, or a newer version wrote it.
    pub async fn get_job_spec(&self, name: &str) -> Result<Option<ServiceSpec>, ExecError> {
        Ok(self.registered_job(name).await?.map(|job| job.spec))
    }

    /// A registered job with what is known of its registration; `None` when there is none.
    ///
    /// # Errors
    /// As [`JobExecutor::get_job_spec`].
    pub async fn registered_job(&self, name: &str) -> Result<Option<RegisteredJob>, ExecError> {
        let Some(Job { name, spec, registered_at, updated_at }) = self.record().job(name)? else { return Ok(None) };
        let spec =
            serde_json::from_value(spec).map_err(|source| ExecError::Spec { what: format!("job {name}"), source })?;
        Ok(Some(RegisteredJob { name, spec, registered_at, updated_at }))
    }

    /// Names of the registered jobs, in alphabetical order.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn list_jobs(&self) -> Result<Vec<String>, ExecError> {
        Ok(self.record().jobs()?.into_iter().map(|job| job.name).collect())
    }
}
