//! Rows as values.

use super::error::RecordError;
use crate::outcome::{End, PeakMemorySource, Usage};
use crate::sys::process::ProcessIdentity;
use jiff::Timestamp;
use rusqlite::Row;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What the record knows of an execution's progress. The live stage of an active one (initialising
/// or running) stands in its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Its front is preparing it, or it waits.
    Pending,
    /// Its supervisor may have started it.
    Active,
    /// The main process exited with code 0.
    Completed,
    /// Any other end that nobody asked for.
    Failed,
    /// A user ended it.
    Cancelled,
}

impl Status {
    pub const ALL: [Status; 5] =
        [Status::Pending, Status::Active, Status::Completed, Status::Failed, Status::Cancelled];

    /// As stored and displayed.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Active => "active",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
        }
    }

    pub fn is_terminal(self) -> bool {
        matches!(self, Status::Completed | Status::Failed | Status::Cancelled)
    }

    /// The status that an end leads to: exit code 0 is `completed`, a cancel is `cancelled`, and
    /// everything else, any other exit code included, is `failed`.
    pub fn of(end: &End) -> Status {
        match end {
            End::Exited { code: 0 } => Status::Completed,
            End::Cancelled { .. } => Status::Cancelled,
            _ => Status::Failed,
        }
    }

    fn parse(text: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who asked for an execution.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum JobTrigger {
    /// A request over the network, from this address where it is known.
    Endpoint { remote_addr: Option<String> },
    /// The command line.
    Cli,
    /// A schedule.
    Scheduler,
    /// Coracle itself or an embedding program.
    Internal { reason: String },
}

impl fmt::Display for JobTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.columns() {
            (kind, Some(detail)) => write!(f, "{kind}({detail})"),
            (kind, None) => f.write_str(kind),
        }
    }
}

impl JobTrigger {
    /// As stored: kind and detail.
    pub(super) fn columns(&self) -> (&'static str, Option<&str>) {
        match self {
            JobTrigger::Endpoint { remote_addr } => ("endpoint", remote_addr.as_deref()),
            JobTrigger::Cli => ("cli", None),
            JobTrigger::Scheduler => ("scheduler", None),
            JobTrigger::Internal { reason } => ("internal", Some(reason)),
        }
    }

    fn parse(kind: &str, detail: Option<String>) -> Option<JobTrigger> {
        match (kind, detail) {
            ("endpoint", remote_addr) => Some(JobTrigger::Endpoint { remote_addr }),
            ("cli", None) => Some(JobTrigger::Cli),
            ("scheduler", None) => Some(JobTrigger::Scheduler),
            ("internal", Some(reason)) => Some(JobTrigger::Internal { reason }),
            _ => None,
        }
    }
}

/// A row to insert; it starts as [`Status::Pending`].
#[derive(Debug, Clone, PartialEq)]
pub struct NewExecution {
    /// UUIDv7, lower case with hyphens.
    pub id: String,
    pub job_name: String,
    pub deployment: Option<String>,
    pub trigger: JobTrigger,
    /// As written in the spec.
    pub image: String,
    /// The validated spec; the record does not look into it.
    pub spec: serde_json::Value,
    pub labels: BTreeMap<String, String>,
    /// The process that prepares it: when that is gone and the row still pending, nobody will.
    pub owner: Option<ProcessIdentity>,
    pub created_at: Timestamp,
    /// Notes for the user; those of the outcome follow them.
    pub notes: Vec<String>,
}

/// A row as read.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    pub id: String,
    pub job_name: String,
    pub deployment: Option<String>,
    pub status: Status,
    pub trigger: JobTrigger,
    pub image: String,
    /// Manifest digest; known from the activation on.
    pub image_digest: Option<String>,
    /// Known from the activation on.
    pub container_id: Option<String>,
    pub spec: serde_json::Value,
    pub labels: BTreeMap<String, String>,
    /// The process that prepares it while it is pending, and its supervisor afterwards.
    pub owner: Option<ProcessIdentity>,
    pub created_at: Timestamp,
    /// When the main process was started; known at the end, and `None` then when it never was.
    pub started_at: Option<Timestamp>,
    /// Set exactly when the status is terminal, like `end`.
    pub completed_at: Option<Timestamp>,
    /// From the supervisor's start to the end, by the monotonic clock.
    pub elapsed: Option<Duration>,
    /// The job's own exit code, where its main process exited.
    pub exit_code: Option<u8>,
    pub end: Option<End>,
    /// `end` in words, for every end but success.
    pub reason: Option<String>,
    pub usage: Usage,
    pub notes: Vec<String>,
}

