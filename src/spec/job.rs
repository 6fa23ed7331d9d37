//! The validated job: what the rest of the crate sees of a spec.
//!
//! Every value is checked and in one unit; nothing past this boundary parses or checks again.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// One job of a deployment. Comes from [`super::Deployment::parse`], [`JobSpec::from_image`] and
/// [`JobSpec::with`]; deserialize only what coracle itself has stored.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The service's name in the deployment.
    pub name: String,
    /// The deployment's name; `None` for a job given by flags alone.
    pub deployment: Option<String>,
    pub image: ImageSpec,
    pub command: CommandSpec,
    /// Later entries of the same name win over the image's environment. Order is that of the spec.
    pub env: Vec<(String, String)>,
    pub resources: Resources,
    pub storage: Vec<Storage>,
    pub process: ProcessOptions,
    pub security: Security,
    pub network: Network,
    pub init_steps: Vec<InitStep>,
    pub stop: StopPolicy,
    pub labels: BTreeMap<String, String>,
    pub logs: Logs,
    /// From the start of the execution until the stop signal is sent.
    pub deadline: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSpec {
    /// As written: a registry reference, `oci:PATH[:TAG]`, `oci-archive:FILE[:TAG]`,
    /// `docker-archive:FILE[:REFERENCE]` or `sha256:HEX`.
    pub name: String,
    pub pull_policy: PullPolicy,
    /// `os/arch[/variant]`; `None`: the host's.
    pub platform: Option<Platform>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    Always,
    Newer,
    #[default]
    IfNotPresent,
    Never,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

/// `None` leaves the image's own value; see `bundle` for how they combine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandSpec {
    pub entrypoint: Option<Vec<String>>,
    pub args: Option<Vec<String>>,
    /// Absolute path in the container.
    pub workdir: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Thousandths of one CPU.
    pub cpu_millis: Option<u64>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Memory plus swap, bytes; `u64::MAX` for unlimited swap (`-1` in the spec).
    pub memory_swap: Option<u64>,
    /// Bytes.
    pub memory_reservation: Option<u64>,
    /// `None`: the default of podman, 2048. `Some(0)` means unlimited (`-1` or `0` in the spec).
    pub pids_limit: Option<u64>,
    /// List format of cpuset(7), checked.
    pub cpuset: Option<String>,
    /// 2..=262144.
    pub cpu_shares: Option<u64>,
    /// -1000..=1000.
    pub oom_score_adj: Option<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Storage {
    /// A file or directory of the host; `source` is absolute.
    Bind { source: PathBuf, target: String, readonly: bool },
    /// A directory kept under the state root, shared by all executions that name it.
    Named { name: String, target: String, readonly: bool },
    /// A directory that lives as long as the execution.
    Anonymous { target: String },
    /// `size` in bytes; `mode` as in chmod(1).
    Tmpfs { target: String, size: Option<u64>, mode: Option<u32> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessOptions {
    /// `None`: the image's user.
    pub user: Option<String>,
    pub extra_groups: Vec<String>,
    /// `None`: derived from the execution id.
    pub hostname: Option<String>,
    /// Our own pid 1 in front of the job (`init: true`, the default).
    pub init: bool,
    pub ulimits: Vec<Ulimit>,
    /// Sysctl names of the job's own namespaces, checked.
    pub sysctls: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Name as in `docker run --ulimit`: `nofile`, `nproc`, `core`, …
    pub name: String,
    /// `u64::MAX` for unlimited (`-1` or `unlimited` in the spec).
    pub soft: u64,
    pub hard: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    pub read_only_root_fs: bool,
    /// Added to the default set, upper case with the `CAP_` prefix; `ALL` is expanded.
    pub cap_add: Vec<String>,
    /// Taken from the default set; `ALL` is expanded.
    pub cap_drop: Vec<String>,
    pub seccomp: Seccomp,
    pub devices: Vec<Device>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seccomp {
    Default,
    Unconfined,
}

/// A device node of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub source: PathBuf,
    pub target: String,
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub mode: NetworkMode,
    /// Name servers; empty: those of the host.
    pub dns: Vec<std::net::IpAddr>,
    /// Lines for `/etc/hosts`.
    pub extra_hosts: Vec<(String, std::net::IpAddr)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    #[default]
    Host,
    None,
}

/// A step that runs before the main process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitStep {
    /// Unique in the job; `step-N` (from 1) when the spec names none.
    pub id: String,
    pub action: InitAction,
    pub timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitAction {
    /// `init.run`: a string becomes `/bin/sh -c STRING`.
    Run { command: Vec<String>, env: Vec<(String, String)>, user: Option<String>, workdir: Option<String> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopPolicy {
    /// `None`: the image's StopSignal, else SIGTERM.
    pub signal: Option<i32>,
    pub grace_period: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// Bytes of log kept.
    pub max_size: u64,
}
