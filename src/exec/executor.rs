//! Starting executions, and finding, watching and changing them from any process.

use super::error::ExecError;
use super::model::{JobExecution, JobExecutionId, JobTrigger, ListQuery};
use super::prepare::{Host, own_mappings};
use super::roles;
use super::settle::Settler;
use super::started::{Notice, Started, Stdio};
use crate::image::{GcPolicy, Observer};
use crate::log;
use crate::record::{Execution, NewExecution, Query, Record, Status};
use crate::runtime::state::LiveState;
use crate::runtime::{cancel, control, role};
use crate::spec::ServiceSpec;
use crate::state_dir::{ExecutionDir, StateDir};
use crate::sys::mount::read_only_view;
use crate::sys::process::ProcessIdentity;
use crate::sys::readable;
use crate::sys::tree;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often an execution that has no supervisor yet is looked at while it is waited for.
const PENDING_POLL: Duration = Duration::from_millis(100);
/// How often, and how many times, a supervisor that has only just been spawned is looked for.
const STATE_POLL: Duration = Duration::from_millis(5);
const STATE_POLLS: u32 = 1000;

/// Where and with what to work.
#[derive(Debug, Clone, Default)]
pub struct JobExecutorConfig {
    /// State root; `None`: the user's default (see [`StateDir::open`]).
    pub root: Option<PathBuf>,
    /// A coracle binary; `None`: this program, which then has to call [`init`](super::init).
    pub binary: Option<PathBuf>,
    pub images: ImageConfig,
}

/// How images are pulled and kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// What is removed by itself after a pull; by default nothing is.
    pub gc: GcPolicy,
    /// Most bytes that one layer may hold unpacked; `None`: the store's own limit.
    pub max_layer_bytes: Option<u64>,
    /// How many times larger than its blob a layer may be; `None`: the store's own limit.
    pub max_ratio: Option<u32>,
    /// Layers worked on at once; `None`: the store's own number.
    pub parallel_layers: Option<usize>,
    /// A containers-policy.json(5) to use; `None`: the user's or the host's.
    pub signature_policy: Option<PathBuf>,
}

/// The executor on one state root. Clones share it.
#[derive(Clone)]
pub struct JobExecutor {
    inner: Arc<Inner>,
    observer: Option<Observer>,
}

#[derive(Debug)]
struct Inner {
    state: StateDir,
    record: Record,
    binary: PathBuf,
    /// Every pull under way holds a receiver.
    pulls: watch::Sender<()>,
    images: ImageConfig,
    /// The automatic collection that is under way.
    collection: Mutex<Option<JoinHandle<()>>>,
}

impl JobExecutor {
    /// Opens the state root, making it if there is none, and settles executions whose supervisor was lost.
    ///
    /// # Errors
    /// When the root or its record cannot be used, or this program lacks the call of [`init`](super::init).
    pub async fn open(config: JobExecutorConfig) -> Result<JobExecutor, ExecError> {
        let binary = match config.binary {
            Some(binary) => binary,
            None if roles::is_initialised() => PathBuf::from(roles::OWN_BINARY),
            None => return Err(ExecError::NotInitialised),
        };
        let state = StateDir::open(config.root.as_deref())?;
        let record = Record::open(&state)?;
        let executor = JobExecutor {
            inner: Arc::new(Inner {
                state,
                record,
                binary,
                pulls: watch::Sender::new(()),
                images: config.images,
                collection: Mutex::default(),
            }),
            observer: None,
        };
        executor.settler().reconcile()?;
        executor.sweep_staging();
        Ok(executor)
    }

    /// The same executor, whose pulls, loads and starts tell `observer` how they get on.
    #[must_use]
    pub fn with_observer(mut self, observer: Observer) -> JobExecutor {
        self.observer = Some(observer);
        self
    }

    /// Waits until pulls, loads and starts of this executor that were dropped have removed what was half
    /// made. A program that ends without it leaves that to the next one that opens the store.
    pub async fn finish_pulls(&self) {
        self.inner.pulls.closed().await;
    }

    /// What a pull holds while it is under way; see [`JobExecutor::finish_pulls`].
    pub(super) fn pull_under_way(&self) -> watch::Receiver<()> {
        self.inner.pulls.subscribe()
    }

    pub(super) fn observer(&self) -> Option<&Observer> {
        self.observer.as_ref()
    }

