//! What the world sees of an execution.

use crate::engine::{Activity, Stdio, StepProgress};
use crate::outcome::{End, Usage};
use crate::record;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

pub use crate::id::{ContainerId, JobExecutionId};
pub use crate::record::{Attempt, JobTrigger};

/// How far an execution is. Only these change into another: `Pending` into any; `Initializing` into any but
/// `Pending`; `Running` into the last three, which never change. A further attempt begins as `Pending` again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobStatus {
    /// Waiting for its turn or its next attempt, or its image is being pulled.
    Pending,
    /// Its container is being made, or an init step runs.
    Initializing,
    /// The main process runs.
    Running,
    /// The main process exited with code 0; `duration` is from the supervisor's start to the end, by
    /// the monotonic clock.
    Completed { exit_code: i32, duration: Duration },
    /// Any other end; `exit_code` where the main process exited by itself.
    Failed { reason: String, exit_code: Option<i32> },
    /// Ended because somebody asked for it.
    Cancelled,
}

impl JobStatus {
    /// True for the statuses that never change.
    pub fn is_terminal(&self) -> bool {
        matches!(self, JobStatus::Completed { .. } | JobStatus::Failed { .. } | JobStatus::Cancelled)
    }

    /// The status without what it carries.
    pub fn filter(&self) -> StatusFilter {
        match self {
            JobStatus::Pending => StatusFilter::Pending,
            JobStatus::Initializing => StatusFilter::Initializing,
            JobStatus::Running => StatusFilter::Running,
            JobStatus::Completed { .. } => StatusFilter::Completed,
            JobStatus::Failed { .. } => StatusFilter::Failed,
            JobStatus::Cancelled => StatusFilter::Cancelled,
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.filter().as_str();
        match self {
            JobStatus::Completed { exit_code, .. } | JobStatus::Failed { exit_code: Some(exit_code), .. } => {
                write!(f, "{name}({exit_code})")
            }
            _ => f.write_str(name),
        }
    }
}

/// One execution of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobExecution {
    pub id: JobExecutionId,
    pub job_name: String,
    /// `None` for a job given by flags alone.
    pub deployment: Option<String>,
    pub status: JobStatus,
    pub trigger: JobTrigger,
    /// Times are of the wall clock.
    pub created_at: Timestamp,
    /// When the main process was started; `None` when it was not, or is not yet.
    pub started_at: Option<Timestamp>,
    /// Set exactly when the status is terminal.
    pub completed_at: Option<Timestamp>,
    /// Of the last attempt, from its supervisor's start to its end, by the monotonic clock; `attempts` have their own.
    /// `None` when nothing of it ran.
    pub duration: Option<Duration>,
    /// The image as written in the spec.
    pub image: String,
    /// Manifest digest (`sha256:…`), known once the image is there.
    pub image_digest: Option<String>,
    /// Of the newest attempt that got one.
    pub container_id: Option<ContainerId>,
    /// The end of what the newest attempt wrote, stdout and stderr as they came, at most
    /// [`max_log_size`](super::JobExecutorConfig::max_log_size) bytes; bytes that are no UTF-8 are replaced. `None`
    /// in lists, and before there is a log.
    pub logs: Option<String>,
    /// Number of the attempt that runs, waits or was the last, from 1.
    pub attempt: u32,
    /// Those that have ended, the first one first; empty in lists.
    pub attempts: Vec<Attempt>,
    /// It waits for its turn or its next attempt, and no process has taken it on.
    pub is_waiting: bool,
    /// What `on_failure` and `on_success` tell and has not been delivered; empty in lists.
    pub undelivered: Vec<Undelivered>,
    /// When the next attempt is due; only while it waits for that.
    pub retry_at: Option<Timestamp>,
    pub idempotency_key: Option<String>,
    /// How it ended, for programs; set exactly when the status is terminal.
    pub end: Option<End>,
    pub usage: Usage,
    /// What a user should know that is no failure.
    pub notes: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// The init step that runs now.
    pub step: Option<StepProgress>,
    /// When its try, or the wait for its next one, began; set exactly when `step` is.
    pub step_since: Option<Timestamp>,
    /// Pid of the supervisor, while there is one.
    pub supervisor: Option<i32>,
    /// The [`ServiceSpec`](crate::spec::ServiceSpec) as recorded, by the version that recorded it.
    pub spec: serde_json::Value,
}

