//! The one place that prints errors: message, causes, hint, exit code.

use super::output;
use crate::causes::with_causes;
use crate::engine::RuntimeError;
use crate::exec::ExecError;
use crate::outcome::EXIT_ENGINE;
use crate::quote::brief;
use crate::spec::{Problem, SpecError, SpecErrors, ValueError};
use std::io;

/// Why a command failed. All are failures of coracle, not of a job: exit code 125.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Exec(#[from] ExecError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Spec(#[from] SpecErrors),
    /// The file that `run` takes for a spec is not there.
    #[error(transparent)]
    NoSpec(SpecErrors),
    /// A flag that does not go with the job.
    #[error(transparent)]
    Flag(#[from] ValueError),
    /// The arguments contradict each other or what the spec holds.
    #[error("{message}")]
    Usage { message: String, hint: Option<String> },
    #[error("no image {} here", brief(reference))]
    NoImage { reference: String, nearest: Option<String> },
    #[error("no job {} is registered", brief(name))]
    NoJob { name: String, nearest: Option<String> },
    #[error("failed to {action}")]
    Io { action: &'static str, source: io::Error },
    /// Several were asked for and some failed; each was reported when it did.
    #[error("{failed} of {all} failed")]
    Some { failed: usize, all: usize },
    #[error("failed to write to standard output")]
    Output { source: io::Error },
    /// Nobody reads standard output any more: no error to speak of.
    #[error("standard output is closed")]
    OutputClosed,
}

fn is_missing_file(error: &SpecError) -> bool {
    matches!(&error.problem, Problem::Read(error) if error.kind() == io::ErrorKind::NotFound)
}

impl CliError {
    pub(super) fn usage(message: impl Into<String>, hint: impl Into<String>) -> CliError {
        CliError::Usage { message: message.into(), hint: Some(hint.into()) }
    }

    /// For what may have been meant as an image or a command.
    pub(super) fn of_run(self) -> CliError {
        match self {
            CliError::Spec(errors) if errors.iter().any(is_missing_file) => CliError::NoSpec(errors),
            error => error,
        }
    }

    /// Prints the error and returns the exit code.
    pub(super) fn report(&self) -> u8 {
        match self {
            CliError::OutputClosed => return 0,
            CliError::Spec(errors) | CliError::NoSpec(errors) => {
                for error in errors {
                    output::message("error", &error.to_string());
                }
            }
            _ => output::message("error", &with_causes(self)),
        }
        if let Some(hint) = self.hint() {
            output::message("hint", &hint);
        }
        EXIT_ENGINE
    }

    fn hint(&self) -> Option<String> {
        match self {
            CliError::Usage { hint, .. } => hint.clone(),
            CliError::NoImage { nearest: Some(nearest), .. } => {
                Some(format!("did you mean {nearest}? `coracle images` lists them all"))
            }
            CliError::NoImage { nearest: None, .. } => Some("`coracle images` lists them".into()),
            CliError::NoJob { nearest: Some(nearest), .. } => {
                Some(format!("did you mean {nearest}? `coracle jobs ls` lists them all"))
            }
            CliError::NoJob { nearest: None, .. } => {
                Some("`coracle jobs ls` lists them, `coracle jobs add SPEC` registers one".into())
            }
            CliError::NoSpec(_) => Some(
                "a deployment file is named here; `coracle run --image IMAGE -- CMD` runs an image without one".into(),
            ),
            CliError::Exec(ExecError::Conflict { with, .. }) => {
                let id = with.first()?;
                Some(format!("`coracle wait {id}` waits for it; `on_conflict: queue` lets this one wait"))
            }
            CliError::Exec(ExecError::NotFound { .. }) => Some("`coracle ps -a` lists every execution".into()),
            CliError::Exec(ExecError::Ambiguous { .. }) => Some("give more of the id".into()),
            _ => None,
        }
    }
}
