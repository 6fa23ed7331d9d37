//! Why a job does not fit its image or the host.

use std::path::PathBuf;

/// Found before anything is started; names the field of the job.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("no command: job {job} has none and neither has the image {image}; set command.args or command.entrypoint")]
    NoCommand { job: String, image: String },
    #[error("the image {image} names the working directory {path:?}, which is not absolute; set command.workdir")]
    BadWorkdir { image: String, path: String },
    #[error("the image {image} names the stop signal {signal:?}, which does not exist; set stop_signal")]
    BadStopSignal { image: String, signal: String },
    #[error("capabilities: {capability} is not among those that this process may hand on")]
    CapabilityMissing { capability: String },
    #[error(
        "capabilities: CAP_MKNOD would let the job open any device of the host: device access is not limited by this version; list what it needs under devices"
    )]
    Mknod,
    #[error(
        "ulimits.{name}: the hard limit {hard} is above the host's {host}, which this process may not raise; \
         lower it, or raise the limit of the calling shell"
    )]
    UlimitTooHigh { name: String, hard: u64, host: u64 },
    #[error(
        "resources.oom_score_adj: {value} is below the {current} of this process, and lowering takes CAP_SYS_RESOURCE"
    )]
    OomScoreTooLow { value: i32, current: i32 },
    #[error("devices: {} is no device node of this host", path.display())]
    NoDevice { path: PathBuf },
    #[error("devices: {} is asked for with {access}, but only rw can be given", path.display())]
    DeviceAccess { path: PathBuf, access: String },
    #[error(
        "{field}: {uid} has no id on the host, where only ids below {limit} are mapped for this user; \
         give it more subordinate ids (subuid(5)) or use another user"
    )]
    UserNotMapped { field: String, uid: u32, limit: u32 },
    #[error(
        "extra_groups: a user without subordinate group ids (subgid(5)) cannot be in further groups; \
         remove them, or give it such ids"
    )]
    GroupsForbidden,
    #[error("storage: {} does not exist on this host", path.display())]
    NoSource { path: PathBuf },
    #[error("failed to {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("init step {step:?}: its image {image} has not been fetched")]
    NoStepImage { step: String, image: String },
    #[error("failed to write down what an init step is to do")]
    Request(#[source] serde_json::Error),
    #[error("failed to build the runtime spec")]
    Spec(#[source] serde_json::Error),
}
