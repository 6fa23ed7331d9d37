//! A runtime without containers. A job whose name begins with `holds` runs until it is told to end, one that
//! begins with `fails` exits with 1, any other with 0.

use crate::engine::{
    Activity, ContainerState, CreateRequest, Created, Image, LogQuery, LogStream, Removal, Runtime, RuntimeError,
};
use crate::exec::{ContainerId, JobExecutionId};
use crate::outcome::{End, OUTCOME_VERSION, Outcome, Stopped, Usage};
use crate::spec::ImageSpec;
use crate::state_dir::StateDir;
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;

#[derive(Debug, Default)]
pub struct TestRuntime {
    root: Option<PathBuf>,
    pub settings: Option<serde_json::Value>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    containers: HashMap<ContainerId, Container>,
    unremovable: BTreeSet<JobExecutionId>,
    environments: HashMap<JobExecutionId, Vec<(String, String)>>,
    pulled_with: Vec<Option<serde_json::Value>>,
}

#[derive(Debug)]
struct Container {
    job: String,
    started_at: Option<Timestamp>,
    outcome: watch::Sender<Option<Outcome>>,
}

impl TestRuntime {
    pub fn in_memory() -> TestRuntime {
        TestRuntime::default()
    }

    /// With a directory for each execution below this root, as `OciRuntime` has them.
    pub fn on(root: &Path) -> TestRuntime {
        let state = StateDir::open(Some(root)).unwrap();
        TestRuntime { root: Some(state.root().to_owned()), ..TestRuntime::default() }
    }

    pub fn directory(&self, id: &JobExecutionId) -> PathBuf {
        StateDir::executions_in(self.root.as_ref().unwrap()).join(id.as_str())
    }

    /// Ends what a job that holds runs.
    pub fn exit(&self, id: &JobExecutionId, attempt: u32, code: u8) {
        let is_it = |it: &&ContainerId| it.execution() == id.as_str() && it.attempt() == attempt;
        let container = self.known().containers.keys().find(is_it).cloned().unwrap();
        self.end(&container, End::Exited { code });
    }

    pub fn set_removable(&self, id: &JobExecutionId, is_removable: bool) {
        let mut known = self.known();
        if is_removable {
            known.unremovable.remove(id)
        } else {
            known.unremovable.insert(id.clone())
        };
    }

    /// What the spec of an execution's job had as environment.
    pub fn environment(&self, id: &JobExecutionId) -> HashMap<String, String> {
        self.known().environments[id].iter().cloned().collect()
    }

    /// The settings that images were pulled with, in the order of the pulls.
    pub fn pulled_with(&self) -> Vec<Option<serde_json::Value>> {
        self.known().pulled_with.clone()
    }

    fn end(&self, id: &ContainerId, end: End) {
        let known = self.known();
        let container = &known.containers[id];
        let outcome = Outcome {
            version: OUTCOME_VERSION,
            attempt: id.attempt(),
            end,
            started_at: container.started_at,
            completed_at: Timestamp::now(),
            elapsed: Duration::from_millis(1),
            usage: Usage::default(),
            notes: Vec::new(),
        };
        container.outcome.send_replace(Some(outcome));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }
}

#[async_trait]
impl Runtime for TestRuntime {
    fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    fn settings(&self) -> Option<serde_json::Value> {
        self.settings.clone()
    }

    async fn pull(&self, image: &ImageSpec, settings: Option<&serde_json::Value>) -> Result<Image, RuntimeError> {
        self.known().pulled_with.push(settings.cloned());
        let (reference, digest) = (image.name.clone(), "sha256:0".to_owned());
        Ok(Image { reference, digest, pulled: false, notes: Vec::new(), content: None })
    }

    async fn create(&self, request: CreateRequest<'_>) -> Result<Created, RuntimeError> {
        let container = request.container;
        if self.root.is_some() {
            let directory = self.directory(request.execution).join(container.own_part().unwrap());
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("log.ring"), [0; 8192]).unwrap();
        }
        let job = request.job.name.clone();
        let made = Container { job, started_at: None, outcome: watch::Sender::new(None) };
        let mut known = self.known();
        known.containers.insert(container.clone(), made);
        known.environments.insert(request.execution.clone(), request.job.env.clone());
        Ok(Created { keeper: None, notes: Vec::new() })
    }

    async fn start(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let job = {
            let mut known = self.known();
            let container = known.containers.get_mut(id).unwrap();
            container.started_at = Some(Timestamp::now());
            container.job.clone()
        };
        if self.root.is_some() {
            let directory = self.directory(&JobExecutionId(id.execution().to_owned())).join(id.own_part().unwrap());
            std::fs::write(directory.join("state.new"), "").unwrap();
            std::fs::rename(directory.join("state.new"), directory.join("state")).unwrap();
        }
        if !job.starts_with("holds") {
            self.end(id, End::Exited { code: u8::from(job.starts_with("fails")) });
        }
        Ok(())
    }

    async fn wait(&self, id: &ContainerId) -> Result<Outcome, RuntimeError> {
        let mut outcome = self.known().containers[id].outcome.subscribe();
        let outcome = outcome.wait_for(Option::is_some).await.unwrap().clone();
        Ok(outcome.unwrap())
    }

    async fn stop(&self, id: &ContainerId, _: Option<Duration>) -> Result<bool, RuntimeError> {
        self.end(id, End::Cancelled { how: Stopped::Signalled { signal: 15 } });
        Ok(true)
    }

    async fn logs(&self, id: &ContainerId, _: LogQuery) -> Result<LogStream, RuntimeError> {
        Err(RuntimeError::NoLog { container: id.clone() })
    }

    async fn remove(&self, id: &ContainerId, extent: Removal) -> Result<(), RuntimeError> {
        let execution = JobExecutionId(id.execution().to_owned());
        if extent != Removal::Everything {
            return Ok(());
        }
        if self.known().unremovable.contains(&execution) {
            return Err(RuntimeError::Other { message: "it is stuck".into(), source: None });
        }
        if self.root.is_some() && self.directory(&execution).exists() {
            crate::sys::tree::remove(&self.directory(&execution)).unwrap();
        }
        Ok(())
    }

    async fn state(&self, id: &ContainerId) -> Result<ContainerState, RuntimeError> {
        let known = self.known();
        let Some(container) = known.containers.get(id) else { return Ok(ContainerState::Absent) };
        if let Some(outcome) = container.outcome.borrow().clone() {
            return Ok(ContainerState::Ended(outcome));
        }
        Ok(match container.started_at {
            None => ContainerState::Created,
            started_at => ContainerState::Running(Activity::Main { started_at, keeper: None }),
        })
    }
}
