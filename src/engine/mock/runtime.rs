//! The contract of [`Runtime`], kept in memory.

use super::call::{MockCall, MockMethod};
use super::container::{MockContainer, Now, Setup};
use super::log::Log;
use super::script::{Call, Lasts, Script};
use crate::engine::{
    ContainerState, CreateRequest, Created, Image, LogQuery, LogStream, Removal, Runtime, RuntimeError,
};
use crate::id::{ContainerId, JobExecutionId};
use crate::outcome::{End, OUTCOME_VERSION, Outcome, Usage};
use crate::spec::ImageSpec;
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The digest of every image: that of nothing.
const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A [`Runtime`] in memory whose containers follow scripts. Clones share it. Dropping the last of them, and of the
/// executors on it, ends nothing that runs.
#[derive(Clone)]
pub struct MockRuntime {
    inner: Arc<Inner>,
    now: Now,
}

struct Inner {
    state: Mutex<State>,
    /// Tells that something was called or has changed.
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    scripts: BTreeMap<String, Script>,
    calls: Vec<MockCall>,
    containers: BTreeMap<ContainerId, MockContainer>,
    /// Containers that are being made.
    begun: BTreeSet<ContainerId>,
    logs: BTreeMap<ContainerId, Arc<Log>>,
    /// Job names of what was created, for the scripts.
    jobs: BTreeMap<ContainerId, String>,
    running: Vec<String>,
    most_running: usize,
    most_running_of: BTreeMap<String, usize>,
}

impl Default for MockRuntime {
    fn default() -> MockRuntime {
        MockRuntime::new()
    }
}

impl MockRuntime {
    /// One whose containers exit with code 0 at once.
    pub fn new() -> MockRuntime {
        let inner = Inner { state: Mutex::default(), changes: watch::Sender::new(()) };
        MockRuntime { inner: Arc::new(inner), now: Arc::new(Timestamp::now) }
    }

