//! Executions: registering jobs, triggering, queueing, retrying, cancelling, watching, forgetting.
//!
//! [`JobExecutor`] is what the command line is built on and what another program embeds. It holds
//! no state of its own beyond open files: any number of them, in any number of processes, may work on
//! one state root, and any of them may die at any moment.
//!
//! # How an execution goes
//! ```text
//!            ┌────────────── next attempt ──────────────┐
//!            ▼                                          │
//! trigger → waiting → claimed → pull, create → active → settle → terminal
//!           (a row)   (owner)   (runtime)      (keeper)
//! ```
//! A waiting execution is a row. Whoever claims it (a compare-and-set) drives one attempt of it through the
//! [`Runtime`](crate::engine::Runtime) and settles it: the program that triggered it, one that waits for it, or
//! the settler that a supervisor becomes when its front has gone. Each of them then claims what may run
//! next. What a dead process had claimed or kept is taken over by whoever next opens the store; while something
//! waits for it, by those who see to the queue, who hear of the death.

mod cancel;
mod changes;
mod clock;
mod document;
mod drive;
mod error;
mod events;
mod executor;
mod forget;
mod jobs;
mod keepers;
mod logs;
mod model;
mod notify;
mod query;
mod queue;
mod reconcile;
mod retention;
mod retry;
mod settle;
mod settler;
mod stats;
#[cfg(test)]
mod tests;
mod trigger;
mod waiters;

pub use clock::Clock;
pub(crate) use document::{end_document, trigger_document};
pub use error::ExecError;
pub use executor::{JobExecutor, JobExecutorConfig, QueueCare};
pub use jobs::RegisteredJob;
pub use model::{
    Attempt, ContainerId, JobExecution, JobExecutionId, JobStatus, JobTrigger, ListQuery, NoticeSink, StatusChange,
    StatusFilter, TriggerOptions, Triggered, Undelivered, UnknownStatus,
};
pub use retention::{PruneProblem, PruneReport, PruneRequest};
pub use stats::{JobStats, OldestWaiting, QueuePosition, RECENT, RecentEnds, Stats, Totals};
// What the functions above speak of.
pub use crate::engine::{LogEntry, LogEvent, LogQuery, LogStream, Stdio, StepProgress};
