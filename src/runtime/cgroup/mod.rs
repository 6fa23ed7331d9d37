//! The job's cgroups: made, filled, read and removed by the supervisor, never by libcontainer.
//!
//! With privileges every execution gets `coracle/ID` below the root of each hierarchy that it needs.
//! Without, limits need a cgroup that the host has given to the user: on version 2 the parent of
//! the caller's own one, as under `systemd-run --user`; on version 1 the caller's own one.

#![expect(clippy::disallowed_methods, reason = "files of the kernel: each write is whole")]

mod hierarchy;
mod settings;

use crate::outcome::{PeakMemorySource, Usage};
use crate::plan::Limits;
use hierarchy::{Controller, Hierarchies, Hierarchy, Version};
use settings::Setting;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Directory below which all executions have theirs.
const BASE: &str = "coracle";

/// Limits cannot be enforced.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("failed to {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{limit} cannot be enforced: the host has no {} controller in its cgroups", controller)]
    NoController { limit: &'static str, controller: &'static str },
    #[error(
        "{limit} cannot be enforced: this user may not make cgroups in {}; remove the limit, run as root, \
         or start coracle under `systemd-run --user --scope -p Delegate=yes` on a cgroup v2 host", parent.display()
    )]
    NotDelegated { limit: &'static str, parent: PathBuf },
    #[error("{limit} cannot be enforced: the {controller} controller is not enabled in {}", parent.display())]
    NotEnabled { limit: &'static str, controller: &'static str, parent: PathBuf },
    #[error("{} cannot be set to {value}: {source}; the kernel refused this limit", path.display())]
    Refused { path: PathBuf, value: String, source: io::Error },
}

/// The cgroups of one execution.
#[derive(Debug)]
pub struct JobCgroup {
    /// One per hierarchy.
    directories: BTreeMap<PathBuf, Version>,
    by_controller: BTreeMap<Controller, (PathBuf, Version)>,
}

/// What was made, with notes for the user about what could not be.
#[derive(Debug)]
pub struct Made {
    /// `None` when the host offers nothing and nothing had to be enforced.
    pub cgroup: Option<JobCgroup>,
    pub notes: Vec<String>,
}

/// Tells before the start whether the limits can be enforced here.
///
/// # Errors
/// [`CgroupError`] naming the limit and the reason.
pub fn check(limits: &Limits) -> Result<(), CgroupError> {
    if !limits.must_be_enforced() {
        return Ok(());
    }
    let hierarchies = Hierarchies::probe()?;
    for (controller, limit) in needed(limits) {
        let is_default = controller == Controller::Pids && limits.pids_is_default;
        if let Some(limit) = limit.filter(|_| !is_default) {
            parent_of(controller, limit, &hierarchies)?;
        }
    }
    Ok(())
}

/// Controllers that `limits` need, with the spec's name of the limit; those without one are for
/// accounting alone and may be missing.
fn needed(limits: &Limits) -> Vec<(Controller, Option<&'static str>)> {
    let memory = limits
        .memory
        .and(Some("resources.memory"))
        .or(limits.memory_swap.and(Some("resources.memory_swap")))
        .or(limits.memory_reservation.and(Some("resources.memory_reservation")));
    let cpu = limits.cpu_millis.and(Some("resources.cpu")).or(limits.cpu_shares.and(Some("resources.cpu_shares")));
    let mut needed = vec![(Controller::Memory, memory)];
    needed.extend(cpu.map(|limit| (Controller::Cpu, Some(limit))));
    needed.extend(limits.cpuset.is_some().then_some((Controller::Cpuset, Some("resources.cpuset"))));
    needed.extend(limits.pids.is_some().then_some((Controller::Pids, Some("resources.pids_limit"))));
    needed
}

/// The directory below which the execution's cgroup for `controller` goes.
fn parent_of(
    controller: Controller,
    limit: &'static str,
    hierarchies: &Hierarchies,
) -> Result<(PathBuf, Version), CgroupError> {
    let name = controller.name();
    let hierarchy =
        hierarchies.by_controller.get(&controller).ok_or(CgroupError::NoController { limit, controller: name })?;
    let parent = if nix::unistd::geteuid().is_root() {
        privileged_parent(hierarchy)?
    } else {
        delegated_parent(hierarchy, limit)?
    };
    if hierarchy.version == Version::V2 {
        let control = parent.join("cgroup.subtree_control");
        let enabled = |text: String| text.split_ascii_whitespace().any(|word| word == name);
        let is_enabled = || std::fs::read_to_string(&control).map(enabled).unwrap_or(false);
        // Without privileges it usually is enabled by systemd or cannot be; the look afterwards decides.
        if !is_enabled() && (std::fs::write(&control, format!("+{name}")).is_err() || !is_enabled()) {
            return Err(CgroupError::NotEnabled { limit, controller: name, parent });
        }
    }
    Ok((parent, hierarchy.version))
}

