//! `coracle run`.

use super::args::{RunArgs, variables};
use super::error::CliError;
use super::executions::{exit_code, was_cancelled_without_a_code};
use super::interrupts::Interrupts;
use super::progress::Progress;
use super::told::Told;
use super::{output, status, unfinished, validate};
use crate::config::Config;
use crate::engine::OciRuntime;
use crate::exec::{
    ExecError, JobExecution, JobExecutionId, JobExecutor, JobStatus, JobTrigger, NoticeSink, Stdio, TriggerOptions,
    Triggered,
};
use crate::outcome::{End, Stopped, is_of_lost_output, signal_code};
use crate::quote::quoted;
use crate::spec::{Overrides, ServiceSpec};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
                format!("{} is taken for a SPEC, which goes without --image", quoted(word)),
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
            from_spec(spec, &args.services, Unnamed::Only)?
        }
    };
    if jobs.len() > 1 && (args.interactive || !args.command.is_empty()) {
        return Err(CliError::usage("--interactive and a command go with one job", "name one SERVICE"));
    }
    let changes = changes(args);
    let changed = jobs.into_iter().map(|job| {
        let job = job.with(changes.clone())?;
        if args.idempotency_key.is_some() {
            job.policy.check_takes_key()?;
        }
        Ok(job)
    });
    changed.collect()
}

/// Which jobs of a spec are meant when none is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unnamed {
    All,
    /// The one that there is.
    Only,
}

/// Jobs of a spec, by their names. Shows its warnings.
pub(super) fn from_spec(spec: &str, names: &[String], unnamed: Unnamed) -> Result<Vec<ServiceSpec>, CliError> {
    let mut deployment = validate::read(spec, names)?;
    validate::warn(&deployment);
    let known: BTreeSet<String> = deployment.services.keys().chain(&deployment.others).cloned().collect();
    let known = Vec::from_iter(known);
    let wanted = match (names, &*known) {
        ([], []) => return Err(validate::no_job(spec)),
        ([], [only]) => vec![only.clone()],
        ([], known) if unnamed == Unnamed::All => known.to_vec(),
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
            let message = format!("{} holds no service {}", validate::source_name(spec), quoted(&name));
            return Err(CliError::usage(message, format!("its jobs are: {}", known.join(", "))));
        }
    }
    Ok(jobs)
}

fn changes(run: &RunArgs) -> Overrides {
    let RunArgs { job: args, command, fetch, .. } = run;
    let (env, hidden_env) = variables(&args.env);
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
        env,
        hidden_env,
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
        // The first attempt is no retry.
        retry_attempts: args.retry.map(|retries| retries.saturating_add(1)),
        delete_on_exit: args.rm.then_some(true),
        max_concurrent: args.max_concurrent,
        on_conflict: args.on_conflict,
        image: None,
    }
}

/// Runs the jobs: with `-d` all at once, else one after the other until one does not complete.
pub(super) async fn run(
    runtime: &OciRuntime,
    config: &Config,
    args: &RunArgs,
    jobs: &[ServiceSpec],
    progress: Progress,
) -> Result<u8, CliError> {
    for job in jobs {
        runtime.check(job)?;
    }
    let mut interrupts = Interrupts::new()?;
    let executor = super::executor(runtime, config).await?;
    let mut command = Run {
        runtime,
        executor: &executor,
        args,
        has_limit: config.max_concurrent.is_some(),
        progress: Arc::new(progress),
        interrupts: &mut interrupts,
    };
    let code = command.each(jobs).await;
    executor.leave().await?;
    // A collection that a pull has set off. Whoever does not want to wait for it interrupts it.
    interrupts.unless(runtime.finish_collection()).await;
    code
}

struct Run<'a> {
    runtime: &'a OciRuntime,
    executor: &'a JobExecutor,
    args: &'a RunArgs,
    /// There is a limit over all jobs.
    has_limit: bool,
    progress: Arc<Progress>,
    interrupts: &'a mut Interrupts,
}

/// How one job went.
enum Went {
    Execution(Box<JobExecution>),
    /// It was interrupted by this signal before its main process ran, or between two attempts.
    NotStarted(Box<JobExecution>, i32),
    /// This signal ended the waiting for an execution that is another command's.
    Left(i32),
}

impl Went {
    /// How an execution went that this signal has interrupted, if one has.
    fn of(execution: JobExecution, interrupted_by: Option<i32>) -> Went {
        match interrupted_by {
            Some(signal) if was_cancelled_without_a_code(&execution) => Went::NotStarted(Box::new(execution), signal),
            _ => Went::Execution(Box::new(execution)),
        }
    }
}

