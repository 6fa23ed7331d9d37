//! The contract of [`Runtime`], kept by supervisors.

use super::containers::Container;
use super::prepare::{Host, own_mappings};
use super::references::Wanted;
use super::settings::Settings;
use super::{OciRuntime, log};
use crate::bundle::{self, StepImage};
use crate::causes::with_causes;
use crate::engine::{
    Activity, ContainerState, CreateRequest, Created, Image, LogQuery, LogStream, Removal, Runtime, RuntimeError,
    StepProgress,
};
use crate::id::ContainerId;
use crate::image::{self, Platform};
use crate::outcome::{End, OUTCOME_VERSION, Outcome, Usage};
use crate::plan::IdMappings;
use crate::remove_tree::remove_tree;
use crate::runtime::state::{LiveState, LiveStep, Stage};
use crate::runtime::{cancel, cleanup, control, outcome_file};
use crate::spec::{ImageSpec, ServiceSpec};
use crate::state_dir::ContainerDir;
use crate::sys::process::ProcessIdentity;
use crate::sys::{readable, tree};
use async_trait::async_trait;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[async_trait]
impl Runtime for OciRuntime {
    fn root(&self) -> Option<&Path> {
        Some(self.state_dir().root())
    }

    fn settings(&self) -> Option<serde_json::Value> {
        serde_json::to_value(Settings::of_this_process(self.image_config())).ok()
    }

    async fn pull(&self, image: &ImageSpec, settings: Option<&serde_json::Value>) -> Result<Image, RuntimeError> {
        let platform = image.platform.as_ref().map(|platform| Platform {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
        });
        let (mappings, note) = own_mappings()?;
        let wanted = Wanted { policy: image.pull_policy, platform: platform.as_ref() };
        let store = self.image_store_as(mappings, settings)?;
        let image = self.resolve_image(&store, &image.name, wanted).await?;
        let notes = note.iter().map(ToString::to_string).chain(image.notes.iter().map(ToString::to_string));
        Ok(Image {
            reference: image.reference.clone(),
            digest: image.manifest_digest.to_string(),
            pulled: image.pulled,
            notes: notes.collect(),
            content: Some(Arc::new(image)),
        })
    }

    async fn create(&self, mut request: CreateRequest<'_>) -> Result<Created, RuntimeError> {
        let began = Instant::now();
        let host = Host::probe(request.job)?;
        let container = request.container;
        let content = content(&request.image)?;
        // Kept until the plan keeps their layers.
        let mut pulled = Vec::new();
        let mut others = BTreeMap::new();
        for name in bundle::other_images(request.job) {
            let image = ImageSpec { name: name.to_owned(), ..request.job.image.clone() };
            let image = match Runtime::pull(self, &image, request.settings).await {
                Ok(image) => image,
                Err(error) => {
                    if let Some(step) = bundle::step_that_needs(request.job, name) {
                        return Err(RuntimeError::StepImage { step: step.to_owned(), source: Box::new(error) });
                    }
                    others.insert(name.to_owned(), Err(with_causes(&error)));
                    continue;
                }
            };
            let image::Image { config, layers, .. } = self::content(&image)?;
            others.insert(name.to_owned(), Ok(StepImage { config: config.clone(), layers: layers.clone() }));
            pulled.push(image);
        }
        // It counts while other images are fetched, too.
        request.deadline = request.deadline.map(|deadline| deadline.saturating_sub(began.elapsed()));
        self.mark(container)?;
        let notes = self.prepare(&request, host, content, &others)?;
        drop(pulled);
        let pulled = request.image.pulled.then(|| request.image.reference.clone());
        let made = Container::create(self, container, request.stdio, pulled).await?;
        let keeper = made.identity.clone();
        self.containers().insert(container.clone(), made);
        Ok(Created { keeper: Some(keeper), notes })
    }

