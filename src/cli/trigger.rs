//! `coracle trigger`.

use super::args::{TriggerArgs, variables};
use super::error::CliError;
use super::executions::exit_code;
use super::interrupts::Interrupts;
use super::json::{self, ExecutionDocument};
use super::told::Told;
use super::{jobs, output, run};
use crate::config::Config;
use crate::engine::OciRuntime;
use crate::exec::{JobExecution, JobExecutor, JobTrigger, NoticeSink, TriggerOptions, Triggered};
use crate::outcome::{End, signal_code};
use std::sync::{Arc, Mutex, PoisonError};

pub(super) async fn trigger(runtime: &OciRuntime, config: &Config, args: &TriggerArgs) -> Result<u8, CliError> {
    let mut interrupts = Interrupts::new()?;
    let executor = super::executor(runtime, config).await?;
    let code = trigger_with(&executor, args, &mut interrupts).await;
    // Whatever became of the waiting, what was triggered is to start.
    tokio::select! {
        biased;
        left = executor.leave() => left?,
        _ = interrupts.next() => {
            output::message("note", "the job is not started yet; the next coracle command on this root does it");
        }
    }
    code
}

async fn trigger_with(executor: &JobExecutor, args: &TriggerArgs, interrupts: &mut Interrupts) -> Result<u8, CliError> {
    let Some(job) = executor.registered_job(&args.name).await? else {
        return Err(jobs::unknown(executor, &args.name).await);
    };
    let shown: Arc<Mutex<Vec<String>>> = Arc::default();
    let (env, hidden_env) = variables(&args.env);
    let options = TriggerOptions {
        env,
        hidden_env,
        args: (!args.args.is_empty()).then(|| args.args.clone()),
        idempotency_key: args.idempotency_key.clone(),
        notices: Some(notices(&shown)),
        ..TriggerOptions::default()
    };
    let Triggered { id, is_new } = executor.trigger_once(&job.name, &job.spec, JobTrigger::Cli, options).await?;
    if !is_new {
        output::message("note", &format!("{}: execution {id} has this idempotency key already", job.name));
    }
    // It is triggered whether or not that can be told: who wanted to wait still does.
    let mut told = Told::default();
    if !args.json && !told.take(output::print(&format!("{id}\n")))? {
        run::note_triggered(&job.name, &id);
    }
    let waiting = async { if args.wait { executor.wait(&id).await } else { executor.launched(&id).await } };
    let execution = tokio::select! {
        biased;
        execution = waiting => execution?,
        signal = interrupts.next() => {
            output::message("note", &format!("no longer waiting; the job goes on: `coracle cancel {id}` ends it"));
            return Ok(signal_code(signal));
        }
    };
    if args.json && !told.take(json::print_line(&ExecutionDocument::new(&execution)))? {
        run::note_triggered(&job.name, &id);
    }
    // An execution that was there before is only shown, unless its end was asked for.
    if args.wait || is_new && never_ran(&execution) {
        // A panic elsewhere leaves whole notes.
        run::report(&execution, &shown.lock().unwrap_or_else(PoisonError::into_inner));
        return Ok(told.code(exit_code(&execution)));
    }
    Ok(told.code(0))
}

/// It has failed before there was anything of the job to see.
fn never_ran(execution: &JobExecution) -> bool {
    execution.started_at.is_none() && execution.end.as_ref().is_some_and(|end| !matches!(end, End::Exited { .. }))
}

/// Shows notes as they come, and keeps them.
fn notices(shown: &Arc<Mutex<Vec<String>>>) -> NoticeSink {
    let shown = shown.clone();
    Arc::new(move |note: &str| {
        output::message("note", note);
        shown.lock().unwrap_or_else(PoisonError::into_inner).push(note.to_owned());
    })
}
