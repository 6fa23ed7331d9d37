//! What has to be true when all is over.

use crate::common::leftovers::{Leftovers, names};
use crate::driver::Run;
use crate::fronts::{How, Seen};
use crate::jobs::{KINDS, Kind};
use crate::witness::{Teller, Witness};
use coracle::outcome::{EXIT_ENGINE, End, Stopped};
use coracle::record::{Attempt, Execution, Query, Record, Status};
use coracle::state_dir::StateDir;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::Path;

/// What a state root holds when nothing runs.
const ROOT: &[&str] = &[
    "VERSION",
    "blobs",
    "busy",
    "cache",
    "coracle.db",
    "coracle.db-shm",
    "coracle.db-wal",
    "executions",
    "images.lock",
    "layers",
    "reserve",
    "run",
    "staging",
    "timer.lock",
    "volumes",
    "waiters.lock",
];

/// Exit code of a command that SIGINT has ended.
const INTERRUPTED: i32 = 130;

pub struct Findings {
    pub wrong: Vec<String>,
    pub executions: usize,
    /// How many ended in which way.
    pub ends: String,
}

/// Looks at the record, at what the jobs told and at the host.
pub fn examine(run: &Run) -> Findings {
    let mut wrong = Vec::new();
    let state = StateDir::open(Some(&run.coracle.root())).expect("the state root");
    let record = Record::open(&state).expect("the record");
    wrong.extend(
        record
            .integrity_check()
            .expect("the record can be read")
            .into_iter()
            .map(|line| format!("the database: {line}")),
    );
    let rows = record.list(&Query::default()).expect("the record can be read");
    left_on_the_host(run, &rows, &mut wrong);
    let witness = Witness::read(run.witness());
    let mut intervals: HashMap<&str, Vec<(jiff::Timestamp, i32)>> = HashMap::new();
    for row in &rows {
        let attempts = record.attempts(&row.id).expect("the record can be read");
        let mut found = Vec::new();
        execution(row, &attempts, &witness, &mut found);
        wrong.extend(found.into_iter().map(|text| format!("{}: {text}\n    {row:?}\n    {attempts:?}", row.id)));
        for attempt in attempts.iter().filter(|attempt| !matches!(attempt.end, End::SupervisorLost { .. })) {
            if let Some(started) = attempt.started_at {
                let steps = intervals.entry(kind(row).name).or_default();
                steps.extend([(started, 1), (attempt.completed_at, -1)]);
            }
        }
    }
    for kind in KINDS {
        let most = most_at_once(intervals.remove(kind.name).unwrap_or_default());
        if kind.max_concurrent.is_some_and(|limit| most > limit) {
            wrong.push(format!("{most} executions of {} ran at once", kind.name));
        }
    }
    let by_id: HashMap<&str, &Execution> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
    for id in run.all_printed().iter().map(String::as_str).chain(witness.executions()) {
        if !by_id.contains_key(id) {
            wrong.push(format!("{id}: was triggered and is not in the record"));
        }
    }
    wrong.extend(run.all_seen().iter().filter_map(|seen| disagreement(seen, by_id.get(seen.id.as_str())?)));
    wrong.extend(run.all_failures().into_iter().filter(|text| !rows.iter().any(|row| is_told_of(row, text))));
    Findings { wrong, executions: rows.len(), ends: ends(&rows) }
}

fn kind(row: &Execution) -> &'static Kind {
    Kind::of(&row.job_name).unwrap_or_else(|| panic!("no such job: {}", row.job_name))
}

