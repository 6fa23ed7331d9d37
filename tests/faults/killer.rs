//! Kills processes of the run, and breaks its disk for a while.

use crate::common::leftovers;
use crate::driver::Run;
use crate::processes::{Processes, Role};
use fastrand::Rng;
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Between two faults, milliseconds.
const PAUSE: std::ops::Range<u64> = 10..100;

/// How many times a process to kill is looked for, and the time between, milliseconds: most live for a few of them.
const LOOKS: u32 = 25;
const BETWEEN_LOOKS: u64 = 2;

/// How long one that was found may go on, milliseconds.
const REPRIEVE: u64 = 10;

/// How long the disk stays broken, milliseconds.
const BROKEN: std::ops::Range<u64> = 100..700;

/// What has been done.
#[derive(Default)]
pub struct Tally {
    killed: BTreeMap<Role, usize>,
    other: BTreeMap<String, usize>,
}

impl Tally {
    /// How many of each kind were killed.
    pub fn killed(&self) -> String {
        list(Role::ALL.iter().map(|role| (role, self.killed.get(role).copied().unwrap_or_default())))
    }

    pub fn others(&self) -> String {
        list(self.other.iter().map(|(fault, count)| (fault, *count)))
    }

    /// The kinds of processes of which none was killed.
    pub fn spared(&self) -> Vec<Role> {
        Role::ALL.into_iter().filter(|role| !self.killed.contains_key(role)).collect()
    }
}

fn list<T: std::fmt::Display>(counts: impl Iterator<Item = (T, usize)>) -> String {
    let texts: Vec<String> = counts.map(|(what, count)| format!("{what} {count}×")).collect();
    texts.join(", ")
}

/// Makes faults until it hears that all jobs are under way.
pub fn run(run: &Run, mut rng: Rng, done: &Receiver<()>) -> Tally {
    let mut tally = Tally::default();
    let processes = &run.processes;
    while pause(done, rng.u64(PAUSE)) {
        let fault = match rng.u8(..60) {
            0 => full(run, &mut rng, done),
            1 => read_only(run, &mut rng, done),
            _ => {
                let role = *rng.choice(&Role::ALL).expect("there are roles");
                if kill(processes, role, &mut rng, done) {
                    *tally.killed.entry(role).or_default() += 1;
                    continue;
                }
                format!("no {role} to kill")
            }
        };
        *tally.other.entry(fault).or_default() += 1;
    }
    tally
}

/// False when there is nothing more to be done.
fn pause(done: &Receiver<()>, milliseconds: u64) -> bool {
    matches!(done.recv_timeout(Duration::from_millis(milliseconds)), Err(RecvTimeoutError::Timeout))
}

/// Each role as often as any other, however many there are of it and however short they live: it is waited for.
fn kill(processes: &Processes, role: Role, rng: &mut Rng, done: &Receiver<()>) -> bool {
    let reprieve = if rng.bool() { rng.u64(..REPRIEVE) } else { 0 };
    for _ in 0..LOOKS {
        let victim = rng.choice(processes.of_role(role));
        if let Some(victim) = victim {
            if reprieve > 0 {
                pause(done, reprieve);
            }
            if victim.try_signal(Signal::SIGKILL) {
                return true;
            }
        }
        if !pause(done, BETWEEN_LOOKS) {
            break;
        }
    }
    false
}

fn full(run: &Run, rng: &mut Rng, done: &Receiver<()>) -> String {
    let Some(disk) = &run.disk else { return "no disk to fill".into() };
    if !disk.fill() {
        return "disk not filled in time".into();
    }
    pause_once(done, rng);
    disk.repair();
    "disk filled".into()
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
        return "disk still in use".into();
    }
    pause_once(done, rng);
    disk.repair();
    "disk protected".into()
}

fn pause_once(done: &Receiver<()>, rng: &mut Rng) {
    // The end of the run may be heard here; the sender is gone then, which the next look finds, too.
    pause(done, rng.u64(BROKEN));
}
