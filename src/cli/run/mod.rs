//! `coracle run`.

mod wanted;

pub(super) use wanted::{Unnamed, from_spec, jobs};

use super::args::RunArgs;
use super::error::CliError;
use super::executions::{exit_code, was_cancelled_without_a_code};
use super::interrupts::Interrupts;
use super::progress::Progress;
use super::told::Told;
use super::{output, status, unfinished};
use crate::config::Config;
use crate::engine::OciRuntime;
use crate::exec::{
    ExecError, JobExecution, JobExecutionId, JobExecutor, JobStatus, JobTrigger, NoticeSink, Stdio, TriggerOptions,
    Triggered,
};
use crate::outcome::{End, Stopped, is_of_lost_output, signal_code};
use crate::spec::ServiceSpec;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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

/// Notes that the user has seen.
type Shown = Arc<Mutex<Vec<String>>>;

fn notes(shown: &Shown) -> MutexGuard<'_, Vec<String>> {
    // A panic elsewhere leaves whole notes.
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The code of the first that failed.
fn first(code: u8, next: u8) -> u8 {
    if code == 0 { next } else { code }
}

/// A job that was triggered.
struct Begun {
    id: JobExecutionId,
    is_new: bool,
    shown: Shown,
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
        if self.args.detach { self.all_at_once(jobs).await } else { self.one_by_one(jobs).await }
    }

    /// Each with a supervisor of its own, or its place in the queue. What becomes of one is no reason to leave out
    /// others; the first that does not start gives the exit code.
    async fn all_at_once(&mut self, jobs: &[ServiceSpec]) -> Result<u8, CliError> {
        let mut told = Told::default();
        let mut code = 0;
        let mut triggered = Vec::new();
        for job in jobs {
            match self.begin(job).await {
                Ok(begun) => triggered.push((job, begun)),
                Err(error) if jobs.len() == 1 => return Err(error),
                Err(error) => code = first(code, error.report()),
            }
        }
        let mut interrupted_by = None;
        for (job, Begun { id, shown, .. }) in triggered {
            let execution = match self.launch(&id, interrupted_by).await {
                Ok(Went::Execution(execution)) => execution,
                Ok(Went::NotStarted(execution, signal)) => {
                    self.tell_not_started(job, &execution, &shown).await;
                    interrupted_by = Some(signal);
                    continue;
                }
                Ok(Went::Left(signal)) => {
                    interrupted_by = Some(signal);
                    continue;
                }
                Err(error) if jobs.len() == 1 => return Err(error),
                Err(error) => {
                    code = first(code, error.report());
                    continue;
                }
            };
            let has_failed = execution.end.is_some() && !matches!(execution.end, Some(End::Exited { .. }));
            if execution.started_at.is_none() && has_failed {
                report(&execution, &notes(&shown));
                code = first(code, exit_code(&execution));
            } else if !told.take(output::print(&format!("{id}\n")))? {
                // It is triggered whether or not that can be told, and so are the others.
                note_triggered(&job.name, &id);
            }
        }
        Ok(interrupted_by.map_or_else(|| told.code(code), signal_code))
    }

    /// In the foreground, until one does not complete.
    async fn one_by_one(&mut self, jobs: &[ServiceSpec]) -> Result<u8, CliError> {
        let mut told = Told::default();
        for job in jobs {
            let Begun { id, is_new, shown } = self.begin(job).await?;
            let went = if is_new { self.attend(&id).await? } else { self.watch(&id).await? };
            let execution = match went {
                Went::Execution(execution) => execution,
                Went::Left(signal) => return Ok(signal_code(signal)),
                Went::NotStarted(execution, signal) => {
                    self.tell_not_started(job, &execution, &shown).await;
                    return Ok(signal_code(signal));
                }
            };
            self.end_line(&execution).await;
            report(&execution, &notes(&shown));
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

    /// Triggers one, and says what there is to say at once.
    async fn begin(&self, job: &ServiceSpec) -> Result<Begun, CliError> {
        let shown = Shown::default();
        let Triggered { id, is_new } = self.trigger(job, &shown).await?;
        if !is_new {
            output::message("note", &format!("{}: execution {id} has this idempotency key already", job.name));
        } else if self.has_limit || job.policy.max_concurrent.is_some() {
            self.announce_turn(&id).await?;
        }
        Ok(Begun { id, is_new, shown })
    }

    /// Says how one was interrupted before its main process ran, or between two attempts.
    async fn tell_not_started(&mut self, job: &ServiceSpec, execution: &JobExecution, shown: &Shown) {
        let was_pulling = self.progress.close();
        self.end_line(execution).await;
        self.interrupts.unless(self.runtime.finish_pulls()).await;
        let kept = if was_pulling { "; finished layers are kept; the next pull goes on from there" } else { "" };
        match &execution.end {
            Some(End::Cancelled { how: Stopped::BeforeStart }) => {
                output::message("note", &format!("{}: cancelled before its start{kept}", job.name));
            }
            Some(End::Cancelled { how: Stopped::BetweenAttempts { next } }) => {
                output::message("note", &format!("{}: cancelled before attempt {next}{kept}", job.name));
            }
            _ => report(execution, &notes(shown)),
        }
    }

    /// Before a message, when the job's output is shown here and there will be one.
    async fn end_line(&self, execution: &JobExecution) {
        if !self.args.detach && !matches!(execution.end, Some(End::Exited { .. })) {
            unfinished::end_line(self.executor, &execution.id).await;
        }
    }

    async fn trigger(&self, job: &ServiceSpec, shown: &Shown) -> Result<Triggered, CliError> {
        let (progress, shown) = (self.progress.clone(), shown.clone());
        let notices: NoticeSink = Arc::new(move |note: &str| {
            progress.message("note", note);
            notes(&shown).push(note.to_owned());
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

    /// Waits until the execution is with its supervisor, or waits for its turn. After a signal, one that is not is
    /// not to begin.
    async fn launch(&mut self, id: &JobExecutionId, interrupted_by: Option<i32>) -> Result<Went, CliError> {
        if let Some(signal) = interrupted_by {
            let execution = self.executor.execution(id).await?;
            return match execution.status {
                JobStatus::Pending => self.give_up(id, signal).await,
                _ => Ok(Went::Execution(Box::new(execution))),
            };
        }
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
            let (note, grace) = match interrupted_by {
                None => ("cancelling the job; press Ctrl-C again to kill it", None),
                Some(_) => ("killing the job", Some(Duration::ZERO)),
            };
            let cancelled = self.executor.cancel_with(id, grace).await;
            // Not before: the job is not to wait for what is shown.
            unfinished::end_line(self.executor, id).await;
            output::message("note", note);
            match cancelled {
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