fn privileged_parent(hierarchy: &Hierarchy) -> Result<PathBuf, CgroupError> {
    let parent = hierarchy.mountpoint.join(BASE);
    match std::fs::create_dir(&parent) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(parent),
        Err(source) => return Err(CgroupError::Io { action: "create the cgroup", path: parent, source }),
    }
    match hierarchy.version {
        Version::V1 => inherit_cpuset(&parent),
        Version::V2 => {
            // So that the controllers can be enabled one level further down; checked there.
            let control = hierarchy.mountpoint.join("cgroup.subtree_control");
            for controller in ["cpu", "cpuset", "memory", "pids"] {
                let _ = std::fs::write(&control, format!("+{controller}"));
            }
        }
    }
    Ok(parent)
}

fn delegated_parent(hierarchy: &Hierarchy, limit: &'static str) -> Result<PathBuf, CgroupError> {
    let parent = hierarchy.unprivileged_parent();
    let writable = nix::unistd::access(&parent, nix::unistd::AccessFlags::W_OK).is_ok();
    if writable { Ok(parent) } else { Err(CgroupError::NotDelegated { limit, parent }) }
}

/// On version 1 a new cpuset is empty, and nothing can run in an empty one.
fn inherit_cpuset(directory: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let Some(parent) = directory.parent() else { return };
        if let Ok(value) = std::fs::read_to_string(parent.join(file)) {
            // Joining fails with a clear error when it stays empty.
            let _ = std::fs::write(directory.join(file), value.trim());
        }
    }
}

impl JobCgroup {
    /// Makes the cgroups of the execution `id` and sets its limits.
    ///
    /// # Errors
    /// [`CgroupError`]; what was made before is removed.
    pub fn create(id: &str, limits: &Limits) -> Result<Made, CgroupError> {
        let hierarchies = Hierarchies::probe()?;
        let mut cgroup = JobCgroup { directories: BTreeMap::new(), by_controller: BTreeMap::new() };
        let mut notes = Vec::new();
        let result = cgroup.fill(id, limits, &hierarchies, &mut notes);
        if let Err(error) = result {
            // Empty directories that no process has joined.
            cgroup.remove();
            return Err(error);
        }
        Ok(Made { cgroup: (!cgroup.directories.is_empty()).then_some(cgroup), notes })
    }

