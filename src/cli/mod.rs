//! The command line: what `coracle` does when it is not one of its hidden roles.
//!
//! Results go to standard output; notes, warnings and errors to standard error, each line starting
//! with `coracle: `; `progress` says what else is there while an image is pulled. A reader that closes standard output
//! early ends the command quietly.
//!
//! # Exit codes
//! As those of `docker run` (<https://docs.docker.com/reference/cli/docker/container/run/#exit-status>):
//!
//! | code | meaning |
//! |---|---|
//! | 0 to 255 | `run`, `wait`, `trigger --wait`: the job's own exit code |
//! | 128 + n | `run`, `wait`, `trigger --wait`: signal n ended the job; `run`: signal n ended it before the job's main process began; `trigger`: signal n ended the waiting, and the job goes on |
//! | 143 | also `wait`, `trigger --wait`, `run`: the job was cancelled by somebody before its main process began |
//! | 125 | coracle itself failed, wrong usage included; or all went well, and what was to be shown of it could not be written for another reason than that its reader had gone |
//! | 126 | the job's command cannot be executed |
//! | 127 | the job's command was not found |
//!
//! `pull` and `load` exit with 128 + n when signal n interrupted them, and with 125 when an image could not be
//! got; the others are got all the same. `events` exits with 0 when a signal ends it. Every other command exits with 0
//! or 125.

mod args;
mod describe;
mod error;
mod events;
mod executions;
mod human;
mod images;
mod interrupts;
mod jobs;
mod json;
mod logs;
mod output;
mod progress;
mod prune;
mod ps;
mod run;
mod stats;
mod status;
mod tally;
mod told;
mod trigger;
mod unfinished;
mod validate;

use crate::config::Config;
use crate::engine::{AbsentRuntime, GcPolicy, GcReport, ImageConfig, OciRuntime, OciRuntimeConfig};
use crate::exec::{JobExecutor, JobExecutorConfig, QueueCare};
use crate::outcome::EXIT_ENGINE;
use crate::quote::brief;
use crate::state_dir::{ROOT_VARIABLE, StateDir};
use args::{Cli, Command, FetchArgs, ImageCommand, JobsCommand};
use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser};
use error::CliError;
use progress::Progress;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Environment variable with filters for diagnostics on standard error, as `coracle=debug`
/// (<https://docs.rs/tracing-subscriber/latest/tracing_subscriber/filter/struct.EnvFilter.html#directives>).
const LOG_VARIABLE: &str = "CORACLE_LOG";

/// Runs the command that this process's arguments ask for. Nothing else runs yet: no thread, no
/// runtime.
pub fn main() -> ExitCode {
    crate::sys::process::ignore_write_signals();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(usage(&error)),
    };
    let has_diagnostics = start_tracing(cli.verbose);
    match dispatch(cli, has_diagnostics) {
        Ok(code) => ExitCode::from(code),
        Err(error) => ExitCode::from(error.report()),
    }
}

/// Help and version are results; everything else that ends the parsing is a usage error.
fn usage(error: &clap::Error) -> u8 {
    if !error.use_stderr() {
        return output::finish(output::print(&error.render().to_string()));
    }
    let text = shortened(error.render().to_string(), error);
    output::complain(&match text.strip_prefix("error: ") {
        Some(message) => format!("coracle: error: {message}"),
        None => text,
    });
    EXIT_ENGINE
}

/// The message without the rest of a long argument.
fn shortened(message: String, error: &clap::Error) -> String {
    let kinds = [ContextKind::InvalidValue, ContextKind::InvalidArg, ContextKind::InvalidSubcommand];
    kinds.into_iter().filter_map(|kind| error.get(kind)).fold(message, |message, value| match value {
        ContextValue::String(text) => message.replace(text, &brief(text)),
        _ => message,
    })
}

/// True when there will be diagnostics.
fn start_tracing(verbose: bool) -> bool {
    let asked = std::env::var(LOG_VARIABLE).ok().filter(|filter| !filter.is_empty());
    let Some(filter) = asked.or_else(|| verbose.then(|| "coracle=debug".to_owned())) else { return false };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .init();
    true
}

