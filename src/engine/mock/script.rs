//! What the containers of a job do.

use super::call::MockMethod;
use crate::log::LogStream;
use crate::outcome::{End, StepCause};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is done for a job, from pull to end. The default exits with code 0 at once.
#[derive(Debug, Clone)]
pub struct Script {
    pub(super) delays: BTreeMap<Call, Lasts>,
    pub(super) steps: Vec<Step>,
    pub(super) output: Vec<(LogStream, Vec<u8>)>,
    pub(super) runs: Lasts,
    /// Of each attempt; the last one counts for all that follow.
    pub(super) ends: Vec<End>,
    pub(super) on_stop: OnStop,
    pub(super) faults: Vec<Fault>,
}

/// The calls that may take their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    Pull,
    Create,
}

/// How long something takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasts {
    For(Duration),
    /// Until it is told to end.
    UntilTold,
}

impl Lasts {
    /// Returns when the time is over.
    pub async fn pass(self) {
        match self {
            // Not even a turn of the scheduler: what comes after is there for whoever looks next.
            Lasts::For(Duration::ZERO) => {}
            Lasts::For(time) => tokio::time::sleep(time).await,
            Lasts::UntilTold => std::future::pending().await,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Step {
    pub id: String,
    pub lasts: Lasts,
    pub fails: Option<StepCause>,
}

/// What the main process does about the stop signal.
#[derive(Debug, Clone, Copy)]
pub(super) enum OnStop {
    /// It is ended by it.
    Dies,
    Exits(u8),
    /// Only SIGKILL ends it.
    Ignores,
}

/// A call that fails.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub method: MockMethod,
    pub message: String,
    pub times: u32,
}

impl Default for Script {
    fn default() -> Script {
        Script {
            delays: BTreeMap::new(),
            steps: Vec::new(),
            output: Vec::new(),
            runs: Lasts::For(Duration::ZERO),
            ends: vec![End::Exited { code: 0 }],
            on_stop: OnStop::Dies,
            faults: Vec::new(),
        }
    }
}

impl Script {
    /// The main process runs until it is told to end through its [`MockContainer`](super::MockContainer), or is
    /// stopped.
    pub fn runs() -> Script {
        Script { runs: Lasts::UntilTold, ..Script::default() }
    }

    /// The main process exits with this code at once.
    pub fn exits(code: u8) -> Script {
        Script::exits_in_turn(&[code])
    }

    /// That of the first attempt with the first code, and so on; all that follow the last one with that. None:
    /// with 0.
    pub fn exits_in_turn(codes: &[u8]) -> Script {
        codes.iter().fold(Script { ends: Vec::new(), ..Script::default() }, |script, code| {
            script.then_ends(End::Exited { code: *code })
        })
    }

    /// Ends in this way, whatever that is (the OOM killer, a lost supervisor, …).
    pub fn ends(end: End) -> Script {
        Script { ends: vec![end], ..Script::default() }
    }

    /// What the next attempt does, after those that are scripted already.
    #[must_use]
    pub fn then_ends(mut self, end: End) -> Script {
        self.ends.push(end);
        self
    }

    /// The main process runs so long before it ends.
    #[must_use]
    pub fn takes(mut self, time: Duration) -> Script {
        self.runs = Lasts::For(time);
        self
    }

    /// A pull takes so long. As the other things about pulls, it counts in a script for an image.
    #[must_use]
    pub fn pull_takes(self, time: Duration) -> Script {
        self.delay(Call::Pull, Lasts::For(time))
    }

    /// A pull never ends.
    #[must_use]
    pub fn pull_hangs(self) -> Script {
        self.delay(Call::Pull, Lasts::UntilTold)
    }

    /// Making the container takes so long.
    #[must_use]
    pub fn create_takes(self, time: Duration) -> Script {
        self.delay(Call::Create, Lasts::For(time))
    }

    /// Making the container never ends.
    #[must_use]
    pub fn create_hangs(self) -> Script {
        self.delay(Call::Create, Lasts::UntilTold)
    }

    fn delay(mut self, call: Call, lasts: Lasts) -> Script {
        self.delays.insert(call, lasts);
        self
    }

    /// An init step that takes so long. Steps run in the order in which they are added.
    #[must_use]
    pub fn step(self, id: &str, takes: Duration) -> Script {
        self.add_step(id, Lasts::For(takes), None)
    }

    /// An init step that never ends.
    #[must_use]
    pub fn step_hangs(self, id: &str) -> Script {
        self.add_step(id, Lasts::UntilTold, None)
    }

    /// An init step that fails: the main process does not start.
    #[must_use]
    pub fn step_fails(self, id: &str, cause: StepCause) -> Script {
        self.add_step(id, Lasts::For(Duration::ZERO), Some(cause))
    }

    fn add_step(mut self, id: &str, lasts: Lasts, fails: Option<StepCause>) -> Script {
        self.steps.push(Step { id: id.to_owned(), lasts, fails });
        self
    }

    /// The main process begins by writing this to its standard output.
    #[must_use]
    pub fn prints(self, bytes: impl Into<Vec<u8>>) -> Script {
        self.writes(LogStream::Stdout, bytes)
    }

    /// The main process begins by writing this.
    #[must_use]
    pub fn writes(mut self, stream: LogStream, bytes: impl Into<Vec<u8>>) -> Script {
        self.output.push((stream, bytes.into()));
        self
    }

    /// The main process does not end before SIGKILL.
    #[must_use]
    pub fn ignores_stop(mut self) -> Script {
        self.on_stop = OnStop::Ignores;
        self
    }

    /// The main process exits with this code when it gets the stop signal.
    #[must_use]
    pub fn exits_when_stopped(mut self, code: u8) -> Script {
        self.on_stop = OnStop::Exits(code);
        self
    }

    /// Every such call fails.
    #[must_use]
    pub fn fails(self, method: MockMethod, message: &str) -> Script {
        self.fails_times(method, message, u32::MAX)
    }

    /// The next so many such calls fail.
    #[must_use]
    pub fn fails_times(mut self, method: MockMethod, message: &str, times: u32) -> Script {
        self.faults.push(Fault { method, message: message.to_owned(), times });
        self
    }

    /// How this attempt ends by itself, counted from 1.
    pub(super) fn end_of(&self, attempt: u32) -> End {
        let index = (attempt.max(1) - 1) as usize;
        self.ends.get(index).or(self.ends.last()).cloned().unwrap_or(End::Exited { code: 0 })
    }
}