    fn fill(
        &mut self,
        id: &str,
        limits: &Limits,
        hierarchies: &Hierarchies,
        notes: &mut Vec<String>,
    ) -> Result<(), CgroupError> {
        let mut limits = limits.clone();
        for (controller, limit) in needed(&limits.clone()) {
            let optional = limit.is_none() || (controller == Controller::Pids && limits.pids_is_default);
            match parent_of(controller, limit.unwrap_or("accounting"), hierarchies) {
                Ok((parent, version)) => self.make(controller, parent.join(id), version)?,
                // Our own default, or accounting alone: a host without the means does without.
                Err(error) if optional => {
                    tracing::debug!(%error, "no cgroup for {}", controller.name());
                    if controller == Controller::Pids {
                        limits.pids = None;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let version = |controller| self.by_controller.get(&controller).map_or(Version::V2, |(_, version)| *version);
        for setting in settings::settings(&limits, version) {
            self.write(&setting, notes)?;
        }
        Ok(())
    }

    fn make(&mut self, controller: Controller, directory: PathBuf, version: Version) -> Result<(), CgroupError> {
        self.by_controller.insert(controller, (directory.clone(), version));
        if self.directories.contains_key(&directory) {
            return Ok(());
        }
        if let Err(source) = std::fs::create_dir(&directory) {
            return Err(CgroupError::Io { action: "create the cgroup", path: directory, source });
        }
        if version == Version::V1 {
            inherit_cpuset(&directory);
        }
        self.directories.insert(directory, version);
        Ok(())
    }

    fn write(&self, setting: &Setting, notes: &mut Vec<String>) -> Result<(), CgroupError> {
        let Some((directory, _)) = self.by_controller.get(&setting.controller) else { return Ok(()) };
        let path = directory.join(setting.file);
        match std::fs::write(&path, &setting.value) {
            Ok(()) => Ok(()),
            Err(error) if setting.optional => {
                tracing::debug!(path = %path.display(), %error, "optional limit not set");
                // Only swap is optional; a host without swap accounting mostly has no swap either.
                if has_swap() {
                    notes.push(format!("swap is not limited: {} cannot be set: {error}", path.display()));
                }
                Ok(())
            }
            Err(source) => Err(CgroupError::Refused { path, value: setting.value.clone(), source }),
        }
    }

    /// The directories, for whoever has to clean up after a supervisor that died.
    pub fn directories(&self) -> Vec<PathBuf> {
        self.directories.keys().cloned().collect()
    }

    /// Files through which a process joins by writing `0`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open_joins(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        let open = |(directory, version): (&PathBuf, &Version)| {
            // On version 1 "tasks" moves one thread and needs no lock that waits for a grace period.
            let path = directory.join(if *version == Version::V1 { "tasks" } else { "cgroup.procs" });
            match File::options().write(true).open(&path) {
                Ok(file) => Ok(OwnedFd::from(file)),
                Err(source) => Err(CgroupError::Io { action: "open", path, source }),
            }
        };
        self.directories.iter().map(open).collect()
    }

    /// Times the OOM killer acted in here; `None` when the host does not say.
    pub fn oom_kills(&self) -> Option<u64> {
        let (directory, version) = self.by_controller.get(&Controller::Memory)?;
        let file = if *version == Version::V1 { "memory.oom_control" } else { "memory.events" };
        let text = std::fs::read_to_string(directory.join(file)).ok()?;
        value_of(&text, "oom_kill")
    }

    /// Fills what the cgroups know better than the processes' own accounting.
    pub fn read_usage(&self, usage: &mut Usage) {
        usage.oom_kills = self.oom_kills();
        if let Some((directory, version)) = self.by_controller.get(&Controller::Memory) {
            let file = if *version == Version::V1 { "memory.max_usage_in_bytes" } else { "memory.peak" };
            let peak = std::fs::read_to_string(directory.join(file)).ok().and_then(|text| text.trim().parse().ok());
            if let Some(peak) = peak {
                usage.peak_memory = Some(peak);
                usage.peak_memory_source = Some(PeakMemorySource::Cgroup);
            }
            // On version 2 every cgroup counts CPU time, whatever controllers it has.
            if *version == Version::V2
                && let Ok(text) = std::fs::read_to_string(directory.join("cpu.stat"))
            {
                let micros = |name| value_of(&text, name).map(Duration::from_micros);
                usage.cpu_user = micros("user_usec").or(usage.cpu_user);
                usage.cpu_system = micros("system_usec").or(usage.cpu_system);
            }
        }
    }

    /// Removes the cgroups; see [`remove_directories`].
    pub fn remove(self) -> Vec<PathBuf> {
        remove_directories(self.directories.into_keys().collect())
    }
}

/// Directories of the container that are there: a supervisor that died early has not said which it had made.
pub fn directories_of(container: &OsStr) -> Vec<PathBuf> {
    // A host whose cgroups cannot be read had none to make.
    let hierarchies = Hierarchies::probe().unwrap_or_default();
    let is_root = nix::unistd::geteuid().is_root();
    let parent = |hierarchy: &Hierarchy| {
        if is_root { hierarchy.mountpoint.join(BASE) } else { hierarchy.unprivileged_parent() }
    };
    let found = hierarchies.by_controller.values().map(|hierarchy| parent(hierarchy).join(container));
    found.filter(|path| path.is_dir()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Kills whatever is left in these cgroups and removes them. Returns those that would not go; a
/// directory that does not exist is gone. `coracle` itself is kept for the next execution.
pub fn remove_directories(directories: Vec<PathBuf>) -> Vec<PathBuf> {
    directories.into_iter().filter(|directory| !remove_one(directory)).collect()
}

fn remove_one(directory: &Path) -> bool {
    /// Processes that were killed need a moment to leave; far above what was ever seen.
    const ATTEMPTS: u32 = 200;
    const PAUSE: Duration = Duration::from_millis(5);
    for _ in 0..ATTEMPTS {
        match std::fs::remove_dir(directory) {
            Ok(()) => return true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => kill_members(directory),
            Err(_) => return false,
        }
        std::thread::sleep(PAUSE);
    }
    false
}

fn kill_members(directory: &Path) {
    let Ok(text) = std::fs::read_to_string(directory.join("cgroup.procs")) else { return };
    for pid in text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0) {
        // The cgroup is ours alone, so its members are the job's; one that has just ended is fine.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
}

fn value_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn has_swap() -> bool {
    // The first line is the header.
    std::fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
}
