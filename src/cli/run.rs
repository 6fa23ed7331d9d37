//! `coracle run`.

use super::args::RunArgs;
use super::error::CliError;
use super::executions::exit_code;
use super::interrupts::Interrupts;
use super::progress::Progress;
use super::{output, validate};
use crate::exec::{JobExecution, JobExecutor, JobTrigger, Notice, Started, Stdio};
use crate::outcome::{End, signal_code};
use crate::spec::{Overrides, ServiceSpec};

/// The jobs that the arguments name, with their flags applied. Shows the warnings of the spec.
pub(super) fn jobs(args: &RunArgs) -> Result<Vec<ServiceSpec>, CliError> {
    let jobs = match (&args.spec, &args.job.image) {
        (None, None) => {
            return Err(CliError::usage(
                "nothing to run",
                "name a SPEC, or an image and a command: --image IMAGE -- CMD",
            ));
        }
        (Some(word), Some(_)) => {
            return Err(CliError::usage(
                format!("{word:?} is taken for a SPEC, which goes without --image"),
                "put the command behind two hyphens: --image IMAGE -- CMD",
            ));
        }
        (None, Some(image)) => vec![ServiceSpec::from_image(image)?],
        (Some(spec), None) => {
            if args.job.name.is_some() {
                return Err(CliError::usage("--name goes with --image", "the jobs of a SPEC have their names there"));
            }
            if spec == validate::STDIN && args.interactive {
                return Err(CliError::usage("stdin cannot be both the SPEC and the job's", "put the SPEC into a file"));
            }
            from_spec(spec, &args.services)?
        }
    };
    if jobs.len() > 1 && (args.interactive || !args.command.is_empty()) {
        return Err(CliError::usage("--interactive and a command go with one job", "name one SERVICE"));
    }
    let changes = changes(args);
    jobs.into_iter().map(|job| Ok(job.with(changes.clone())?)).collect()
}

fn from_spec(spec: &str, names: &[String]) -> Result<Vec<ServiceSpec>, CliError> {
    let mut deployment = validate::read(spec)?;
    validate::warn(&deployment);
    let known: Vec<String> = deployment.services.keys().cloned().collect();
    let wanted = match (names, &*known) {
        ([], []) => return Err(validate::no_job(spec)),
        ([], [only]) => vec![only.clone()],
        ([], known) => {
            let message = format!("{} holds several jobs", validate::source_name(spec));
            return Err(CliError::usage(message, format!("name those to run: {}", known.join(", "))));
        }
        (names, _) => names.to_vec(),
    };
    let mut jobs = Vec::new();
    for name in wanted {
        // The same name may be given twice.
        if let Some(job) = deployment.services.get(&name) {
            jobs.push(job.clone());
        } else if let Some(error) = deployment.refused.remove(&name) {
            return Err(CliError::Spec(error.into()));
        } else {
            let message = format!("{} holds no service {name:?}", validate::source_name(spec));
            return Err(CliError::usage(message, format!("its jobs are: {}", known.join(", "))));
        }
    }
    Ok(jobs)
}

fn changes(run: &RunArgs) -> Overrides {
    let RunArgs { job: args, command, fetch, .. } = run;
    Overrides {
        name: args.name.clone(),
        pull_policy: args.pull,
        platform: fetch.platform.clone(),
        // As `docker run --entrypoint ""`: none at all.
        entrypoint: args.entrypoint.as_ref().map(|program| match program.as_str() {
            "" => Vec::new(),
            program => vec![program.to_owned()],
        }),
        args: (!command.is_empty()).then(|| command.clone()),
        workdir: args.workdir.clone(),
        env: args.env.clone(),
        user: args.user.clone(),
        hostname: args.hostname.clone(),
        init: args.init,
        memory: args.memory,
        cpu_millis: args.cpu,
        pids_limit: args.pids_limit,
        mounts: args.mount.clone(),
        network: args.network,
        read_only_root_fs: args.read_only,
        labels: args.label.iter().cloned().collect(),
        stop_signal: args.stop_signal,
        stop_grace_period: args.grace,
        deadline: args.deadline,
        ..Overrides::default()
    }
}

/// Runs the jobs: with `-d` all at once, else one after the other until one does not complete.
pub(super) async fn run(
    executor: &JobExecutor,
    args: &RunArgs,
    jobs: &[ServiceSpec],
    progress: Progress,
) -> Result<u8, CliError> {
    let mut interrupts = Interrupts::new()?;
    let watched = progress.watch(executor);
    let code = run_each(&watched, args, jobs, &progress, &mut interrupts).await;
    // A collection that a pull has set off. Whoever does not want to wait for it interrupts it.
    interrupts.unless(executor.finish_collection()).await;
    code
}

async fn run_each(
    executor: &JobExecutor,
    args: &RunArgs,
    jobs: &[ServiceSpec],
    progress: &Progress,
    interrupts: &mut Interrupts,
) -> Result<u8, CliError> {
    for job in jobs {
        let stdio = if args.detach { Stdio::Detached } else { Stdio::Attached { stdin: args.interactive } };
        let mut shown = Vec::new();
        let mut notice = |notice: Notice| {
            let text = notice.to_string();
            progress.message("note", &text);
            shown.push(text);
        };
        let started = tokio::select! {
            started = executor.start(job, JobTrigger::Cli, stdio, &mut notice) => started?,
            signal = interrupts.next() => {
                let was_pulling = progress.close();
                interrupts.unless(executor.finish_pulls()).await;
                let kept = if was_pulling { "; finished layers are kept; the next pull goes on from there" } else { "" };
                output::message("note", &format!("{}: cancelled before its start{kept}", job.name));
                return Ok(signal_code(signal));
            }
        };
        if args.detach {
            let id = started.id().clone();
            started.detach();
            output::print(&format!("{id}\n"))?;
            continue;
        }
        let execution = attend(started, interrupts).await?;
        report(&execution, &shown);
        if !matches!(execution.end, Some(End::Exited { code: 0 })) {
            return Ok(exit_code(&execution));
        }
    }
    Ok(0)
}

/// Waits for the end. The first signal cancels, every further one kills.
async fn attend(mut started: Started, interrupts: &mut Interrupts) -> Result<JobExecution, CliError> {
    let mut cancelled = false;
    loop {
        tokio::select! {
            biased;
            ended = started.wait() => return Ok(ended?),
            _ = interrupts.next() => {
                // It may have ended at this very moment; then `wait` says so next.
                if cancelled {
                    output::message("note", "killing the job");
                    started.kill();
                } else {
                    output::message("note", "cancelling the job; press Ctrl-C again to kill it");
                    started.cancel();
                }
                cancelled = true;
            }
        }
    }
}

/// Says what the job's own output and exit code do not. `shown`: notes that were visible already.
fn report(execution: &JobExecution, shown: &[String]) {
    for note in execution.notes.iter().filter(|note| !shown.contains(note)) {
        output::message("note", note);
    }
    let Some(end) = &execution.end else { return };
    let kind = match end {
        End::Exited { .. } => return,
        End::Signalled { .. } | End::Cancelled { .. } => "note",
        _ => "error",
    };
    output::message(kind, &format!("{}: {end}", execution.job_name));
}
