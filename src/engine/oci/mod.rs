//! Containers on this host: pulled, unpacked and run by this crate through libcontainer, each under a
//! supervisor of its own.

mod collect;
mod containers;
mod images;
mod log;
mod prepare;
mod references;
mod runtime;
mod settings;
mod sweep;

pub use images::{ImageDetails, ImageSummary, LayerDetails, LoadInput, PullOptions, PulledImage};

use super::RuntimeError;
use crate::id::ContainerId;
use crate::image::{GcPolicy, Observer};
use crate::record::Record;
use crate::state_dir::{ContainerDir, StateDir};
use crate::sys::file;
use containers::Container;
use prepare::own_mappings;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The running binary, also after its file was replaced by an upgrade.
pub(crate) const OWN_BINARY: &str = "/proc/self/exe";

/// Whether this program has called [`init`](crate::init), so that it may start itself as a supervisor.
static INITIALISED: AtomicBool = AtomicBool::new(false);

/// Says that this program's `main` looks for the hidden roles.
pub(crate) fn set_initialised() {
    INITIALISED.store(true, Ordering::Relaxed);
}

/// Where and with what to work.
#[derive(Debug, Clone, Default)]
pub struct OciRuntimeConfig {
    /// State root; `None`: the user's default (see [`StateDir::open`]).
    pub root: Option<PathBuf>,
    /// A coracle binary; `None`: this program, which then has to call [`init`](crate::init).
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

/// The libcontainer runtime on one state root. Clones share it.
#[derive(Clone)]
pub struct OciRuntime {
    inner: Arc<Inner>,
    observer: Option<Observer>,
}

#[derive(Debug)]
struct Inner {
    state: StateDir,
    record: Arc<Record>,
    binary: PathBuf,
    /// Every pull under way holds a receiver.
    pulls: watch::Sender<()>,
    images: ImageConfig,
    /// The automatic collection that is under way.
    collection: Mutex<Option<JoinHandle<()>>>,
    /// Settlers that this process has left behind and not seen to end.
    settlers: Mutex<Vec<std::process::Child>>,
    /// Those that this process has created and that are not removed.
    containers: Mutex<HashMap<ContainerId, Arc<Container>>>,
}

impl OciRuntime {
    /// On the user's default root, with this program's own binary.
    ///
    /// # Errors
    /// As [`OciRuntime::open`].
    pub fn new() -> Result<OciRuntime, RuntimeError> {
        OciRuntime::open(OciRuntimeConfig::default())
    }

    /// Opens the state root, making it if there is none.
    ///
    /// # Errors
    /// When the root or its record cannot be used, or this program lacks the call of [`init`](crate::init).
    pub fn open(config: OciRuntimeConfig) -> Result<OciRuntime, RuntimeError> {
        let binary = match config.binary {
            Some(binary) => binary,
            None if INITIALISED.load(Ordering::Relaxed) => PathBuf::from(OWN_BINARY),
            None => return Err(RuntimeError::NotInitialised),
        };
        let state = StateDir::open(config.root.as_deref())?;
        let runtime = OciRuntime::on(state, binary, config.images)?;
        runtime.sweep_staging();
        runtime.sweep_containers();
        for directory in [runtime.inner.state.root(), &runtime.inner.state.cache()] {
            file::sweep(directory);
        }
        Ok(runtime)
    }

    /// On a root that is open.
    ///
    /// # Errors
    /// When the record cannot be used.
    pub(crate) fn on(state: StateDir, binary: PathBuf, images: ImageConfig) -> Result<OciRuntime, RuntimeError> {
        let record = Record::shared(&state.database())?;
        let inner = Inner {
            state,
            record,
            binary,
            pulls: watch::Sender::new(()),
            images,
            collection: Mutex::default(),
            settlers: Mutex::default(),
            containers: Mutex::default(),
        };
        Ok(OciRuntime { inner: Arc::new(inner), observer: None })
    }

    /// The same runtime, whose pulls, loads and starts tell `observer` how they get on.
    #[must_use]
    pub fn with_observer(mut self, observer: Observer) -> OciRuntime {
        self.observer = Some(observer);
        self
    }

    /// Waits until pulls, loads and starts of this runtime that were dropped have removed what was half
    /// made. A program that ends without it leaves that to the next one that opens the store.
    pub async fn finish_pulls(&self) {
        self.inner.pulls.closed().await;
    }

    /// What a pull holds while it is under way; see [`OciRuntime::finish_pulls`].
    fn pull_under_way(&self) -> watch::Receiver<()> {
        self.inner.pulls.subscribe()
    }

    fn observer(&self) -> Option<&Observer> {
        self.observer.as_ref()
    }

    /// Removes what pulls that were killed have left. Nothing depends on it, so a failure is left to
    /// the next one who opens the store.
    fn sweep_staging(&self) {
        let is_empty = |path: &Path| std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
        if is_empty(&self.inner.state.staging()) {
            return;
        }
        let swept = own_mappings()
            .map_err(RuntimeError::from)
            .and_then(|(mappings, _)| Ok(self.image_store(mappings).sweep()?));
        if let Err(error) = swept {
            tracing::warn!(%error, "unfinished pulls are left in the store");
        }
    }

    fn directory(&self, container: &ContainerId) -> ContainerDir {
        self.inner.state.container(container)
    }

    fn state_dir(&self) -> &StateDir {
        &self.inner.state
    }

    fn record(&self) -> &Record {
        &self.inner.record
    }

    fn binary(&self) -> &Path {
        &self.inner.binary
    }

    fn image_config(&self) -> &ImageConfig {
        &self.inner.images
    }

    /// The automatic collection that is under way, if any.
    fn collection(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        // A panic elsewhere leaves a handle or none, and either is right.
        self.inner.collection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn containers(&self) -> MutexGuard<'_, HashMap<ContainerId, Arc<Container>>> {
        // A panic elsewhere leaves a whole map: each use of it is one call.
        self.inner.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for OciRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OciRuntime").field("root", &self.inner.state.root()).finish_non_exhaustive()
    }
}
