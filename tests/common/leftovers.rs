//! What a state root left on the host: mounts, cgroups, processes, unfinished directories.

use super::host::Process;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time that clean-up may take after a front has returned.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything found that should not be there.
#[derive(Debug, Default)]
pub struct Leftovers {
    pub mounts: Vec<String>,
    pub cgroups: Vec<PathBuf>,
    pub processes: Vec<String>,
    pub directories: Vec<PathBuf>,
}

impl Leftovers {
    /// Waits for the processes of `root` to end, then looks at all the rest. `ids` are executions
    /// that may have no directory any more.
    pub fn of(root: &Path, ids: &[String]) -> Leftovers {
        let mut found = Leftovers::default();
        for process in processes(root) {
            if !process.handle.ends_within(PATIENCE) {
                found.processes.push(format!("{} {}", process.handle.pid, process.what));
            }
        }
        let mut ids: BTreeSet<String> = ids.iter().cloned().collect();
        ids.extend(names(&root.join("executions")));
        found.mounts = mounts(root);
        cgroups(Path::new("/sys/fs/cgroup"), &ids, &mut found.cgroups);
        found.directories = unfinished(root);
        found
    }

    pub fn is_empty(&self) -> bool {
        self.mounts.is_empty() && self.cgroups.is_empty() && self.processes.is_empty() && self.directories.is_empty()
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mounts.iter().try_for_each(|mount| writeln!(f, "mount {mount}"))?;
        self.cgroups.iter().try_for_each(|path| writeln!(f, "cgroup {}", path.display()))?;
        self.processes.iter().try_for_each(|process| writeln!(f, "process {process}"))?;
        self.directories.iter().try_for_each(|path| writeln!(f, "directory {}", path.display()))
    }
}

/// A process that has to do with a state root.
pub struct Related {
    pub handle: Process,
    /// Its command line, for messages.
    pub what: String,
}

/// The processes that have `root` in their command line, their environment, their mounts or their
/// open files: fronts, supervisors, and everything in a container. Not the caller.
pub fn processes(root: &Path) -> Vec<Related> {
    let needle = root.to_str().expect("temporary directories have plain names");
    let own = std::process::id().to_string();
    names(Path::new("/proc"))
        .into_iter()
        .filter(|name| *name != own)
        .filter_map(|name| {
            let pid = name.parse().ok()?;
            // Opened first: what is read then is of this process or of none.
            let handle = Process::open(pid)?;
            let directory = Path::new("/proc").join(&name);
            let mentions = |file: &str| {
                let content = fs::read(directory.join(file)).unwrap_or_default();
                String::from_utf8_lossy(&content).contains(needle)
            };
            let links = names(&directory.join("fd")).into_iter().map(|fd| directory.join("fd").join(fd));
            let opened = links
                .chain([directory.join("cwd")])
                .any(|link| fs::read_link(link).is_ok_and(|target| target.starts_with(root)));
            let related = opened || ["cmdline", "environ", "mountinfo"].into_iter().any(mentions);
            let command = fs::read(directory.join("cmdline")).unwrap_or_default();
            let what = String::from_utf8_lossy(&command).replace('\0', " ");
            related.then_some(Related { handle, what })
        })
        .collect()
}

/// Sends SIGKILL to every process of a root. Those of other users end with their container.
pub fn kill(root: &Path) -> Vec<Related> {
    let all = processes(root);
    for related in &all {
        // It may have ended.
        related.handle.try_signal(Signal::SIGKILL);
    }
    all
}

fn mounts(root: &Path) -> Vec<String> {
    let needle = root.to_str().expect("temporary directories have plain names");
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    table.lines().filter(|line| line.contains(needle)).map(str::to_owned).collect()
}

/// Directories below `directory` that are named after one of the executions.
fn cgroups(directory: &Path, ids: &BTreeSet<String>, found: &mut Vec<PathBuf>) {
    for name in names(directory) {
        let path = directory.join(&name);
        if !path.is_dir() || path.is_symlink() {
            continue;
        }
        if ids.iter().any(|id| name.contains(id.as_str())) {
            found.push(path);
        } else {
            cgroups(&path, ids, found);
        }
    }
}

/// What only a running pull or a running execution may have. Of others a log is left, or nothing at all.
fn unfinished(root: &Path) -> Vec<PathBuf> {
    let below = |directory: PathBuf| -> Vec<PathBuf> {
        names(&directory).into_iter().map(|name| directory.join(name)).collect()
    };
    let mut found: Vec<PathBuf> = ["staging", "run"].into_iter().flat_map(|name| below(root.join(name))).collect();
    for execution in below(root.join("executions")) {
        let containers = below(execution.clone());
        if containers.is_empty() {
            found.push(execution);
        }
        for container in containers {
            let (logs, left): (Vec<_>, Vec<_>) =
                below(container.clone()).into_iter().partition(|path| path.ends_with("log.ring"));
            if logs.is_empty() && left.is_empty() {
                found.push(container);
            }
            found.extend(left);
        }
    }
    found
}

/// The names in a directory; none when it cannot be read or does not exist.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
