//! Jobs by the dozen from many processes at once, while those are killed, the disk is full or read-only and a
//! clock goes backwards. At the end nothing may be lost, run twice or left behind.
//!
//! Everything that is random comes from one seed, which is printed; what the processes make of it is up to the
//! scheduler. `CORACLE_FAULTS_SEED` repeats a run, `CORACLE_FAULTS_JOBS` bounds it, `CORACLE_FAULTS_ROUNDS` has it go
//! on in the same store with the next seeds; `scripts/soak` makes long ones.
//!
//! This is a program of its own and not a set of `#[test]` functions: it embeds coracle, so that
//! [`coracle::init`] has to be the first call of `main`.

#![expect(clippy::disallowed_methods, reason = "tests write files and start programs")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../image/layout.rs"]
#[allow(dead_code, reason = "the tests of images use the rest")]
mod layout;
#[path = "../image/tarball.rs"]
#[allow(dead_code, reason = "the tests of images use the rest")]
mod tarball;

mod beginnings;
mod disk;
mod driver;
mod embed;
mod fronts;
mod jobs;
mod killer;
mod many;
mod processes;
mod set_back;
mod triggers;
mod verdict;
mod witness;

use std::process::ExitCode;

/// Jobs of a run that does not say.
const JOBS: usize = 80;

fn main() -> ExitCode {
    coracle::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        [embed::MODE, root, spec, seed, count] => return embed::main(root, spec, seed, count),
        [many::MODE, root, count] => return many::main(root, count),
        [set_back::MODE, root, spec, seed] => return set_back::main(root, spec, seed),
        [triggers::MODE, root, spec, job, count] => return triggers::main(root, spec, job, count),
        // Named as a test by cargo or its user.
        ["--list", ..] => println!("{}: test", driver::NAME),
        ref rest if !is_wanted(rest) => println!("test result: ok. 0 passed; 0 failed; 1 filtered out"),
        _ => return run(),
    }
    ExitCode::SUCCESS
}

/// As of the test harness: names to look for, among options that mean nothing here.
fn is_wanted(arguments: &[&str]) -> bool {
    let mut names = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
    names.peek().is_none() || names.any(|name| driver::NAME.contains(*name))
}

fn run() -> ExitCode {
    let seed = variable("CORACLE_FAULTS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    let jobs = variable("CORACLE_FAULTS_JOBS").map_or(JOBS, |jobs| usize::try_from(jobs).expect("a number of jobs"));
    if let Some(code) = disk::in_own_namespace(seed) {
        return code;
    }
    println!("test {} with CORACLE_FAULTS_SEED={seed} and CORACLE_FAULTS_JOBS={jobs}", driver::NAME);
    let rounds = variable("CORACLE_FAULTS_ROUNDS").unwrap_or(1);
    if driver::run(seed, jobs, rounds) {
        println!("test result: ok. 1 passed; 0 failed");
        return ExitCode::SUCCESS;
    }
    println!("test result: FAILED. 0 passed; 1 failed; seed {seed}");
    ExitCode::FAILURE
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
