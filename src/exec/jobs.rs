//! Registered jobs.

use super::error::ExecError;
use super::executor::JobExecutor;
use crate::spec::{Overrides, ServiceSpec};

impl JobExecutor {
    /// Remembers a job under a name, in place of one that was registered under it before. Executions that exist
    /// keep the spec that they were triggered with.
    ///
    /// # Errors
    /// A name that a job cannot have, or the record cannot be written.
    pub async fn register_job(&self, name: &str, spec: ServiceSpec) -> Result<(), ExecError> {
        let spec = spec.with(Overrides { name: Some(name.to_owned()), ..Overrides::default() })?;
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
        let Some(job) = self.record().job(name)? else { return Ok(None) };
        let spec = serde_json::from_value(job.spec)
            .map_err(|source| ExecError::Spec { what: format!("job {name}"), source })?;
        Ok(Some(spec))
    }

    /// Names of the registered jobs, in alphabetical order.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn list_jobs(&self) -> Result<Vec<String>, ExecError> {
        Ok(self.record().jobs()?.into_iter().map(|job| job.name).collect())
    }
}