fn ends(rows: &[Execution]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows {
        let end = serde_json::to_value(&row.end).expect("an end is JSON");
        *counts.entry(end["kind"].as_str().unwrap_or("not ended").to_owned()).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    counts.join(", ")
}

/// One execution, with its attempts and what its job told.
fn execution(row: &Execution, attempts: &[Attempt], witness: &Witness, wrong: &mut Vec<String>) {
    let kind = kind(row);
    if !row.status.is_terminal() {
        wrong.push("it has not ended".into());
    }
    let numbers: Vec<u32> = attempts.iter().map(|attempt| attempt.number).collect();
    let expected: Vec<u32> = (1..=row.attempt).collect();
    // One that ended in the queue has no attempt to show for it.
    let ran = Teller::ALL.iter().any(|teller| witness.runs(*teller, &row.id, row.attempt) > 0);
    let ended_waiting = row.status != Status::Completed && !ran;
    if numbers != expected && !(ended_waiting && numbers == expected[..expected.len() - 1]) {
        wrong.push(format!("its attempts are {numbers:?}"));
    }
    if row.attempt > kind.max_attempts {
        wrong.push(format!("it had {} attempts", row.attempt));
    }
    if numbers == expected
        && let Some(last) = attempts.last()
        && row.end.as_ref() != Some(&last.end)
        && row.status != Status::Cancelled
    {
        wrong.push("it and its last attempt ended differently".into());
    }
    for teller in Teller::ALL {
        let runs = witness.runs_of_all_attempts(teller, &row.id);
        if kind.max_attempts == 1 && runs > 1 {
            wrong.push(format!("its {teller} ran {runs} times"));
        }
    }
    for attempt in attempts {
        let runs = |teller| witness.runs(teller, &row.id, attempt.number);
        let (mains, steps) = (runs(Teller::Main), runs(Teller::Step));
        let must_not = attempt.started_at.is_none() && !matches!(attempt.end, End::SupervisorLost { .. });
        let must = matches!(attempt.end, End::Exited { .. });
        if mains > 1 || must && mains == 0 || must_not && mains > 0 {
            wrong.push(format!("attempt {} ran {mains} times", attempt.number));
        }
        if steps > 1 || steps < mains && kind.has_steps() {
            wrong.push(format!("the step of attempt {} ran {steps} times, its main process {mains}", attempt.number));
        }
    }
}

/// How many were between their start and their end.
fn most_at_once(mut steps: Vec<(jiff::Timestamp, i32)>) -> usize {
    // One that ends when another one starts was before it.
    steps.sort_unstable();
    let mut now = 0;
    let counts = steps.into_iter().map(|(_, step)| {
        now += step;
        usize::try_from(now).unwrap_or_default()
    });
    counts.max().unwrap_or_default()
}

/// What a front said that the record does not.
fn disagreement(seen: &Seen, row: &Execution) -> Option<String> {
    let end = row.end.as_ref()?;
    let agrees = match &seen.how {
        // On a broken disk it may not be able to do its work. One that was interrupted while no main process ran
        // says so.
        How::Code(code) => {
            let no_main = matches!(
                end,
                End::Cancelled { how: Stopped::BeforeStart | Stopped::InStep { .. } | Stopped::BetweenAttempts { .. } }
            );
            *code == i32::from(end.exit_code())
                || *code == i32::from(EXIT_ENGINE) && seen.disk_was_broken
                || no_main && *code == INTERRUPTED
        }
        How::Status(status) => {
            let code = end.job_exit_code().map(|code| format!("({code})")).unwrap_or_default();
            *status == format!("{}{code}", row.status) || row.status == Status::Cancelled && status == "cancelled"
        }
    };
    (!agrees).then(|| format!("{}: {:?}, but the record says {end:?}\n{}", seen.id, seen.how, seen.front))
}

/// Whether a front says with this that coracle or the host failed at that execution.
fn is_told_of(row: &Execution, text: &str) -> bool {
    let failed = row.end.as_ref().filter(|end| end.exit_code() == EXIT_ENGINE);
    failed.is_some_and(|end| text.contains(&format!("{}: {end}", row.job_name)))
}

pub fn left_in_the_root(root: &Path, wrong: &mut Vec<String>) {
    for name in names(root) {
        if !ROOT.contains(&name.as_str()) {
            wrong.push(format!("left in the state root: {name}"));
        }
    }
    for name in names(&root.join("cache")).iter().filter(|name| name.ends_with(".tmp")) {
        wrong.push(format!("left in the cache: {name}"));
    }
}

fn left_on_the_host(run: &Run, rows: &[Execution], wrong: &mut Vec<String>) {
    let root = run.coracle.root();
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    let mut left = Leftovers::of(&root, &ids);
    // The disk of this run itself.
    let own = format!(" {} ", root.display());
    left.mounts.retain(|mount| run.disk.is_none() || !mount.contains(&own));
    if !left.is_empty() {
        wrong.push(format!("left on the host:\n{left}"));
    }
    left_in_the_root(&root, wrong);
    let ids: BTreeSet<String> = ids.into_iter().collect();
    let unknown = names(&root.join("executions")).into_iter().filter(|name| !ids.contains(name));
    wrong.extend(unknown.map(|name| format!("{name}: has a directory and is not in the record")));
    wrong.extend(names(&root.join("busy")).into_iter().map(|name| format!("{name} is marked as busy")));
    for name in ["timer.lock", "images.lock"] {
        let Ok(file) = File::open(root.join(name)) else { continue };
        if Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err() {
            wrong.push(format!("{name} is held"));
        }
    }
    let waiters = File::options().read(true).write(true).open(root.join("waiters.lock"));
    if waiters.is_ok_and(|file| is_any_byte_locked(&file)) {
        wrong.push("waiters.lock is held".into());
    }
}

/// By another open file description (fcntl(2)); flock(2) knows nothing of those locks.
fn is_any_byte_locked(file: &File) -> bool {
    let to_its_end = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&to_its_end)) {
        Ok(_) => false,
        Err(Errno::EAGAIN | Errno::EACCES) => true,
        Err(errno) => panic!("waiters.lock cannot be probed: {errno}"),
    }
}
