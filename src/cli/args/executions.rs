//! Which executions, and what of them.

use crate::exec::StatusFilter;
use crate::spec::parse_duration;
use clap::{Args, ValueEnum};
use std::time::Duration;

#[derive(Debug, Args)]
pub(in crate::cli) struct PsArgs {
    /// Those that have ended too
    #[arg(short, long)]
    pub all: bool,
    /// Only those of this job
    #[arg(long, value_name = "NAME")]
    pub job: Option<String>,
    /// Only those with this status (may be repeated): pending, initializing, running, completed,
    /// failed, cancelled
    #[arg(long, value_name = "STATUS")]
    pub status: Vec<StatusFilter>,
    /// Only the newest N
    #[arg(short = 'n', long, value_name = "N")]
    pub limit: Option<usize>,
    /// Print the ids alone
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LogsArgs {
    /// Execution id, or the start of it
    pub id: String,
    /// Go on until the execution ends
    #[arg(short, long)]
    pub follow: bool,
    /// Start with the last N lines
    #[arg(short = 'n', long, value_name = "N")]
    pub tail: Option<usize>,
    /// Put the time before each line (RFC 3339, UTC)
    #[arg(short, long)]
    pub timestamps: bool,
    /// Only this stream
    #[arg(long, value_enum)]
    pub stream: Option<Stream>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct InspectArgs {
    /// Execution id, or the start of it
    pub id: String,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WaitArgs {
    /// Execution ids, or the starts of them
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// Print a JSON object per execution, one a line, in place of the exit code
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CancelArgs {
    /// Execution ids, or the starts of them
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// Time between the stop signal and SIGKILL, in place of the job's own
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub grace: Option<Duration>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RmArgs {
    /// Execution ids, or the starts of them
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// Cancel those that have not ended first
    #[arg(short, long)]
    pub force: bool,
}
