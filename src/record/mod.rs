//! The durable record of executions, their attempts, registered jobs and image references, in SQLite.
//!
//! `coracle.db` is the single truth about what was started and how it ended. An execution has one row. It is
//! `pending` while it waits in the queue, `pending` with an owner while that process prepares an attempt,
//! `active` from the moment the attempt's supervisor may start it, and at the end terminal for ever:
//!
//! ```text
//! insert ──> waiting ── claim ──> claimed ── activate ──> active
//!              │  ^ ^              │   │                   │  │
//!              │  │ └── release ───┘   │                   │  │
//!              │  └─── end_attempt(Retry): attempt + 1 ────┘  │
//!              └─ cancel, end_waiting ─┴─ end_attempt(Final) ─┴──> completed | failed | cancelled
//! ```
//!
//! Every change is one compare-and-set in one small transaction, so any number of processes and threads may
//! race for it: exactly one wins, and each is told whether it did. Triggers in the schema refuse every change of
//! what is final, and every way back to `pending` without a further attempt, whoever asks.
//!
//! # Queue
//! Whoever claims an execution prepares and starts it. The queue is first in, first out for each job, in the order
//! of ids; [`Record::claim_next`] says what may overtake what. Limits count the executions that somebody has
//! claimed and that have not ended, in all processes that use the database.
//!
//! # Changes
//! Each change that could be seen (an insertion, a new status or attempt, a request to cancel) takes the next number
//! of one counter, the `revision`, and leaves it in its row: with [`Record::live_news`] and [`Record::news_since`] a
//! watcher misses none. A removal is no change; what was removed lately is still told of.
//!
//! # Durability
//! The database is in WAL mode. The end of an attempt, a cancel, and what is registered are flushed to disk
//! before the call returns (`synchronous=FULL`), an insertion by [`Record::make_durable`]; everything else
//! survives the death of any process but may be lost, in order, when the host loses power. The WAL is folded
//! into the database by whichever commit makes it grow too long, never when a connection closes: a process that
//! ends does not wait for the disk. `coracle.db`, `coracle.db-wal` and `coracle.db-shm` belong together.
//!
//! # Full disks
//! Beside the database lies a file that only takes room. On a full disk it is given up for what cannot wait or gives
//! room back: opening the record, an end, a removal. It is made anew by whoever next opens the record and finds room.
//!
//! # Concurrency
//! [`Record`] is `Send + Sync`; its calls are short and block. They wait up to ten seconds for
//! another process's transaction.

mod ended;
mod ending;
mod error;
mod images;
mod jobs;
mod keepers;
mod model;
mod news;
mod outbox;
mod query;
mod queue;
mod reserve;
mod retention;
mod row;
mod schema;
mod stats;
mod store;
mod tables;
#[cfg(test)]
mod tests;
mod turn;

pub use ended::EndedQuery;
pub use ending::Ending;
pub use error::RecordError;
pub use images::ImageReference;
pub use model::{
    AfterAttempt, Attempt, Cancel, Cancelled, Ended, Execution, Insertion, Job, JobTrigger, NewExecution,
    NotificationKey, OnConflict, Status, TriggerKind,
};
pub use news::News;
pub use outbox::{NewNotification, Notification};
pub use query::{LabelFilter, Query};
pub use stats::{JobTotals, OldestWaiting, QueuePosition, Totals};
pub use store::Record;
pub use turn::IsAlive;
