//! The mounts of a container.

use super::error::BundleError;
use super::files::GeneratedFile;
use super::host::HostFacts;
use super::{Place, Volume};
use crate::spec::{JobSpec, NetworkMode, Storage};
use serde_json::{Value, json};
use std::path::Path;

/// podman's default for `/dev/shm` (`--shm-size`).
const SHM_SIZE: &str = "size=65536k";
/// Mode of a tmpfs when the job names none: as `/tmp`.
const TMPFS_MODE: u32 = 0o1777;
/// Group `tty` of Debian, Fedora, Alpine and most others, as runc and crun have it.
const TTY_GROUP: u32 = 5;

/// In the order of mounting. Volumes to be filled are added to `volumes`.
pub(super) fn mounts(
    job: &JobSpec,
    host: &HostFacts,
    place: &Place<'_>,
    files: &[GeneratedFile],
    volumes: &mut Vec<Volume>,
) -> Result<Vec<Value>, BundleError> {
    let mut mounts = system(job, host);
    let taken = |target: &str| job.storage.iter().any(|storage| storage.target() == target);
    for file in files.iter().filter(|file| !taken(file.target)) {
        mounts.push(bind(&file.source, file.target, &["bind", "rprivate", "nosuid", "nodev", "noexec"]));
    }
    if host.rootless.is_some() {
        // Device nodes cannot be made in a user namespace; the host's own can be shown.
        for device in &job.security.devices {
            mounts.push(bind(&device.source, &device.target, &["bind", "rprivate", "nosuid", "noexec"]));
        }
    }
    // A mount below another one has to come after it.
    let mut storage: Vec<&Storage> = job.storage.iter().collect();
    storage.sort_by_key(|storage| storage.target().split('/').count());
    for (index, storage) in storage.into_iter().enumerate() {
        mounts.push(storage_mount(storage, index, host, place, volumes)?);
    }
    Ok(mounts)
}

fn system(job: &JobSpec, host: &HostFacts) -> Vec<Value> {
    let mount = |target: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": source, "options": options});
    let tty_group = format!("gid={TTY_GROUP}");
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    if host.rootless.as_ref().is_none_or(|mappings| mappings.has_gid(TTY_GROUP)) {
        pts.push(&tty_group);
    }
    let owns_network = host.rootless.is_none() || job.network.mode == NetworkMode::None;
    let sys = if owns_network {
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"])
    } else {
        // Only who owns the network namespace may mount sysfs; the host's, read-only all the way down.
        mount("/sys", "bind", "/sys", &["rbind", "rprivate", "nosuid", "noexec", "nodev", "rro"])
    };
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &pts),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", SHM_SIZE]),
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
) -> Result<Value, BundleError> {
    // podman's defaults for volumes: nosuid and nodev, changes of mounts stay where they are.
    let directory = |readonly: bool| {
        let mut options = vec!["rbind", "rprivate", "nosuid", "nodev"];
        options.extend(readonly.then_some("rro"));
        options
    };
    Ok(match storage {
        Storage::Bind { source, .. } if host.missing_sources.contains(source) => {
            return Err(BundleError::NoSource { path: source.clone() });
        }
        Storage::Bind { source, target, readonly } => bind(source, target, &directory(*readonly)),
        Storage::Named { name, target, readonly } => {
            let source = place.state.volumes().join(name);
            volumes.push(Volume { source: source.clone(), target: target.clone() });
            bind(&source, target, &directory(*readonly))
        }
        Storage::Anonymous { target } => {
            let source = place.directory.volumes().join(index.to_string());
            volumes.push(Volume { source: source.clone(), target: target.clone() });
            bind(&source, target, &directory(false))
        }
        Storage::Tmpfs { target, size, mode } => {
            let mut options =
                vec!["nosuid".to_owned(), "nodev".into(), format!("mode={:o}", mode.unwrap_or(TMPFS_MODE))];
            options.extend(size.map(|size| format!("size={size}")));
            json!({"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options})
        }
    })
}