fn dispatch(cli: Cli, has_diagnostics: bool) -> Result<u8, CliError> {
    let root = cli.root.or_else(|| std::env::var_os(ROOT_VARIABLE).filter(|root| !root.is_empty()).map(PathBuf::from));
    // For what makes things or collects them. Nothing in it is worth keeping a job from being cancelled, unless it
    // was asked for with the command.
    let read_config = |path| Config::load(path, &environment);
    // Read once: it may be a pipe.
    let named = cli.config.as_deref().map(|path| read_config(Some(path))).transpose()?;
    let load = || named.clone().map_or_else(|| read_config(None), Ok);
    let configured = || load().map(|config| image_config(&config));
    let signed = |args: &FetchArgs, images| ImageConfig { signature_policy: args.signature_policy.clone(), ..images };
    let fetching = |args: &FetchArgs| configured().map(|images| signed(args, images));
    let defaults = ImageConfig::default;
    let progress = |args: &FetchArgs| Progress::new(args, has_diagnostics);
    let open = |images: ImageConfig| open_runtime(root.clone(), images);
    match cli.command {
        Command::Validate(args) => validate::validate(&args),
        Command::Completions { shell } => completions(shell),
        Command::Version => output::print(&format!("coracle {}\n", env!("CARGO_PKG_VERSION"))).map(|()| 0),
        Command::Run(args) => {
            // What is wrong with the job is found before anything is made on disk.
            let jobs = run::jobs(&args)?;
            let progress = progress(&args.fetch);
            let config = load()?;
            let images = signed(&args.fetch, image_config(&config));
            block_on(async { run::run(&progress.watch(&open(images)?), &config, &args, &jobs, progress).await })
        }
        Command::Pull(args) | Command::Image(ImageCommand::Pull(args)) => {
            let (progress, images) = (progress(&args.fetch), fetching(&args.fetch)?);
            block_on(async { images::pull(&open(images)?, &args, progress).await })
        }
        Command::Load(args) | Command::Image(ImageCommand::Load(args)) => {
            let (input, progress) = (images::load_input(&args)?, progress(&args.fetch));
            let images = fetching(&args.fetch)?;
            block_on(async { images::load(&open(images)?, &args, input, progress).await })
        }
        Command::Image(ImageCommand::Gc(args)) => {
            let images = configured()?;
            if StateDir::is_missing(root.as_deref()) {
                return images::show_collected(&GcReport { dry_run: args.dry_run, ..GcReport::default() }, args.json);
            }
            let policy = images.gc.clone();
            block_on(async { images::collect(&open(images)?, &args, &policy).await })
        }
        Command::Images(args) | Command::Image(ImageCommand::Ls(args)) => {
            if StateDir::is_missing(root.as_deref()) {
                return images::show(&[], &args).map(|()| 0);
            }
            block_on(async { images::list(&open(defaults())?, &args).await })
        }
        Command::Rmi(args) | Command::Image(ImageCommand::Rm(args)) => {
            if StateDir::is_missing(root.as_deref()) {
                return images::none_of(&args.references);
            }
            block_on(async { images::remove(&open(defaults())?, &args).await })
        }
        Command::Image(ImageCommand::Inspect(args)) => {
            if StateDir::is_missing(root.as_deref()) {
                if args.json {
                    output::print("[]\n")?;
                }
                return images::none_of(&args.references);
            }
            block_on(async { images::inspect(&open(defaults())?, &args).await })
        }
        Command::Ps(args) => with_existing(root.as_deref(), &open, async |executor| ps::ps(executor, &args).await),
        Command::Logs(args) => {
            with_existing(root.as_deref(), &open, async |executor| logs::logs(executor, &args).await)
        }
        Command::Inspect(args) => {
            with_existing(root.as_deref(), &open, async |executor| executions::inspect(executor, &args).await)
        }
        Command::Wait(args) => {
            with_existing(root.as_deref(), &open, async |executor| executions::wait(executor, &args).await)
        }
        Command::Cancel(args) => {
            with_existing(root.as_deref(), &open, async |executor| executions::cancel(executor, &args).await)
        }
        Command::Rm(args) => {
            with_existing(root.as_deref(), &open, async |executor| executions::remove(executor, &args).await)
        }
        Command::Jobs(JobsCommand::Add(args)) => {
            // What is wrong with a spec is found before anything is made on disk.
            let found = jobs::specs(&args)?;
            with_executor(&open, async |executor| jobs::add(executor, found).await)
        }
        Command::Jobs(JobsCommand::Ls(args)) => {
            with_existing(root.as_deref(), &open, async |executor| jobs::list(executor, &args).await)
        }
        Command::Jobs(JobsCommand::Show(args)) => {
            with_existing(root.as_deref(), &open, async |executor| jobs::show(executor, &args).await)
        }
        Command::Jobs(JobsCommand::Rm(args)) => {
            with_existing(root.as_deref(), &open, async |executor| jobs::remove(executor, &args).await)
        }
        Command::Trigger(args) => {
            let config = load()?;
            if StateDir::is_missing(root.as_deref()) {
                return Err(CliError::NoJob { name: args.name, nearest: None });
            }
            block_on(async { trigger::trigger(&open(image_config(&config))?, &config, &args).await })
        }
        // Without an id it waits for what is to come.
        Command::Events(args) if args.id.is_empty() => {
            with_executor(&open, async |executor| events::events(executor, &args).await)
        }
        Command::Events(args) => {
            with_existing(root.as_deref(), &open, async |executor| events::events(executor, &args).await)
        }
        Command::Stats(args) => {
            with_existing(root.as_deref(), &open, async |executor| stats::stats(executor, &args).await)
        }
        Command::Prune(args) => {
            let config = load()?;
            with_existing(root.as_deref(), &open, async |executor| prune::prune(executor, &config, &args).await)
        }
    }
}

