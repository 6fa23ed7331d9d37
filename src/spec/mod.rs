//! From YAML or flags to a validated [`ServiceSpec`].
//!
//! # The contract
//! What [`DeploymentSpec`] is read from a file or a text ([`DeploymentSpec::from_path`],
//! [`std::str::FromStr`], [`DeploymentSpec::parse`]), [`ServiceSpec::from_image`] and
//! [`ServiceSpec::with`] return is valid; nothing past them parses or checks again. Of every field in a
//! file, one of three things is true:
//!
//! - it is honoured: it is in the [`ServiceSpec`];
//! - it says nothing about a job on one machine (`scale`, `endpoints`, `health`, `depends`, …): there
//!   is a [`Warning`] with its path;
//! - otherwise there is a [`SpecError`] with its path, line and column: it is unknown, has a bad
//!   value, or is known but not honoured by this version yet.
//!
//! All errors of a file are reported at once.
//!
//! # The format
//! ```yaml
//! version: v1
//! deployment: nightly
//! services:
//!   report:
//!     rtype: job                      # `service` is refused by name, the other services run
//!     image: {name: "oci:images/report:v1", pull_policy: if_not_present}  # always, newer, never
//!     platform: linux/amd64           # default: the host's
//!     command: {entrypoint: [/bin/report], args: [--all], workdir: /work}  # or a list: the args
//!     env: {TOKEN: $E:TOKEN, URL: "http://$E:HOST/"}   # or a list of K=V and K
//!     resources: {cpu: 0.5, memory: 512Mi, memory_swap: -1, memory_reservation: 256Mi,
//!                 pids_limit: 2048, cpuset: "0-3", cpu_shares: 1024, oom_score_adj: 0}
//!     storage:
//!       - {type: bind, source: ./data, target: /data, readonly: true}
//!       - {type: named, name: cache, target: /cache, readonly: false}
//!       - {type: anonymous, target: /scratch}
//!       - {type: tmpfs, target: /tmp, size: 64Mi, mode: 1777}
//!     user: 1000:1000
//!     extra_groups: [audio]
//!     hostname: report
//!     init: true                      # or {enabled: true, steps: […]}
//!     read_only_root_fs: false
//!     capabilities: [NET_ADMIN]
//!     cap_drop: [ALL]
//!     devices: [/dev/fuse, {path: /dev/kvm, target: /dev/kvm, read: true, write: true, mknod: false}]
//!     ulimits: {nofile: {soft: 1024, hard: unlimited}, core: 0}
//!     sysctls: {kernel.shmmax: 1073741824}
//!     security_opt: [no-new-privileges]   # or seccomp=unconfined
//!     stop_signal: SIGTERM            # default: the image's
//!     stop_grace_period: 10s
//!     labels: {team: data}
//!     network_mode: host              # default, the same; none; or {mode: none}
//!     dns: [192.0.2.1]
//!     extra_hosts: ["db:192.0.2.7"]   # or {db: 192.0.2.7}
//!     logs: {max_size_bytes: 1048576}
//!     job: {deadline: 2h}
//! ```
//! An init step is `{id, uses: init.run, with: {command, env, user, workdir}, timeout: 300s}`; its
//! command is a list of words, or a line for `/bin/sh -c`.
//!
//! - In `env`, also that of steps, `$E:NAME` is the caller's variable, anywhere in a value; `$$E:` is
//!   a literal `$E:`. A missing variable is an error.
//! - Numbers and booleans in a place for text keep their spelling: `VERSION: 1.10` is `1.10`.
//! - A file mode is octal however it is written: `755`, `0755`, `0o755`, `"755"`.
//! - A field with nothing after the colon is an error, not a default.
//! - Relative bind sources start from the file's directory; relative paths of `oci:`,
//!   `oci-archive:` and `docker-archive:` images from the current directory, as in containers-transports(5).
//! - Amounts and lengths of time: [`parse_bytes`], [`parse_cpu_millis`], [`parse_duration`].

mod backoff;
mod deployment;
mod document;
mod duration;
mod environment;
mod error;
mod http;
mod init;
mod job;
mod mount;
mod names;
mod network;
mod node;
mod notification;
mod overrides;
mod policy;
mod process;
mod quantity;
mod reader;
mod redact;
mod resources;
mod security;
mod service;
mod value_error;

#[cfg(test)]
mod tests;

pub use deployment::DeploymentSpec;
pub use document::MAX_SPEC_SIZE;
pub(crate) use document::read_file;
pub use duration::parse_duration;
pub use environment::parse_env;
pub use error::{Place, Problem, SpecError, SpecErrors, Warning};
pub use http::AddressProblem;
pub use init::DEFAULT_STEP_TIMEOUT;
pub use job::*;
pub use mount::parse_mount;
pub use network::parse_network;
pub use overrides::Overrides;
pub(crate) use policy::{read_limit, read_retention};
pub use process::{DEFAULT_GRACE_PERIOD, parse_signal};
pub use quantity::{parse_bytes, parse_cpu_millis};
pub use reader::Lookup;
pub(crate) use reader::{At, Fields};
pub use resources::{DEFAULT_PIDS_LIMIT, MIN_MEMORY, UNLIMITED};
pub use security::CAPABILITIES;
pub use service::{DEFAULT_LOG_SIZE, parse_platform};
pub use value_error::ValueError;