impl JobExecution {
    /// The row of the record, with what its runtime tells of it `now` while it is live. `live` counts for an
    /// active row only; an active row without it is initialising: nobody has said more.
    pub(super) fn new(row: record::Execution, live: Option<Activity>, now: Timestamp) -> JobExecution {
        let live = live.filter(|_| row.status == record::Status::Active);
        let is_waiting = row.is_waiting();
        let status = match row.status {
            record::Status::Pending => JobStatus::Pending,
            record::Status::Active => match &live {
                None | Some(Activity::Initializing { .. }) => JobStatus::Initializing,
                Some(Activity::Main { .. }) => JobStatus::Running,
            },
            record::Status::Completed => {
                JobStatus::Completed { exit_code: 0, duration: row.elapsed.unwrap_or_default() }
            }
            record::Status::Failed => {
                JobStatus::Failed { reason: row.reason.unwrap_or_default(), exit_code: row.exit_code.map(i32::from) }
            }
            record::Status::Cancelled => JobStatus::Cancelled,
        };
        let (step, started_at, supervisor) = match live {
            Some(Activity::Initializing { step, since, keeper }) => (step.map(|step| (step, since)), None, keeper),
            Some(Activity::Main { started_at, keeper }) => (None, started_at, keeper),
            None => (None, row.started_at, None),
        };
        let step = step.map(|(mut step, since)| {
            // A clock that was set back says nothing of it.
            let more = Duration::try_from(now.duration_since(since)).unwrap_or_default();
            step.elapsed = step.elapsed.saturating_add(more);
            (step, since)
        });
        let (step, step_since) = step.unzip();
        JobExecution {
            id: JobExecutionId(row.id),
            job_name: row.job_name,
            deployment: row.deployment,
            status,
            trigger: row.trigger,
            created_at: row.created_at,
            started_at,
            completed_at: row.completed_at,
            duration: row.elapsed.filter(|elapsed| !elapsed.is_zero()),
            image: row.image,
            image_digest: row.image_digest,
            container_id: row.container_id.map(ContainerId),
            logs: None,
            attempt: row.attempt,
            attempts: Vec::new(),
            is_waiting,
            undelivered: Vec::new(),
            retry_at: row.retry_at,
            idempotency_key: row.idempotency_key,
            end: row.end,
            usage: row.usage,
            notes: row.notes,
            labels: row.labels,
            step,
            step_since,
            supervisor,
            spec: row.spec,
        }
    }

    /// Attempts that it gets at most, from its spec.
    pub fn max_attempts(&self) -> u32 {
        let recorded = self.spec.pointer("/policy/retry/max_attempts").and_then(serde_json::Value::as_u64);
        // Specs of the first version knew no retries.
        recorded.and_then(|attempts| u32::try_from(attempts).ok()).unwrap_or(1)
    }
}

/// A [`JobStatus`] to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusFilter {
    Pending,
    Initializing,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl StatusFilter {
    pub const ALL: [StatusFilter; 6] = [
        StatusFilter::Pending,
        StatusFilter::Initializing,
        StatusFilter::Running,
        StatusFilter::Completed,
        StatusFilter::Failed,
        StatusFilter::Cancelled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            StatusFilter::Pending => "pending",
            StatusFilter::Initializing => "initializing",
            StatusFilter::Running => "running",
            StatusFilter::Completed => "completed",
            StatusFilter::Failed => "failed",
            StatusFilter::Cancelled => "cancelled",
        }
    }

    /// What the record calls it; both live stages are `active` there.
    pub fn recorded(self) -> record::Status {
        match self {
            StatusFilter::Pending => record::Status::Pending,
            StatusFilter::Initializing | StatusFilter::Running => record::Status::Active,
            StatusFilter::Completed => record::Status::Completed,
            StatusFilter::Failed => record::Status::Failed,
            StatusFilter::Cancelled => record::Status::Cancelled,
        }
    }
}

/// No status has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown status {0:?}; there are pending, initializing, running, completed, failed and cancelled")]
pub struct UnknownStatus(pub String);

impl FromStr for StatusFilter {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<StatusFilter, UnknownStatus> {
        let found = StatusFilter::ALL.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| UnknownStatus(text.to_owned()))
    }
}

/// Which executions to list, newest first; the default is those that have not ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListQuery {
    pub job: Option<String>,
    /// Empty: every status that `all` lets through.
    pub statuses: Vec<StatusFilter>,
    /// Each `NAME` or `NAME=VALUE`; all have to match.
    pub labels: Vec<String>,
    /// Created at this time or later.
    pub since: Option<Timestamp>,
    /// Created before this time.
    pub until: Option<Timestamp>,
    /// Older than this execution: the last one of the page before.
    pub before: Option<JobExecutionId>,
    /// The newest so many.
    pub limit: Option<usize>,
    /// Terminal ones too. Naming a terminal status implies it.
    pub all: bool,
}

