//! The arguments, as clap reads them. What stands here is the help text too.

use crate::exec::StatusFilter;
use crate::spec::{
    NetworkMode, PullPolicy, Storage, ValueError, parse_bytes, parse_cpu_millis, parse_duration, parse_env,
    parse_mount, parse_network, parse_signal,
};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Runs OCI container jobs to completion, with no daemon.
#[derive(Debug, Parser)]
#[command(
    name = "coracle",
    version,
    max_term_width = 100,
    after_help = "Exit codes are those of `docker run`: the job's own; 128+n when signal n ended it; 125 when coracle \
                  failed; 126 and 127 when the command could not be executed or was not found."
)]
pub(super) struct Cli {
    /// Directory for all state [default: $CORACLE_ROOT, else /var/lib/coracle for root, else
    /// $XDG_DATA_HOME/coracle]
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub root: Option<PathBuf>,
    /// Show what coracle does, on standard error ($CORACLE_LOG sets finer filters)
    #[arg(long, global = true)]
    pub verbose: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a job in the foreground, or start it with -d
    ///
    ///   coracle run fixtures/jobs/hello.yaml
    ///   coracle run --image oci:PATH[:TAG] -- CMD ARG...
    ///
    /// A SPEC with one job needs no SERVICE. Several SERVICEs run one after the other, and the first
    /// that does not complete ends the run with its exit code; with -d all are started at once. Job
    /// options change every job that is run.
    ///
    /// Ctrl-C and SIGTERM cancel the job gracefully, a second one kills it.
    #[command(verbatim_doc_comment)]
    Run(Box<RunArgs>),
    /// List executions, newest first; without -a those that have not ended
    Ps(PsArgs),
    /// Show what an execution wrote to stdout and stderr
    Logs(LogsArgs),
    /// Show everything that is known of an execution
    Inspect(InspectArgs),
    /// Wait until executions end and print the exit code of each
    ///
    /// Exits with the first of these codes that is not 0.
    Wait(WaitArgs),
    /// Cancel executions: stop signal, grace period, SIGKILL
    Cancel(CancelArgs),
    /// Remove executions that have ended, with their logs
    Rm(RmArgs),
    /// Check a spec and print every error and warning
    Validate(ValidateArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the version
    Version,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Deployment file; `-` reads it from stdin
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub spec: Option<String>,
    /// Which of the spec's jobs to run, in this order
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// The command's arguments, in place of those of the spec or the image
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
    /// Start the jobs, print their execution ids, and return
    #[arg(short, long)]
    pub detach: bool,
    /// Pass this command's stdin on to the job (otherwise /dev/null)
    #[arg(short, long, conflicts_with = "detach")]
    pub interactive: bool,
    #[command(flatten)]
    pub job: JobArgs,
}

/// What describes the job.
#[derive(Debug, Args)]
#[command(next_help_heading = "Job options")]
pub(super) struct JobArgs {
    /// Image: `oci:PATH[:TAG]` or a registry reference
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
    pub env: Vec<(String, String)>,
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

#[derive(Debug, Args)]
pub(super) struct PsArgs {
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
pub(super) struct LogsArgs {
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
pub(super) enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Execution id, or the start of it
    pub id: String,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// Execution ids, or the starts of them
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// Print a JSON object per execution, one a line, in place of the exit code
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CancelArgs {
    /// Execution ids, or the starts of them
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// Time between the stop signal and SIGKILL, in place of the job's own
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub grace: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct RmArgs {
    /// Execution ids, or the starts of them
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// Cancel those that have not ended first
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub(super) struct ValidateArgs {
    /// Deployment file; `-` reads it from stdin
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub spec: String,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

fn env(text: &str) -> Result<(String, String), ValueError> {
    parse_env(text, &super::environment)
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

/// 0 stands for no limit.
fn pids_limit(text: &str) -> Result<u64, &'static str> {
    match text {
        "-1" => Ok(0),
        _ => text.parse().map_err(|_| "write a number, or -1 for no limit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn run(arguments: &[&str]) -> Box<RunArgs> {
        let arguments = ["coracle", "run"].iter().chain(arguments);
        match Cli::try_parse_from(arguments).expect("valid arguments").command {
            Command::Run(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_spec_is_followed_by_its_services() {
        let args = run(&["a.yaml", "one", "two", "-d", "-e", "A=b=c"]);
        assert_eq!((args.spec.as_deref(), &*args.services), (Some("a.yaml"), &["one".into(), "two".into()][..]));
        assert!(args.detach && args.command.is_empty());
        assert_eq!(args.job.env, [("A".into(), "b=c".into())]);
    }

    #[test]
    fn everything_behind_two_hyphens_is_the_command() {
        let args = run(&["--image", "oci:x", "--init=false", "--read-only", "--", "sh", "-c", "--", "-d"]);
        assert_eq!(args.command, ["sh", "-c", "--", "-d"]);
        assert_eq!((args.spec.as_deref(), args.job.init, args.job.read_only), (None, Some(false), Some(true)));
        assert!(!args.detach);
    }

    #[test]
    fn values_are_parsed_as_in_a_spec() {
        let args = run(&["x", "-m", "64Mi", "--cpu", "0.5", "--deadline", "1m30s", "--pids-limit", "-1"]);
        assert_eq!((args.job.memory, args.job.cpu, args.job.pids_limit), (Some(64 << 20), Some(500), Some(0)));
        assert_eq!(args.job.deadline, Some(Duration::from_secs(90)));
        let error = Cli::try_parse_from(["coracle", "run", "x", "-m", "64Mx"]).expect_err("a bad size").to_string();
        assert!(error.contains("64Mx") && error.contains("--memory"), "{error}");
    }
}
