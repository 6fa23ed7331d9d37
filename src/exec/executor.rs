//! The executor: what it holds, and how it begins and ends.

use super::changes::Changes;
use super::clock::Clock;
use super::error::ExecError;
use super::model::{JobExecution, JobExecutionId, NoticeSink};
use super::notify::SENDERS;
use super::waiters::Waiters;
use crate::engine::{OciRuntime, Runtime, Stdio};
use crate::record::Record;
use crate::state_dir::StateDir;
use crate::sys::process::ProcessIdentity;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// How an executor works.
///
/// ```
/// use coracle::JobExecutorConfig;
///
/// let config = JobExecutorConfig { max_concurrent: 4, ..JobExecutorConfig::default() };
/// # assert_eq!(config.max_log_size, 1 << 20);
/// ```
#[derive(Debug, Clone)]
pub struct JobExecutorConfig {
    /// Executions of all jobs at once, in all processes of the root, as far as this executor triggers them; 0:
    /// any number. Further ones wait.
    pub max_concurrent: usize,
    /// How long ended executions are remembered when their job does not say; [`Duration::MAX`]: for ever.
    pub retention: Duration,
    /// How many ended executions of the whole root are remembered; `None`: any number.
    pub keep_last: Option<u32>,
    /// Bytes of [`JobExecution::logs`](super::JobExecution::logs).
    pub max_log_size: u64,
    /// Where the record is; `None`: with the runtime's containers, or in memory when those are there.
    pub root: Option<PathBuf>,
    /// Tells the wall-clock time.
    pub clock: Clock,
    /// Who starts what waits in the queue.
    pub queue: QueueCare,
}

/// Who starts executions that wait, when their turn or their time has come.
#[derive(Clone, Default)]
pub enum QueueCare {
    /// This executor, as long as it lives.
    #[default]
    Here,
    /// A process that this call leaves behind, for programs that end soon. This executor starts only what it
    /// has triggered itself. See [`OciRuntime::spawn_settler`](crate::engine::OciRuntime::spawn_settler).
    Elsewhere(Arc<dyn Fn() + Send + Sync>),
}

impl fmt::Debug for QueueCare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            QueueCare::Here => "Here",
            QueueCare::Elsewhere(_) => "Elsewhere",
        })
    }
}

/// Ten at once, remembered for an hour, with the last MiB of output.
impl Default for JobExecutorConfig {
    fn default() -> JobExecutorConfig {
        JobExecutorConfig {
            max_concurrent: 10,
            retention: Duration::from_secs(60 * 60),
            keep_last: None,
            max_log_size: 1 << 20,
            root: None,
            clock: Clock::default(),
            queue: QueueCare::Here,
        }
    }
}

/// The executor on one state root. Clones share it.
#[derive(Clone)]
pub struct JobExecutor {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub runtime: Arc<dyn Runtime>,
    pub record: Arc<Record>,
    pub config: JobExecutorConfig,
    pub changes: Changes,
    /// This process.
    pub me: ProcessIdentity,
    /// Set by [`JobExecutor::shutdown`].
    pub is_shutting_down: AtomicBool,
    /// Every attempt that is being prepared holds a receiver.
    pub preparing: watch::Sender<()>,
    /// One permit for each notification that is being delivered.
    pub senders: Arc<Semaphore>,
    /// Those who wait for ends.
    pub waiters: Arc<Waiters>,
    /// Ended executions that could not be removed: not tried again by themselves. Held by the one task that forgets.
    pub stuck: tokio::sync::Mutex<BTreeSet<String>>,
    /// Those that this executor has forgotten by itself a moment ago, for who begins to wait only now.
    pub forgotten: Mutex<VecDeque<JobExecution>>,
    /// Executions that this process alone may start, and how.
    attended: Mutex<HashMap<String, Attended>>,
    /// Attempts that tasks of this executor see to.
    driven: Mutex<HashSet<(JobExecutionId, u32)>>,
    triggered: Mutex<Triggered>,
}

/// What this executor has triggered, ended ones among them.
#[derive(Debug)]
struct Triggered {
    ids: HashSet<JobExecutionId>,
    /// When there are more, those that have ended are forgotten.
    most: usize,
}

/// Remembered at least, before the record is asked which of them have ended.
const MOST_TRIGGERED: usize = 1024;

/// What a trigger of this process said that is not recorded.
#[derive(Clone, Default)]
pub(super) struct Attended {
    pub stdio: Stdio,
    pub notices: Option<NoticeSink>,
}

impl JobExecutor {
    /// An executor on the runtime's root, with the default configuration.
    ///
    /// # Errors
    /// As [`JobExecutor::with_config`].
    pub async fn new(runtime: Arc<dyn Runtime>) -> Result<JobExecutor, ExecError> {
        JobExecutor::with_config(runtime, JobExecutorConfig::default()).await
    }

    /// Opens the record, takes over what dead processes have left, and starts what may run. Must be called in a
    /// tokio runtime with time and I/O; of its tasks none is left when the last clone is dropped, but for those
    /// that see running executions to their ends and start what waits for these.
    ///
    /// # Errors
    /// When the root or its record cannot be used.
    pub async fn with_config(runtime: Arc<dyn Runtime>, config: JobExecutorConfig) -> Result<JobExecutor, ExecError> {
        let executor = JobExecutor::open(runtime, config)?;
        executor.reconcile().await?;
        executor.kick()?;
        if matches!(executor.inner.config.queue, QueueCare::Here) {
            executor.attend_queue();
        }
        Ok(executor)
    }

