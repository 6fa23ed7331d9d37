//! The sequence of init steps: tries, waits between them, and what a failure means.

use super::Supervisor;
use super::drive::Kind;
use super::run::RunEnd;
use crate::outcome::{End, StepCause};
use crate::plan::OnStepFailure;
use crate::runtime::state::{LiveStep, Stage};
use std::time::{Duration, Instant};

impl Supervisor {
    /// Runs the steps until each one has succeeded or its failure does not matter.
    ///
    /// # Errors
    /// The end of the execution.
    pub(super) fn initialize(&mut self) -> Result<(), End> {
        // Of each step so far.
        let mut tries = vec![0; self.plan.steps.len()];
        let mut runs = 0;
        loop {
            let Err(failed) = self.run_sequence(&mut tries)? else { return Ok(()) };
            let policy = &self.plan.on_init_failure;
            let retries = policy.retries;
            if runs >= retries {
                return Err(failed);
            }
            let delay = policy.backoff.delay(runs, fastrand::f64());
            runs += 1;
            let when = when(delay);
            self.output.tell(&format!(
                "{failed}; the init steps run again from the first {when}, run {} of {}",
                runs + 1,
                retries.saturating_add(1)
            ));
            self.wait_in_step(delay, &format!("waiting for the next run of the steps; {}", of_try(&failed)))?;
        }
    }

    /// The outer error ends the execution; the inner one is what it ends with when there are no retries left.
    fn run_sequence(&mut self, tries: &mut [u32]) -> Result<Result<(), End>, End> {
        for (index, tries) in tries.iter_mut().enumerate() {
            self.output.process = Some(u16::try_from(index).unwrap_or(u16::MAX - 1));
            let Err(failed) = self.run_step(index, tries)? else { continue };
            match self.plan.steps[index].on_failure {
                OnStepFailure::Fail => return Ok(Err(failed)),
                on_failure => {
                    let goes_on = format!("{failed}; the job goes on without it");
                    self.output.say(&goes_on);
                    if on_failure == OnStepFailure::Warn {
                        self.notes.push(goes_on);
                    }
                }
            }
        }
        Ok(Ok(()))
    }

    /// As [`Supervisor::run_sequence`], for one step.
    fn run_step(&mut self, index: usize, tries: &mut u32) -> Result<Result<(), End>, End> {
        let began = Instant::now();
        let mut failures = 0;
        loop {
            let step = &self.plan.steps[index];
            let (id, timeout, retries) = (step.id.clone(), step.timeout, step.retries);
            *tries = tries.saturating_add(1);
            let max_attempts = most_tries(retries, self.plan.on_init_failure.retries);
            let elapsed = began.elapsed();
            let live = LiveStep { id: id.clone(), attempt: *tries, max_attempts, elapsed, waiting: false };
            self.set_stage(Stage::Initializing { step: Some(live) });
            let kind = Kind::Try { timeout };
            let RunEnd { cause, last_line } = self.run(kind, |supervisor| supervisor.start_step(index))?;
            if cause == (StepCause::Exited { code: 0 }) {
                return Ok(Ok(()));
            }
            if let Stage::Initializing { step: Some(live) } = &mut self.state.stage {
                live.elapsed = began.elapsed();
            }
            let failed = End::InitStep { step: id, cause, attempt: *tries, last_line };
            if failures >= retries {
                return Ok(Err(failed));
            }
            let delay = self.plan.steps[index].backoff.delay(failures, fastrand::f64());
            failures += 1;
            let when = when(delay);
            let next = tries.saturating_add(1);
            self.output.tell(&format!("{failed}; it is tried again {when}, try {next} of {max_attempts}"));
            self.wait_in_step(delay, &format!("waiting for its next try; {}", of_try(&failed)))?;
        }
    }

    fn wait_in_step(&mut self, delay: Duration, why: &str) -> Result<(), End> {
        if delay.is_zero() {
            return Ok(());
        }
        if let Stage::Initializing { step: Some(live) } = &self.state.stage {
            let step = Some(LiveStep { waiting: true, ..live.clone() });
            self.set_stage(Stage::Initializing { step });
        }
        self.pause(delay, why)
    }
}

fn when(delay: Duration) -> String {
    if delay.is_zero() { "at once".to_owned() } else { format!("in {delay:?}") }
}

/// What the last try came to, where the step is named already.
fn of_try(failed: &End) -> String {
    match failed {
        End::InitStep { cause, last_line, .. } => {
            let last_line = last_line.as_ref().map(|line| format!(": {line:?}")).unwrap_or_default();
            format!("it {cause}{last_line}")
        }
        other => other.to_string(),
    }
}

/// Tries of a step over all runs of the sequence.
fn most_tries(retries: u32, retries_of_sequence: u32) -> u32 {
    retries.saturating_add(1).saturating_mul(retries_of_sequence.saturating_add(1))
}
