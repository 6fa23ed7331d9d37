//! Rows as values, and values as columns.

use super::error::{Failure, RecordError};
use super::model::{Attempt, Execution, Job, JobTrigger, Status};
use crate::outcome::{PeakMemorySource, Usage};
use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::FromSql;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The columns that [`Execution::read`] expects, in its order.
pub(super) const COLUMNS: &str = "id, job_name, deployment, status, trigger_kind, trigger_detail, image, \
     image_digest, container_id, spec, labels, owner, created_at, started_at, completed_at, elapsed, exit_code, \
     outcome_end, reason, peak_memory, peak_memory_source, cpu_user, cpu_system, oom_kills, notes, attempt, \
     retry_at, waiting_since, cancel_requested, spent, idempotency_key, max_concurrent, global_limit, \
     queue_deadline, reserved_for, ttl, keep_last, keep_last_total, expires_at, delete_on_exit, scheduled_for, \
     revision, settings";

/// The columns that [`Attempt::read`] expects, in its order.
pub(super) const ATTEMPT_COLUMNS: &str = "execution_id, number, started_at, completed_at, elapsed, exit_code, \
     outcome_end, reason, peak_memory, peak_memory_source, cpu_user, cpu_system, oom_kills, notes, container_id";

/// The columns that [`Job::read`] expects, in its order.
pub(super) const JOB_COLUMNS: &str = "name, spec, registered_at, updated_at";

impl Execution {
    /// Reads a row of [`COLUMNS`].
    pub(super) fn read(row: &Row<'_>) -> Result<Execution, Failure> {
        let mut columns = Columns::new(row)?;
        Ok(Execution {
            id: columns.key.clone(),
            job_name: columns.get()?,
            deployment: columns.get()?,
            status: columns.parse("status", Status::parse)?,
            trigger: {
                let kind: String = columns.get()?;
                let detail = columns.get()?;
                JobTrigger::parse(&kind, detail).ok_or_else(|| columns.unreadable("trigger"))?
            },
            image: columns.get()?,
            image_digest: columns.get()?,
            container_id: columns.get()?,
            spec: columns.json("spec")?,
            labels: columns.json("labels")?,
            owner: columns.optional_json("owner")?,
            created_at: columns.get().map(timestamp)?,
            started_at: columns.time()?,
            completed_at: columns.time()?,
            elapsed: columns.duration("elapsed time")?,
            exit_code: columns.get()?,
            end: columns.optional_json("end")?,
            reason: columns.get()?,
            usage: columns.usage()?,
            notes: columns.json("notes")?,
            attempt: columns.get()?,
            retry_at: columns.time()?,
            waiting_since: columns.time()?,
            cancel_requested: columns.get()?,
            spent: columns.duration("spent time")?.unwrap_or_default(),
            idempotency_key: columns.get()?,
            max_concurrent: columns.get()?,
            global_limit: columns.get()?,
            queue_deadline: columns.duration("queue deadline")?,
            reserved_for: columns.optional_json("reservation")?,
            ttl: columns.duration("time to live")?,
            keep_last: columns.get()?,
            keep_last_total: columns.get()?,
            expires_at: columns.time()?,
            delete_on_exit: columns.get()?,
            scheduled_for: columns.time()?,
            revision: columns.get()?,
            settings: columns.optional_json("settings")?,
        })
    }
}

impl Attempt {
    /// Reads a row of [`ATTEMPT_COLUMNS`].
    pub(super) fn read(row: &Row<'_>) -> Result<Attempt, Failure> {
        let mut columns = Columns::new(row)?;
        Ok(Attempt {
            number: columns.get()?,
            started_at: columns.time()?,
            completed_at: columns.get().map(timestamp)?,
            elapsed: columns.duration("elapsed time")?.unwrap_or_default(),
            exit_code: columns.get()?,
            end: columns.json("end")?,
            reason: columns.get()?,
            usage: columns.usage()?,
            notes: columns.json("notes")?,
            container_id: columns.get()?,
        })
    }
}

impl Job {
    /// Reads a row of [`JOB_COLUMNS`].
    pub(super) fn read(row: &Row<'_>) -> Result<Job, Failure> {
        let mut columns = Columns::new(row)?;
        let spec: String = columns.get()?;
        let spec = serde_json::from_str(&spec)
            .map_err(|source| RecordError::UnreadableJob { name: columns.key.clone(), source })?;
        Ok(Job {
            name: columns.key.clone(),
            spec,
            registered_at: columns.get().map(timestamp)?,
            updated_at: columns.get().map(timestamp)?,
        })
    }
}

