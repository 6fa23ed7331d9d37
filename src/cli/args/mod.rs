//! The arguments, as clap reads them. What stands here is the help text too.

mod executions;
mod images;
mod jobs;
mod run;
#[cfg(test)]
mod tests;

pub(super) use executions::*;
pub(super) use images::*;
pub(super) use jobs::*;
pub(super) use run::*;

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Runs OCI container jobs to completion, with no daemon.
#[derive(Debug, Parser)]
#[command(
    name = "coracle",
    version,
    max_term_width = 100,
    after_help = "Exit codes are those of `docker run`: the job's own; 128+n when signal n ended it or interrupted \
                  a run before its process began; 143 when it was cancelled before that; 125 when coracle \
                  failed, or what a successful job wrote could not be shown; 126 and 127 when the command could not be executed or was not found."
)]
pub(super) struct Cli {
    /// Directory for all state [default: $CORACLE_ROOT, else /var/lib/coracle for root, else
    /// $XDG_DATA_HOME/coracle]
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub root: Option<PathBuf>,
    /// Configuration file, in place of /etc/coracle/config.yaml and ~/.config/coracle/config.yaml
    /// [default: $CORACLE_CONFIG]
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub config: Option<PathBuf>,
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
    ///
    ///   coracle cancel ID...
    ///   coracle cancel --job NAME        # all of this job, those that wait too
    ///   coracle cancel --all
    ///
    /// With --job and --all the ids are printed.
    #[command(verbatim_doc_comment)]
    Cancel(CancelArgs),
    /// Remove executions that have ended, with their logs
    Rm(RmArgs),
    /// Work with registered jobs
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Trigger a registered job and print the execution's id
    ///
    ///   coracle trigger backup --env TARGET=/srv -- --full
    ///
    /// Returns when the job has been started or waits for its turn.
    #[command(verbatim_doc_comment)]
    Trigger(TriggerArgs),
    /// Print changes of status as they happen, of all processes, until Ctrl-C
    Events(EventsArgs),
    /// Show counts, queues, success rates and durations
    Stats(StatsArgs),
    /// Forget executions that have ended, with their logs
    ///
    /// Without --all, --ttl and --keep-last: those that neither their job nor the configuration keeps. That
    /// happens by itself when jobs end, too.
    Prune(PruneArgs),
    /// Get images, or what the registry has newer
    ///
    ///   coracle pull debian:12 docker.io/library/alpine@sha256:DIGEST
    ///   coracle pull --platform linux/arm64 --quiet registry.example.com/team/app:v1
    ///
    /// Prints NAME@DIGEST of each image. Layers that are here are not fetched again. Ctrl-C keeps what is
    /// finished: the next pull goes on from there.
    #[command(verbatim_doc_comment)]
    Pull(PullArgs),
    /// Get the images in an archive of `docker save`, `podman save` or `skopeo copy`
    ///
    ///   podman save app:v1 | coracle load
    ///   coracle load app.tar
    #[command(verbatim_doc_comment)]
    Load(LoadArgs),
    /// List images
    Images(ImagesArgs),
    /// Remove images
    ///
    /// Forgets the references and removes what no other image and no execution needs.
    Rmi(RmiArgs),
    /// Work with images
    #[command(subcommand)]
    Image(ImageCommand),
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
pub(super) struct ValidateArgs {
    /// Deployment file; `-` reads it from stdin
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub spec: String,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}
