//! Kills processes of the run, and breaks its disk for a while.

use crate::common::leftovers::{self, Related};
use crate::driver::Run;
use fastrand::Rng;
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
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
    let mut by_role: BTreeMap<String, Vec<Related>> = BTreeMap::new();
    for related in leftovers::processes(&run.coracle.root()) {
        if let Some(role) = role(&related.what) {
            by_role.entry(role.to_owned()).or_default().push(related);
        }
    }
    // Each role as often as any other, however many there are.
    let Some((role, members)) = rng.choice(by_role) else { return "nobody to kill".into() };
    let victim = rng.choice(members).expect("a role with a process");
    if victim.handle.try_signal(Signal::SIGKILL) { format!("killed {role}") } else { format!("too late for {role}") }
}

fn role(command: &str) -> Option<&str> {
    let first = command.split(' ').next().unwrap_or_default();
    // Of the disk.
    if ["mount", "umount", "unshare"].contains(&first) {
        return None;
    }
    let role = command.split(' ').find_map(|word| word.strip_prefix("--role="));
    Some(role.unwrap_or(if first.ends_with("coracle") || command.contains(crate::embed::MODE) {
        "front"
    } else {
        "job"
    }))
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
