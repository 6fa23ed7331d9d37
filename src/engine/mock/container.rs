//! One container of a mock runtime, from its creation to its end.

use super::log::Log;
use super::script::{Lasts, OnStop, Script};
use crate::engine::{Activity, ContainerState, StepProgress};
use crate::id::ContainerId;
use crate::log::LogStream;
use crate::outcome::{End, FIRST_ATTEMPT, OUTCOME_VERSION, Outcome, Stopped, Usage};
use jiff::Timestamp;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Tells the time of day.
pub(super) type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How a container was made.
pub(super) struct Setup {
    pub id: ContainerId,
    pub job: String,
    pub script: Script,
    /// The job's own.
    pub stop_signal: i32,
    pub grace: Duration,
    /// As the job says it, and when it is.
    pub deadline: Option<(Duration, Instant)>,
    pub log: Arc<Log>,
    pub now: Now,
}

/// A container of a [`MockRuntime`](super::MockRuntime), to see and to decide what becomes of it. Clones are the
/// same container.
#[derive(Clone)]
pub struct MockContainer {
    inner: Arc<Inner>,
}

struct Inner {
    setup: Setup,
    stage: watch::Sender<Stage>,
    orders: watch::Sender<Orders>,
}

#[derive(Debug, Clone)]
pub(super) enum Stage {
    Created,
    Step { id: String, since: Timestamp },
    Main { since: Timestamp },
    Ended(Box<Outcome>),
}

/// What it was told to do.
#[derive(Debug, Clone, Default)]
struct Orders {
    end: Option<End>,
    stop: Option<Stop>,
}

#[derive(Debug, Clone, Copy)]
struct Stop {
    kill_at: Instant,
    /// `None`: somebody asked for it.
    deadline: Option<Duration>,
}

impl Stop {
    fn end(self, how: Stopped) -> End {
        match self.deadline {
            Some(after) => End::Deadline { after, how },
            None => End::Cancelled { how },
        }
    }
}

impl MockContainer {
    pub(super) fn new(setup: Setup) -> MockContainer {
        let inner = Inner { setup, stage: watch::Sender::new(Stage::Created), orders: watch::Sender::default() };
        MockContainer { inner: Arc::new(inner) }
    }

    pub fn id(&self) -> &ContainerId {
        &self.inner.setup.id
    }

    /// Name of its job.
    pub fn job(&self) -> &str {
        &self.inner.setup.job
    }

    /// The main process, or an init step, exits with this code.
    pub fn exit(&self, code: u8) {
        self.end(End::Exited { code });
    }

    /// This signal ends it, of which nobody knows who sent it.
    pub fn signal(&self, signal: i32) {
        self.end(End::Signalled { signal });
    }

    /// Its supervisor dies, and everything in it.
    pub fn lose(&self) {
        self.end(End::SupervisorLost { message: "it was killed".into() });
    }

    /// It ends like this. One that has ended, or was told before, does not listen.
    pub fn end(&self, end: End) {
        self.inner.orders.send_modify(|orders| {
            orders.end.get_or_insert(end);
        });
    }

    /// The main process writes this.
    pub fn print(&self, stream: LogStream, bytes: &[u8]) {
        self.inner.setup.log.write(stream, self.now(), bytes);
    }

    /// Returns when the main process runs, or never will.
    pub async fn main_runs(&self) {
        self.reach(|stage| matches!(stage, Stage::Main { .. } | Stage::Ended(_))).await;
    }

    pub fn is_running(&self) -> bool {
        matches!(*self.inner.stage.borrow(), Stage::Step { .. } | Stage::Main { .. })
    }

    pub(super) fn state(&self) -> ContainerState {
        match self.inner.stage.borrow().clone() {
            Stage::Created => ContainerState::Created,
            Stage::Step { id, since } => {
                let step =
                    StepProgress { id, attempt: 1, max_attempts: Some(1), waiting: false, elapsed: Duration::ZERO };
                ContainerState::Running(Activity::Initializing { step: Some(step), since, keeper: None })
            }
            Stage::Main { since } => ContainerState::Running(Activity::Main { started_at: Some(since), keeper: None }),
            Stage::Ended(outcome) => ContainerState::Ended(*outcome),
        }
    }

    /// Its outcome, once it has one.
    pub(super) async fn outcome(&self) -> Outcome {
        loop {
            let stage = self.reach(|stage| matches!(stage, Stage::Ended(_))).await;
            if let Stage::Ended(outcome) = stage {
                return *outcome;
            }
        }
    }

    async fn reach(&self, is_it: impl Fn(&Stage) -> bool) -> Stage {
        let mut stage = self.inner.stage.subscribe();
        let reached = stage.wait_for(|stage| is_it(stage)).await.map(|stage| stage.clone());
        // The sender is in the container that this holds.
        reached.unwrap_or_else(|_| self.inner.stage.borrow().clone())
    }

