//! The runtime spec of one process
//! (<https://github.com/opencontainers/runtime-spec/blob/main/config.md>).

use super::command::Command;
use super::error::BundleError;
use super::host::{HostFacts, ULIMITS};
use super::mounts::{is_mounted, owns_network};
use super::{Place, capabilities, sysctls};
use crate::plan::{ProcessPlan, Program};
use crate::spec::{Seccomp, ServiceSpec};
use oci_spec::runtime::{LinuxCapabilities, Spec};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// Version of the runtime spec whose fields are used.
const OCI_VERSION: &str = "1.1.0";

/// Hidden behind an empty file or directory: podman's list, and what moby and runc added since
/// (`/proc/interrupts` and the power readings are side channels: CVE-2020-8694).
const MASKED: [&str; 14] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

/// Hidden too where `/sys` is the host's own with everything mounted in it: as podman does without
/// privileges, and the caller's cgroups, of which an own sysfs shows none.
const MASKED_IN_SHARED_SYS: [&str; 2] = ["/sys/fs/cgroup", "/sys/kernel"];

/// podman's and Docker's, whatever the caller's is.
const UMASK: u32 = 0o022;

/// Visible but not to be written: podman's list.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What all processes of a job have in common.
pub(super) struct Container<'a> {
    pub job: &'a ServiceSpec,
    pub host: &'a HostFacts,
    pub place: &'a Place<'a>,
    pub hostname: &'a str,
    pub bounding: &'a BTreeSet<String>,
    pub mounts: &'a [Value],
}

impl Container<'_> {
    /// The plan of one process, the `index`th of the job, on the root file system at `root`.
    pub fn plan(&self, command: Command, index: usize, root: &Path) -> Result<ProcessPlan, BundleError> {
        let spec: Spec =
            serde_json::from_value(self.runtime_spec(&command, index, root)?).map_err(BundleError::Spec)?;
        let unconfined = self.job.security.seccomp == Seccomp::Unconfined;
        Ok(ProcessPlan {
            // Our own code does not reap what others leave behind; pid 1 does.
            init: self.job.process.init || command.program != Program::Command,
            program: command.program,
            spec: Box::new(spec),
            user: command.user,
            user_capabilities: Some(self.user_capabilities()?),
            seccomp_filter: (!unconfined).then(|| self.place.seccomp_filter.clone()),
        })
    }

    fn runtime_spec(&self, command: &Command, index: usize, root: &Path) -> Result<Value, BundleError> {
        let mut process = json!({
            "terminal": false,
            // Ids are replaced at the start by what the image's own tables say.
            "user": {"uid": 0, "gid": 0, "umask": UMASK},
            "args": command.args,
            "env": command.env,
            "cwd": command.workdir,
            "noNewPrivileges": true,
            "capabilities": {
                "bounding": self.bounding,
                "effective": self.bounding,
                "permitted": self.bounding,
                "inheritable": [],
                "ambient": [],
            },
            "rlimits": self.rlimits()?,
        });
        if let Some(score) = self.oom_score()? {
            process["oomScoreAdj"] = json!(score);
        }
        let namespaces: Vec<Value> =
            ["pid", "ipc", "uts", "mount", "cgroup"].iter().map(|kind| json!({"type": kind})).collect();
        Ok(json!({
            "ociVersion": OCI_VERSION,
            "process": process,
            "root": {"path": root, "readonly": self.job.security.read_only_root_fs},
            "hostname": self.hostname,
            "mounts": self.mounts,
            "linux": {
                "namespaces": namespaces,
                // libcontainer wants an absolute one; the launcher shows it a host without cgroups.
                "cgroupsPath": format!("/coracle/{}-{index}", self.place.id),
                "maskedPaths": self.masked(),
                "readonlyPaths": READ_ONLY,
                "sysctl": sysctls(self.job, false),
                "devices": self.devices()?,
            },
        }))
    }

    fn masked(&self) -> Vec<&'static str> {
        let shared = (!owns_network(self.job, self.host)).then_some(MASKED_IN_SHARED_SYS);
        MASKED.into_iter().chain(shared.into_iter().flatten()).collect()
    }

    fn user_capabilities(&self) -> Result<LinuxCapabilities, BundleError> {
        let added = capabilities::added(&self.job.security, self.bounding);
        let sets = json!({
            "bounding": self.bounding,
            "effective": added,
            "permitted": added,
            "inheritable": added,
            "ambient": added,
        });
        serde_json::from_value(sets).map_err(BundleError::Spec)
    }

    fn rlimits(&self) -> Result<Vec<Value>, BundleError> {
        let mut rlimits = Vec::new();
        for ulimit in &self.job.process.ulimits {
            // The spec knows no other names.
            let Some((_, kind, _)) = ULIMITS.iter().find(|(name, ..)| *name == ulimit.name) else { continue };
            let host = self.host.hard_limits.get(&ulimit.name).copied().unwrap_or(u64::MAX);
            if ulimit.hard > host && !self.host.has_sys_resource {
                return Err(BundleError::UlimitTooHigh { name: ulimit.name.clone(), hard: ulimit.hard, host });
            }
            rlimits.push(json!({"type": kind, "soft": ulimit.soft, "hard": ulimit.hard}));
        }
        Ok(rlimits)
    }

    fn oom_score(&self) -> Result<Option<i32>, BundleError> {
        let current = self.host.oom_score_adj;
        match self.job.resources.oom_score_adj {
            Some(value) if value < current && !self.host.has_sys_resource => {
                Err(BundleError::OomScoreTooLow { value, current })
            }
            other => Ok(other),
        }
    }

    /// Nodes to make in `/dev`; the others are mounts.
    fn devices(&self) -> Result<Vec<Value>, BundleError> {
        let mut nodes = Vec::new();
        for device in &self.job.security.devices {
            if !(device.read && device.write) {
                let access = [(device.read, 'r'), (device.write, 'w'), (device.mknod, 'm')];
                let access = access.iter().filter(|(on, _)| *on).map(|(_, letter)| letter).collect();
                return Err(BundleError::DeviceAccess { path: device.source.clone(), access });
            }
            let facts = self
                .host
                .devices
                .get(&device.source)
                .ok_or_else(|| BundleError::NoDevice { path: device.source.clone() })?;
            if !is_mounted(device, self.host) {
                nodes.push(json!({
                    "path": device.target,
                    "type": if facts.is_block { "b" } else { "c" },
                    "major": facts.major,
                    "minor": facts.minor,
                    "fileMode": facts.mode,
                    "uid": facts.uid,
                    "gid": facts.gid,
                }));
            }
        }
        Ok(nodes)
    }
}
