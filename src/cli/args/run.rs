//! What a job is run with.

use super::FetchArgs;
use crate::spec::{
    MOST_ATTEMPTS, NetworkMode, OnConflict, PullPolicy, Storage, ValueError, Variable, parse_bytes, parse_cpu_millis,
    parse_duration, parse_env, parse_idempotency_key, parse_mount, parse_network, parse_signal,
};
use clap::{ArgAction, Args};
use std::collections::BTreeSet;
use std::time::Duration;

#[derive(Debug, Args)]
pub(in crate::cli) struct RunArgs {
    /// Deployment file; `-` reads it from stdin
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub spec: Option<String>,
    /// Which of the spec's jobs to run, in this order
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// The command's arguments, in place of those of the spec or the image
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
    /// Start nothing if an execution of the job has this key already; wait for that one. A key lives until its
    /// execution is forgotten: by retention, `prune` or `rm`
    #[arg(long, value_name = "KEY", value_parser = parse_idempotency_key)]
    pub idempotency_key: Option<String>,
    /// Start the jobs, print their execution ids, and return
    #[arg(short, long)]
    pub detach: bool,
    /// Pass this command's stdin on to the job (otherwise /dev/null)
    #[arg(short, long, conflicts_with = "detach")]
    pub interactive: bool,
    #[command(flatten)]
    pub job: JobArgs,
    #[command(flatten)]
    pub fetch: FetchArgs,
}

/// What describes the job.
#[derive(Debug, Args)]
#[command(next_help_heading = "Job options")]
pub(in crate::cli) struct JobArgs {
    /// Image: a registry reference, `oci:PATH[:TAG]`, `oci-archive:FILE` or `docker-archive:FILE`
    #[arg(long)]
    pub image: Option<String>,
    /// When to pull the image: always, newer, if_not_present or never
    #[arg(long, value_name = "POLICY", value_parser = pull_policy)]
    pub pull: Option<PullPolicy>,
    /// Name of the job (only with --image and no SPEC)
    #[arg(long)]
    pub name: Option<String>,
    /// Program to run in place of the image's entrypoint; "" for none
    #[arg(long, value_name = "CMD")]
    pub entrypoint: Option<String>,
    /// Environment variable; `K` alone takes the value from this environment
    #[arg(short, long, value_name = "K=V", value_parser = env)]
    pub env: Vec<Variable>,
    /// User, as `name`, `uid`, `name:group` or `uid:gid`
    #[arg(short, long)]
    pub user: Option<String>,
    /// Working directory in the container; created if absent
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Memory limit, as 512Mi
    #[arg(short, long, value_name = "SIZE", value_parser = parse_bytes)]
    pub memory: Option<u64>,
    /// CPU limit in CPUs, as 0.5
    #[arg(long, value_name = "CPUS", value_parser = parse_cpu_millis)]
    pub cpu: Option<u64>,
    /// Limit on processes and threads; -1 for none
    #[arg(long, value_name = "N", value_parser = pids_limit, allow_negative_numbers = true)]
    pub pids_limit: Option<u64>,
    /// Mount: type=bind|volume|tmpfs,src=..,dst=..[,ro][,tmpfs-size=..][,tmpfs-mode=..]
    #[arg(long, value_name = "MOUNT", value_parser = parse_mount)]
    pub mount: Vec<Storage>,
    /// Network: host or none
    #[arg(long, value_name = "MODE", value_parser = parse_network)]
    pub network: Option<NetworkMode>,
    /// Host name in the container
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Stop the job when it runs longer, as 30s or 1h30m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub deadline: Option<Duration>,
    /// Forget the execution, with its log, when it has ended; not with --idempotency-key
    #[arg(long)]
    pub rm: bool,
    /// Run it up to N more times when it fails, after 1s, 2s, 4s, ... or as the spec says
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = retries())]
    pub retry: Option<u32>,
    /// Executions of this job at once; further ones wait, or do as --on-conflict says
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub max_concurrent: Option<u32>,
    /// When as many run: queue, forbid (refuse this one), replace (cancel the oldest) or allow (no limit)
    #[arg(long, value_name = "ACTION", value_parser = on_conflict)]
    pub on_conflict: Option<OnConflict>,
    /// Signal that asks the job to stop
    #[arg(long, value_name = "SIGNAL", value_parser = parse_signal)]
    pub stop_signal: Option<i32>,
    /// Time between the stop signal and SIGKILL
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub grace: Option<Duration>,
    /// Run coracle's small init as pid 1 in front of the job; `--init=false`: the job is pid 1
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true,
          action = ArgAction::Set)]
    pub init: Option<bool>,
    /// Mount the root file system read-only
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true,
          action = ArgAction::Set)]
    pub read_only: Option<bool>,
    /// Label of the execution
    #[arg(short, long, value_name = "K=V", value_parser = label)]
    pub label: Vec<(String, String)>,
}

pub(super) fn env(text: &str) -> Result<Variable, ValueError> {
    parse_env(text, &crate::cli::environment)
}

/// Names and values, and the names of those that are not shown.
pub fn variables(given: &[Variable]) -> (Vec<(String, String)>, BTreeSet<String>) {
    let pairs = given.iter().map(|variable| (variable.name.clone(), variable.value.clone()));
    let hidden = given.iter().filter(|variable| variable.is_hidden).map(|variable| variable.name.clone());
    (pairs.collect(), hidden.collect())
}

fn label(text: &str) -> Result<(String, String), std::convert::Infallible> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    Ok((name.to_owned(), value.to_owned()))
}

fn pull_policy(text: &str) -> Result<PullPolicy, &'static str> {
    match text {
        "always" => Ok(PullPolicy::Always),
        "newer" => Ok(PullPolicy::Newer),
        // `missing` is what docker and podman call it.
        "if_not_present" | "missing" => Ok(PullPolicy::IfNotPresent),
        "never" => Ok(PullPolicy::Never),
        _ => Err("write always, newer, if_not_present or never"),
    }
}

/// The first attempt is no retry.
fn retries() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(..i64::from(MOST_ATTEMPTS))
}

fn on_conflict(text: &str) -> Result<OnConflict, &'static str> {
    match text {
        "queue" => Ok(OnConflict::Queue),
        "forbid" => Ok(OnConflict::Forbid),
        "replace" => Ok(OnConflict::Replace),
        "allow" => Ok(OnConflict::Allow),
        _ => Err("write queue, forbid, replace or allow"),
    }
}

/// 0 stands for no limit.
fn pids_limit(text: &str) -> Result<u64, &'static str> {
    match text {
        "-1" => Ok(0),
        _ => text.parse().map_err(|_| "write a number, or -1 for no limit"),
    }
}
