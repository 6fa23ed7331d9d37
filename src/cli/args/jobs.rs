//! Registered jobs, triggering them, and watching over what they leave.

use super::run::env;
use crate::spec::{Variable, parse_duration, parse_idempotency_key};
use clap::{Args, Subcommand};
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum JobsCommand {
    /// Register jobs of a spec, in place of those of the same names
    ///
    ///   coracle jobs add backup.yaml
    ///   coracle jobs add backup.yaml nightly --name nightly-db1
    ///
    /// A job keeps the form that it has now: variables of the environment are read, later changes of
    /// the file have no effect. Executions that exist keep the spec that they were triggered with.
    #[command(verbatim_doc_comment)]
    Add(JobsAddArgs),
    /// List registered jobs
    Ls(JobsLsArgs),
    /// Show what a registered job is; secrets are left out
    Show(JobsShowArgs),
    /// Forget registered jobs; their executions stay
    Rm(JobsRmArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct JobsAddArgs {
    /// Deployment file; `-` reads it from stdin
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub spec: String,
    /// Which of the spec's jobs [default: all]
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Register the job under this name, not that of the spec; goes with one job
    #[arg(long)]
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct JobsLsArgs {
    /// Print the names alone
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct JobsShowArgs {
    /// Name of the job
    pub name: String,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct JobsRmArgs {
    /// Names of the jobs
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct TriggerArgs {
    /// Name of the registered job
    pub name: String,
    /// The command's arguments this time, in place of the job's own
    #[arg(last = true, value_name = "ARG")]
    pub args: Vec<String>,
    /// Environment variable for this time; `K` alone takes the value from this environment
    #[arg(short, long, value_name = "K=V", value_parser = env)]
    pub env: Vec<Variable>,
    /// Wait for the end and exit as `run` does; Ctrl-C ends the waiting, not the job
    #[arg(short, long)]
    pub wait: bool,
    /// Start nothing if an execution of the job has this key already; its id is printed. A key lives until its
    /// execution is forgotten: by retention, `prune` or `rm`
    #[arg(long, value_name = "KEY", value_parser = parse_idempotency_key)]
    pub idempotency_key: Option<String>,
    /// Print a JSON object in place of the id: the execution as it is when it has started, with --wait when it
    /// has ended
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct EventsArgs {
    /// Only executions of this job
    #[arg(long, value_name = "NAME")]
    pub job: Option<String>,
    /// Only this execution, given by its id or the start of it (may be repeated)
    #[arg(long, value_name = "ID")]
    pub id: Vec<String>,
    /// Print a JSON object per line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct StatsArgs {
    /// Of the jobs only this one
    #[arg(long, value_name = "NAME")]
    pub job: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PruneArgs {
    /// Remove nothing, say what would go
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Every execution that has ended
    #[arg(short, long, conflicts_with_all = ["ttl", "keep_last"])]
    pub all: bool,
    /// Those that ended longer ago than this, as 36h or 30d, whatever their jobs say
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub ttl: Option<Duration>,
    /// All but the newest N of each job, whatever the jobs say
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub keep_last: Option<u32>,
    /// Only executions of this job
    #[arg(long, value_name = "NAME")]
    pub job: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}
