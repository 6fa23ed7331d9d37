//! The durable record of executions and image references, in SQLite.
//!
//! `coracle.db` is the single truth about what was started and how it ended. A row is `pending`
//! until its front has everything a start needs, `active` from the moment its supervisor may start
//! it, and then terminal for ever:
//!
//! ```text
//! pending ── activate ──> active
//!    │                       │
//!    └──────── finalise ─────┴──> completed | failed | cancelled
//! ```
//!
//! Every change of status is one compare-and-set in one small transaction, so any number of
//! processes and threads may race for it: exactly one wins, and each is told whether it did.
//! [`Record::finalise`] is the one way to a terminal status; a trigger in the schema refuses every
//! change of what is final, whoever asks.
//!
//! # Durability
//! The database is in WAL mode. Inserting an execution and making one terminal are flushed to disk
//! before the call returns (`synchronous=FULL`); everything else survives the death of any process
//! but may be lost, in order, when the host loses power. The WAL is folded into the database by
//! whichever commit makes it grow too long, never when a connection closes: a process that ends
//! does not wait for the disk. `coracle.db`, `coracle.db-wal` and `coracle.db-shm` belong together.
//!
//! # Concurrency
//! [`Record`] is `Send + Sync`; its calls are short and block. They wait up to ten seconds for
//! another process's transaction.

mod ended;
mod ending;
mod error;
mod images;
mod jobs;
mod model;
mod news;
mod outbox;
mod query;
mod queue;
mod retention;
mod row;
mod schema;
mod store;
mod tables;
#[cfg(test)]
mod tests;

pub use ended::EndedQuery;
pub use error::RecordError;
pub use images::ImageReference;
pub use model::{
    AfterAttempt, Attempt, Cancel, Ended, Execution, Insertion, Job, JobTrigger, NewExecution, OnConflict, Status,
    TriggerKind,
};
pub use news::News;
pub use outbox::{NewNotification, Notification};
pub use query::{LabelFilter, Query};
pub use queue::IsAlive;
pub use store::Record;
