//! What the record holds, as values.

use crate::outcome::{End, Usage};
use crate::sys::process::ProcessIdentity;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What the record knows of an execution's progress. The live stage of an active one (initialising
/// or running) stands in its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It waits for its turn or its next attempt, or its owner is preparing an attempt.
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

    pub(super) fn parse(text: &str) -> Option<Status> {
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
    /// The trigger without what it carries.
    pub fn kind(&self) -> TriggerKind {
        match self {
            JobTrigger::Endpoint { .. } => TriggerKind::Endpoint,
            JobTrigger::Cli => TriggerKind::Cli,
            JobTrigger::Scheduler => TriggerKind::Scheduler,
            JobTrigger::Internal { .. } => TriggerKind::Internal,
        }
    }

    /// As stored: kind and detail.
    pub(super) fn columns(&self) -> (&'static str, Option<&str>) {
        let detail = match self {
            JobTrigger::Endpoint { remote_addr } => remote_addr.as_deref(),
            JobTrigger::Cli | JobTrigger::Scheduler => None,
            JobTrigger::Internal { reason } => Some(reason.as_str()),
        };
        (self.kind().as_str(), detail)
    }

    pub(super) fn parse(kind: &str, detail: Option<String>) -> Option<JobTrigger> {
        match (kind, detail) {
            ("endpoint", remote_addr) => Some(JobTrigger::Endpoint { remote_addr }),
            ("cli", None) => Some(JobTrigger::Cli),
            ("scheduler", None) => Some(JobTrigger::Scheduler),
            ("internal", Some(reason)) => Some(JobTrigger::Internal { reason }),
            _ => None,
        }
    }
}

/// The kinds of [`JobTrigger`], to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TriggerKind {
    Endpoint,
    Cli,
    Scheduler,
    Internal,
}

impl TriggerKind {
    /// As stored and displayed.
    pub fn as_str(self) -> &'static str {
        match self {
            TriggerKind::Endpoint => "endpoint",
            TriggerKind::Cli => "cli",
            TriggerKind::Scheduler => "scheduler",
            TriggerKind::Internal => "internal",
        }
    }
}

/// What happens to a new execution when the job has as many that are not terminal as it may run at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum OnConflict {
    /// It waits for its turn.
    #[default]
    Queue,
    /// It is refused.
    Forbid,
    /// The others are cancelled, and it waits until they have ended.
    Replace,
    /// It runs: the job's own limit does not count.
    Allow,
}

/// An execution to insert; it starts as [`Status::Pending`].
#[derive(Debug, Clone, PartialEq)]
pub struct NewExecution {
    /// UUIDv7, lower case with hyphens. Their order is that of the queue.
    pub id: String,
    pub job_name: String,
    pub deployment: Option<String>,
    pub trigger: JobTrigger,
    /// As written in the spec.
    pub image: String,
    /// The validated spec; the record does not look into it.
    pub spec: serde_json::Value,
    pub labels: BTreeMap<String, String>,
    pub created_at: Timestamp,
    /// Notes for the user; those of the last outcome follow them.
    pub notes: Vec<String>,
    /// While an execution of the job with the same key is on record, there will be no other.
    pub idempotency_key: Option<String>,
    /// Executions of the job that may be occupied with an attempt when this one begins, itself included.
    pub max_concurrent: Option<u32>,
    /// The same for the executions of all jobs.
    pub global_limit: Option<u32>,
    pub on_conflict: OnConflict,
    /// Longest wait for the first attempt, from `created_at`.
    pub queue_deadline: Option<Duration>,
    /// The one process that may claim it, because its caller's streams are there.
    pub reserved_for: Option<ProcessIdentity>,
    /// How long it is kept after its end.
    pub ttl: Option<Duration>,
    /// How many ended executions of the job are kept.
    pub keep_last: Option<u32>,
    /// How many ended executions of all jobs are kept.
    pub keep_last_total: Option<u32>,
    /// It is to be removed as soon as whoever waits has seen its end. The record only remembers that.
    pub delete_on_exit: bool,
    /// The time that a schedule meant.
    pub scheduled_for: Option<Timestamp>,
    /// What else decides how it is prepared, whoever does it; the record does not look into it.
    pub settings: Option<serde_json::Value>,
    /// The notification that it delivers, which is forgotten in the same transaction: without that there will be no
    /// execution.
    pub delivers: Option<NotificationKey>,
}

/// Which notification: of which execution, and which among those of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationKey {
    pub execution_id: String,
    pub ordinal: u32,
}

impl NewExecution {
    /// One with nothing but what every execution has: no labels, no limits, kept for ever.
    pub fn new(
        id: &str,
        job_name: &str,
        trigger: JobTrigger,
        image: &str,
        spec: serde_json::Value,
        created_at: Timestamp,
    ) -> NewExecution {
        NewExecution {
            id: id.to_owned(),
            job_name: job_name.to_owned(),
            deployment: None,
            trigger,
            image: image.to_owned(),
            spec,
            labels: BTreeMap::new(),
            created_at,
            notes: Vec::new(),
            idempotency_key: None,
            max_concurrent: None,
            global_limit: None,
            on_conflict: OnConflict::default(),
            queue_deadline: None,
            reserved_for: None,
            ttl: None,
            keep_last: None,
            keep_last_total: None,
            delete_on_exit: false,
            scheduled_for: None,
            settings: None,
            delivers: None,
        }
    }
}