/// How one trigger differs from what the job says, and how it is watched.
#[derive(Clone, Default)]
pub struct TriggerOptions {
    /// Each replaces the variable of the same name or comes after the others.
    pub env: Vec<(String, String)>,
    /// Of those, the ones that may be secrets: no command shows their values.
    pub hidden_env: BTreeSet<String>,
    /// Instead of the job's own.
    pub args: Option<Vec<String>>,
    /// A trigger of this job with the same key, as long as its execution is not forgotten (by retention, by prune,
    /// or by name), starts nothing and gives that execution. 1 to 255 printable characters. Not with a job that sets
    /// `delete_on_exit`.
    pub idempotency_key: Option<String>,
    /// When the schedule wanted it; the job sees it as `CORACLE_SCHEDULED_TIME`.
    pub scheduled_for: Option<Timestamp>,
    /// Attached, the execution is started by this process only, and fails if that ends before.
    pub stdio: Stdio,
    /// Is told what a user should see before the end; the execution's notes have it later.
    pub notices: Option<NoticeSink>,
}

/// What a trigger led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Triggered {
    pub id: JobExecutionId,
    /// False: the idempotency key is that of an execution which was there before.
    pub is_new: bool,
}

/// Takes what a user should see; see [`TriggerOptions::notices`].
pub type NoticeSink = Arc<dyn Fn(&str) + Send + Sync>;

impl fmt::Debug for TriggerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TriggerOptions")
            .field("idempotency_key", &self.idempotency_key)
            .field("stdio", &self.stdio)
            .finish_non_exhaustive()
    }
}

/// A notification that has not been delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// `job NAME`, or scheme and host of a URL.
    pub target: String,
    /// Which one of the job's it is, as `on_failure[2]`, the first being 0; `None` in records of older versions.
    pub place: Option<String>,
    /// Those that have failed.
    pub tries: u32,
    /// Of the next try; `None`: it was given up.
    pub due_at: Option<Timestamp>,
    /// Why the last try failed.
    pub problem: Option<String>,
}

/// A change of an execution's status.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusChange {
    pub id: JobExecutionId,
    pub job_name: String,
    /// The attempt that it is about, from 1.
    pub attempt: u32,
    pub status: JobStatus,
    /// Why it is failed or cancelled, in words; of a further attempt that is pending, why the one before it ended.
    pub reason: Option<String>,
    /// Of the last attempt, as [`JobExecution::duration`]; set when `status` is terminal and something of it ran.
    pub duration: Option<Duration>,
    /// The init step of which a try begins, while `status` is initializing.
    pub step: Option<StepProgress>,
    pub trigger: JobTrigger,
    /// When it happened, as far as is known, else when it was seen.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_display_as_documented() {
        let completed = JobStatus::Completed { exit_code: 0, duration: Duration::from_secs(1) };
        let failed = |exit_code| JobStatus::Failed { reason: "x".into(), exit_code };
        let shown: Vec<String> = [
            JobStatus::Pending,
            JobStatus::Initializing,
            JobStatus::Running,
            completed,
            failed(Some(1)),
            failed(None),
            JobStatus::Cancelled,
        ]
        .iter()
        .map(|status| format!("{status} {}", status.is_terminal()))
        .collect();
        assert_eq!(
            shown,
            [
                "pending false",
                "initializing false",
                "running false",
                "completed(0) true",
                "failed(1) true",
                "failed true",
                "cancelled true"
            ]
        );
    }

    #[test]
    fn triggers_display_as_documented() {
        let shown: Vec<String> = [
            JobTrigger::Endpoint { remote_addr: Some("127.0.0.1:80".into()) },
            JobTrigger::Endpoint { remote_addr: None },
            JobTrigger::Cli,
            JobTrigger::Scheduler,
            JobTrigger::Internal { reason: "retry".into() },
        ]
        .iter()
        .map(JobTrigger::to_string)
        .collect();
        assert_eq!(shown, ["endpoint(127.0.0.1:80)", "endpoint", "cli", "scheduler", "internal(retry)"]);
    }

    #[test]
    fn status_names_are_read_back() {
        for status in StatusFilter::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        assert_eq!("done".parse::<StatusFilter>(), Err(UnknownStatus("done".into())));
    }
}
