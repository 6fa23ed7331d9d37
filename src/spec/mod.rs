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
//!     init:                           # or true, or false: without our pid 1
//!       enabled: true
//!       steps:
//!         - {id: db, uses: init.wait_tcp, with: {host: db, port: 5432, interval: 1s}, timeout: 300s}
//!         - uses: init.wait_http
//!           with: {url: "http://$E:HOST/ready", expect_status: [200, 204], method: GET,
//!                  headers: {Authorization: Bearer $E:TOKEN}, interval: 1s, insecure_skip_verify: false}
//!           retry: 3                  # after the first try; or {count: 3, initial: 1s, max: 60s, multiplier: 2}
//!           on_failure: fail          # warn, continue
//!         - uses: init.run
//!           with: {command: [/bin/migrate], env: {A: b}, user: root, workdir: /, image: "example.org/tools:v2"}
//!     errors:                         # when a step has failed, all are run again
//!       on_init_failure: {action: backoff, retries: 3, initial: 1s, max: 60s, multiplier: 2}   # fail, restart
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
//!     logs: {max_size_bytes: 1048576, destination: disk}   # retention_secs: 604800 is job.retention.ttl: 7d
//!     lifecycle: {delete_on_exit: false}
//!     job:
//!       deadline: 2h                  # from when it leaves the queue, with all attempts
//!       queue_deadline: 30m           # in the queue
//!       max_concurrent: 1             # of this job; none unless on_conflict is given
//!       on_conflict: queue            # forbid, replace; allow: no limit
//!       retry:
//!         max_attempts: 3             # the first one included
//!         backoff: {initial: 1s, max: 60s, multiplier: 2, jitter: true}   # jitter: true is 0.5
//!         on_exit_codes: [75, 111]    # only these; none: every failure
//!         never_on_exit_codes: [2]
//!       retention: {ttl: 7d, keep_last: 20}
//!       on_failure: [page, {post: "https://$E:HOST/hook", headers: {X-Key: $E:TOKEN}}]   # a job, an address
//!       on_success: {job: publish}
//! ```
//! Two more steps, with the cargo feature `s3`, move one object to or from one file of the job:
//! `init.s3_pull` with `{bucket, key, destination, endpoint, region, env, credentials_file}` and
//! `init.s3_push` with `source` instead of `destination`. The command of `init.run` is a list of words, or
//! a line for `/bin/sh -c`.
//!
//! - In `env`, also that of steps, in addresses and in the values of headers, `$E:NAME` is the caller's
//!   variable, anywhere in a value; `$$E:` is a literal `$E:`. A missing variable is an error.
//! - Addresses start with `http://` or `https://` and hold no user and password.
//! - Numbers and booleans in a place for text keep their spelling: `VERSION: 1.10` is `1.10`.
//! - A file mode is octal however it is written: `755`, `0755`, `0o755`, `"755"`.
//! - A field with nothing after the colon is an error, not a default.
//! - Relative bind sources and credentials files start from the file's directory; relative paths of `oci:`,
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
pub use environment::{Variable, parse_env};
pub use error::{Place, Problem, SpecError, SpecErrors, Warning};
pub use http::AddressProblem;
pub(crate) use http::origin;
pub use init::DEFAULT_STEP_TIMEOUT;
pub use job::*;
pub use mount::parse_mount;
pub use names::parse_idempotency_key;
pub use network::parse_network;
pub use overrides::Overrides;
pub use policy::MOST_ATTEMPTS;
pub(crate) use policy::{read_limit, read_retention};
pub use process::{DEFAULT_GRACE_PERIOD, parse_signal};
pub use quantity::{parse_bytes, parse_cpu_millis};
pub use reader::Lookup;
pub(crate) use reader::{At, Fields};
pub use resources::{DEFAULT_PIDS_LIMIT, MIN_MEMORY, UNLIMITED};
pub use security::CAPABILITIES;
pub use service::{DEFAULT_LOG_SIZE, parse_platform};
pub use value_error::ValueError;
