//! The built binary as a user drives it, from spec to exit code. Every test has a state root of its
//! own and, at its end, checks that nothing of it is left on the host (`common::cli::Coracle`).
//! Root and unprivileged users run the same tests.

#![expect(clippy::disallowed_methods, reason = "tests write files and start programs")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../image/layout.rs"]
#[allow(dead_code, reason = "the tests of images use the rest")]
mod layout;
#[path = "../step/pages.rs"]
#[allow(dead_code, reason = "the tests of the step role use the rest")]
mod pages;
#[cfg(feature = "s3")]
#[path = "../step/s3/server.rs"]
#[allow(dead_code, reason = "the tests of the step role use the rest")]
mod s3_server;
#[path = "../image/server.rs"]
#[allow(dead_code, reason = "the tests of images use the rest")]
mod server;
#[path = "../image/tarball.rs"]
#[allow(dead_code, reason = "the tests of images use the rest")]
mod tarball;

mod afterwards;
mod archives;
mod bad_input;
mod caller;
mod collect;
mod container;
mod crash;
mod debian;
mod exit_codes;
mod fronts;
mod images;
mod init_checks;
mod init_failures;
mod init_memory;
mod init_steps;
mod init_stops;
#[cfg(feature = "s3")]
mod init_transfers;
mod jobs;
mod lifecycle;
mod limits;
mod load;
mod logs;
mod process;
mod progress;
mod pull_stops;
mod queue;
mod record;
mod retry;
mod runtime;
mod security;
mod settler;
mod spec;
mod storage;
mod streams;
mod takeover;
