//! What the job may do: capabilities, devices, security options.

use super::job::{Device, Seccomp, Security};
use super::names::{host_path, mount_target};
use super::node::Value;
use super::reader::{At, Fields};
use super::value_error::ValueError;
use std::path::PathBuf;

impl Default for Security {
    fn default() -> Self {
        Security {
            read_only_root_fs: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            seccomp: Seccomp::Default,
            devices: Vec::new(),
        }
    }
}

/// All of capabilities(7), in the order of their numbers
/// (<https://man7.org/linux/man-pages/man7/capabilities.7.html>).
pub const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// One name, in any case, with or without `CAP_`; `ALL` gives every one.
fn capability(text: &str) -> Result<&'static [&'static str], ValueError> {
    let upper = text.to_ascii_uppercase();
    if upper == "ALL" {
        return Ok(CAPABILITIES);
    }
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    match CAPABILITIES.iter().position(|name| *name == full) {
        Some(index) => Ok(&CAPABILITIES[index..=index]),
        None => {
            let suggestion = super::value_error::nearest(&full, CAPABILITIES.iter().copied()).map(str::to_owned);
            Err(ValueError::Unknown { what: "capability", name: text.to_owned(), suggestion, known: &[] })
        }
    }
}

fn read_capabilities(at: &At) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for found in at.each("write names such as NET_ADMIN", |item| item.parse(capability)).unwrap_or_default() {
        for name in found {
            if !names.iter().any(|known| known == name) {
                names.push((*name).to_owned());
            }
        }
    }
    names
}

pub(super) fn read_security(fields: &mut Fields) -> Security {
    if let Some(at) = fields.take("privileged")
        && at.bool() == Some(true)
    {
        at.not_yet();
    }
    Security {
        read_only_root_fs: fields.take("read_only_root_fs").and_then(|at| at.bool()).unwrap_or(false),
        cap_add: fields.take("capabilities").map(|at| read_capabilities(&at)).unwrap_or_default(),
        cap_drop: fields.take("cap_drop").map(|at| read_capabilities(&at)).unwrap_or_default(),
        seccomp: fields.take("security_opt").map_or(Seccomp::Default, |at| read_security_opt(&at)),
        devices: fields.take("devices").map(|at| read_devices(&at)).unwrap_or_default(),
    }
}

/// `no-new-privileges` always holds, so asking for it changes nothing.
fn read_security_opt(at: &At) -> Seccomp {
    let option = |text: &str| match text.replacen(':', "=", 1).as_str() {
        "seccomp=unconfined" => Ok(Seccomp::Unconfined),
        "no-new-privileges" | "no-new-privileges=true" => Ok(Seccomp::Default),
        _ => Err(ValueError::Unsupported {
            what: "security option",
            name: text.to_owned(),
            supported: "seccomp=unconfined or no-new-privileges",
        }),
    };
    let options = at.each("write options such as seccomp=unconfined", |item| item.parse(option));
    match options.unwrap_or_default().contains(&Seccomp::Unconfined) {
        true => Seccomp::Unconfined,
        false => Seccomp::Default,
    }
}

fn read_devices(at: &At) -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    for item in at.list("write device paths, or mappings with path").unwrap_or_default() {
        let device = match item.node.value {
            Value::Map(_) => read_device(&item),
            _ => item.parse(device),
        };
        let Some(device) = device else { continue };
        if devices.iter().any(|known| known.target == device.target) {
            item.error(ValueError::Duplicate { what: "device target", name: device.target.clone() });
        }
        devices.push(device);
    }
    devices
}

/// `path`, and if need be `target`, `read`, `write` (both true by default) and `mknod`.
fn read_device(item: &At) -> Option<Device> {
    let mut fields = item.fields("")?;
    let source = fields.require("path", "the device's path on the host").and_then(|at| at.parse(device_source));
    let target = match fields.take("target") {
        Some(at) => at.parse(mount_target),
        None => source.as_ref().map(|(_, target)| target.clone()),
    };
    let mut access = |name, default| fields.take(name).and_then(|at| at.bool()).unwrap_or(default);
    let (read, write, mknod) = (access("read", true), access("write", true), access("mknod", false));
    fields.finish();
    let (source, _) = source?;
    Some(Device { source, target: target?, read, write, mknod })
}

/// `SOURCE[:TARGET[:rwm]]` as `docker run --device`
/// (<https://docs.docker.com/reference/cli/docker/container/run/#device>).
fn device(text: &str) -> Result<Device, ValueError> {
    let mut parts = text.split(':');
    let (source, same) = device_source(parts.next().unwrap_or_default())?;
    let access = |text: &str| !text.is_empty() && text.bytes().all(|byte| b"rwm".contains(&byte));
    let (target, access) = match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => (same, "rwm"),
        (Some(only), None, _) if access(only) => (same, only),
        (Some(target), None, _) => (mount_target(target)?, "rwm"),
        (Some(target), Some(letters), None) if access(letters) => (mount_target(target)?, letters),
        _ => {
            return Err(ValueError::Malformed {
                what: "a device",
                text: text.to_owned(),
                form: "SOURCE, SOURCE:TARGET or SOURCE:TARGET:rwm",
            });
        }
    };
    let has = |letter| access.contains(letter);
    Ok(Device { source, target, read: has('r'), write: has('w'), mknod: has('m') })
}

/// The host's path, and the same as a target.
fn device_source(text: &str) -> Result<(PathBuf, String), ValueError> {
    Ok((host_path(text, None)?, mount_target(text)?))
}
