//! Containers for attempts of executions: the trait [`Runtime`], and what implements it.
//!
//! [`OciRuntime`] runs them on this host through libcontainer. The trait is the seam for other places; it
//! speaks of jobs, images by name and outcomes, and of nothing of libcontainer's. With the feature `testing`,
//! [`mock`] is one of those places: memory.

mod absent;
mod error;
#[cfg(feature = "testing")]
pub mod mock;
mod model;
mod oci;

pub(crate) use absent::AbsentRuntime;
pub use error::RuntimeError;
// What the functions of `OciRuntime` speak of.
pub use crate::image::{
    Digest, DropReason, DroppedReference, GcPolicy, GcReport, KeepReason, KeptReference, LayerProgress, Observer,
    Platform, PlatformError, PullEvent, Removed, RemovedKind,
};
pub use model::{
    Activity, ContainerState, CreateRequest, Created, Image, LogEntry, LogEvent, LogQuery, LogStream, Removal, Stdio,
    StepProgress,
};
pub use oci::{
    ImageConfig, ImageDetails, ImageSummary, LayerDetails, LoadInput, OciRuntime, OciRuntimeConfig, PullOptions,
    PulledImage,
};
pub(crate) use oci::{OWN_BINARY, set_initialised};

use crate::id::ContainerId;
use crate::outcome::Outcome;
use crate::spec::ImageSpec;
use async_trait::async_trait;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// Makes, runs and removes containers, one for each attempt of an execution.
///
/// The order of calls is `pull`, `create`, `start`, `wait`, `remove`; a container whose `create` has begun may be
/// stopped, looked at and removed at any time, by any process that works on the same root. Every call may be
/// dropped half-way, as by a timeout; `remove` then takes away what there is. What the executor has not recorded
/// as active is never started.
///
/// Calls for one container do not overlap, but for `wait`, `stop`, `logs` and `state`; those for different
/// containers do. An error of one container says nothing about others.
#[async_trait]
pub trait Runtime: Send + Sync + fmt::Debug {
    /// The directory that it keeps containers in; the executor's record is in the same. `None`: it keeps nothing
    /// that outlives this process.
    fn root(&self) -> Option<&Path>;

    /// What in this process, beside a job's spec, decides which images its containers may be made from and how
    /// they are got. It is recorded with the executions that are triggered here, and whoever prepares one is given
    /// it. No secrets; `None`: nothing.
    fn settings(&self) -> Option<serde_json::Value> {
        None
    }

    /// Makes sure that the image is here as its policy says. While the value lives nothing removes the image.
    /// `settings` are those of the process that asks for it; `None`: this one's.
    ///
    /// # Errors
    /// A name that is none, a registry that does not answer, a full disk, …
    async fn pull(&self, image: &ImageSpec, settings: Option<&serde_json::Value>) -> Result<Image, RuntimeError>;

    /// Prepares the container of an attempt, so that [`Runtime::start`] has little left to do. Nothing of the job
    /// runs yet.
    ///
    /// # Errors
    /// A job that does not fit the host or the image, …; what was half made is for [`Runtime::remove`].
    async fn create(&self, request: CreateRequest<'_>) -> Result<Created, RuntimeError>;

    /// Lets a created container run: init steps, then the main process. That one of them fails is no error, it
    /// is the outcome. Only by the process that created it, once.
    ///
    /// # Errors
    /// The container is gone.
    async fn start(&self, container: &ContainerId) -> Result<(), RuntimeError>;

    /// Waits until everything in a container has ended. One that is lost has an outcome, too. May be called any
    /// number of times until the outcome is removed.
    ///
    /// # Errors
    /// When that cannot be found out.
    async fn wait(&self, container: &ContainerId) -> Result<Outcome, RuntimeError>;

    /// Sends the stop signal, and SIGKILL after `grace`; `None`: that of earlier calls, else the job's own. Returns
    /// when that is under way. A further call can only shorten the time. True when there was something to stop.
    ///
    /// # Errors
    /// When it cannot be told.
    async fn stop(&self, container: &ContainerId, grace: Option<Duration>) -> Result<bool, RuntimeError>;

    /// What the container's processes wrote, oldest first, as far as it is kept.
    ///
    /// # Errors
    /// [`RuntimeError::NoLog`] when none has been begun; a log that cannot be read.
    async fn logs(&self, container: &ContainerId, query: LogQuery) -> Result<LogStream, RuntimeError>;

    /// Removes what is left of a container that does not run. Idempotent; also for one that was never made.
    ///
    /// # Errors
    /// What could not be removed; everything else is.
    async fn remove(&self, container: &ContainerId, extent: Removal) -> Result<(), RuntimeError>;

    /// How the container is.
    ///
    /// # Errors
    /// When that cannot be found out.
    async fn state(&self, container: &ContainerId) -> Result<ContainerState, RuntimeError>;
}
