//! One run: workers that trigger jobs, a killer beside them, and a look at what is left.

use crate::common::cli::Coracle;
use crate::common::leftovers;
use crate::disk::Disk;
use crate::fronts::{self, How, Met, Seen};
use crate::processes::Processes;
use crate::{beginnings, jobs, killer, set_back, verdict};
use fastrand::Rng;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Condvar, Mutex, RwLock};
use std::time::{Duration, Instant};

/// As a test is named.
pub const NAME: &str = "faults_lose_nothing_and_leave_nothing";

/// An execution that takes longer when all else is over does not end. Far above anything that is measured.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// Fronts at once.
const WORKERS: usize = 5;

/// Executions from which on a round must have killed a process of every kind: twenty times what it takes on average.
const LONG: usize = 300;

/// What all threads of a run share.
pub struct Run {
    /// Unmounted before the root is removed.
    pub disk: Option<Disk>,
    pub coracle: Coracle,
    pub processes: Processes,
    /// Held to read while a front is at work.
    pub gate: RwLock<()>,
    witness: PathBuf,
    next: AtomicUsize,
    printed: Mutex<BTreeSet<String>>,
    seen: Mutex<Vec<Seen>>,
    failures: Mutex<Vec<String>>,
    never: (Mutex<()>, Condvar),
}

impl Run {
    fn new() -> Run {
        let coracle = Coracle::new();
        let witness = coracle.scratch().join("witness");
        std::fs::create_dir(&witness).expect("a place for what the jobs tell");
        coracle.file("faults.yaml", jobs::deployment(&witness));
        let disk = Disk::mount(&coracle.root());
        let processes = Processes::new(&coracle.root());
        let spec = coracle.scratch().join("faults.yaml");
        coracle.run(["jobs", "add", &spec.display().to_string()]).expect_code(0);
        Run {
            disk,
            coracle,
            processes,
            gate: RwLock::default(),
            witness,
            next: AtomicUsize::new(0),
            printed: Mutex::default(),
            seen: Mutex::default(),
            failures: Mutex::default(),
            never: Default::default(),
        }
    }

    /// Path of the deployment.
    pub fn spec(&self) -> String {
        self.coracle.scratch().join("faults.yaml").display().to_string()
    }

    /// Where the jobs tell of their runs.
    pub fn witness(&self) -> &PathBuf {
        &self.witness
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        self.coracle.command(arguments)
    }

    /// A front has promised that this execution is recorded.
    pub fn printed(&self, id: &str) {
        self.printed.lock().expect("no thread panics with it").insert(id.to_owned());
    }

    /// A front has ended, by itself if it says `how`, and knew how the execution ended.
    pub fn saw(&self, id: String, how: Option<How>, front: &Met) {
        let Some(how) = how else { return };
        let seen = Seen { id, how, disk_was_broken: front.disk_was_broken, front: front.to_string() };
        self.seen.lock().expect("no thread panics with it").push(seen);
    }

    /// A front did not do what it was to do, and said this.
    pub fn failed(&self, text: String) {
        self.failures.lock().expect("no thread panics with it").push(text);
    }

    pub fn all_failures(&self) -> Vec<String> {
        std::mem::take(&mut *self.failures.lock().expect("no thread panics with it"))
    }

    /// Lets the others run.
    pub fn pause(&self, milliseconds: u64) {
        let (lock, never) = &self.never;
        let lock = lock.lock().expect("no thread panics with it");
        drop(never.wait_timeout(lock, Duration::from_millis(milliseconds)));
    }

    pub fn all_printed(&self) -> BTreeSet<String> {
        self.printed.lock().expect("no thread panics with it").clone()
    }