    /// Removes what pulls that were killed have left. Nothing depends on it, so a failure is left to
    /// the next one who opens the store.
    fn sweep_staging(&self) {
        let is_empty = |path: &Path| std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
        if is_empty(&self.inner.state.staging()) {
            return;
        }
        let swept =
            own_mappings().map_err(ExecError::from).and_then(|(mappings, _)| Ok(self.image_store(mappings).sweep()?));
        if let Err(error) = swept {
            tracing::warn!(%error, "unfinished pulls are left in the store");
        }
    }

    pub(super) fn settler(&self) -> Settler<'_> {
        Settler { state: &self.inner.state, record: &self.inner.record, binary: &self.inner.binary }
    }

    pub(super) fn execution_dir(&self, id: &JobExecutionId) -> ExecutionDir {
        self.inner.state.execution(id.as_str())
    }

    pub(super) fn state(&self) -> &StateDir {
        &self.inner.state
    }

    pub(super) fn record(&self) -> &Record {
        &self.inner.record
    }

    pub(super) fn binary(&self) -> &Path {
        &self.inner.binary
    }

    pub(super) fn image_config(&self) -> &ImageConfig {
        &self.inner.images
    }

    /// The automatic collection that is under way, if any.
    pub(super) fn collection(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        // A panic elsewhere leaves a handle or none, and either is right.
        self.inner.collection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts an execution of `job`. Returns when its record is durable and its supervisor may run
    /// it; what comes after is its result. `notice` is told what a user should see meanwhile.
    ///
    /// # Errors
    /// Before anything is recorded: limits that this host cannot enforce, a spec that does not fit
    /// it. Afterwards, with the execution recorded as failed: image, bundle, supervisor.
    pub async fn start(
        &self,
        job: &ServiceSpec,
        trigger: JobTrigger,
        stdio: Stdio,
        notice: &mut dyn FnMut(Notice),
    ) -> Result<Started, ExecError> {
        let host = Host::probe(job)?;
        let id = JobExecutionId::new();
        self.inner.record.insert(&NewExecution {
            id: id.0.clone(),
            job_name: job.name.clone(),
            deployment: job.deployment.clone(),
            trigger,
            image: job.image.name.clone(),
            spec: serde_json::to_value(job).unwrap_or_default(),
            labels: job.labels.clone(),
            owner: Some(ProcessIdentity::current().map_err(ExecError::io("read", "/proc/self/stat"))?),
            created_at: jiff::Timestamp::now(),
            notes: Vec::new(),
        })?;
        let mut pending = Pending { executor: self, id: Some(&id) };
        // The sync goes on while the container is made; nothing runs before it is done.
        let this = self.clone();
        let durable = tokio::task::spawn_blocking(move || this.inner.record.make_durable());
        let started = self.launch(&id, job, host, stdio, durable, notice).await;
        pending.id = None;
        if let Err(error) = &started
            && !matches!(error, ExecError::CancelledBeforeStart { .. })
        {
            self.settler().fail(id.as_str(), "start the job", chain(error))?;
        }
        started
    }

    async fn launch(
        &self,
        id: &JobExecutionId,
        job: &ServiceSpec,
        host: Host,
        stdio: Stdio,
        durable: tokio::task::JoinHandle<Result<(), crate::record::RecordError>>,
        notice: &mut dyn FnMut(Notice),
    ) -> Result<Started, ExecError> {
        let prepared = self.prepare(id, job, host, notice).await?;
        let (ours, theirs) = StdUnixStream::pair().map_err(ExecError::io("make a socket for", id.as_str()))?;
        let stdin = match stdio {
            Stdio::Attached { stdin: true } => Some(io::stdin()),
            Stdio::Attached { stdin: false } | Stdio::Detached => None,
        };
        control::send(ours.as_fd(), control::HELLO, stdin.as_ref().map(AsFd::as_fd))
            .map_err(ExecError::io("write to the supervisor of", id.as_str()))?;
        let supervisor = self.spawn(id, stdio, theirs.into())?;
        let gone = || ExecError::SupervisorGone { id: id.clone() };
        let pid = supervisor.id().and_then(|pid| i32::try_from(pid).ok()).ok_or_else(gone)?;
        let identity = ProcessIdentity::of(pid).map_err(ExecError::io("look at process", format!("/proc/{pid}")))?;
        if let Ok(synced) = durable.await {
            synced?;
        }
        let digest = prepared.manifest_digest.to_string();
        if !self.inner.record.activate(id.as_str(), &digest, &format!("{id}-{}", job.init_steps.len()), &identity)? {
            return Err(ExecError::CancelledBeforeStart { id: id.clone() });
        }
        // A supervisor that is gone by now is found out by whoever waits for it.
        let _ = control::send(ours.as_fd(), control::GO, None);
        if prepared.pulled {
            self.collect_in_background(BTreeSet::from([prepared.reference]));
        }
        let control = ours
            .set_nonblocking(true)
            .and_then(|()| UnixStream::from_std(ours))
            .map_err(ExecError::io("watch the supervisor of", id.as_str()))?;
        Ok(Started { id: id.clone(), executor: self.clone(), control, supervisor })
    }

    fn spawn(&self, id: &JobExecutionId, stdio: Stdio, control: OwnedFd) -> Result<tokio::process::Child, ExecError> {
        use std::process::Stdio as Stream;
        let stream = || match stdio {
            Stdio::Attached { .. } => Stream::inherit(),
            Stdio::Detached => Stream::null(),
        };
        let view = self.read_only_binary();
        let program = match &view {
            Some(view) => PathBuf::from(format!("/proc/self/fd/{}", view.as_raw_fd())),
            None => self.inner.binary.clone(),
        };
        Command::new(program)
            .arg0("coracle")
            .arg(role::SUPERVISE)
            .args([self.inner.state.root(), self.inner.state.runtime()])
            .arg(id.as_str())
            .env_clear()
            .stdin(control)
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .map_err(|source| ExecError::Spawn { binary: self.inner.binary.clone(), source })
    }

    /// The binary on a read-only mount, where this process may make one: supervisor and pid 1 then run
    /// from it. Where it may not, the launcher sees to that.
    fn read_only_binary(&self) -> Option<OwnedFd> {
        let is_own = self.inner.binary == Path::new(roles::OWN_BINARY);
        (is_own && nix::unistd::geteuid().is_root()).then(read_only_view)?.ok()
    }

    /// The execution whose id begins with `prefix`.
    ///
    /// # Errors
    /// None or several do.
    pub async fn resolve(&self, prefix: &str) -> Result<JobExecutionId, ExecError> {
        let mut ids = self.inner.record.find_prefix(prefix)?;
        match ids.len() {
            0 => Err(ExecError::NotFound { prefix: prefix.to_owned() }),
            1 => Ok(JobExecutionId(ids.remove(0))),
            _ => Err(ExecError::Ambiguous { prefix: prefix.to_owned(), ids }),
        }
    }

    fn row(&self, id: &JobExecutionId) -> Result<Execution, ExecError> {
        self.inner.record.get(id.as_str())?.ok_or_else(|| ExecError::NotFound { prefix: id.to_string() })
    }

    fn with_live_state(&self, row: Execution) -> JobExecution {
        // Between two supervisors' writes or after a crash there is none to show.
        let live = (row.status == Status::Active)
            .then(|| LiveState::read(&self.inner.state.execution(&row.id).state()).ok().flatten())
            .flatten();
        JobExecution::new(row, live)
    }

    /// One execution as it is now.
    ///
    /// # Errors
    /// [`ExecError::NotFound`], or the record cannot be read.
    pub async fn get(&self, id: &JobExecutionId) -> Result<JobExecution, ExecError> {
        Ok(self.with_live_state(self.row(id)?))
    }

    /// Executions, newest first.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn list(&self, query: &ListQuery) -> Result<Vec<JobExecution>, ExecError> {
        let recorded = Query {
            job: query.job.clone(),
            statuses: query.statuses.iter().map(|status| status.recorded()).collect(),
            only_active: !query.all && query.statuses.is_empty(),
            // The record does not know the two live stages apart, so their limit is applied below.
            limit: query.limit.filter(|_| query.statuses.is_empty()),
        };
        let rows = self.inner.record.list(&recorded)?;
        let mut found: Vec<JobExecution> = rows.into_iter().map(|row| self.with_live_state(row)).collect();
        if !query.statuses.is_empty() {
            found.retain(|execution| query.statuses.contains(&execution.status.filter()));
            found.truncate(query.limit.unwrap_or(usize::MAX));
        }
        Ok(found)
    }

    /// True while the execution is not terminal.
    ///
    /// # Errors
    /// As [`JobExecutor::get`].
    pub async fn is_live(&self, id: &JobExecutionId) -> Result<bool, ExecError> {
        Ok(!self.row(id)?.status.is_terminal())
    }

    /// Waits, in any process, until the execution is terminal.
    ///
    /// # Errors
    /// As [`JobExecutor::get`].
    pub async fn wait(&self, id: &JobExecutionId) -> Result<JobExecution, ExecError> {
        loop {
            let row = self.row(id)?;
            if row.status.is_terminal() || self.settler().reconcile_one(&row)? {
                return self.get(id).await;
            }
            let supervisor = row.owner.as_ref().filter(|_| row.status == Status::Active);
            match supervisor.map(ProcessIdentity::open) {
                Some(Ok(Some(pidfd))) => wait_for_end(pidfd).await.map_err(ExecError::io("wait for", id.as_str()))?,
                _ => tokio::time::sleep(PENDING_POLL).await,
            }
        }
    }

    /// Cancels an execution: one that has not started never will; a running one gets its stop signal
    /// and, after `grace` (`None`: its own), SIGKILL. Returns when that is under way; see [`JobExecutor::wait`].
    ///
    /// # Errors
    /// [`ExecError::Ended`] when it is terminal already.
    pub async fn cancel(&self, id: &JobExecutionId, grace: Option<Duration>) -> Result<(), ExecError> {
        let ended = |status: String| ExecError::Ended { id: id.clone(), status };
        for _ in 0..STATE_POLLS {
            let row = self.row(id)?;
            if row.status.is_terminal() {
                return Err(ended(self.with_live_state(row).status.to_string()));
            }
            if self.inner.record.cancel_pending(id.as_str(), jiff::Timestamp::now())? {
                return Ok(());
            }
            let directory = self.execution_dir(id);
            let told =
                cancel::request(&directory, grace).map_err(ExecError::io("cancel the job of", directory.path()))?;
            if told {
                return Ok(());
            }
            if self.settler().reconcile_one(&self.row(id)?)? {
                return Err(ended(self.get(id).await?.status.to_string()));
            }
            // Its supervisor has been spawned this moment and has not written its state yet.
            tokio::time::sleep(STATE_POLL).await;
        }
        Err(ExecError::Unreachable { id: id.clone() })
    }

    /// Forgets a terminal execution with its log.
    ///
    /// # Errors
    /// [`ExecError::NotEnded`] for a live one.
    pub async fn remove(&self, id: &JobExecutionId) -> Result<(), ExecError> {
        let row = self.row(id)?;
        if !row.status.is_terminal() {
            let status = self.with_live_state(row).status.to_string();
            return Err(ExecError::NotEnded { id: id.clone(), status });
        }
        let directory = self.execution_dir(id);
        // First the files: a crash in between leaves a record that can be removed again.
        tree::remove(directory.path()).map_err(ExecError::io("remove", directory.path()))?;
        Ok(self.inner.record.remove(id.as_str())?)
    }

    /// The log, for reading now or following.
    ///
    /// # Errors
    /// [`ExecError::NoLog`] when none has been begun; a log that cannot be read.
    pub async fn log_reader(&self, id: &JobExecutionId) -> Result<log::Reader, ExecError> {
        self.row(id)?;
        let path = self.execution_dir(id).log(1);
        if !path.exists() {
            return Err(ExecError::NoLog { id: id.clone() });
        }
        Ok(log::Reader::open(&path)?)
    }
}

impl fmt::Debug for JobExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobExecutor").field("root", &self.inner.state.root()).finish_non_exhaustive()
    }
}

/// A start that is under way. Dropped before it is over, as by a `select!` that hears Ctrl-C, it
/// leaves a cancelled execution and nothing else.
struct Pending<'a> {
    executor: &'a JobExecutor,
    id: Option<&'a JobExecutionId>,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id
            && let Err(error) = self.executor.settler().abandon(id.as_str())
        {
            // Whoever next opens the store finds its owner gone and settles it.
            tracing::warn!(%error, %id, "an abandoned start is left to be settled");
        }
    }
}

async fn wait_for_end(pidfd: OwnedFd) -> io::Result<()> {
    // A pidfd becomes readable when its process ends (pidfd_open(2)).
    readable::watch(pidfd)?.readable().await.map(drop)
}

/// The error and its causes in one line, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}