    /// True when there was something to stop.
    pub(super) fn stop(&self, grace: Option<Duration>) -> bool {
        let setup = &self.inner.setup;
        match &*self.inner.stage.borrow() {
            Stage::Ended(_) => return false,
            Stage::Created | Stage::Step { .. } | Stage::Main { .. } => {}
        }
        let kill_at = Instant::now() + grace.unwrap_or(setup.grace);
        self.inner.orders.send_modify(|orders| {
            let stop = orders.stop.get_or_insert(Stop { kill_at, deadline: None });
            if grace.is_some() {
                stop.kill_at = stop.kill_at.min(kill_at);
            }
        });
        true
    }

    /// Runs it to its end. The caller sees to it that this happens once.
    pub(super) async fn run(self) {
        let began = Instant::now();
        let (started_at, end) = self.play().await;
        let setup = &self.inner.setup;
        let attempt = setup.id.attempt();
        let outcome = Outcome {
            version: OUTCOME_VERSION,
            attempt,
            end,
            started_at,
            completed_at: self.now(),
            elapsed: began.elapsed(),
            usage: Usage::default(),
            notes: Vec::new(),
        };
        setup.log.close();
        self.inner.stage.send_replace(Stage::Ended(Box::new(outcome)));
    }

    /// When the main process was started, and how all ended.
    async fn play(&self) -> (Option<Timestamp>, End) {
        let script = &self.inner.setup.script;
        for step in &script.steps {
            self.inner.stage.send_replace(Stage::Step { id: step.id.clone(), since: self.now() });
            if let Some(end) = self.pass(step.lasts, false).await {
                return (None, end);
            }
            if let Some(cause) = step.fails.clone() {
                let (step, attempt) = (step.id.clone(), FIRST_ATTEMPT);
                return (None, End::InitStep { step, cause, attempt, last_line: None });
            }
        }
        let stop = self.inner.orders.borrow().stop;
        if let Some(stop) = stop {
            return (None, stop.end(Stopped::BeforeStart));
        }
        let since = self.now();
        for (stream, bytes) in &script.output {
            self.print(*stream, bytes);
        }
        self.inner.stage.send_replace(Stage::Main { since });
        let told = self.pass(script.runs, true).await;
        (Some(since), told.unwrap_or_else(|| script.end_of(self.id().attempt())))
    }

    /// Lets the time pass; the end if it was ended meanwhile.
    async fn pass(&self, lasts: Lasts, is_main: bool) -> Option<End> {
        let mut orders = self.inner.orders.subscribe();
        let mut time = std::pin::pin!(lasts.pass());
        loop {
            let Orders { end, stop } = orders.borrow_and_update().clone();
            if end.is_some() {
                return end;
            }
            if let Some(stop) = stop {
                let how = self.how_it_stops(is_main);
                // Asked for again, it may end sooner.
                let Some(how) = how.or_else(|| (stop.kill_at <= Instant::now()).then_some(KILLED)) else {
                    tokio::select! {
                        _ = orders.changed() => {}
                        () = tokio::time::sleep_until(stop.kill_at) => {}
                    }
                    continue;
                };
                return Some(stop.end(how));
            }
            tokio::select! {
                biased;
                () = &mut time => return None,
                _ = orders.changed() => {}
                () = self.deadline() => self.stop_at_deadline(),
            }
        }
    }

    /// `None`: not by the stop signal.
    fn how_it_stops(&self, is_main: bool) -> Option<Stopped> {
        let setup = &self.inner.setup;
        if !is_main {
            return Some(Stopped::BeforeStart);
        }
        match setup.script.on_stop {
            OnStop::Dies => Some(Stopped::Signalled { signal: setup.stop_signal }),
            OnStop::Exits(code) => Some(Stopped::Exited { code }),
            OnStop::Ignores => None,
        }
    }

    async fn deadline(&self) {
        match self.inner.setup.deadline {
            Some((_, at)) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    fn stop_at_deadline(&self) {
        let setup = &self.inner.setup;
        let deadline = setup.deadline.map(|(after, _)| after);
        let kill_at = Instant::now() + setup.grace;
        self.inner.orders.send_modify(|orders| {
            orders.stop.get_or_insert(Stop { kill_at, deadline });
        });
    }

    fn now(&self) -> Timestamp {
        (self.inner.setup.now)()
    }
}

const KILLED: Stopped = Stopped::Signalled { signal: libc::SIGKILL };

impl fmt::Debug for MockContainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = self.inner.stage.borrow();
        f.debug_struct("MockContainer").field("id", self.id()).field("stage", &*stage).finish_non_exhaustive()
    }
}
