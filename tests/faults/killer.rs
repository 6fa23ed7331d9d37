//! Kills processes of the run, and breaks its disk for a while.

use crate::common::leftovers;
use crate::disk::Disk;
use crate::driver::{Goal, Run};
use crate::processes::{Processes, Role};
use fastrand::Rng;
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
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

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Kill(Role),
    /// The disk is full for a while.
    Fill,
    /// It is read-only for a while.
    Protect,
}

/// A fault that every round has to make, those of the disk where it has one.
#[derive(Debug, Clone, Copy)]
pub struct Owed {
    pub fault: Fault,
    /// It is made after so many thirds of the jobs, if it has not been by then.
    from: usize,
}

const OWED: [Owed; 6] = [
    Owed { fault: Fault::Fill, from: 1 },
    Owed { fault: Fault::Kill(Role::Front), from: 1 },
    Owed { fault: Fault::Kill(Role::Supervisor), from: 1 },
    Owed { fault: Fault::Kill(Role::Settler), from: 1 },
    // Of these there are few.
    Owed { fault: Fault::Kill(Role::Unpacker), from: 1 },
    Owed { fault: Fault::Protect, from: 2 },
];

impl Fault {
    fn draw(rng: &mut Rng) -> Fault {
        match rng.u8(..60) {
            0 => Fault::Fill,
            1 => Fault::Protect,
            _ => Fault::Kill(*rng.choice(&Role::ALL).expect("there are roles")),
        }
    }

    /// False when nothing could be done.
    fn make(self, run: &Run, rng: &mut Rng, done: &Receiver<()>) -> bool {
        match (self, &run.disk) {
            (Fault::Kill(role), _) => kill(&run.processes, role, rng, done),
            (Fault::Fill, Some(disk)) => fill(disk, rng, done),
            (Fault::Protect, Some(disk)) => protect(run, disk, rng, done),
            (Fault::Fill | Fault::Protect, None) => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kill(role) => write!(f, "{role} killed"),
            Fault::Fill => f.write_str("disk filled"),
            Fault::Protect => f.write_str("disk protected"),
        }
    }
}

/// What has been done.
#[derive(Default)]
pub struct Tally {
    made: BTreeMap<Fault, usize>,
    /// Nothing was there to be hit.
    missed: BTreeMap<Fault, usize>,
}

impl Tally {
    /// The kinds of processes of which none was killed.
    pub fn spared(&self) -> Vec<Role> {
        Role::ALL.into_iter().filter(|role| !self.made.contains_key(&Fault::Kill(*role))).collect()
    }

    /// What is owed and has not been made.
    pub fn owed(&self, run: &Run) -> impl Iterator<Item = Owed> {
        let is_possible = |fault: &Fault| run.disk.is_some() || matches!(fault, Fault::Kill(_));
        OWED.into_iter().filter(move |Owed { fault, .. }| is_possible(fault) && !self.made.contains_key(fault))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<Fault, usize>| {
            let texts: Vec<String> = counts.iter().map(|(fault, count)| format!("{fault} {count}×")).collect();
            texts.join(", ")
        };
        write!(f, "{}; missed: {}", list(&self.made), list(&self.missed))
    }
}

/// Makes faults until it hears that all jobs are under way, which they are not before all that is owed is made.
pub fn run(run: &Run, goal: &Goal, mut rng: Rng, done: &Receiver<()>) -> Tally {
    let mut tally = Tally::default();
    while pause(done, rng.u64(PAUSE)) {
        let thirds = goal.thirds(run.recorded());
        let due: Vec<Owed> = tally.owed(run).filter(|owed| owed.from <= thirds).collect();
        // The others go on meanwhile: what is owed may take a while to be hit.
        let due = if rng.bool() { rng.choice(due) } else { None };
        let fault = due.map_or_else(|| Fault::draw(&mut rng), |owed| owed.fault);
        let is_made = fault.make(run, &mut rng, done);
        let counts = if is_made { &mut tally.made } else { &mut tally.missed };
        *counts.entry(fault).or_default() += 1;
        goal.is_fault_owed.store(tally.owed(run).next().is_some(), Ordering::Relaxed);
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

fn fill(disk: &Disk, rng: &mut Rng, done: &Receiver<()>) -> bool {
    disk.fill() && {
        pause_once(done, rng);
        disk.repair();
        true
    }
}

fn protect(run: &Run, disk: &Disk, rng: &mut Rng, done: &Receiver<()>) -> bool {
    // While a job runs its supervisor holds files open, so nothing new begins until the last has ended.
    let quiet = run.gate.write().expect("no worker panics with the gate");
    for related in leftovers::processes(&run.coracle.root()) {
        related.handle.ends_within(Duration::from_secs(5));
    }
    let is_protected = disk.make_read_only();
    drop(quiet);
    if is_protected {
        pause_once(done, rng);
        disk.repair();
    }
    is_protected
}

fn pause_once(done: &Receiver<()>, rng: &mut Rng) {
    // The end of the run may be heard here; the sender is gone then, which the next look finds, too.
    pause(done, rng.u64(BROKEN));
}
