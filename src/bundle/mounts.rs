//! The mounts of a container.

use super::error::BundleError;
use super::files::GeneratedFile;
use super::host::HostFacts;
use super::{Place, SharedTmpfs, Volume};
use crate::spec::{Device, InitAction, NetworkMode, ServiceSpec, Storage};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// podman's default for `/dev/shm` (`--shm-size`).
const SHM_SIZE: u64 = 64 << 20;
/// Mode of a tmpfs when the job names none: as `/tmp`.
const TMPFS_MODE: u32 = 0o1777;
/// Group `tty` of Debian, Fedora, Alpine and most others, as runc and crun have it.
const TTY_GROUP: u32 = 5;

/// The mounts of every container of a job, with what must be there before them.
pub(super) struct Mounts {
    /// In the order of mounting.
    pub mounts: Vec<Value>,
    /// To be filled.
    pub volumes: Vec<Volume>,
    /// To be mounted once for all containers.
    pub shared_tmpfs: Vec<SharedTmpfs>,
}

pub(super) fn mounts(
    job: &ServiceSpec,
    host: &HostFacts,
    place: &Place<'_>,
    files: &[GeneratedFile],
) -> Result<Mounts, BundleError> {
    let (mut volumes, mut memory) = (Vec::new(), Memory::of(job, place));
    let mut mounts = system(job, host, &mut memory);
    let taken = |target: &str| job.storage.iter().any(|storage| storage.target() == target);
    for file in files.iter().filter(|file| !taken(file.target)) {
        let mut options = vec!["bind", "rprivate", "nosuid", "nodev", "noexec"];
        options.extend(job.security.read_only_root_fs.then_some("ro"));
        mounts.push(bind(&file.source, file.target, &options));
    }
    for device in job.security.devices.iter().filter(|device| is_mounted(device, host)) {
        mounts.push(bind(&device.source, &device.target, &["bind", "rprivate", "nosuid", "noexec"]));
    }
    // A mount below another one has to come after it.
    let mut storage: Vec<&Storage> = job.storage.iter().collect();
    storage.sort_by_key(|storage| storage.target().split('/').count());
    for (index, storage) in storage.into_iter().enumerate() {
        mounts.push(storage_mount(storage, index, host, place, &mut volumes, &mut memory)?);
    }
    Ok(Mounts { mounts, volumes, shared_tmpfs: memory.shared })
}

/// The file systems in memory. Each process of a job is a container of its own, so where there is more than one
/// they must share them, or what an init step leaves there would be gone for the next.
struct Memory {
    /// Where the shared ones are mounted; `None` when the main process is the only one.
    directory: Option<PathBuf>,
    shared: Vec<SharedTmpfs>,
}

impl Memory {
    fn of(job: &ServiceSpec, place: &Place<'_>) -> Memory {
        // A check has no file system.
        let has_process = |action: &InitAction| matches!(action, InitAction::Run { .. } | InitAction::S3(_));
        let is_shared = job.init_steps.iter().any(|step| has_process(&step.action));
        Memory { directory: is_shared.then(|| place.tmpfs.clone()), shared: Vec::new() }
    }

    /// One at `target`; `name` is its directory's.
    fn mount(&mut self, target: &str, name: &str, size: Option<u64>, mode: u32, exec: bool) -> Value {
        let Some(directory) = &self.directory else {
            let mut options = vec!["nosuid".to_owned(), "nodev".into(), format!("mode={mode:o}")];
            options.extend((!exec).then(|| "noexec".into()));
            options.extend(size.map(|size| format!("size={size}")));
            return json!({"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options});
        };
        let mountpoint = directory.join(name);
        let mut options = vec!["rbind", "rprivate", "rnosuid", "rnodev"];
        options.extend((!exec).then_some("rnoexec"));
        let bound = bind(&mountpoint, target, &options);
        self.shared.push(SharedTmpfs { mountpoint, size, mode, exec });
        bound
    }
}

/// Whether the host's own node is shown. Otherwise one is made, which a user namespace forbids and
/// libcontainer does below `/dev` only.
pub(super) fn is_mounted(device: &Device, host: &HostFacts) -> bool {
    host.rootless.is_some() || !device.target.starts_with("/dev/")
}

/// Whether sysfs can be mounted: by the owner of the network namespace only.
pub(super) fn owns_network(job: &ServiceSpec, host: &HostFacts) -> bool {
    host.rootless.is_none() || job.network.mode == NetworkMode::None
}

fn system(job: &ServiceSpec, host: &HostFacts, memory: &mut Memory) -> Vec<Value> {
    let mount = |target: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": source, "options": options});
    let tty_group = format!("gid={TTY_GROUP}");
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    if host.rootless.as_ref().is_none_or(|mappings| mappings.has_gid(TTY_GROUP)) {
        pts.push(&tty_group);
    }
    let sys = if owns_network(job, host) {
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"])
    } else {
        // The host's, and what is mounted below it.
        mount("/sys", "bind", "/sys", &["rbind", "rprivate", "rnosuid", "rnoexec", "rnodev", "rro"])
    };
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &pts),
        memory.mount("/dev/shm", "shm", Some(SHM_SIZE), TMPFS_MODE, false),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        sys,
    ]
}

fn bind(source: &Path, target: &str, options: &[&str]) -> Value {
    json!({"destination": target, "type": "bind", "source": source, "options": options})
}

fn storage_mount(
    storage: &Storage,
    index: usize,
    host: &HostFacts,
    place: &Place<'_>,
    volumes: &mut Vec<Volume>,
    memory: &mut Memory,
) -> Result<Value, BundleError> {
    // podman's defaults for volumes, but for all that is mounted below them too: a device node that
    // comes with a bind of `/` must not open a device of the host, which no device cgroup guards.
    let directory = |readonly: bool| {
        let mut options = vec!["rbind", "rprivate", "rnosuid", "rnodev"];
        options.extend(readonly.then_some("rro"));
        options
    };
    Ok(match storage {
        Storage::Bind { source, .. } if host.missing_sources.contains(source) => {
            return Err(BundleError::NoSource { path: source.clone() });
        }
        Storage::Bind { source, target, readonly } => bind(source, target, &directory(*readonly)),
        Storage::Named { name, target, readonly } => {
            let source = place.named_volumes.join(name);
            volumes.push(Volume { source: source.clone(), target: target.clone() });
            bind(&source, target, &directory(*readonly))
        }
        Storage::Anonymous { target } => {
            let source = place.anonymous_volumes.join(index.to_string());
            volumes.push(Volume { source: source.clone(), target: target.clone() });
            bind(&source, target, &directory(false))
        }
        Storage::Tmpfs { target, size, mode } => {
            memory.mount(target, &index.to_string(), *size, mode.unwrap_or(TMPFS_MODE), true)
        }
    })
}
