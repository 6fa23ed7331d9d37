//! The processes of a run, by what they are for.

use crate::common::host::Process;
use coracle::runtime::state::{LiveState, Stage};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// What a process of the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Front,
    Supervisor,
    Launcher,
    Pid1,
    Job,
    Settler,
    Unpacker,
}

impl Role {
    pub const ALL: [Role; 7] =
        [Role::Front, Role::Supervisor, Role::Launcher, Role::Pid1, Role::Job, Role::Settler, Role::Unpacker];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Front => "front",
            Role::Supervisor => "supervisor",
            Role::Launcher => "launcher",
            Role::Pid1 => "pid 1",
            Role::Job => "job",
            Role::Settler => "settler",
            Role::Unpacker => "unpacker",
        })
    }
}

/// One process as `/proc` shows it.
struct Seen {
    parent: i32,
    /// A container's pid 1 conceals it, so that only roles of the host's side can be told by it.
    command: String,
    process: Process,
}

/// A look at the processes of a run.
pub struct Processes {
    root: PathBuf,
    /// Those of the host that were there before the run. A look is to be short beside a process's life.
    others: BTreeSet<i32>,
}

impl Processes {
    /// Before anything of the run is started.
    pub fn new(root: &Path) -> Processes {
        Processes { root: root.to_owned(), others: pids().collect() }
    }

    /// Those that do this at the moment. The store knows the supervisors, the kernel their children.
    pub fn of_role(&self, wanted: Role) -> Vec<Process> {
        let mut table = self.table();
        let supervisors = supervisors(&self.root);
        let is_wanted = |pid: &i32| role(*pid, &self.root, &table, &supervisors) == Some(wanted);
        let found: Vec<i32> = table.keys().copied().filter(is_wanted).collect();
        found.into_iter().filter_map(|pid| Some(table.remove(&pid)?.process)).collect()
    }

    /// Everything that runs; what has ended and was not waited for does not.
    fn table(&self) -> BTreeMap<i32, Seen> {
        pids().filter(|pid| !self.others.contains(pid)).filter_map(|pid| Some((pid, Seen::look(pid)?))).collect()
    }
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

impl Seen {
    fn look(pid: i32) -> Option<Seen> {
        // Opened first: what is read then is of this process or of none.
        let process = Process::open(pid)?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit(')').next()?.split_whitespace();
        if fields.next()? == "Z" {
            return None;
        }
        let parent = fields.next()?.parse().ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        Some(Seen { parent, command, process })
    }
}

fn role(pid: i32, root: &Path, table: &BTreeMap<i32, Seen>, supervisors: &Supervisors) -> Option<Role> {
    let Seen { parent, command, .. } = table.get(&pid)?;
    let root = root.to_str().expect("temporary directories have plain names");
    let named = command.split(' ').find_map(|word| word.strip_prefix("--role=")).filter(|_| command.contains(root));
    match named {
        // It keeps the pid of the supervisor that it was.
        Some("settle") => return Some(Role::Settler),
        Some("unpack") => return Some(Role::Unpacker),
        Some("remove-tree" | "step") => return None,
        _ => {}
    }
    let is_settler = |pid: &i32| table.get(pid).is_some_and(|seen| seen.command.contains("--role=settle"));
    let is_supervisor = |pid: &i32| supervisors.all.contains(pid) && !is_settler(pid);
    if is_supervisor(parent) {
        return match () {
            () if is_first_of_its_namespace(pid) => Some(Role::Pid1),
            // What it starts at the end removes files.
            () if supervisors.ending.contains(parent) => None,
            () => Some(Role::Launcher),
        };
    }
    let above = table.get(parent).map(|parent| parent.parent);
    if above.as_ref().is_some_and(is_supervisor) && is_first_of_its_namespace(*parent) {
        return Some(Role::Job);
    }
    // One that has only just begun has not told the store yet.
    if is_supervisor(&pid) || named == Some("supervise") {
        return Some(Role::Supervisor);
    }
    (*parent == std::process::id().cast_signed()).then_some(Role::Front)
}

/// Those that the containers' state files name.
#[derive(Default)]
struct Supervisors {
    all: BTreeSet<i32>,
    /// Whose jobs are over.
    ending: BTreeSet<i32>,
}

fn supervisors(root: &Path) -> Supervisors {
    let mut found = Supervisors::default();
    // A container that has more on disk than its log is marked, so that not every execution has to be looked at.
    for mark in fs::read_dir(root.join("busy")).into_iter().flatten().flatten() {
        let name = coracle::exec::ContainerId(mark.file_name().to_string_lossy().into_owned());
        let Some(own) = name.own_part() else { continue };
        let state = root.join("executions").join(name.execution()).join(own).join("state");
        let Ok(Some(state)) = LiveState::read(&state) else { continue };
        // A later process may have its pid.
        if let Ok(Some(_)) = state.supervisor.open() {
            found.all.insert(state.supervisor.pid);
            if matches!(state.stage, Stage::Ending { .. }) {
                found.ending.insert(state.supervisor.pid);
            }
        }
    }
    found
}

/// Whether it is pid 1 of a pid namespace below this one (proc_pid_status(5)).
fn is_first_of_its_namespace(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let pids: Vec<&str> = line.split_whitespace().collect();
    pids.len() > 1 && pids.last() == Some(&"1")
}
