//! What a bundle needs to know of the host, as a value: the only I/O of this module tree.

use super::error::BundleError;
use crate::plan::IdMappings;
use crate::spec::{ServiceSpec, Storage};
use nix::sys::resource::{Resource, getrlimit};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The host as the job will meet it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// `None` for root.
    pub rootless: Option<IdMappings>,
    /// Numbers of the capabilities that may be handed on: permitted and in the bounding set
    /// (`CapPrm`, `CapBnd` of proc_pid_status(5)); in a user namespace all of them.
    pub capabilities: BTreeSet<u8>,
    /// May this process raise hard limits and lower its OOM score?
    pub has_sys_resource: bool,
    pub oom_score_adj: i32,
    /// Hard limits by ulimit name; `u64::MAX` is unlimited.
    pub hard_limits: BTreeMap<String, u64>,
    pub resolv_conf: String,
    pub hosts: String,
    /// The device nodes that the job names.
    pub devices: BTreeMap<PathBuf, DeviceFacts>,
    /// Bind sources of the job that do not exist.
    pub missing_sources: BTreeSet<PathBuf>,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFacts {
    pub is_block: bool,
    pub major: u64,
    pub minor: u64,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// The kernel's number of CAP_SYS_RESOURCE (`include/uapi/linux/capability.h`).
const CAP_SYS_RESOURCE: u8 = 24;

/// ulimit names of `docker run --ulimit` and the kernel's.
pub(super) const ULIMITS: [(&str, &str, Resource); 15] = [
    ("core", "RLIMIT_CORE", Resource::RLIMIT_CORE),
    ("cpu", "RLIMIT_CPU", Resource::RLIMIT_CPU),
    ("data", "RLIMIT_DATA", Resource::RLIMIT_DATA),
    ("fsize", "RLIMIT_FSIZE", Resource::RLIMIT_FSIZE),
    ("locks", "RLIMIT_LOCKS", Resource::RLIMIT_LOCKS),
    ("memlock", "RLIMIT_MEMLOCK", Resource::RLIMIT_MEMLOCK),
    ("msgqueue", "RLIMIT_MSGQUEUE", Resource::RLIMIT_MSGQUEUE),
    ("nice", "RLIMIT_NICE", Resource::RLIMIT_NICE),
    ("nofile", "RLIMIT_NOFILE", Resource::RLIMIT_NOFILE),
    ("nproc", "RLIMIT_NPROC", Resource::RLIMIT_NPROC),
    ("rss", "RLIMIT_RSS", Resource::RLIMIT_RSS),
    ("rtprio", "RLIMIT_RTPRIO", Resource::RLIMIT_RTPRIO),
    ("rttime", "RLIMIT_RTTIME", Resource::RLIMIT_RTTIME),
    ("sigpending", "RLIMIT_SIGPENDING", Resource::RLIMIT_SIGPENDING),
    ("stack", "RLIMIT_STACK", Resource::RLIMIT_STACK),
];

impl HostFacts {
    /// Looks at the host for this job. `rootless` are the ids that the job will have.
    ///
    /// # Errors
    /// [`BundleError::Io`] when `/proc` or a resolver file cannot be read.
    pub fn probe(job: &ServiceSpec, rootless: Option<IdMappings>) -> Result<HostFacts, BundleError> {
        let status = read("/proc/self/status")?;
        let mask = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
        };
        let last = read("/proc/sys/kernel/cap_last_cap")?.trim().parse().unwrap_or(0);
        let has = |mask: u64, capability: u8| mask & (1 << capability) != 0;
        let to_give = if rootless.is_some() { u64::MAX } else { mask("CapPrm") & mask("CapBnd") };
        let sources = job.storage.iter().filter_map(|storage| match storage {
            Storage::Bind { source, .. } => Some(source),
            _ => None,
        });
        let mut devices = BTreeMap::new();
        for device in &job.security.devices {
            devices.insert(device.source.clone(), probe_device(&device.source)?);
        }
        Ok(HostFacts {
            capabilities: (0..=last).filter(|capability| has(to_give, *capability)).collect(),
            has_sys_resource: rootless.is_none() && has(mask("CapEff"), CAP_SYS_RESOURCE),
            oom_score_adj: read("/proc/self/oom_score_adj")?.trim().parse().unwrap_or(0),
            hard_limits: hard_limits(),
            resolv_conf: read_optional("/etc/resolv.conf")?,
            hosts: read_optional("/etc/hosts")?,
            devices,
            missing_sources: sources.filter(|source| source.symlink_metadata().is_err()).cloned().collect(),
            rootless,
        })
    }
}

fn hard_limits() -> BTreeMap<String, u64> {
    let hard = |(name, _, resource): &(&str, &str, Resource)| Some(((*name).to_owned(), getrlimit(*resource).ok()?.1));
    ULIMITS.iter().filter_map(hard).collect()
}

fn probe_device(path: &Path) -> Result<DeviceFacts, BundleError> {
    let metadata = path.metadata().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => BundleError::NoDevice { path: path.to_owned() },
        _ => BundleError::Io { action: "look at", path: path.to_owned(), source },
    })?;
    let kind = metadata.file_type();
    if !kind.is_block_device() && !kind.is_char_device() {
        return Err(BundleError::NoDevice { path: path.to_owned() });
    }
    Ok(DeviceFacts {
        is_block: kind.is_block_device(),
        major: nix::sys::stat::major(metadata.rdev()),
        minor: nix::sys::stat::minor(metadata.rdev()),
        mode: metadata.mode() & 0o777,
        uid: metadata.uid(),
        gid: metadata.gid(),
    })
}

fn read(path: &str) -> Result<String, BundleError> {
    std::fs::read_to_string(path).map_err(|source| BundleError::Io { action: "read", path: path.into(), source })
}

/// A file that a minimal host may lack.
fn read_optional(path: &str) -> Result<String, BundleError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(BundleError::Io { action: "read", path: path.into(), source }),
    }
}