    /// An executor that has looked at nothing yet.
    pub(super) fn open(runtime: Arc<dyn Runtime>, config: JobExecutorConfig) -> Result<JobExecutor, ExecError> {
        let root = root(&*runtime, &config)?;
        let database = root.as_deref().map(StateDir::database_in);
        let record = match &database {
            Some(database) => Record::shared(database)?,
            None => Arc::new(Record::open_in_memory()?),
        };
        let waiters = Waiters::new(root.as_deref().map(StateDir::waiters_lock_in));
        let inner = Inner {
            runtime,
            record,
            config,
            changes: Changes::new(database),
            me: ProcessIdentity::current().map_err(ExecError::io("read", "/proc/self/stat"))?,
            is_shutting_down: AtomicBool::new(false),
            preparing: watch::Sender::new(()),
            senders: Arc::new(Semaphore::new(SENDERS as usize)),
            waiters: Arc::new(waiters),
            stuck: tokio::sync::Mutex::default(),
            forgotten: Mutex::default(),
            attended: Mutex::default(),
            driven: Mutex::default(),
            triggered: Mutex::new(Triggered { ids: HashSet::new(), most: MOST_TRIGGERED }),
        };
        Ok(JobExecutor { inner: Arc::new(inner) })
    }

    /// An executor for what a supervisor leaves to do: on a root that is open, with no limits of its own.
    pub(crate) fn for_settler(runtime: OciRuntime) -> Result<JobExecutor, ExecError> {
        let config = JobExecutorConfig { max_concurrent: 0, retention: Duration::MAX, ..JobExecutorConfig::default() };
        JobExecutor::open(Arc::new(runtime), config)
    }

    /// Takes no triggers from now on. What runs or waits is not touched.
    pub fn shutdown(&self) {
        self.inner.is_shutting_down.store(true, Ordering::Relaxed);
    }

    pub fn is_shutting_down(&self) -> bool {
        self.inner.is_shutting_down.load(Ordering::Relaxed)
    }

    /// Shuts down, and waits until every execution has ended that this executor has triggered, or drives for
    /// another one. Others of the root are not waited for, even if they are ahead in the queue of these.
    ///
    /// # Errors
    /// [`ExecError::NotDrained`] with those that have not when `timeout` is over; they go on.
    pub async fn drain(&self, timeout: Duration) -> Result<(), ExecError> {
        self.shutdown();
        let all = async {
            for id in self.own_executions()? {
                match self.wait(&id).await {
                    // One that was to be forgotten at its end.
                    Ok(_) | Err(ExecError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        match tokio::time::timeout(timeout, all).await {
            Ok(result) => result,
            Err(_) => Err(ExecError::NotDrained { limit: timeout, ids: self.own_executions()? }),
        }
    }

    /// Those that this executor has triggered or drives and that have not ended.
    ///
    /// # Errors
    /// When the record cannot be read.
    fn own_executions(&self) -> Result<Vec<JobExecutionId>, ExecError> {
        let live = self.inner.record.non_terminal()?.into_iter().map(|row| JobExecutionId(row.id));
        let driven: HashSet<JobExecutionId> = self.driven().iter().map(|(id, _)| id.clone()).collect();
        let triggered = self.triggered();
        Ok(live.filter(|id| triggered.ids.contains(id) || driven.contains(id)).collect())
    }

    /// Remembers for [`JobExecutor::drain`] what was triggered. Ended ones are forgotten now and then.
    pub(super) fn remember_triggered(&self, id: &JobExecutionId) {
        let mut triggered = self.triggered();
        triggered.ids.insert(id.clone());
        // While the record cannot be read, they stay.
        if triggered.ids.len() > triggered.most
            && let Ok(live) = self.inner.record.non_terminal()
        {
            let live: HashSet<String> = live.into_iter().map(|row| row.id).collect();
            triggered.ids.retain(|id| live.contains(id.as_str()));
            triggered.most = MOST_TRIGGERED.max(2 * triggered.ids.len());
        }
    }

    fn triggered(&self) -> MutexGuard<'_, Triggered> {
        // A panic elsewhere leaves a whole set.
        self.inner.triggered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a program that ends: waits until each execution that it has claimed is with its supervisor, and leaves
    /// what waits for its time to [`QueueCare::Elsewhere`]. Without it, that is done when the store is next opened.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn leave(&self) -> Result<(), ExecError> {
        self.inner.preparing.closed().await;
        self.let_go().await;
        self.hand_over()
    }

    pub(super) fn record(&self) -> &Record {
        &self.inner.record
    }

    pub(super) fn runtime(&self) -> &dyn Runtime {
        &*self.inner.runtime
    }

    pub(super) fn now(&self) -> jiff::Timestamp {
        self.inner.config.clock.now()
    }

    pub(super) fn attended(&self) -> MutexGuard<'_, HashMap<String, Attended>> {
        // A panic elsewhere leaves a whole map: each use of it is one call.
        self.inner.attended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn driven(&self) -> MutexGuard<'_, HashSet<(JobExecutionId, u32)>> {
        // As above.
        self.inner.driven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the record is to be; `None`: in memory.
fn root(runtime: &dyn Runtime, config: &JobExecutorConfig) -> Result<Option<PathBuf>, ExecError> {
    match (&config.root, runtime.root()) {
        (Some(executor), Some(theirs)) if !is_same(executor, theirs) => {
            Err(ExecError::RootsDiffer { executor: executor.clone(), runtime: theirs.to_owned() })
        }
        (_, Some(theirs)) => Ok(Some(theirs.to_owned())),
        (Some(executor), None) => {
            let state = StateDir::open(Some(executor)).map_err(crate::engine::RuntimeError::from)?;
            Ok(Some(state.root().to_owned()))
        }
        (None, None) => Ok(None),
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    // One that is not there is no other's.
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

impl fmt::Debug for JobExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobExecutor").field("runtime", &self.inner.runtime).finish_non_exhaustive()
    }
}
