//! The built binary, for everything that needs no container: messages, exit codes, and what is left
//! on disk.

#![expect(clippy::disallowed_methods, reason = "tests write files and start programs")]

mod bad_roots;
mod executions;
mod harness;
mod images;
mod jobs;
mod logs;
mod usage;
