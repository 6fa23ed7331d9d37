//! Finding executions that have ended, to forget them.

use super::error::RecordError;
use super::row::{nanoseconds, timestamp};
use super::store::Record;
use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{params, params_from_iter};

/// Which ended executions; the default is all. Every condition has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndedQuery {
    pub job: Option<String>,
    /// Ended then or earlier.
    pub completed_by: Option<Timestamp>,
    /// Their own time to live was over by then.
    pub expired_by: Option<Timestamp>,
    /// Their jobs name no time to live; what they have is that of the configuration of their time.
    pub without_own_ttl: bool,
    /// Not among the newest so many ended ones of the job; counts only where a job is given.
    pub beyond: Option<u32>,
}

impl Record {
    /// Ids of executions that have ended, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn ended(&self, query: &EndedQuery, limit: u32) -> Result<Vec<String>, RecordError> {
        const ENDED: &str = "status IN ('completed', 'failed', 'cancelled')";
        let mut sql = format!("SELECT id FROM executions WHERE {ENDED}");
        let mut parameters: Vec<Value> = Vec::new();
        let mut add = |condition: &str, value: Value| {
            sql.push_str(" AND ");
            sql.push_str(condition);
            parameters.push(value);
        };
        if let Some(time) = query.completed_by {
            add("completed_at <= ?", nanoseconds(time).into());
        }
        if let Some(time) = query.expired_by {
            add("expires_at <= ?", nanoseconds(time).into());
        }
        if let Some(job) = &query.job {
            add("job_name = ?", job.clone().into());
            if let Some(keep) = query.beyond {
                let newest = format!("id <= (SELECT id FROM executions WHERE {ENDED} AND job_name = ?");
                add(&newest, job.clone().into());
                sql.push_str(" ORDER BY id DESC LIMIT 1 OFFSET ?)");
                parameters.push(keep.into());
            }
        }
        if query.without_own_ttl {
            // A damaged spec names none.
            sql.push_str(
                " AND CASE WHEN json_valid(spec) THEN json_extract(spec, '$.policy.retention.ttl') END IS NULL",
            );
        }
        sql.push_str(" ORDER BY id LIMIT ?");
        parameters.push(limit.into());
        self.read("look for what has ended", |connection| {
            Ok(connection
                .prepare_cached(&sql)?
                .query_map(params_from_iter(&parameters), |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Names of the jobs that have executions.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn executed_jobs(&self) -> Result<Vec<String>, RecordError> {
        self.read("list the jobs", |connection| {
            Ok(connection
                .prepare_cached("SELECT DISTINCT job_name FROM executions")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The first moment after `now` at which an ended execution expires.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn next_expiry(&self, now: Timestamp) -> Result<Option<Timestamp>, RecordError> {
        self.read("look for what expires", |connection| {
            let next: Option<i64> = connection
                .prepare_cached("SELECT min(expires_at) FROM executions WHERE expires_at > ?1")?
                .query_row([nanoseconds(now)], |row| row.get(0))?;
            Ok(next.map(timestamp))
        })
    }

    /// Ids of ended executions that were to be removed at their end, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn departing(&self, limit: u32) -> Result<Vec<String>, RecordError> {
        self.read("look for what is to be removed", |connection| {
            // In the words of the index of these few.
            Ok(connection
                .prepare_cached(
                    "SELECT id FROM executions \
                     WHERE delete_on_exit = 1 AND status IN ('completed', 'failed', 'cancelled') LIMIT ?1",
                )?
                .query_map(params![limit], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?)
        })
    }
}
