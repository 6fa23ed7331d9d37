//! The validated job: what the rest of the crate sees of a spec.
//!
//! Every value is checked and in one unit; nothing past this boundary parses or checks again.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// One job of a deployment. Comes from [`super::DeploymentSpec::parse`], [`ServiceSpec::from_image`] and
/// [`ServiceSpec::with`]; deserialize only what coracle itself has stored.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceSpec {
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
    #[serde(default)]
    pub on_init_failure: InitFailure,
    pub stop: StopPolicy,
    pub labels: BTreeMap<String, String>,
    pub logs: Logs,
    #[serde(default)]
    pub policy: JobPolicy,
    /// Names of variables, in `env` and in that of steps, whose values came from the caller's environment. They
    /// are for the job alone and are not shown.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hidden_env: BTreeSet<String>,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InitStep {
    /// Unique in the job; `step-N` (from 1) when the spec names none.
    pub id: String,
    pub action: InitAction,
    /// For one try of the step.
    pub timeout: Duration,
    #[serde(default)]
    pub retry: StepRetry,
    #[serde(default)]
    pub on_failure: OnStepFailure,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitAction {
    /// `init.run`: a string becomes `/bin/sh -c STRING`.
    Run {
        command: Vec<String>,
        env: Vec<(String, String)>,
        user: Option<String>,
        workdir: Option<String>,
        /// Another image than the job's, with the job's volumes; its root file system goes with the step.
        #[serde(default)]
        image: Option<String>,
    },
    /// `init.wait_tcp`: until a connection is accepted.
    WaitTcp { host: String, port: u16, interval: Duration },
    /// `init.wait_http`: until a request is answered as expected.
    WaitHttp(WaitHttp),
    /// `init.s3_pull` and `init.s3_push`: one object and one file of the job.
    S3(S3Transfer),
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitHttp {
    /// Starts with `http://` or `https://`.
    pub url: String,
    /// Upper case.
    pub method: String,
    pub headers: Vec<(String, String)>,
    /// Empty: any from 200 to 299.
    pub expect_status: Vec<u16>,
    pub interval: Duration,
    /// Any certificate will do.
    pub insecure_skip_verify: bool,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3Transfer {
    pub direction: S3Direction,
    pub bucket: String,
    pub key: String,
    /// Absolute path in the container of the file that is written (pull) or read (push).
    pub path: String,
    /// `None`: that of AWS for the region.
    pub endpoint: Option<String>,
    /// `None`: `AWS_REGION` or `AWS_DEFAULT_REGION` of `env`, else `us-east-1`.
    pub region: Option<String>,
    /// For this step alone; `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, … are looked
    /// for here, then in the job's own `env`. Never shown.
    pub env: Vec<(String, String)>,
    /// A file of the host in the form of `~/.aws/credentials`, read when the step runs.
    pub credentials_file: Option<PathBuf>,
    /// Requests are not signed, and no credentials are looked for.
    #[serde(default)]
    pub anonymous: bool,
    /// A file of the host with the certificates (PEM) of those who may vouch for the server, in place of the
    /// host's own authorities; read when the step runs. `None`: `AWS_CA_BUNDLE` of `env`.
    pub ca_bundle: Option<PathBuf>,
    #[serde(default)]
    pub addressing_style: S3Addressing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum S3Direction {
    Pull,
    Push,
}

/// Where a request names the bucket
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html>).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum S3Addressing {
    /// In the name of the host at AWS, unless the bucket's has a dot; in the path at an endpoint.
    #[default]
    Auto,
    /// In the path.
    Path,
    /// In the name of the host.
    Virtual,
}

/// Tries of one step after its first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepRetry {
    pub count: u32,
    pub backoff: Backoff,
}

/// What a step's failure means, when its tries are used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStepFailure {
    /// The sequence has failed.
    #[default]
    Fail,
    /// The next step runs, and a note of the execution says so.
    Warn,
    /// The next step runs.
    Continue,
}

/// What happens when the sequence of steps has failed: it is run again from its first step, on the same root
/// file system, `retries` times at most.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct InitFailure {
    /// 0: the execution fails (`action: fail`).
    pub retries: u32,
    /// Waits before the retries; all zero for `action: restart`.
    pub backoff: Backoff,
}

/// Lengths of waits: the `n`th (from 0) is `initial × multiplierⁿ`, at most `max`, less a random share of up to
/// `jitter` of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    pub initial: Duration,
    pub max: Duration,
    /// At least 1.
    pub multiplier: f64,
    /// 0 to 1.
    pub jitter: f64,
}

/// The `job` block, and what else says how executions of a job come and go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JobPolicy {
    /// For one execution with all its attempts, from when it leaves the queue until the stop signal is sent:
    /// pulls, init steps, main process and the waits between attempts. Time in the queue is not counted.
    pub deadline: Option<Duration>,
    /// Longest time in the queue before the first attempt.
    pub queue_deadline: Option<Duration>,
    /// Executions of this job at once, at least 1; `None`: any number.
    pub max_concurrent: Option<u32>,
    pub on_conflict: OnConflict,
    pub retry: Retry,
    pub retention: Retention,
    pub on_failure: Vec<Notification>,
    pub on_success: Vec<Notification>,
    /// The execution is forgotten, with its log, when it has ended and whoever waited has seen it.
    pub delete_on_exit: bool,
}

/// What a trigger does when as many executions run as may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// The new one waits for its turn.
    #[default]
    Queue,
    /// The new one is refused.
    Forbid,
    /// The oldest that wait or run are cancelled, as many as make room; the new one starts when they have ended.
    Replace,
    /// There is no limit.
    Allow,
}

/// Attempts of one execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// At least 1, the first included.
    pub max_attempts: u32,
    pub backoff: Backoff,
    /// Empty: after every failure. Else only after a main process that exited with one of these.
    pub on_exit_codes: Vec<u8>,
    /// Never after a main process that exited with one of these.
    pub never_on_exit_codes: Vec<u8>,
}

/// Which ended executions are forgotten; `None` of a job: as the executor's configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Those that ended longer ago than this.
    pub ttl: Option<Duration>,
    /// All but the newest so many.
    pub keep_last: Option<u32>,
}

/// What is told when an execution has ended; it never changes the result.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notification {
    /// Runs this registered job.
    Job { name: String },
    /// POSTs the execution as JSON to this address.
    Post { url: String, headers: Vec<(String, String)> },
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            max_attempts: 1,
            backoff: Backoff::default(),
            on_exit_codes: Vec::new(),
            never_on_exit_codes: Vec::new(),
        }
    }
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