fn image_config(config: &Config) -> ImageConfig {
    ImageConfig {
        gc: GcPolicy { max_unused: config.max_unused, max_bytes: config.max_size },
        max_layer_bytes: config.max_layer_size,
        max_ratio: config.max_compression_ratio,
        parallel_layers: config.parallel_layers,
        signature_policy: None,
    }
}

fn open_runtime(root: Option<PathBuf>, images: ImageConfig) -> Result<OciRuntime, CliError> {
    Ok(OciRuntime::open(OciRuntimeConfig { root, images, ..OciRuntimeConfig::default() })?)
}

/// An executor for one command: whatever is not this command's own is left to others. The configuration counts for
/// what the command triggers.
async fn executor(runtime: &OciRuntime, config: &Config) -> Result<JobExecutor, CliError> {
    let settler = runtime.clone();
    let leave = move || {
        if let Err(error) = settler.spawn_settler() {
            // The next command does it.
            tracing::warn!(%error, "what waits is left waiting");
        }
    };
    let config = JobExecutorConfig {
        // Without a limit any number runs at once, and nothing is forgotten.
        max_concurrent: config.max_concurrent.map_or(0, |limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        retention: config.retention.ttl.unwrap_or(Duration::MAX),
        keep_last: config.retention.keep_last,
        queue: QueueCare::Elsewhere(Arc::new(leave)),
        ..JobExecutorConfig::default()
    };
    Ok(JobExecutor::with_config(Arc::new(runtime.clone()), config).await?)
}

/// As [`with_executor`], for commands that have nothing to make: on a root that is not there, they find it empty.
fn with_existing(
    root: Option<&Path>,
    open: &dyn Fn(ImageConfig) -> Result<OciRuntime, CliError>,
    body: impl AsyncFnOnce(&JobExecutor) -> Result<u8, CliError>,
) -> Result<u8, CliError> {
    if !StateDir::is_missing(root) {
        return with_executor(open, body);
    }
    let queue = QueueCare::Elsewhere(Arc::new(|| {}));
    let config = JobExecutorConfig { queue, ..JobExecutorConfig::default() };
    block_on(async { body(&JobExecutor::with_config(Arc::new(AbsentRuntime), config).await?).await })
}

fn with_executor(
    open: &dyn Fn(ImageConfig) -> Result<OciRuntime, CliError>,
    body: impl AsyncFnOnce(&JobExecutor) -> Result<u8, CliError>,
) -> Result<u8, CliError> {
    block_on(async {
        let executor = executor(&open(ImageConfig::default())?, &Config::default()).await?;
        let result = body(&executor).await;
        executor.leave().await?;
        result
    })
}

fn block_on(body: impl Future<Output = Result<u8, CliError>>) -> Result<u8, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| CliError::Io { action: "start the runtime", source })?;
    let result = runtime.block_on(body);
    // A look-up that still runs in the background has nothing left to say.
    runtime.shutdown_background();
    result
}

fn completions(shell: clap_complete::Shell) -> Result<u8, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "coracle", &mut script);
    output::print_bytes(&script).map(|()| 0)
}

/// Looks up a variable of this process's environment, for `$E:NAME` and `--env NAME`.
fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
