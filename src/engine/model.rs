//! What a runtime is asked for and answers.

use super::RuntimeError;
use crate::id::{ContainerId, JobExecutionId};
use crate::log::{self, LogStream as Stream};
use crate::outcome::Outcome;
use crate::spec::ServiceSpec;
use crate::sys::process::ProcessIdentity;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// An image that is here.
#[derive(Clone)]
pub struct Image {
    /// Its complete name.
    pub reference: String,
    /// Digest of the manifest, `sha256:…`.
    pub digest: String,
    /// True when something was fetched or unpacked.
    pub pulled: bool,
    /// What a user should know that is no failure.
    pub notes: Vec<String>,
    /// The runtime's own; keeps the image.
    pub content: Option<Arc<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Image { reference, digest, .. } = self;
        f.debug_struct("Image").field("reference", reference).field("digest", digest).finish_non_exhaustive()
    }
}

/// What a container is made from.
#[derive(Debug)]
pub struct CreateRequest<'a> {
    pub execution: &'a JobExecutionId,
    /// What the container is to be called; it has never been used.
    pub container: &'a ContainerId,
    /// From 1.
    pub attempt: u32,
    pub job: &'a ServiceSpec,
    /// For all of its processes, over what job and image say.
    pub env: Vec<(String, String)>,
    pub image: Image,
    /// As for [`Runtime::pull`](super::Runtime::pull).
    pub settings: Option<&'a serde_json::Value>,
    /// From now on until the stop signal is sent.
    pub deadline: Option<Duration>,
    /// Bytes of output that are kept.
    pub max_log_size: u64,
    pub stdio: Stdio,
}

/// Where a job's streams go besides its log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stdio {
    /// Nowhere.
    #[default]
    Detached,
    /// To this process's own stdout and stderr, byte for byte; with `stdin`, the job reads this
    /// process's own, else `/dev/null`.
    Attached { stdin: bool },
}

/// A container that waits for its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The process of this host that looks after it from now on, where there is one: with it, the container ends.
    pub keeper: Option<ProcessIdentity>,
    /// What a user should know that is no failure.
    pub notes: Vec<String>,
}

/// How a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// There is none, and no outcome of one.
    Absent,
    /// It waits for its start.
    Created,
    Running(Activity),
    Ended(Outcome),
}

/// What a running container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activity {
    /// It is being made, or an init step runs.
    Initializing {
        step: Option<StepProgress>,
        /// When the step's try, the wait for its next one, or else the making, began.
        since: Timestamp,
        /// The process that looks after it.
        keeper: Option<i32>,
    },
    /// The main process runs, or has ended a moment ago.
    Main { started_at: Option<Timestamp>, keeper: Option<i32> },
}

/// How far an init step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepProgress {
    pub id: String,
    /// Number of its try, from 1, over all runs of the steps.
    pub attempt: u32,
    /// Tries that it gets at most, over all runs of the steps; `None`: that is not known.
    pub max_attempts: Option<u32>,
    /// That try has failed, and the next one waits for its time.
    pub waiting: bool,
    /// From the beginning of its first try in this run of the steps: in an [`Activity`] to its `since`, in a change of
    /// status to when that happened, else to when it was looked at.
    pub elapsed: Duration,
}

/// What [`Runtime::remove`](super::Runtime::remove) removes, each more than the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Everything but the outcome and the log: before the end is recorded.
    Leftovers,
    /// The outcome too, which has been recorded.
    Outcome,
    /// As `Outcome`, for every container of the same execution: it has ended.
    AllButLogs,
    /// The whole execution with the logs of all attempts.
    Everything,
}

/// How to read a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Go on until the container has ended.
    pub follow: bool,
    /// Leave out what is older than about the last so many bytes, at least; it does not count as missed.
    pub last_bytes: Option<u64>,
}

/// A log as it is read. Dropping it ends the reading.
pub type LogStream = BoxStream<'static, Result<LogEvent, RuntimeError>>;

/// One thing that a [`LogStream`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    Entry(LogEntry),
    /// Everything written so far has been given, but for this many bytes after the last entry, which were
    /// dropped, lost or damaged.
    CaughtUp {
        missed: u64,
    },
}

/// A piece of output, as it was read from the job or a part of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Grows by one per entry written.
    pub sequence: u64,
    pub stream: Stream,
    /// Index of the init step, from 0; `None`: the main process, or coracle itself.
    pub step: Option<u16>,
    pub timestamp: Timestamp,
    pub bytes: Vec<u8>,
    /// Bytes of output between the entry before this one and this one that were dropped, lost or damaged.
    pub missed_before: u64,
    /// Bytes of records that the log can hold.
    pub capacity: u64,
}

impl LogEntry {
    pub(super) fn new(record: &log::Record<'_>, capacity: u64) -> LogEntry {
        LogEntry {
            sequence: record.sequence,
            stream: record.stream,
            step: record.process,
            timestamp: record.timestamp,
            bytes: record.bytes.to_vec(),
            missed_before: record.missed_before,
            capacity,
        }
    }

    /// As [`log::Lines`] takes it.
    pub fn as_record(&self) -> log::Record<'_> {
        log::Record {
            sequence: self.sequence,
            stream: self.stream,
            process: self.step,
            timestamp: self.timestamp,
            bytes: &self.bytes,
            missed_before: self.missed_before,
        }
    }
}
