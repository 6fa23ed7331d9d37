//! What an executor promises, on a runtime in memory: fast, and with a clock that the tests turn.

#![allow(clippy::disallowed_methods, reason = "tests start programs")]

mod cancel;
mod deadline;
mod failures;
mod harness;
mod jobs;
mod logs;
mod mock;
mod model;
mod processes;
mod queue;
mod retry;
mod statuses;
mod triggers;
