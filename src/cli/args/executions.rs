//! Which executions, and what of them.

use crate::exec::StatusFilter;
use crate::spec::parse_duration;
use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};
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
    /// Only those with this label; `K` alone: with any value (may be repeated)
    #[arg(short, long, value_name = "K[=V]")]
    pub label: Vec<String>,
    /// Only those created at this time or later: RFC 3339, or how long ago, as 2h or 7d
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<Timestamp>,
    /// Only those created before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<Timestamp>,
    /// Only those older than this execution: with the last id of a page, the next one
    #[arg(long, value_name = "ID")]
    pub before: Option<String>,
    /// Only the newest N
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
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
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
    pub tail: Option<usize>,
    /// Put the time before each line (RFC 3339, UTC)
    #[arg(short, long)]
    pub timestamps: bool,
    /// Only this stream
    #[arg(long, value_enum)]
    pub stream: Option<Stream>,
    /// Of this attempt, from 1 [default: the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true)]
    pub attempt: Option<u32>,
    /// Only what this init step wrote
    #[arg(long, value_name = "ID")]
    pub step: Option<String>,
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
    #[arg(required_unless_present_any = ["all", "job"], conflicts_with_all = ["all", "job"], value_name = "ID")]
    pub ids: Vec<String>,
    /// All that have not ended
    #[arg(short, long, conflicts_with = "job")]
    pub all: bool,
    /// All of this job that have not ended
    #[arg(long, value_name = "NAME")]
    pub job: Option<String>,
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

/// A time, or a length of time before now.
fn moment(text: &str) -> Result<Timestamp, &'static str> {
    let ago = |ago: Duration| Timestamp::now().checked_sub(SignedDuration::try_from(ago).ok()?).ok();
    let time = text.parse().ok().or_else(|| parse_duration(text).ok().and_then(ago));
    time.ok_or("write a time as 2026-01-31T12:00:00Z, or how long ago it was, as 90m or 7d")
}