    async fn start(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        let Some(held) = self.held(container) else {
            return Err(RuntimeError::NotCreatedHere { container: container.clone() });
        };
        held.start();
        if let Some(reference) = &held.pulled {
            self.collect_in_background(BTreeSet::from([reference.clone()]));
        }
        Ok(())
    }

    async fn wait(&self, container: &ContainerId) -> Result<Outcome, RuntimeError> {
        let failed = || RuntimeError::io("wait for the supervisor of", container.as_str());
        if let Some(held) = self.held(container) {
            held.wait_for_outcome().await.map_err(failed())?;
        } else {
            self.wait_for_foreign(container).await?;
        }
        match self.look(container)? {
            ContainerState::Ended(outcome) => Ok(outcome),
            _ => Ok(lost(container)),
        }
    }

    async fn stop(&self, container: &ContainerId, grace: Option<Duration>) -> Result<bool, RuntimeError> {
        let directory = self.directory(container);
        if outcome(&directory, container.attempt()).is_some() {
            // Its supervisor may live on as a settler, which has nothing to stop.
            return Ok(false);
        }
        let held = self.held(container);
        if let Some(held) = held.as_ref().filter(|_| grace == Some(Duration::ZERO)) {
            held.tell(control::KILL);
            return Ok(true);
        }
        let told =
            cancel::request(&directory, grace).map_err(RuntimeError::io("cancel the job of", directory.path()))?;
        if let (false, Some(held)) = (told, &held) {
            // Its supervisor has only just begun; the job's own grace period is as near as one gets.
            held.tell(control::CANCEL);
        }
        Ok(told || held.is_some())
    }

    async fn logs(&self, container: &ContainerId, query: LogQuery) -> Result<LogStream, RuntimeError> {
        let path = self.directory(container).log();
        if !path.exists() {
            return Err(RuntimeError::NoLog { container: container.clone() });
        }
        log::open(self.clone(), container.clone(), &path, query)
    }

    async fn remove(&self, container: &ContainerId, extent: Removal) -> Result<(), RuntimeError> {
        let failed = || RuntimeError::io("wait for the supervisor of", container.as_str());
        let held = self.held(container);
        if let Some(held) = held.as_ref().filter(|held| !held.is_started()) {
            held.tell(control::KILL);
            held.wait_for_outcome().await.map_err(failed())?;
        }
        let (this, name) = (self.clone(), container.clone());
        let worker = tokio::task::spawn_blocking(move || this.remove_files(&name, extent));
        let removed = worker.await.unwrap_or_else(|_| {
            let message = "removing the files of an execution was interrupted".into();
            Err(RuntimeError::Other { message, source: None })
        });
        if extent != Removal::Leftovers
            && let Some(held) = held
        {
            held.settle().await;
            self.containers().remove(container);
        }
        removed
    }

    async fn state(&self, container: &ContainerId) -> Result<ContainerState, RuntimeError> {
        self.look(container)
    }
}