impl Run<'_> {
    async fn each(&mut self, jobs: &[ServiceSpec]) -> Result<u8, CliError> {
        let mut told = Told::default();
        for job in jobs {
            let shown: Arc<Mutex<Vec<String>>> = Arc::default();
            let Triggered { id, is_new } = self.trigger(job, &shown).await?;
            if !is_new {
                output::message("note", &format!("{}: execution {id} has this idempotency key already", job.name));
            } else if self.has_limit || job.policy.max_concurrent.is_some() {
                self.announce_turn(&id).await?;
            }
            let went = match (self.args.detach, is_new) {
                (true, _) => self.launch(&id).await?,
                (false, true) => self.attend(&id).await?,
                (false, false) => self.watch(&id).await?,
            };
            let execution = match went {
                Went::Execution(execution) => execution,
                Went::Left(signal) => return Ok(signal_code(signal)),
                Went::NotStarted(execution, signal) => {
                    let was_pulling = self.progress.close();
                    self.end_line(&execution).await;
                    self.interrupts.unless(self.runtime.finish_pulls()).await;
                    let kept =
                        if was_pulling { "; finished layers are kept; the next pull goes on from there" } else { "" };
                    match &execution.end {
                        Some(End::Cancelled { how: Stopped::BeforeStart }) => {
                            output::message("note", &format!("{}: cancelled before its start{kept}", job.name));
                        }
                        Some(End::Cancelled { how: Stopped::BetweenAttempts { next } }) => {
                            output::message("note", &format!("{}: cancelled before attempt {next}{kept}", job.name));
                        }
                        _ => report(&execution, &shown.lock().unwrap_or_else(PoisonError::into_inner)),
                    }
                    return Ok(signal_code(signal));
                }
            };
            let has_failed = execution.end.is_some() && !matches!(execution.end, Some(End::Exited { .. }));
            if self.args.detach && (execution.started_at.is_some() || !has_failed) {
                // It is triggered whether or not that can be told, and so are the others.
                if !told.take(output::print(&format!("{id}\n")))? {
                    note_triggered(&job.name, &id);
                }
                continue;
            }
            self.end_line(&execution).await;
            // A panic elsewhere leaves whole notes.
            report(&execution, &shown.lock().unwrap_or_else(PoisonError::into_inner));
            if !matches!(execution.end, Some(End::Exited { code: 0 })) {
                return Ok(exit_code(&execution));
            }
            // What another command was shown is not lost here.
            if is_new && execution.notes.iter().any(|note| is_of_lost_output(note)) {
                told.lose();
            }
        }
        Ok(told.code(0))
    }

    /// Before a message, when the job's output is shown here and there will be one.
    async fn end_line(&self, execution: &JobExecution) {
        if !self.args.detach && !matches!(execution.end, Some(End::Exited { .. })) {
            unfinished::end_line(self.executor, &execution.id).await;
        }
    }

    async fn trigger(&self, job: &ServiceSpec, shown: &Arc<Mutex<Vec<String>>>) -> Result<Triggered, CliError> {
        let (progress, shown) = (self.progress.clone(), shown.clone());
        let notices: NoticeSink = Arc::new(move |note: &str| {
            progress.message("note", note);
            shown.lock().unwrap_or_else(PoisonError::into_inner).push(note.to_owned());
        });
        let stdio = if self.args.detach { Stdio::Detached } else { Stdio::Attached { stdin: self.args.interactive } };
        let idempotency_key = self.args.idempotency_key.clone();
        let options = TriggerOptions { stdio, notices: Some(notices), idempotency_key, ..TriggerOptions::default() };
        Ok(self.executor.trigger_once(&job.name, job, JobTrigger::Cli, options).await?)
    }

    /// Says so when a job does not start at once.
    async fn announce_turn(&self, id: &JobExecutionId) -> Result<(), CliError> {
        if let Some(position) = self.executor.queue_position(id).await? {
            self.progress.message("note", &status::turn(position));
        }
        Ok(())
    }

    /// Waits until the execution is with its supervisor, or waits for its turn.
    async fn launch(&mut self, id: &JobExecutionId) -> Result<Went, CliError> {
        tokio::select! {
            biased;
            launched = self.executor.launched(id) => Ok(Went::Execution(Box::new(launched?))),
            signal = self.interrupts.next() => self.give_up(id, signal).await,
        }
    }

    /// Waits for the end of an execution that another command triggered.
    async fn watch(&mut self, id: &JobExecutionId) -> Result<Went, CliError> {
        tokio::select! {
            biased;
            ended = self.executor.wait(id) => Ok(Went::Execution(Box::new(ended?))),
            signal = self.interrupts.next() => Ok(Went::Left(signal)),
        }
    }

    /// Waits for the end. The first signal cancels, every further one kills.
    async fn attend(&mut self, id: &JobExecutionId) -> Result<Went, CliError> {
        let mut interrupted_by = None;
        loop {
            let signal = tokio::select! {
                biased;
                ended = self.executor.wait(id) => return Ok(Went::of(ended?, interrupted_by)),
                signal = self.interrupts.next() => signal,
            };
            if self.executor.execution(id).await?.status == JobStatus::Pending {
                return self.give_up(id, signal).await;
            }
            unfinished::end_line(self.executor, id).await;
            let grace = if interrupted_by.is_some() {
                output::message("note", "killing the job");
                Some(Duration::ZERO)
            } else {
                output::message("note", "cancelling the job; press Ctrl-C again to kill it");
                None
            };
            match self.executor.cancel_with(id, grace).await {
                // It has ended at this very moment; `wait` says so next.
                Ok(()) | Err(ExecError::Ended { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            interrupted_by.get_or_insert(signal);
        }
    }

    /// Cancels an execution that has not begun.
    async fn give_up(&self, id: &JobExecutionId, signal: i32) -> Result<Went, CliError> {
        match self.executor.cancel(id).await {
            Ok(()) | Err(ExecError::Ended { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // It may have begun at the last moment.
        Ok(Went::of(self.executor.wait(id).await?, Some(signal)))
    }
}

/// For whoever did not get the id on standard output.
pub(super) fn note_triggered(job: &str, id: &JobExecutionId) {
    output::message("note", &format!("{job}: triggered as execution {id}"));
}

/// Says what the job's own output and exit code do not. `shown`: notes that were visible already.
pub(super) fn report(execution: &JobExecution, shown: &[String]) {
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