/// The columns of a row, one after the other. The first is the key, which errors name.
struct Columns<'a> {
    row: &'a Row<'a>,
    key: String,
    next: usize,
}

impl<'a> Columns<'a> {
    fn new(row: &'a Row<'a>) -> rusqlite::Result<Columns<'a>> {
        Ok(Columns { row, key: row.get(0)?, next: 1 })
    }

    fn get<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        let index = self.next;
        self.next += 1;
        self.row.get(index)
    }

    fn unreadable(&self, column: &'static str) -> Failure {
        RecordError::Unreadable { id: self.key.clone(), column, source: None }.into()
    }

    fn parse<T>(&mut self, column: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Failure> {
        let text: String = self.get()?;
        parse(&text).ok_or_else(|| self.unreadable(column))
    }

    fn json<T: DeserializeOwned>(&mut self, column: &'static str) -> Result<T, Failure> {
        let text: String = self.get()?;
        Ok(from_json(&self.key, column, &text)?)
    }

    fn optional_json<T: DeserializeOwned>(&mut self, column: &'static str) -> Result<Option<T>, Failure> {
        let text: Option<String> = self.get()?;
        Ok(text.map(|text| from_json(&self.key, column, &text)).transpose()?)
    }

    fn time(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        Ok(self.get::<Option<i64>>()?.map(timestamp))
    }

    fn unsigned(&mut self, column: &'static str) -> Result<Option<u64>, Failure> {
        let value: Option<i64> = self.get()?;
        value.map(u64::try_from).transpose().map_err(|_| self.unreadable(column))
    }

    fn duration(&mut self, column: &'static str) -> Result<Option<Duration>, Failure> {
        Ok(self.unsigned(column)?.map(Duration::from_nanos))
    }

    fn usage(&mut self) -> Result<Usage, Failure> {
        let peak_memory = self.unsigned("peak memory")?;
        let source: Option<String> = self.get()?;
        Ok(Usage {
            peak_memory,
            peak_memory_source: source
                .map(|text| parse_source(&text).ok_or_else(|| self.unreadable("peak memory source")))
                .transpose()?,
            cpu_user: self.duration("CPU time")?,
            cpu_system: self.duration("CPU time")?,
            oom_kills: self.unsigned("count of OOM kills")?,
        })
    }
}

pub(super) fn from_json<T: DeserializeOwned>(id: &str, column: &'static str, text: &str) -> Result<T, RecordError> {
    serde_json::from_str(text).map_err(|source| RecordError::Unreadable {
        id: id.to_owned(),
        column,
        source: Some(source),
    })
}

pub(super) fn to_json<T: Serialize>(id: &str, column: &'static str, value: &T) -> Result<String, RecordError> {
    serde_json::to_string(value).map_err(|source| RecordError::Unreadable {
        id: id.to_owned(),
        column,
        source: Some(source),
    })
}

/// The stored notes and further ones.
pub(super) fn append_notes(id: &str, stored: &str, further: &[String]) -> Result<String, RecordError> {
    let mut notes: Vec<String> = from_json(id, "notes", stored)?;
    notes.extend_from_slice(further);
    to_json(id, "notes", &notes)
}

pub(super) fn source_name(source: PeakMemorySource) -> &'static str {
    match source {
        PeakMemorySource::Cgroup => "cgroup",
        PeakMemorySource::LargestProcess => "largest_process",
    }
}

fn parse_source(text: &str) -> Option<PeakMemorySource> {
    [PeakMemorySource::Cgroup, PeakMemorySource::LargestProcess].into_iter().find(|source| source_name(*source) == text)
}

/// Nanoseconds since 1970. What lies outside the years 1677 to 2262 becomes the nearest that fits.
pub(super) fn nanoseconds(time: Timestamp) -> i64 {
    let value = time.as_nanosecond();
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

pub(super) fn timestamp(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into()).expect("jiff's range is wider than that of i64 nanoseconds")
}

/// What is longer than 292 years becomes that.
pub(super) fn duration_nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Counters of the kernel that no host reaches beyond `i64`.
pub(super) fn counter(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