    /// The same runtime, whose outcomes have their times of day from `now`.
    #[must_use]
    pub fn with_clock(mut self, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> MockRuntime {
        self.now = Arc::new(now);
        self
    }

    /// From now on this is done for the job, or with the image, of this name, as specs have it. A job's own script
    /// comes before that of its image; pulls know images only.
    pub fn on(&self, name: &str, script: Script) {
        self.state().scripts.insert(name.to_owned(), script);
    }

    /// The calls until now, in their order.
    pub fn calls(&self) -> Vec<MockCall> {
        self.state().calls.clone()
    }

    /// The first call that `is_it` says yes to, as soon as there is one.
    pub async fn called(&self, is_it: impl Fn(&MockCall) -> bool) -> MockCall {
        self.see(|state| state.calls.iter().find(|call| is_it(call)).cloned()).await
    }

    /// A container that is created and not removed.
    pub fn container(&self, id: &ContainerId) -> Option<MockContainer> {
        self.state().containers.get(id).cloned()
    }

    /// The container of an attempt, counted from 1, as soon as it has been started. One that has ended and been
    /// removed before is not seen.
    pub async fn started(&self, execution: &JobExecutionId, attempt: u32) -> MockContainer {
        let is_it = |id: &ContainerId| id.execution() == execution.as_str() && id.attempt() == attempt;
        self.see(|state| {
            let starts = state.calls.iter().filter(|call| call.method() == MockMethod::Start);
            let started = starts.filter_map(MockCall::container).rfind(|id| is_it(id))?;
            state.containers.get(started).cloned()
        })
        .await
    }

    /// The containers that run now, of this job or, with `None`, of all.
    pub fn running(&self, job: Option<&str>) -> Vec<MockContainer> {
        let state = self.state();
        let all = state.containers.values().filter(|container| container.is_running());
        all.filter(|container| job.is_none_or(|job| container.job() == job)).cloned().collect()
    }

    /// How many containers of the job, or with `None` of all jobs, have run at once at most.
    pub fn max_running(&self, job: Option<&str>) -> usize {
        let state = self.state();
        job.map_or(state.most_running, |job| state.most_running_of.get(job).copied().unwrap_or_default())
    }

    /// Containers that are there in any way: half made, waiting, running or with an outcome that is not removed.
    pub fn leftovers(&self) -> Vec<ContainerId> {
        let state = self.state();
        let all: BTreeSet<&ContainerId> = state.containers.keys().chain(&state.begun).collect();
        all.into_iter().cloned().collect()
    }

    /// Containers whose logs are kept.
    pub fn kept_logs(&self) -> Vec<ContainerId> {
        self.state().logs.keys().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves whole maps: each use of them is one call.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn see<T>(&self, look: impl Fn(&State) -> Option<T>) -> T {
        let mut changes = self.inner.changes.subscribe();
        loop {
            let seen = look(&self.state());
            if let Some(seen) = seen {
                return seen;
            }
            // The sender is in the runtime that this holds.
            let _ = changes.changed().await;
        }
    }

    fn record(&self, call: MockCall) {
        self.state().calls.push(call);
        self.inner.changes.send_replace(());
    }

    /// Fails if the script says so.
    fn may_fail(&self, name: &str, method: MockMethod) -> Result<(), RuntimeError> {
        let mut state = self.state();
        let script = state.scripts.get_mut(name);
        let mut faults = script.into_iter().flat_map(|script| &mut script.faults);
        let Some(fault) = faults.find(|fault| fault.method == method && fault.times > 0) else { return Ok(()) };
        fault.times -= u32::from(fault.times != u32::MAX);
        Err(RuntimeError::Other { message: fault.message.clone(), source: None })
    }

    /// As [`MockRuntime::may_fail`], by the name of the job or image of the container's execution.
    fn may_fail_of(&self, container: &ContainerId, method: MockMethod) -> Result<(), RuntimeError> {
        let is_its = |other: &ContainerId| other.execution() == container.execution();
        let job = self.state().jobs.iter().find(|(other, _)| is_its(other)).map(|(_, job)| job.clone());
        job.map_or(Ok(()), |job| self.may_fail(&job, method))
    }

    fn outcome(&self, container: &ContainerId, end: End) -> Outcome {
        Outcome {
            version: OUTCOME_VERSION,
            attempt: container.attempt(),
            end,
            started_at: None,
            completed_at: (self.now)(),
            elapsed: Duration::ZERO,
            usage: Usage::default(),
            notes: Vec::new(),
        }
    }

    async fn run(self, container: MockContainer) {
        let job = container.job().to_owned();
        {
            let state = &mut *self.state();
            state.running.push(job.clone());
            let of_job = state.running.iter().filter(|running| **running == job).count();
            let most = state.most_running_of.entry(job.clone()).or_default();
            *most = of_job.max(*most);
            state.most_running = state.running.len().max(state.most_running);
        }
        container.run().await;
        let mut state = self.state();
        let at = state.running.iter().position(|running| *running == job);
        at.map(|at| state.running.swap_remove(at));
        drop(state);
        self.inner.changes.send_replace(());
    }
}

#[async_trait]
impl Runtime for MockRuntime {
    fn root(&self) -> Option<&Path> {
        None
    }

    async fn pull(&self, image: &ImageSpec, _: Option<&serde_json::Value>) -> Result<Image, RuntimeError> {
        self.record(MockCall::Pull { image: image.name.clone() });
        let takes = self.state().scripts.get(&image.name).and_then(|script| script.delays.get(&Call::Pull).copied());
        takes.unwrap_or(Lasts::For(Duration::ZERO)).pass().await;
        self.may_fail(&image.name, MockMethod::Pull)?;
        Ok(Image {
            reference: image.name.clone(),
            digest: DIGEST.to_owned(),
            pulled: false,
            notes: Vec::new(),
            content: None,
        })
    }

    async fn create(&self, request: CreateRequest<'_>) -> Result<Created, RuntimeError> {
        let id = request.container.clone();
        let deadline_at = request.deadline.map(|deadline| Instant::now() + deadline);
        let job = request.job;
        let names = [&job.name, &job.image.name];
        let (name, script) = {
            let state = &mut *self.state();
            let found = names.into_iter().find_map(|name| Some((name.clone(), state.scripts.get(name)?.clone())));
            let (name, script) = found.unwrap_or_else(|| (job.name.clone(), Script::default()));
            state.begun.insert(id.clone());
            state.jobs.insert(id.clone(), name.clone());
            (name, script)
        };
        self.record(MockCall::Create {
            container: id.clone(),
            job: job.name.clone(),
            env: request.env,
            deadline: request.deadline,
            stdio: request.stdio,
        });
        let takes = script.delays.get(&Call::Create).copied();
        takes.unwrap_or(Lasts::For(Duration::ZERO)).pass().await;
        self.may_fail(&name, MockMethod::Create)?;
        let log = Log::new(request.max_log_size);
        let after = job.policy.deadline.or(request.deadline).unwrap_or_default();
        let container = MockContainer::new(Setup {
            id: id.clone(),
            job: job.name.clone(),
            script,
            stop_signal: job.stop.signal.unwrap_or(libc::SIGTERM),
            grace: job.stop.grace_period,
            deadline: deadline_at.map(|at| (after, at)),
            log: log.clone(),
            now: self.now.clone(),
        });
        let mut state = self.state();
        state.begun.remove(&id);
        state.logs.insert(id.clone(), log);
        state.containers.insert(id.clone(), container);
        drop(state);
        self.inner.changes.send_replace(());
        Ok(Created { keeper: None, notes: Vec::new() })
    }

    async fn start(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        self.may_fail_of(container, MockMethod::Start)?;
        let Some(found) = self.container(container) else {
            return Err(RuntimeError::NotCreatedHere { container: container.clone() });
        };
        tokio::spawn(self.clone().run(found));
        self.record(MockCall::Start { container: container.clone() });
        Ok(())
    }

    async fn wait(&self, container: &ContainerId) -> Result<Outcome, RuntimeError> {
        self.record(MockCall::Wait { container: container.clone() });
        self.may_fail_of(container, MockMethod::Wait)?;
        match self.container(container) {
            Some(container) => Ok(container.outcome().await),
            None => Ok(self.outcome(container, End::SupervisorLost { message: "there is no such container".into() })),
        }
    }

    async fn stop(&self, container: &ContainerId, grace: Option<Duration>) -> Result<bool, RuntimeError> {
        self.record(MockCall::Stop { container: container.clone(), grace });
        self.may_fail_of(container, MockMethod::Stop)?;
        Ok(self.container(container).is_some_and(|container| container.stop(grace)))
    }

    async fn logs(&self, container: &ContainerId, query: LogQuery) -> Result<LogStream, RuntimeError> {
        self.may_fail_of(container, MockMethod::Logs)?;
        let log = self.state().logs.get(container).cloned();
        let log = log.ok_or_else(|| RuntimeError::NoLog { container: container.clone() })?;
        Ok(log.read(query))
    }

    async fn remove(&self, container: &ContainerId, extent: Removal) -> Result<(), RuntimeError> {
        self.record(MockCall::Remove { container: container.clone(), extent });
        self.may_fail_of(container, MockMethod::Remove)?;
        if self.container(container).is_some_and(|container| container.is_running()) {
            let message = format!("container {container} runs and cannot be removed");
            return Err(RuntimeError::Other { message, source: None });
        }
        let state = &mut *self.state();
        state.begun.remove(container);
        let is_over = state.containers.get(container).is_some_and(|it| matches!(it.state(), ContainerState::Ended(_)));
        if extent != Removal::Leftovers || !is_over {
            // A log that nobody writes to any more has its end.
            state.containers.remove(container);
            state.logs.get(container).inspect(|log| log.close());
        }
        let is_its = |other: &ContainerId| other.execution() == container.execution();
        if matches!(extent, Removal::AllButLogs | Removal::Everything) {
            state.containers.retain(|other, it| !is_its(other) || it.is_running());
            state.begun.retain(|other| !is_its(other));
        }
        if extent == Removal::Everything {
            state.logs.retain(|other, _| !is_its(other));
            state.jobs.retain(|other, _| !is_its(other));
        }
        Ok(())
    }

    async fn state(&self, container: &ContainerId) -> Result<ContainerState, RuntimeError> {
        self.may_fail_of(container, MockMethod::State)?;
        Ok(self.container(container).map_or(ContainerState::Absent, |container| container.state()))
    }
}

impl fmt::Debug for MockRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("MockRuntime").field("containers", &state.containers.values()).finish_non_exhaustive()
    }
}
