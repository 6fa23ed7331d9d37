//! When and how a job is told to stop: a state machine over injected time.

use crate::outcome::{End, Stopped};
use std::time::{Duration, Instant};

/// Why a job is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Cancelled,
    Deadline {
        after: Duration,
    },
    /// The time limit of an init step.
    StepTimeout {
        after: Duration,
    },
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send the stop signal.
    Signal,
    /// Send SIGKILL.
    Kill,
    /// Wait for nobody any more to read the output: the job is over, and its log has everything.
    Abandon,
}

/// How long after SIGKILL whoever reads the output has for what is left of it, which is no more than fits into pipes.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Progress of a stop. The first cause counts, the time limit of a step aside; later ones can only make it faster.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    state: Option<State>,
}

#[derive(Debug, Clone)]
struct State {
    cause: Cause,
    kill_at: Instant,
    signalled: bool,
    killed: bool,
    abandoned: bool,
}

impl State {
    /// A step's time limit leaves the job, whose readers are then waited for as those of any process are.
    fn abandon_at(&self) -> Option<Instant> {
        if self.cause.is_of_step() || self.abandoned { None } else { self.kill_at.checked_add(LAST_WORDS) }
    }
}

impl Stop {
    /// Begins a stop that kills after `grace`, or shortens one that has begun.
    pub fn request(&mut self, cause: Cause, now: Instant, grace: Duration) {
        // A grace period beyond what the clock can express never ends.
        let kill_at = now.checked_add(grace).unwrap_or_else(|| now + Duration::from_secs(u32::MAX.into()));
        match &mut self.state {
            None => self.state = Some(State { cause, kill_at, signalled: false, killed: false, abandoned: false }),
            // It would be forgotten with the step whose time is over. What was done for that is not done again.
            Some(state) if state.cause.is_of_step() && !cause.is_of_step() => {
                state.cause = cause;
                state.kill_at = if state.killed { kill_at } else { state.kill_at.min(kill_at) };
                state.killed = false;
            }
            Some(state) => state.kill_at = state.kill_at.min(kill_at),
        }
    }

    /// Another try, step or process of the same job begins: only a time limit of the try before is forgotten.
    pub fn next_process(&mut self) {
        if !self.ends_execution() {
            self.state = None;
        }
    }

    /// False while nothing is stopped, or the present try of a step alone.
    pub fn ends_execution(&self) -> bool {
        self.state.as_ref().is_some_and(|state| !state.cause.is_of_step())
    }

    pub fn cause(&self) -> Option<Cause> {
        self.state.as_ref().map(|state| state.cause)
    }

    /// What is due at `now`; each action is given once.
    pub fn due(&mut self, now: Instant) -> Option<Action> {
        let state = self.state.as_mut()?;
        if now >= state.kill_at && !state.killed {
            state.signalled = true;
            state.killed = true;
            return Some(Action::Kill);
        }
        if state.killed && state.abandon_at().is_some_and(|at| now >= at) {
            state.abandoned = true;
            return Some(Action::Abandon);
        }
        if !state.signalled {
            state.signalled = true;
            return Some(Action::Signal);
        }
        None
    }

    /// When [`Stop::due`] must be asked again.
    pub fn next_wake(&self) -> Option<Instant> {
        let state = self.state.as_ref()?;
        if state.killed { state.abandon_at() } else { Some(state.kill_at) }
    }
}

impl Cause {
    fn is_of_step(self) -> bool {
        matches!(self, Cause::StepTimeout { .. })
    }

    /// The end of an execution stopped for this cause.
    pub fn end(self, how: Stopped) -> End {
        match self {
            Cause::Cancelled => End::Cancelled { how },
            // That of a step alone is never an execution's; what stops it is its own limit.
            Cause::Deadline { after } | Cause::StepTimeout { after } => End::Deadline { after, how },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn signal_first_then_kill_after_the_grace_period_and_each_once() {
        let now = Instant::now();
        let mut stop = Stop::default();
        assert_eq!((stop.due(now), stop.next_wake()), (None, None));
        stop.request(Cause::Cancelled, now, 10 * SECOND);
        assert_eq!(stop.due(now), Some(Action::Signal));
        assert_eq!(stop.due(now + 9 * SECOND), None);
        assert_eq!(stop.next_wake(), Some(now + 10 * SECOND));
        assert_eq!(stop.due(now + 10 * SECOND), Some(Action::Kill));
        assert_eq!(stop.due(now + 10 * SECOND), None);
        assert_eq!(stop.next_wake(), Some(now + 10 * SECOND + LAST_WORDS));
        assert_eq!(stop.due(now + 11 * SECOND), Some(Action::Abandon));
        assert_eq!((stop.due(now + 99 * SECOND), stop.next_wake()), (None, None));
    }

    #[test]
    fn a_second_request_only_shortens_and_the_first_cause_counts() {
        let now = Instant::now();
        let mut stop = Stop::default();
        stop.request(Cause::Deadline { after: SECOND }, now, 10 * SECOND);
        stop.request(Cause::Cancelled, now, 20 * SECOND);
        assert_eq!(stop.next_wake(), Some(now + 10 * SECOND));
        stop.request(Cause::Cancelled, now, Duration::ZERO);
        assert_eq!(stop.due(now), Some(Action::Kill));
        assert_eq!(stop.cause(), Some(Cause::Deadline { after: SECOND }));
    }

    #[test]
    fn a_step_timeout_does_not_outlive_its_step() {
        let now = Instant::now();
        let mut stop = Stop::default();
        stop.request(Cause::StepTimeout { after: SECOND }, now, SECOND);
        stop.next_process();
        assert_eq!(stop.cause(), None);
        stop.request(Cause::Cancelled, now, Duration::MAX);
        stop.next_process();
        assert_eq!(stop.cause(), Some(Cause::Cancelled));
    }

    #[test]
    fn a_cancel_outlives_the_step_whose_time_was_over() {
        let now = Instant::now();
        let mut stop = Stop::default();
        stop.request(Cause::StepTimeout { after: SECOND }, now, 5 * SECOND);
        assert_eq!(stop.due(now), Some(Action::Signal));
        assert!(!stop.ends_execution());
        stop.request(Cause::Cancelled, now, 9 * SECOND);
        assert!(stop.ends_execution());
        assert_eq!((stop.due(now), stop.next_wake()), (None, Some(now + 5 * SECOND)));
        stop.request(Cause::StepTimeout { after: SECOND }, now, SECOND);
        stop.next_process();
        assert_eq!(stop.cause(), Some(Cause::Cancelled));
    }

    #[test]
    fn a_cancel_after_the_step_was_killed_has_a_grace_period_of_its_own() {
        let now = Instant::now();
        let mut stop = Stop::default();
        stop.request(Cause::StepTimeout { after: SECOND }, now, Duration::ZERO);
        assert_eq!(stop.due(now), Some(Action::Kill));
        // The job goes on, and so does waiting for its readers.
        assert_eq!((stop.due(now + 9 * SECOND), stop.next_wake()), (None, None));
        stop.request(Cause::Deadline { after: SECOND }, now, 3 * SECOND);
        assert_eq!((stop.due(now), stop.next_wake()), (None, Some(now + 3 * SECOND)));
        assert_eq!(stop.due(now + 3 * SECOND), Some(Action::Kill));
        assert_eq!(stop.due(now + 4 * SECOND), Some(Action::Abandon));
    }
}