    pub fn all_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().expect("no thread panics with it"))
    }

    /// How many executions are.
    pub fn recorded(&self) -> usize {
        self.printed.lock().expect("no thread panics with it").len()
    }

    /// Lets fronts work until the goal is reached.
    fn work(&self, goal: &Goal, seed: u64) {
        loop {
            let is_enough = self.recorded() >= goal.to;
            if is_enough && !goal.is_fault_owed.load(Ordering::Relaxed) {
                return;
            }
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= goal.most_fronts {
                // Most get as far as to record one, some are killed before.
                assert!(is_enough, "{number} fronts have recorded fewer than {} executions", goal.to);
                return;
            }
            let mut rng = Rng::with_seed(seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let open = self.gate.read().expect("the killer does not panic with the gate");
            fronts::one(self, &mut rng, number);
            drop(open);
        }
    }

    /// Lets every execution come to its end. `ps` takes over what dead processes have left.
    fn settle(&self) {
        self.coracle.run(["ps"]).expect_code(0);
        for execution in self.coracle.executions() {
            if execution["completed_at"].is_null() && !self.sees_the_end_of(execution["id"].as_str().expect("an id")) {
                break;
            }
        }
        self.coracle.run(["ps"]).expect_code(0);
    }

    fn sees_the_end_of(&self, id: &str) -> bool {
        let waiter = self.coracle.start(self.command(&["wait", id]));
        let has_ended = waiter.process.ends_within(HANGS_AFTER);
        if !has_ended {
            // The waiter is not waited for any longer; that the execution has not ended is among the findings.
            println!("{id} does not end: {:#}", self.coracle.inspect(id));
            for related in leftovers::processes(&self.coracle.root()) {
                println!("    {} {}", related.handle.pid, related.what);
            }
            waiter.process.try_signal(Signal::SIGKILL);
        }
        waiter.finish();
        has_ended
    }
}

/// When a round is over.
pub struct Goal {
    /// Executions that are recorded when it begins, and at least when it ends.
    from: usize,
    to: usize,
    /// Fronts of the run so far and of this round, none of which may come to more.
    most_fronts: usize,
    /// Something is still to go wrong.
    pub is_fault_owed: AtomicBool,
}

impl Goal {
    fn new(run: &Run, jobs: usize) -> Goal {
        let (from, fronts) = (run.recorded(), run.next.load(Ordering::Relaxed));
        Goal { from, to: from + jobs, most_fronts: fronts + jobs * 5 + 100, is_fault_owed: AtomicBool::new(true) }
    }

    /// Of its jobs, three when all are recorded.
    pub fn thirds(&self, recorded: usize) -> usize {
        3 * (recorded - self.from) / (self.to - self.from).max(1)
    }
}

/// Makes a run of so many rounds in one store, with so many jobs each, until something is found wrong.
/// That is printed; true when nothing is.
pub fn run(seed: u64, jobs: usize, rounds: u64) -> bool {
    let mut wrong = beginnings::examine(&mut Rng::with_seed(seed));
    wrong.extend(set_back::examine(&mut Rng::with_seed(seed)));
    let run = Run::new();
    for round in 0..rounds {
        if wrong.is_empty() {
            wrong = one_round(&run, seed + round, jobs);
        }
    }
    // Before the store goes, which may find something, too.
    wrong.iter().for_each(|text| println!("{text}"));
    wrong.is_empty()
}

fn one_round(run: &Run, seed: u64, jobs: usize) -> Vec<String> {
    let goal = Goal::new(run, jobs);
    let began = Instant::now();
    let tally = std::thread::scope(|scope| {
        let (sender, done) = mpsc::channel();
        let goal = &goal;
        let killer = scope.spawn(move || killer::run(run, goal, Rng::with_seed(seed), &done));
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(|| run.work(goal, seed))).collect();
        let ended: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        drop(sender);
        let tally = killer.join().expect("the killer does not panic");
        ended.into_iter().for_each(|worker| worker.expect("no front hangs"));
        tally
    });
    run.settle();
    let took = began.elapsed();
    let findings = verdict::examine(run);
    let rate = (run.recorded() - goal.from) as f64 / took.as_secs_f64();
    println!(
        "Seed {seed}: {} executions after {:.1} s, {rate:.1} a second; {}",
        findings.executions,
        took.as_secs_f64(),
        findings.ends
    );
    println!("{tally}");
    let mut wrong = findings.wrong;
    wrong.extend(tally.owed(run).map(|owed| format!("never made: {}", owed.fault)));
    for role in tally.spared() {
        let text = format!("no {role} was killed");
        if jobs < LONG {
            println!("note: {text} in this short run");
        } else {
            wrong.push(text);
        }
    }
    wrong
}
