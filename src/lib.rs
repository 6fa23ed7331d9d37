//! Runs OCI container jobs to completion with no daemon.
//!
//! A job is a YAML spec: image, command, init steps, limits. Coracle pulls the image from a
//! registry or an OCI layout, unpacks its layers, runs the init steps and the main process through
//! libcontainer, keeps their output in a bounded ring, and leaves a durable record of every
//! execution.
//!
//! # Modules and their direction
//! Imports go downward only; `tests/architecture.rs` holds them.
//!
//! ```text
//! main → cli → config → spec
//! cli → exec → init, bundle, image, runtime, record, log, spec
//! bundle → spec, plan, step (requests)             runtime → log, plan, outcome
//! record → outcome                                 image, runtime, record, log → state_dir, sys
//! remove_tree → plan, sys                          sys::userns → plan
//! exec → step → sys                                image → seccomp → sys
//! spec, plan, sys, outcome → nothing in the crate
//! image → seccomp → sys                            plan → spec
//! spec, sys, outcome → nothing in the crate
//! ```

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests write files and start programs"))]

pub mod bundle;
pub mod causes;
pub mod cli;
pub mod config;
pub mod engine;
pub mod exec;
pub mod id;
pub mod image;
pub mod log;
pub mod outcome;
pub mod plan;
pub mod record;
pub mod remove_tree;
pub mod runtime;
pub mod seccomp;
pub mod spec;
pub mod state_dir;
pub mod step;
pub mod sys;
pub mod user;

pub use exec::init;