impl OciRuntime {
    /// Whether this host can run the job at all: limits that it cannot enforce, a file of the job that is not
    /// there, … Nothing is made.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, job: &ServiceSpec) -> Result<(), RuntimeError> {
        Host::probe(job).map(drop)
    }

    fn held(&self, container: &ContainerId) -> Option<Arc<Container>> {
        self.containers().get(container).cloned()
    }

    pub(super) fn look(&self, container: &ContainerId) -> Result<ContainerState, RuntimeError> {
        let directory = self.directory(container);
        let attempt = container.attempt();
        if let Some(outcome) = outcome(&directory, attempt) {
            return Ok(ContainerState::Ended(outcome));
        }
        let Some(live) = live_state(&directory) else {
            let held = self.held(container);
            return Ok(held.map_or(ContainerState::Absent, |_| ContainerState::Created));
        };
        if is_alive(&live.supervisor)? {
            return Ok(match self.held(container) {
                Some(held) if !held.is_started() => ContainerState::Created,
                _ => ContainerState::Running(activity(live)),
            });
        }
        // It may have ended well between the two looks: the outcome is what counts.
        Ok(ContainerState::Ended(outcome(&directory, attempt).unwrap_or_else(|| lost(container))))
    }

    /// Waits for the outcome of a container that another process created, or for the end of its supervisor: that one
    /// may live on as a settler. Where the kernel has no watch left, it is waited for until its very end.
    async fn wait_for_foreign(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        let failed = || RuntimeError::io("wait for the supervisor of", container.as_str());
        let directory = self.directory(container);
        loop {
            // First the watch, then the look: nothing appears unseen between them.
            let watched = outcome_file::watch(&directory.outcome()).and_then(readable::watch);
            if outcome(&directory, container.attempt()).is_some() {
                return Ok(());
            }
            let Some(supervisor) = self.supervisor(container)? else { return Ok(()) };
            // A pidfd becomes readable when its process ends (pidfd_open(2)).
            let supervisor = readable::watch(supervisor).map_err(failed())?;
            let appeared = async {
                match &watched {
                    Ok(watched) => watched.readable().await.map(drop),
                    Err(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = supervisor.readable() => drop(ended.map_err(failed())?),
                appeared = appeared => appeared.map_err(failed())?,
            }
        }
    }

    /// The supervisor while it lives, as far as is known.
    pub(super) fn supervisor(&self, container: &ContainerId) -> Result<Option<OwnedFd>, RuntimeError> {
        let Some(live) = live_state(&self.directory(container)) else { return Ok(None) };
        open(&live.supervisor)
    }

    pub(super) fn remove_files(&self, container: &ContainerId, extent: Removal) -> Result<(), RuntimeError> {
        let directory = self.directory(container);
        let mut removed = self.remove_leftovers(&directory);
        if extent == Removal::Leftovers {
            return removed;
        }
        removed = removed.and_then(|()| self.remove_outcome(&directory));
        if extent == Removal::Outcome {
            return removed;
        }
        let execution = self.state_dir().execution(container.execution());
        for other in self.containers_of(&execution)?.iter().filter(|other| **other != directory) {
            // One that was given up before its start may still be ending; it removes what it has made.
            let is_alive = live_state(other).is_some_and(|live| is_alive(&live.supervisor).unwrap_or(true));
            if !is_alive {
                let gone = self.remove_leftovers(other).and_then(|()| self.remove_outcome(other));
                removed = removed.and(gone);
            }
        }
        if extent == Removal::Everything {
            // Else whoever tries again would not know any more what is left, and where.
            removed = removed.and_then(|()| tree::remove(&execution).map_err(RuntimeError::io("remove", &execution)));
        }
        removed
    }

    fn remove_leftovers(&self, directory: &ContainerDir) -> Result<(), RuntimeError> {
        let remove_tree = |path: &Path, error: io::Error| match mappings_of(directory) {
            Some(mappings) => remove_tree(self.binary(), path, Some(&mappings)).map_err(io::Error::other),
            None => Err(error),
        };
        cleanup::remove_leftovers(directory, &remove_tree)
            .map_err(RuntimeError::io("remove what is left in", directory.path()))
    }

    /// With directories that hold nothing else, those too.
    fn remove_outcome(&self, directory: &ContainerDir) -> Result<(), RuntimeError> {
        let mut removed = Ok(());
        for path in [directory.state(), directory.outcome()] {
            removed = removed.and(tree::remove(&path).map_err(RuntimeError::io("remove", &path)));
        }
        // It stays when there is a log, and that of the execution with it.
        let _ = std::fs::remove_dir(directory.path());
        let execution = directory.path().parent().filter(|parent| *parent != self.state_dir().executions());
        let _ = execution.map(std::fs::remove_dir);
        removed.and_then(|()| self.unmark(directory))
    }

    /// Those of an execution that are on disk.
    pub(super) fn containers_of(&self, execution: &Path) -> Result<Vec<ContainerDir>, RuntimeError> {
        let failed = || RuntimeError::io("list the directory", execution);
        let entries = match std::fs::read_dir(execution) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed()(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed())?;
            // Others are files and trees of the one container that an older version made here.
            if entry.file_name().to_str().is_some_and(is_own_part) {
                found.push(ContainerDir::from_path(entry.path()));
            }
        }
        Ok(found)
    }
}

