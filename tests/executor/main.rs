//! What an executor promises, on a runtime in memory: fast, and with a clock that the tests turn. And what runtimes
//! promise, that one and the one with containers.

#![allow(clippy::disallowed_methods, reason = "tests start programs")]

#[path = "../common/mod.rs"]
mod common;

mod cancel;
mod contract;
mod deadline;
mod failures;
mod harness;
mod jobs;
mod logs;
mod model;
mod opening;
mod processes;
mod queue;
mod retry;
mod statuses;
mod triggers;
