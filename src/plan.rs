//! The plan of one attempt: everything a supervisor needs to know, as data.
//!
//! A front makes it (from the job, the image and the host), writes it to `plan.json` in the
//! execution's directory, and starts a supervisor there. The supervisor and the launchers read it
//! and carry it out; they decide nothing that stands in here. It holds no secret that the job
//! itself or one of its steps does not need, and no live handle; only its owner can read it, and it is
//! removed at the end.

pub use crate::spec::{Backoff, InitFailure, OnStepFailure};

use oci_spec::runtime::{LinuxCapabilities, Spec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Version of the document; a supervisor refuses any other.
pub const PLAN_VERSION: u32 = 2;

/// What to run, on which root file system, within which bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub version: u32,
    pub container_id: String,
    /// Which attempt of the execution this is, from 1.
    pub attempt: u32,
    pub job_name: String,
    /// `None`: the supervisor is root and the job's ids are the host's.
    pub rootless: Option<IdMappings>,
    pub rootfs: Overlay,
    /// Root file systems of steps that run on another image than the job's, by the index of the step. Each is
    /// made anew for each try of its step, and goes with it.
    pub step_roots: BTreeMap<usize, Overlay>,
    /// Mounted once for all processes of the job, so that what an init step writes there is seen by those after
    /// it. Empty for a job whose main process is the only one: its runtime spec has its own.
    pub shared_tmpfs: Vec<SharedTmpfs>,
    /// A network namespace with nothing but `lo`, shared by all processes of the job (the runtime
    /// specs ask for none); `false`: the host's network.
    pub private_network: bool,
    /// `net.*` settings of that namespace, sysctl(8); empty for the host's network.
    pub network_sysctls: BTreeMap<String, String>,
    /// Run one after the other before the main process.
    pub steps: Vec<StepPlan>,
    /// What happens when the sequence of steps has failed.
    pub on_init_failure: InitFailure,
    pub main: ProcessPlan,
    pub limits: Limits,
    /// From the supervisor's start until the stop signal is sent: what earlier attempts have left of it.
    pub deadline: Option<Duration>,
    /// Sent first when the job is to stop.
    pub stop_signal: i32,
    /// From the stop signal to SIGKILL.
    pub stop_grace_period: Duration,
    /// Bytes of log data kept, without the header page.
    pub max_log_size: u64,
}

/// How container ids map to the ids of the host, for user_namespaces(7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdMappings {
    pub uids: Vec<IdMap>,
    pub gids: Vec<IdMap>,
}

/// One line of `/proc/PID/uid_map`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdMap {
    /// First id inside the container.
    pub container: u32,
    /// First id on the host.
    pub host: u32,
    /// Number of consecutive ids.
    pub count: u32,
}

impl IdMappings {
    /// True when only the caller's own ids are mapped, which the kernel allows without newuidmap(1).
    pub fn is_single(&self) -> bool {
        let single = |maps: &[IdMap]| maps.len() == 1 && maps[0].count == 1;
        single(&self.uids) && single(&self.gids)
    }

    /// True when the container id `uid` is mapped.
    pub fn has_uid(&self, uid: u32) -> bool {
        self.uids.iter().any(|map| map.has(uid))
    }

    /// True when the container id `gid` is mapped.
    pub fn has_gid(&self, gid: u32) -> bool {
        self.gids.iter().any(|map| map.has(gid))
    }
}

impl IdMap {
    fn has(&self, id: u32) -> bool {
        id >= self.container && u64::from(id) < u64::from(self.container) + u64::from(self.count)
    }
}

/// The overlay mount of the job's root file system. Paths are absolute on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// Image layers, lowest (base) first. May be empty: an empty image.
    pub layers: Vec<PathBuf>,
    pub upper: PathBuf,
    pub work: PathBuf,
    /// Where it is mounted in the private mount namespace; `root.path` of every runtime spec.
    pub mountpoint: PathBuf,
    /// Directories on the host that take over the image's content at a path of the container the
    /// first time they are used, as Docker's volumes do.
    pub volumes: Vec<Volume>,
}

/// A named or anonymous volume. It is mounted by the runtime spec; this is only its first filling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Directory on the host; exists.
    pub source: PathBuf,
    /// Absolute path in the container.
    pub target: String,
}

/// A tmpfs(5) of the job; the runtime specs bind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedTmpfs {
    /// Where it is mounted in the private mount namespace; absolute on the host, made by whoever mounts it.
    pub mountpoint: PathBuf,
    /// In bytes; `None`: the kernel's default, half of the memory.
    pub size: Option<u64>,
    /// Permission bits of its root.
    pub mode: u32,
    /// Whether programs in it can be executed.
    pub exec: bool,
}