fn is_own_part(name: &str) -> bool {
    ContainerId(format!("-{name}")).own_part() == Some(name)
}

fn content(image: &Image) -> Result<&image::Image, RuntimeError> {
    image.content.as_ref().and_then(|content| content.downcast_ref()).ok_or_else(|| {
        let message = format!("the image {} was not pulled by this runtime", image.reference);
        RuntimeError::Other { message, source: None }
    })
}

/// What the supervisor of this attempt left, readable or not; `None` when there is nothing.
fn outcome(directory: &ContainerDir, attempt: u32) -> Option<Outcome> {
    match outcome_file::read(&directory.outcome()) {
        // That of another attempt tells nothing of this one.
        Ok(outcome) => outcome.filter(|outcome| outcome.attempt == attempt),
        Err(error) => Some(without_outcome(attempt, format!("its outcome cannot be read: {error}"))),
    }
}

fn lost(container: &ContainerId) -> Outcome {
    without_outcome(container.attempt(), "it ended without a word; it was killed, or the host went down".into())
}

fn without_outcome(attempt: u32, message: String) -> Outcome {
    Outcome {
        version: OUTCOME_VERSION,
        attempt,
        end: End::SupervisorLost { message },
        started_at: None,
        completed_at: jiff::Timestamp::now(),
        elapsed: Duration::ZERO,
        usage: Usage::default(),
        notes: Vec::new(),
    }
}

fn live_state(directory: &ContainerDir) -> Option<LiveState> {
    LiveState::read(&directory.state()).unwrap_or_else(|error| {
        // The record says who the supervisor is; this file is for those who look.
        tracing::warn!(path = %directory.state().display(), %error, "unreadable live state");
        None
    })
}

fn activity(live: LiveState) -> Activity {
    let keeper = Some(live.supervisor.pid);
    match live.stage {
        Stage::Initializing { step } => {
            let step = step.map(|LiveStep { id, attempt, max_attempts, elapsed, waiting }| {
                let max_attempts = (max_attempts > 0).then_some(max_attempts);
                StepProgress { id, attempt, max_attempts, waiting, elapsed }
            });
            Activity::Initializing { step, since: live.since, keeper }
        }
        Stage::Running => Activity::Main { started_at: Some(live.since), keeper },
        Stage::Ending { started_at: started_at @ Some(_) } => Activity::Main { started_at, keeper },
        // No main process ran, and none will.
        Stage::Ending { started_at: None } => Activity::Initializing { step: None, since: live.since, keeper },
    }
}

fn open(process: &ProcessIdentity) -> Result<Option<OwnedFd>, RuntimeError> {
    process.open().map_err(RuntimeError::io("look for process", format!("/proc/{}", process.pid)))
}

/// A supervisor that became the settler which asks is none any more.
fn is_alive(process: &ProcessIdentity) -> Result<bool, RuntimeError> {
    let me = ProcessIdentity::current().map_err(RuntimeError::io("read", "/proc/self/stat"))?;
    Ok(*process != me && open(process)?.is_some())
}

/// The id mappings of a container. Without a plan that can be read, as after a loss of power, those that this user's
/// containers have now are the likely ones.
fn mappings_of(directory: &ContainerDir) -> Option<IdMappings> {
    /// The part of a plan that every version has.
    #[derive(Deserialize)]
    struct Planned {
        rootless: Option<IdMappings>,
    }
    let planned = std::fs::read(directory.plan()).ok().and_then(|bytes| serde_json::from_slice::<Planned>(&bytes).ok());
    match planned {
        Some(planned) => planned.rootless,
        // Where there are none, what cannot be removed stays so, for the reason that it has.
        None => own_mappings().ok()?.0,
    }
}