/// What became of an insertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Insertion {
    /// It is on record and the caller's to prepare.
    Claimed,
    /// It is on record and waits for its turn.
    Waiting,
    /// Nothing was inserted: this execution has the same idempotency key.
    Existing { id: String },
    /// Nothing was inserted: the notification has been delivered or given up by now.
    Delivered,
    /// Nothing was inserted: these executions of the job are not terminal, and it forbids more.
    Conflict { with: Vec<String> },
    /// It is on record and replaces the oldest that the job had, as many as make room. What had not been started
    /// has been cancelled with it; `cancel` is what is active, for the caller to cancel, oldest first. `claimed`:
    /// there was none of those, and it is the caller's to prepare.
    Replacing { cancel: Vec<String>, cancelled: Vec<Cancelled>, claimed: bool },
}

/// An execution that was cancelled before its attempt was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelled {
    pub id: String,
    pub attempt: u32,
    /// Who prepared it; `None`: it waited.
    pub preparer: Option<ProcessIdentity>,
}

/// An execution as recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    pub id: String,
    pub job_name: String,
    pub deployment: Option<String>,
    pub status: Status,
    pub trigger: JobTrigger,
    pub image: String,
    /// Manifest digest; known from the first activation on.
    pub image_digest: Option<String>,
    /// Known from an attempt's activation on, until the next attempt.
    pub container_id: Option<String>,
    pub spec: serde_json::Value,
    pub labels: BTreeMap<String, String>,
    /// The process that prepares an attempt while it is pending, and the attempt's supervisor afterwards.
    pub owner: Option<ProcessIdentity>,
    pub created_at: Timestamp,
    /// When the main process of the last attempt was started; known at the end, and `None` then when it never
    /// was.
    pub started_at: Option<Timestamp>,
    /// Set exactly when the status is terminal, like `end`.
    pub completed_at: Option<Timestamp>,
    /// Of the last attempt: from its supervisor's start to its end, by the monotonic clock.
    pub elapsed: Option<Duration>,
    /// The job's own exit code, where its main process exited.
    pub exit_code: Option<u8>,
    pub end: Option<End>,
    /// `end` in words, for every end but success.
    pub reason: Option<String>,
    /// Of the last attempt.
    pub usage: Usage,
    pub notes: Vec<String>,
    /// The attempt that is made now, was made last, or comes next while it waits; from 1.
    pub attempt: u32,
    /// When its next attempt may begin, while it waits for that.
    pub retry_at: Option<Timestamp>,
    /// When that wait began; set together with `retry_at`.
    pub waiting_since: Option<Timestamp>,
    /// Somebody asked for its end while it was active.
    pub cancel_requested: bool,
    /// What earlier attempts and the waits after them used of the deadline.
    pub spent: Duration,
    pub idempotency_key: Option<String>,
    pub max_concurrent: Option<u32>,
    pub global_limit: Option<u32>,
    pub queue_deadline: Option<Duration>,
    pub reserved_for: Option<ProcessIdentity>,
    pub ttl: Option<Duration>,
    pub keep_last: Option<u32>,
    pub keep_last_total: Option<u32>,
    /// `completed_at` and `ttl` together.
    pub expires_at: Option<Timestamp>,
    pub delete_on_exit: bool,
    pub scheduled_for: Option<Timestamp>,
    /// Number of the change that made it what it is; 0 for what an older version recorded.
    pub revision: i64,
    /// As in [`NewExecution`]; `None` from its end on.
    pub settings: Option<serde_json::Value>,
}

impl Execution {
    /// True while it waits for its turn or its next attempt, and no process has taken it on.
    pub fn is_waiting(&self) -> bool {
        self.status == Status::Pending && self.owner.is_none()
    }
}

/// One attempt that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// Known when it got as far as an activation.
    pub container_id: Option<String>,
    pub started_at: Option<Timestamp>,
    pub completed_at: Timestamp,
    /// From the supervisor's start to the end, by the monotonic clock.
    pub elapsed: Duration,
    pub exit_code: Option<u8>,
    pub end: End,
    /// `end` in words, for every end but success.
    pub reason: Option<String>,
    pub usage: Usage,
    pub notes: Vec<String>,
}

/// A registered job.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub name: String,
    /// The validated spec; the record does not look into it.
    pub spec: serde_json::Value,
    pub registered_at: Timestamp,
    /// When it was last registered again; at first as `registered_at`.
    pub updated_at: Timestamp,
}

/// What follows the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterAttempt {
    /// Nothing: its end is that of the execution.
    Final,
    /// The next attempt, not before `at`. `now` is when the wait began; `spent` is what all attempts and waits,
    /// this one included, use of the deadline.
    Retry { at: Timestamp, now: Timestamp, spent: Duration },
}

/// What the end of an attempt led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// This call made the execution terminal.
    Final,
    /// This call made it wait for its next attempt.
    Waiting,
    /// This attempt is not under way: it had been ended before. Nothing was changed.
    AlreadyOver,
}

/// What a cancel led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancel {
    /// It was pending, and this call made it terminal.
    Cancelled(Cancelled),
    /// It is active: its supervisor is to be told. There will be no further attempt.
    Active,
    /// It had been terminal before.
    Over(Status),
}
