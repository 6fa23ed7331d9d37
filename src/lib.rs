//! Runs OCI container jobs to completion with no daemon.
//!
//! A job is a YAML spec: image, command, init steps, limits. Coracle pulls the image from a
//! registry or an OCI layout, unpacks its layers, runs the init steps and the main process through
//! libcontainer, keeps their output in a bounded ring, and leaves a durable record of every
//! execution.
//!
//! # Running jobs from a program
//! ```no_run
//! use coracle::spec::DeploymentSpec;
//! use coracle::{JobExecutor, JobExecutorConfig, JobStatus, JobTrigger, OciRuntime};
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! const SPEC: &str = r#"
//! version: v1
//! deployment: nightly
//! services:
//!   report:
//!     rtype: job
//!     image: {name: "docker.io/library/busybox:stable"}
//!     command: {entrypoint: [/bin/date]}
//!     job: {deadline: 10m, max_concurrent: 4, retry: {max_attempts: 3}}
//! "#;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // First of all, before any thread: the same program is also started as the supervisor of its jobs.
//!     coracle::init();
//!     tokio::runtime::Runtime::new()?.block_on(run())
//! }
//!
//! async fn run() -> Result<(), Box<dyn std::error::Error>> {
//!     let hour = Duration::from_secs(60 * 60);
//!     let config = JobExecutorConfig { max_concurrent: 10, retention: hour, ..JobExecutorConfig::default() };
//!     let executor = JobExecutor::with_config(Arc::new(OciRuntime::new()?), config).await?;
//!
//!     let deployment: DeploymentSpec = SPEC.parse()?;
//!     for (name, spec) in &deployment.services {
//!         executor.register_job(name, spec.clone()).await?;
//!     }
//!     let spec = executor.get_job_spec("report").await?.ok_or("no such job")?;
//!     let trigger = JobTrigger::Internal { reason: "an example".into() };
//!     let id = executor.trigger("report", &spec, trigger).await?;
//!
//!     match executor.wait(&id).await?.status {
//!         JobStatus::Completed { duration, .. } => println!("{id} took {duration:?}"),
//!         status => println!("{id} is {status}"),
//!     }
//!     let logs = executor.get_execution(&id).await?.and_then(|execution| execution.logs);
//!     print!("{}", logs.unwrap_or_default());
//!     executor.drain(Duration::from_secs(60)).await?;
//!     Ok(())
//! }
//! ```
//!
//! # Modules and their direction
//! Imports go downward only; `tests/architecture.rs` holds them.
//!
//! ```text
//! main → cli → config, exec, engine, spec
//! roles → exec, engine, runtime, image, step, remove_tree      what init() starts as
//! testing → engine
//! exec → engine, record, log, spec
//! engine → bundle, image, runtime, record, seccomp, log, step, spec, user
//! bundle → plan, spec, step (requests)
//! runtime → log, plan, step, outcome, remove_tree, user
//! image → naming, plan, seccomp, remove_tree
//! record → outcome
//! config → spec → naming → quote
//! user, remove_tree → plan → spec
//! seccomp, step, log, state_dir → sys → plan (IdMappings)
//! causes, id, outcome, quote → nothing in the crate
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
pub mod naming;
pub mod outcome;
pub mod plan;
pub mod quote;
pub mod record;
pub mod remove_tree;
mod roles;
pub mod runtime;
pub mod seccomp;
pub mod spec;
pub mod state_dir;
pub mod step;
pub mod sys;
#[cfg(feature = "testing")]
pub mod testing;
pub mod user;

#[cfg(feature = "testing")]
pub use engine::mock::MockRuntime;
pub use engine::{OciRuntime, OciRuntimeConfig, Runtime, RuntimeError};
pub use exec::{ExecError, JobExecution, JobExecutor, JobExecutorConfig, JobStatus, JobTrigger, TriggerOptions};
pub use id::{ContainerId, JobExecutionId};
pub use roles::init;
