//! Kills processes of the run, and breaks its disk for a while.

use crate::common::host::Process;
use crate::common::leftovers;
use crate::driver::Run;
use fastrand::Rng;
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Between two faults, milliseconds.
const PAUSE: std::ops::Range<u64> = 20..160;

/// How long the disk stays broken, milliseconds.
const BROKEN: std::ops::Range<u64> = 100..700;

/// What has been done, by name.
pub type Tally = BTreeMap<String, usize>;

/// Makes faults until it hears that all jobs are under way.
pub fn run(run: &Run, mut rng: Rng, done: &Receiver<()>) -> Tally {
    let mut tally = Tally::new();
    while pause(done, rng.u64(PAUSE)) {
        let fault = match rng.u8(..60) {
            0 => full(run, &mut rng, done),
            1 => read_only(run, &mut rng, done),
            _ => kill(run, &mut rng),
        };
        *tally.entry(fault).or_default() += 1;
    }
    tally
}

/// False when there is nothing more to be done.
fn pause(done: &Receiver<()>, milliseconds: u64) -> bool {
    matches!(done.recv_timeout(Duration::from_millis(milliseconds)), Err(RecvTimeoutError::Timeout))
}

fn kill(run: &Run, rng: &mut Rng) -> String {
    let mut by_role: BTreeMap<String, Vec<Process>> = BTreeMap::new();
    for (role, process) in processes(&run.coracle.root()) {
        by_role.entry(role).or_default().push(process);
    }
    // Each role as often as any other, however many there are.
    let Some((role, members)) = rng.choice(by_role) else { return "nobody to kill".into() };
    let victim = rng.choice(members).expect("a role with a process");
    if victim.try_signal(Signal::SIGKILL) { format!("killed {role}") } else { format!("too late for {role}") }
}

/// The processes of the run with what they are for: their command line tells, or their parent.
fn processes(root: &Path) -> Vec<(String, Process)> {
    let mut seen: BTreeMap<i32, (i32, String, Process)> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").expect("/proc is mounted").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Opened first: what is read then is of this process or of none.
        let Some(process) = Process::open(pid) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        seen.insert(pid, (parent.unwrap_or_default(), command, process));
    }
    let own = i32::try_from(std::process::id()).expect("a pid");
    let root = format!("{}", root.display());
    let role_of = |pid: i32| {
        let (parent, command, _) = seen.get(&pid)?;
        let role = command.split(' ').find_map(|word| word.strip_prefix("--role="))?;
        let above = seen.get(parent).is_some_and(|(_, above, _)| above == command);
        command.contains(&root).then(|| if above { "launch" } else { role }.to_owned())
    };
    let mut roles: BTreeMap<i32, String> = BTreeMap::new();
    for (pid, (parent, command, _)) in &seen {
        let is_helper = ["mount", "umount"].contains(&command.split(' ').next().unwrap_or_default());
        let role = role_of(*pid).or_else(|| (*parent == own && !is_helper).then(|| "front".to_owned()));
        let role = role.or_else(|| (role_of(*parent)? == "supervise").then(|| "pid 1".to_owned()));
        roles.extend(role.map(|role| (*pid, role)));
    }
    let in_container: Vec<i32> = seen
        .iter()
        .filter(|(pid, (parent, ..))| roles.get(parent).is_some_and(|role| role == "pid 1") && !roles.contains_key(pid))
        .map(|(pid, _)| *pid)
        .collect();
    roles.extend(in_container.into_iter().map(|pid| (pid, "job".to_owned())));
    seen.into_iter().filter_map(|(pid, (_, _, process))| Some((roles.remove(&pid)?, process))).collect()
}

fn full(run: &Run, rng: &mut Rng, done: &Receiver<()>) -> String {
    let Some(disk) = &run.disk else { return "no disk to fill".into() };
    if !disk.fill() {
        return "missed filling the disk".into();
    }
    pause_once(done, rng);
    disk.repair();
    "filled the disk".into()
}

fn read_only(run: &Run, rng: &mut Rng, done: &Receiver<()>) -> String {
    let Some(disk) = &run.disk else { return "no disk to protect".into() };
    // While a job runs its supervisor holds files open, so nothing new begins until the last has ended.
    let quiet = run.gate.write().expect("no worker panics with the gate");
    for related in leftovers::processes(&run.coracle.root()) {
        related.handle.ends_within(Duration::from_secs(5));
    }
    let is_protected = disk.make_read_only();
    drop(quiet);
    if !is_protected {
        return "missed protecting the disk".into();
    }
    pause_once(done, rng);
    disk.repair();
    "protected the disk".into()
}

fn pause_once(done: &Receiver<()>, rng: &mut Rng) {
    // The end of the run may be heard here; the sender is gone then, which the next look finds, too.
    pause(done, rng.u64(BROKEN));
}