impl Plan {
    /// The process with this index: that of a step, or the main process behind them.
    pub fn process(&self, index: usize) -> Option<&ProcessPlan> {
        match self.steps.get(index) {
            Some(step) => step.action.process(),
            None => (index == self.steps.len()).then_some(&self.main),
        }
    }

    /// The root file system of that process.
    pub fn root_of(&self, index: usize) -> &Overlay {
        self.step_roots.get(&index).unwrap_or(&self.rootfs)
    }
}

/// One init step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepPlan {
    /// Unique in the job.
    pub id: String,
    pub action: StepAction,
    /// For one try.
    pub timeout: Duration,
    /// Tries after the first.
    pub retries: u32,
    /// Waits between tries.
    pub backoff: Backoff,
    pub on_failure: OnStepFailure,
}

/// What a step does. A `request` is for the step role: one line of JSON, [`crate::step::StepRequest`]; it
/// may hold secrets.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StepAction {
    /// A process of the job.
    Run(Box<ProcessPlan>),
    /// A step role in the job's network.
    Check { request: String },
    /// A step role in the host's network that moves an object, and a process of the job that moves the file:
    /// its program is not [`Program::Command`].
    Transfer { request: String, process: Box<ProcessPlan> },
    /// Nothing: what it needs cannot be had, and its policy lets the job go on without it.
    Impossible { reason: String },
}

impl StepAction {
    /// Its process in a container.
    pub fn process(&self) -> Option<&ProcessPlan> {
        match self {
            StepAction::Run(process) | StepAction::Transfer { process, .. } => Some(process),
            StepAction::Check { .. } | StepAction::Impossible { .. } => None,
        }
    }
}

/// Without requests.
impl std::fmt::Debug for StepAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StepAction::Run(process) => f.debug_tuple("Run").field(process).finish(),
            StepAction::Impossible { reason } => f.debug_struct("Impossible").field("reason", reason).finish(),
            StepAction::Check { .. } => f.debug_struct("Check").finish_non_exhaustive(),
            StepAction::Transfer { process, .. } => {
                f.debug_struct("Transfer").field("process", process).finish_non_exhaustive()
            }
        }
    }
}

/// One process of the job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessPlan {
    pub program: Program,
    /// The runtime spec. Its `process.user` is not yet final: see `user`.
    pub spec: Box<Spec>,
    /// Looked up in the job's own root file system right before the start, so that an init step
    /// may create it.
    pub user: UserRequest,
    /// Capabilities when the user turns out not to be root; root has those in `spec`.
    pub user_capabilities: Option<LinuxCapabilities>,
    /// Run our own pid 1 and the process under it; `false`: the process is pid 1 itself.
    pub init: bool,
    /// Compiled seccomp filter (array of `struct sock_filter`); `None` only for
    /// `security_opt: [seccomp=unconfined]`.
    pub seccomp_filter: Option<PathBuf>,
}

/// What a process executes. Paths are absolute in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Program {
    /// `process.args` of the runtime spec.
    Command,
    /// Nothing: our own code writes its standard input to this file, which appears complete or not at all.
    Receive { path: String },
    /// Nothing: our own code writes this file to its standard output.
    Send { path: String },
}

/// A user as `docker run --user` reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRequest {
    /// `""` (root), `name`, `uid`, `name:group`, `uid:gid`, …
    pub user: String,
    /// Names or numbers of further groups.
    pub extra_groups: Vec<String>,
}

/// Limits enforced through cgroups. `None`: no limit of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Hard memory limit in bytes.
    pub memory: Option<u64>,
    /// Memory plus swap in bytes, at least `memory`; `Some(u64::MAX)` means unlimited swap.
    pub memory_swap: Option<u64>,
    /// Soft memory limit in bytes.
    pub memory_reservation: Option<u64>,
    /// CPU time in thousandths of one CPU.
    pub cpu_millis: Option<u64>,
    /// Relative weight in the v1 scale, 2..=262144.
    pub cpu_shares: Option<u64>,
    /// List format of cpuset(7), for example `0-1,3`.
    pub cpuset: Option<String>,
    /// Number of processes and threads.
    pub pids: Option<u64>,
    /// Whether `pids` is our default, which a host without the means may leave out, and not asked for.
    pub pids_is_default: bool,
}

impl Limits {
    /// True when something was asked for that only a cgroup can enforce.
    pub fn must_be_enforced(&self) -> bool {
        self.memory.is_some()
            || self.memory_swap.is_some()
            || self.memory_reservation.is_some()
            || self.cpu_millis.is_some()
            || self.cpu_shares.is_some()
            || self.cpuset.is_some()
            || (self.pids.is_some() && !self.pids_is_default)
    }
}