/// The columns that [`Execution::read`] expects, in its order.
pub(super) const COLUMNS: &str = "id, job_name, deployment, status, trigger_kind, trigger_detail, image, \
     image_digest, container_id, spec, labels, owner, created_at, started_at, completed_at, elapsed, exit_code, \
     outcome_end, reason, peak_memory, peak_memory_source, cpu_user, cpu_system, oom_kills, notes";

impl Execution {
    /// Reads a row of [`COLUMNS`]. The outer error is SQLite's, the inner one says which column
    /// holds what no version of ours writes.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Result<Execution, RecordError>> {
        let id: String = row.get(0)?;
        let status: String = row.get(3)?;
        let trigger: (String, Option<String>) = (row.get(4)?, row.get(5)?);
        let spec: String = row.get(9)?;
        let labels: String = row.get(10)?;
        let owner: Option<String> = row.get(11)?;
        let end: Option<String> = row.get(17)?;
        let peak_memory_source: Option<String> = row.get(20)?;
        let notes: String = row.get(24)?;
        let unreadable = |column| RecordError::Unreadable { id: id.clone(), column, source: None };
        let read = || {
            Ok(Execution {
                id: id.clone(),
                job_name: row.get(1).map_err(Failure::Sql)?,
                deployment: row.get(2).map_err(Failure::Sql)?,
                status: Status::parse(&status).ok_or_else(|| unreadable("status"))?,
                trigger: JobTrigger::parse(&trigger.0, trigger.1).ok_or_else(|| unreadable("trigger"))?,
                image: row.get(6).map_err(Failure::Sql)?,
                image_digest: row.get(7).map_err(Failure::Sql)?,
                container_id: row.get(8).map_err(Failure::Sql)?,
                spec: json(&id, "spec", &spec)?,
                labels: json(&id, "labels", &labels)?,
                owner: owner.map(|text| json(&id, "owner", &text)).transpose()?,
                created_at: timestamp(row.get(12).map_err(Failure::Sql)?),
                started_at: row.get::<_, Option<i64>>(13).map_err(Failure::Sql)?.map(timestamp),
                completed_at: row.get::<_, Option<i64>>(14).map_err(Failure::Sql)?.map(timestamp),
                elapsed: unsigned(row, 15, "elapsed time", &id)?.map(Duration::from_nanos),
                exit_code: row.get(16).map_err(Failure::Sql)?,
                end: end.map(|text| json(&id, "end", &text)).transpose()?,
                reason: row.get(18).map_err(Failure::Sql)?,
                usage: Usage {
                    peak_memory: unsigned(row, 19, "peak memory", &id)?,
                    peak_memory_source: peak_memory_source
                        .map(|text| parse_source(&text).ok_or_else(|| unreadable("peak memory source")))
                        .transpose()?,
                    cpu_user: unsigned(row, 21, "CPU time", &id)?.map(Duration::from_nanos),
                    cpu_system: unsigned(row, 22, "CPU time", &id)?.map(Duration::from_nanos),
                    oom_kills: unsigned(row, 23, "count of OOM kills", &id)?,
                },
                notes: json(&id, "notes", &notes)?,
            })
        };
        match read() {
            Ok(execution) => Ok(Ok(execution)),
            Err(Failure::Sql(error)) => Err(error),
            Err(Failure::Record(error)) => Ok(Err(error)),
        }
    }
}

/// Either half of the nested result of [`Execution::read`].
enum Failure {
    Sql(rusqlite::Error),
    Record(RecordError),
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Failure {
        Failure::Record(error)
    }
}

fn json<T: DeserializeOwned>(id: &str, column: &'static str, text: &str) -> Result<T, RecordError> {
    serde_json::from_str(text).map_err(|source| RecordError::Unreadable {
        id: id.to_owned(),
        column,
        source: Some(source),
    })
}

fn unsigned(row: &Row<'_>, index: usize, column: &'static str, id: &str) -> Result<Option<u64>, Failure> {
    row.get::<_, Option<i64>>(index)
        .map_err(Failure::Sql)?
        .map(u64::try_from)
        .transpose()
        .map_err(|_| Failure::Record(RecordError::Unreadable { id: id.to_owned(), column, source: None }))
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
