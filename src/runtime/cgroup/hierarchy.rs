//! Where the host keeps its cgroup controllers, on versions 1, 2 and mixtures of both.

use super::CgroupError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The controllers that limits of ours need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    Cpu,
    Cpuacct,
    Cpuset,
    Memory,
    Pids,
}

impl Controller {
    const ALL: [Controller; 5] =
        [Controller::Cpu, Controller::Cpuacct, Controller::Cpuset, Controller::Memory, Controller::Pids];

    /// The kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Controller::Cpu => "cpu",
            Controller::Cpuacct => "cpuacct",
            Controller::Cpuset => "cpuset",
            Controller::Memory => "memory",
            Controller::Pids => "pids",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// A hierarchy that holds a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    pub version: Version,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// The caller's own cgroup in it, an absolute path below the mount point's root.
    pub own: PathBuf,
}

impl Hierarchy {
    /// Where an unprivileged user's groups go, if he may make any.
    pub fn unprivileged_parent(&self) -> PathBuf {
        let own = self.mountpoint.join(self.own.strip_prefix("/").unwrap_or(&self.own));
        match self.version {
            Version::V1 => own,
            // A cgroup with processes cannot give its controllers to children (no internal processes).
            Version::V2 => own.parent().unwrap_or(&own).to_owned(),
        }
    }
}

/// All controllers that can be used here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchies {
    pub by_controller: BTreeMap<Controller, Hierarchy>,
}

impl Hierarchies {
    /// Reads `/proc/self/mountinfo` and `/proc/self/cgroup`.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn probe() -> Result<Hierarchies, CgroupError> {
        let read = |path: &str| {
            std::fs::read_to_string(path).map_err(|source| CgroupError::Io {
                action: "read",
                path: path.into(),
                source,
            })
        };
        let (mounts, own) = (read("/proc/self/mountinfo")?, read("/proc/self/cgroup")?);
        Ok(parse(&mounts, &own, |mountpoint| {
            // Absent in a namespace whose root is not the real one and on a kernel without version 2.
            std::fs::read_to_string(mountpoint.join("cgroup.controllers")).unwrap_or_default()
        }))
    }
}

/// The pure part of [`Hierarchies::probe`]; see proc_pid_mountinfo(5) and cgroups(7).
fn parse(mounts: &str, own: &str, v2_controllers: impl Fn(&Path) -> String) -> Hierarchies {
    let own_path = |wanted: &str| {
        own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let found = if wanted.is_empty() {
                controllers.is_empty()
            } else {
                controllers.split(',').any(|name| name == wanted)
            };
            found.then(|| PathBuf::from(path))
        })
    };
    let mut by_controller = BTreeMap::new();
    let mut v2 = None;
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(mountpoint) = left.split(' ').nth(4).map(unescape) else { continue };
        let mut right = right.split(' ');
        match right.next() {
            Some("cgroup") => {
                let options = right.nth(1).unwrap_or_default();
                for controller in Controller::ALL {
                    if options.split(',').any(|option| option == controller.name())
                        && let Some(own) = own_path(controller.name())
                    {
                        let hierarchy = Hierarchy { version: Version::V1, mountpoint: mountpoint.clone(), own };
                        by_controller.entry(controller).or_insert(hierarchy);
                    }
                }
            }
            Some("cgroup2") if v2.is_none() => v2 = own_path("").map(|own| (mountpoint, own)),
            _ => {}
        }
    }
    if let Some((mountpoint, own)) = v2 {
        let available = v2_controllers(&mountpoint);
        for controller in Controller::ALL {
            if available.split_ascii_whitespace().any(|name| name == controller.name()) {
                let hierarchy = Hierarchy { version: Version::V2, mountpoint: mountpoint.clone(), own: own.clone() };
                by_controller.entry(controller).or_insert(hierarchy);
            }
        }
    }
    Hierarchies { by_controller }
}

/// Spaces and the like are octal escapes in mountinfo.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    use std::os::unix::ffi::OsStringExt;
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
24 18 0:21 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
25 24 0:22 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
26 24 0:23 / /sys/fs/cgroup/my\\040memory rw,relatime - cgroup cgroup rw,memory
27 24 0:24 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const OWN: &str = "3:cpu,cpuacct:/a\n2:memory:/b\n1:name=systemd:/c\n0::/d\n";

    #[test]
    fn hybrid_host_takes_each_controller_where_it_is() {
        let found = parse(HYBRID, OWN, |_| "pids hugetlb".into()).by_controller;
        assert_eq!(found.len(), 4);
        assert_eq!(found[&Controller::Cpu].mountpoint, found[&Controller::Cpuacct].mountpoint);
        assert_eq!(found[&Controller::Memory].mountpoint, Path::new("/sys/fs/cgroup/my memory"));
        assert_eq!(found[&Controller::Memory].own, Path::new("/b"));
        assert_eq!(
            (found[&Controller::Pids].version, &found[&Controller::Pids].own),
            (Version::V2, &PathBuf::from("/d"))
        );
    }

    #[test]
    fn unified_host() {
        let mounts = "24 18 0:21 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = parse(mounts, "0::/user.slice/x\n", |_| "cpuset cpu io memory pids".into()).by_controller;
        assert_eq!(
            found.keys().copied().collect::<Vec<_>>(),
            [Controller::Cpu, Controller::Cpuset, Controller::Memory, Controller::Pids]
        );
        assert!(found.values().all(|hierarchy| hierarchy.version == Version::V2));
    }
}
