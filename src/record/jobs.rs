//! Registered jobs.

use super::error::{Failure, RecordError};
use super::model::Job;
use super::row::{JOB_COLUMNS, nanoseconds};
use super::store::{Durability, Record};
use jiff::Timestamp;
use rusqlite::params;

impl Record {
    /// Registers a job, durably. One of the same name is replaced, and keeps the time of its registration.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn register_job(&self, name: &str, spec: &serde_json::Value, now: Timestamp) -> Result<(), RecordError> {
        self.transaction("register the job", Durability::Host, |transaction| {
            transaction
                .prepare_cached(&format!(
                    "INSERT INTO jobs ({JOB_COLUMNS}) VALUES (?1, ?2, ?3, ?3) \
                     ON CONFLICT (name) DO UPDATE SET spec = ?2, updated_at = ?3"
                ))?
                .execute(params![name, spec.to_string(), nanoseconds(now)])?;
            Ok(())
        })
    }

    /// Forgets a job, durably; its executions stay. False when it is not there.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn unregister_job(&self, name: &str) -> Result<bool, RecordError> {
        self.transaction("unregister the job", Durability::Host, |transaction| {
            let changed = transaction.prepare_cached("DELETE FROM jobs WHERE name = ?1")?.execute([name])?;
            Ok(changed > 0)
        })
    }

    /// The job of this name.
    ///
    /// # Errors
    /// When the database or the row cannot be read.
    pub fn job(&self, name: &str) -> Result<Option<Job>, RecordError> {
        self.read("look up the job", |connection| {
            connection
                .prepare_cached(&format!("SELECT {JOB_COLUMNS} FROM jobs WHERE name = ?1"))?
                .query_and_then([name], Job::read)?
                .next()
                .transpose()
        })
    }

    /// All jobs, in alphabetical order.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn jobs(&self) -> Result<Vec<Job>, RecordError> {
        self.read("list the jobs", |connection| {
            connection
                .prepare_cached(&format!("SELECT {JOB_COLUMNS} FROM jobs ORDER BY name"))?
                .query_and_then([], Job::read)?
                .collect::<Result<_, Failure>>()
        })
    }
}
