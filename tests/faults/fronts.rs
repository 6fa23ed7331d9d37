//! What the workers start: commands and embedding programs, some of which are killed or interrupted.

use crate::common::cli::Finished;
use crate::disk::Disk;
use crate::driver::Run;
use crate::embed;
use crate::jobs::KINDS;
use crate::layout::{Compression, Layer, LayoutBuilder, Tar};
use fastrand::Rng;
use nix::sys::signal::Signal;
use std::fmt;
use std::process::Command;
use std::time::Duration;

/// Length of an execution's id.
const ID: usize = 36;

/// Files of an image that is new to the store.
const FILES: usize = 300;

/// How a front that was not killed says that an execution ended.
#[derive(Debug)]
pub struct Seen {
    pub id: String,
    pub how: How,
    pub disk_was_broken: bool,
    /// The command and its output, for messages.
    pub front: String,
}

#[derive(Debug)]
pub enum How {
    /// What it exited with.
    Code(i32),
    /// The status that it displayed.
    Status(String),
}

/// What is done with a front that has been started.
#[derive(Debug, Clone, Copy)]
struct Fate {
    signal: Option<Signal>,
    /// Milliseconds after its start.
    after: u64,
}

impl Fate {
    /// It gets `signal` in so many of a hundred cases, within this time.
    fn draw(rng: &mut Rng, percent: u8, signal: Signal, within: u64) -> Fate {
        Fate { signal: (rng.u8(..100) < percent).then_some(signal), after: rng.u64(..within) }
    }
}

/// Does one thing.
pub fn one(run: &Run, rng: &mut Rng, number: usize) {
    let kind = KINDS[rng.usize(..KINDS.len())].name;
    match rng.u8(..100) {
        0..35 => attached(run, rng, kind),
        35..48 => drop(detached(run, rng, kind)),
        48..55 => triggered_and_waited_for(run, rng, kind),
        55..68 => {
            if let Some(id) = detached(run, rng, kind) {
                wait(run, rng, &id);
            }
        }
        68..82 => {
            if let Some(id) = detached(run, rng, kind) {
                cancel(run, rng, &id);
            }
        }
        82..90 => new_image(run, rng, number),
        _ => embedding(run, rng),
    }
}

fn attached(run: &Run, rng: &mut Rng, kind: &str) {
    let signal = if rng.bool() { Signal::SIGKILL } else { Signal::SIGINT };
    let fate = Fate::draw(rng, 40, signal, 700);
    let front = meet(run, run.command(&["run", &run.spec(), kind]), fate);
    let id = front.lines().iter().filter_map(|line| line.strip_prefix("id ")).find_map(id);
    if let Some(id) = id {
        run.printed(&id);
        run.saw(id, front.code().map(How::Code), &front);
    }
}

fn detached(run: &Run, rng: &mut Rng, kind: &str) -> Option<String> {
    let fate = Fate::draw(rng, 20, Signal::SIGKILL, 60);
    let spec = run.spec();
    let arguments: &[&str] = if rng.bool() { &["trigger", kind] } else { &["run", "-d", &spec, kind] };
    let front = meet(run, run.command(arguments), fate);
    front.expect_success(run);
    let id = front.lines().iter().find_map(|line| id(line))?;
    run.printed(&id);
    Some(id)
}

fn triggered_and_waited_for(run: &Run, rng: &mut Rng, kind: &str) {
    let fate = Fate::draw(rng, 30, Signal::SIGKILL, 500);
    let front = meet(run, run.command(&["trigger", "--wait", kind]), fate);
    if let Some(id) = front.lines().iter().find_map(|line| id(line)) {
        run.printed(&id);
        run.saw(id, front.code().map(How::Code), &front);
    }
}

fn wait(run: &Run, rng: &mut Rng, id: &str) {
    let fate = Fate::draw(rng, 20, Signal::SIGKILL, 500);
    let front = meet(run, run.command(&["wait", id]), fate);
    run.saw(id.to_owned(), front.code().map(How::Code), &front);
}

fn cancel(run: &Run, rng: &mut Rng, id: &str) {
    // The time that others have to start it.
    run.pause(rng.u64(..300));
    let fate = Fate::draw(rng, 20, Signal::SIGKILL, 60);
    // It may have ended, or the disk may be broken; what came of it is in the record.
    meet(run, run.command(&["cancel", id]), fate);
}

/// An image that has to be unpacked.
fn new_image(run: &Run, rng: &mut Rng, number: usize) {
    let path = run.coracle.scratch().join(format!("image-{number}"));
    let mut tar = Tar::new();
    for file in 0..FILES {
        tar = tar.file(&format!("{number}/{file}"), format!("{number} {file}").repeat(50).as_bytes());
    }
    let mut layout = LayoutBuilder::new(&path);
    layout.tagged_image("latest", &[Layer::new(tar, Compression::Gzip)]);
    let fate = Fate::draw(rng, 50, Signal::SIGKILL, 150);
    meet(run, run.command(&["pull", "--quiet", &format!("oci:{}:latest", path.display())]), fate);
}

fn embedding(run: &Run, rng: &mut Rng) {
    let count = rng.usize(2..7);
    let mut command = Command::new(std::env::current_exe().expect("a program has a path"));
    let root = run.coracle.root().display().to_string();
    command.args([embed::MODE, &root, &run.spec(), &rng.u64(..).to_string(), &count.to_string()]);
    let fate = Fate::draw(rng, 40, Signal::SIGKILL, 1500);
    let front = meet(run, command, fate);
    front.expect_success(run);
    for line in front.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match *words {
            [embed::TRIGGERED, text] => id(text).into_iter().for_each(|id| run.printed(&id)),
            [embed::ENDED, text, status] => {
                if let Some(id) = id(text) {
                    run.saw(id, Some(How::Status(status.to_owned())), &front);
                }
            }
            // Cut short.
            _ => {}
        }
    }
}

/// A whole id.
fn id(text: &str) -> Option<String> {
    (text.len() == ID && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')).then(|| text.to_owned())
}

/// A front that has come to its end.
pub struct Met {
    finished: Finished,
    /// For a part of its life at least.
    pub disk_was_broken: bool,
}

impl Met {
    /// What it exited with, by itself.
    fn code(&self) -> Option<i32> {
        self.finished.status.code()
    }

    fn lines(&self) -> Vec<String> {
        self.finished.lines()
    }

    /// It is to do its work, unless the disk is broken. What else it says has to be the end of an execution.
    fn expect_success(&self, run: &Run) {
        if self.code().is_some_and(|code| code != 0) && !self.disk_was_broken {
            run.failed(format!("{}\n{self}", self.finished.status));
        }
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$ {}\n{}", self.finished.argv, self.finished.stderr())
    }
}

/// Starts a front and sees it to its end.
fn meet(run: &Run, command: Command, fate: Fate) -> Met {
    let changes = || run.disk.as_ref().map_or(0, Disk::changes);
    let before = changes();
    let running = run.coracle.start(command);
    if let Some(signal) = fate.signal
        && !running.process.ends_within(Duration::from_millis(fate.after))
    {
        running.process.try_signal(signal);
    }
    let finished = running.finish();
    Met { finished, disk_was_broken: !before.is_multiple_of(2) || changes() != before }
}
