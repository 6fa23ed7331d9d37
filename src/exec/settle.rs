//! From outcome to record: the one way in which an execution becomes terminal, for fronts, for
//! settlers and for whoever finds a lost supervisor. Every step may be done again, by any number of
//! processes at once.

use super::error::ExecError;
use crate::outcome::{End, OUTCOME_VERSION, Outcome, Stopped, Usage};
use crate::plan::{IdMappings, Plan};
use crate::record::{Execution, Record, Status};
use crate::remove_tree::remove_tree;
use crate::runtime::state::LiveState;
use crate::runtime::{cleanup, outcome_file};
use crate::state_dir::{ExecutionDir, StateDir};
use crate::sys::tree;
use std::path::Path;
use std::time::Duration;

/// What settling needs to know of the place.
pub(super) struct Settler<'a> {
    pub state: &'a StateDir,
    pub record: &'a Record,
    /// The coracle binary, for trees that only a user namespace can remove.
    pub binary: &'a Path,
}

impl Settler<'_> {
    /// Folds the outcome of an execution whose supervisor has ended, or is about to: cleans up what
    /// is left and records the end. Without an outcome the supervisor was lost.
    ///
    /// # Errors
    /// When the record cannot be written; the execution then stays as it was, to be settled later.
    pub fn settle(&self, id: &str) -> Result<(), ExecError> {
        let directory = self.state.execution(id);
        let outcome = match outcome_file::read(&directory.outcome()) {
            Ok(Some(outcome)) => outcome,
            Ok(None) => lost("it ended without a word; it was killed, or the host went down".into()),
            Err(error) => lost(format!("its outcome cannot be read: {error}")),
        };
        self.finalise(id, &directory, outcome)
    }

    /// Ends an execution that never got as far as a supervisor.
    ///
    /// # Errors
    /// As [`Settler::settle`].
    pub fn fail(&self, id: &str, stage: &str, message: String) -> Result<(), ExecError> {
        let end = End::NotCreated { stage: stage.to_owned(), message };
        self.finalise(id, &self.state.execution(id), ended(end))
    }

    /// Cancels an execution whose start its own front gave up.
    ///
    /// # Errors
    /// As [`Settler::settle`].
    pub fn abandon(&self, id: &str) -> Result<(), ExecError> {
        let end = End::Cancelled { how: Stopped::BeforeStart };
        self.finalise(id, &self.state.execution(id), ended(end))
    }

    fn finalise(&self, id: &str, directory: &ExecutionDir, mut outcome: Outcome) -> Result<(), ExecError> {
        let mappings = plan_of(directory).and_then(|plan| plan.rootless);
        let remove_tree = |path: &Path, mappings: &IdMappings| {
            remove_tree(self.binary, path, Some(mappings)).map_err(std::io::Error::other)
        };
        // First clean up, then record: nobody looks again at what is terminal.
        if let Err(error) = cleanup::remove_leftovers(directory, mappings.as_ref(), &remove_tree) {
            outcome.notes.push(format!("not everything could be removed from {}: {error}", directory.path().display()));
        }
        self.record.finalise(id, &outcome)?;
        // The record has it. Left behind by a crash right here, they go with the execution.
        for path in [directory.state(), directory.outcome()] {
            if let Err(error) = tree::remove(&path) {
                tracing::debug!(path = %path.display(), %error, "left behind");
            }
        }
        Ok(())
    }

    /// Settles every execution that nobody looks after any more.
    ///
    /// # Errors
    /// When the record cannot be read or written.
    pub fn reconcile(&self) -> Result<(), ExecError> {
        for execution in self.record.non_terminal()? {
            self.reconcile_one(&execution)?;
        }
        Ok(())
    }

    /// Settles the execution if its owner or supervisor is gone. True when it is terminal now.
    ///
    /// # Errors
    /// As [`Settler::reconcile`].
    pub fn reconcile_one(&self, execution: &Execution) -> Result<bool, ExecError> {
        let id = &execution.id;
        match execution.status {
            Status::Pending => {
                if self.is_owner_alive(execution)? {
                    return Ok(false);
                }
                self.fail(id, "start the job", "the process that was preparing it ended".into())?;
            }
            Status::Active => {
                if self.is_supervisor_alive(execution)? {
                    return Ok(false);
                }
                // It may have ended well between the two looks: the outcome is what counts.
                self.settle(id)?;
            }
            Status::Completed | Status::Failed | Status::Cancelled => {}
        }
        Ok(true)
    }

    fn is_owner_alive(&self, execution: &Execution) -> Result<bool, ExecError> {
        let Some(owner) = &execution.owner else { return Ok(false) };
        let alive = owner.open().map_err(ExecError::io("look for process", format!("/proc/{}", owner.pid)))?;
        Ok(alive.is_some())
    }

    fn is_supervisor_alive(&self, execution: &Execution) -> Result<bool, ExecError> {
        // Recorded before it was allowed to start anything; the state file says the same.
        if execution.owner.is_some() {
            return self.is_owner_alive(execution);
        }
        let path = self.state.execution(&execution.id).state();
        let Some(state) = LiveState::read(&path).map_err(ExecError::io("read", &path))? else { return Ok(false) };
        let pid = state.supervisor.pid;
        Ok(state.supervisor.open().map_err(ExecError::io("look for process", format!("/proc/{pid}")))?.is_some())
    }
}

fn lost(message: String) -> Outcome {
    ended(End::SupervisorLost { message })
}

fn ended(end: End) -> Outcome {
    Outcome {
        version: OUTCOME_VERSION,
        attempt: 1,
        end,
        started_at: None,
        completed_at: jiff::Timestamp::now(),
        elapsed: Duration::ZERO,
        usage: Usage::default(),
        notes: Vec::new(),
    }
}

/// The plan, for the id mappings in it; without one nothing was made that needs them.
fn plan_of(directory: &ExecutionDir) -> Option<Plan> {
    serde_json::from_slice(&std::fs::read(directory.plan()).ok()?).ok()
}
