//! The supervisor: one process with one thread for each running execution. It stays in the host's
//! namespaces, holds those of the job by descriptor, and waits in one poll(2) for the job's output,
//! its children, its timers and its front. It never touches the record, the network or a lock.

mod activity;
mod drive;
mod output;
mod process;
mod role;
mod run;
mod steps;
mod stop;

use super::cgroup::JobCgroup;
use super::outcome_file::OutcomeFile;
use super::state::{LiveState, Stage};
use super::{cleanup, container, control};
use crate::id::ContainerId;
use crate::log::RingWriter;
use crate::outcome::{End, FIRST_ATTEMPT, OUTCOME_VERSION, Outcome, Usage, lost_output};
use crate::plan::Plan;
use crate::state_dir::{ContainerDir, StateDir};
use crate::sys::process::{self as sys_process, ProcessIdentity};
use crate::sys::sink::NonBlockingSink;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use output::{Caller, Output};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;
use stop::Stop;

/// Signals that the supervisor reads from its signalfd. SIGTERM and SIGINT cancel with the grace
/// period, SIGQUIT kills at once.
const SIGNALS: [Signal; 5] = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP];

/// How long a front has for recording the outcome of what it has released; far above what syncing a slow disk takes.
const FRONT_PATIENCE_MILLIS: u16 = 5_000;

/// Everything that lives as long as the execution.
struct Supervisor {
    directory: ContainerDir,
    plan: Plan,
    started: Instant,
    signals: SignalFd,
    /// The front, while it is there.
    front: Option<OwnedFd>,
    /// Whether the front has said that the record is durable.
    released: bool,
    /// For the main process, which takes it along: its writer notices when the job closes it.
    stdin: Option<OwnedFd>,
    output: Output,
    cgroup: Option<JobCgroup>,
    namespaces: Vec<OwnedFd>,
    /// Containers made so far.
    containers: u32,
    stop: Stop,
    state: LiveState,
    usage: Usage,
    notes: Vec<String>,
    main_started_at: Option<jiff::Timestamp>,
}

/// Entry point of the hidden role; `arguments` are state root, runtime root and container id.
pub fn main(arguments: &[OsString]) -> i32 {
    let started = Instant::now();
    let [root, runtime, id] = arguments else {
        eprintln!("coracle: this role is started by a front only");
        return 2;
    };
    let Some(id) = id.to_str() else { return 2 };
    let directory = StateDir::from_parts(root.into(), runtime.into()).container(&ContainerId(id.to_owned()));
    match supervise(&directory, started) {
        Ok(over) => {
            if over.wait_until_settled() {
                0
            } else {
                settle(root, runtime, id)
            }
        }
        Err(error) => {
            // Nothing has run. The front finds this process gone, and so does whoever comes after that. Were it to
            // become the settler, its execution would be in the care of a process that does not know of it.
            tracing::error!(%error, "the supervisor failed");
            1
        }
    }
}

/// Runs the plan and leaves its outcome on disk.
///
/// # Errors
/// What keeps it from beginning.
fn supervise(directory: &ContainerDir, started: Instant) -> io::Result<Over> {
    let streams = detach_from_caller()?;
    let signals = watch_signals()?;
    let identity = ProcessIdentity::current()?;
    let reserved = OutcomeFile::reserve(&directory.outcome())?;
    let Some((control::HELLO, stdin)) = control::receive(streams.front.as_fd())? else {
        return Err(io::Error::other("the front sent no greeting"));
    };
    let stdin = match stdin {
        Some(stdin) => stdin,
        None => File::open("/dev/null")?.into(),
    };
    let now = jiff::Timestamp::now();
    let state = LiveState {
        supervisor: identity,
        stage: Stage::Initializing { step: None },
        since: now,
        init_pid: None,
        cgroups: Vec::new(),
    };
    // Without it nobody could find or cancel the job; that later stages are missing is no harm.
    if let Err(error) = state.write(&directory.state()) {
        let end = End::NotCreated { stage: "write the live state".into(), message: error.to_string() };
        reserved.write(&without_plan(directory, end, started))?;
        return Ok(Over::tell(Some(streams.front), false));
    }
    let mut notes = Vec::new();
    let plan = match container::read_plan(directory) {
        Ok(plan) => plan,
        Err(error) => {
            let end = End::NotCreated { stage: "read the plan".into(), message: error.to_string() };
            reserved.write(&without_plan(directory, end, started))?;
            return Ok(Over::tell(Some(streams.front), false));
        }
    };
    let ring = match RingWriter::create(&directory.log(), plan.max_log_size, now) {
        Ok(ring) => Some(ring),
        Err(error) => {
            notes.push(format!("no log is kept: {error}"));
            None
        }
    };
    let mut supervisor = Supervisor {
        directory: directory.clone(),
        plan,
        started,
        signals,
        front: Some(streams.front),
        released: false,
        stdin: Some(stdin),
        output: Output::new(ring, streams.callers),
        cgroup: None,
        namespaces: Vec::new(),
        containers: 0,
        stop: Stop::default(),
        state,
        usage: Usage::default(),
        notes,
        main_started_at: None,
    };
    let end = supervisor.execute();
    Ok(supervisor.finish(end, reserved))
}

impl Supervisor {
    fn execute(&mut self) -> End {
        match JobCgroup::create(&self.plan.container_id, &self.plan.limits) {
            Ok(made) => {
                self.cgroup = made.cgroup;
                self.notes.extend(made.notes);
            }
            Err(error) => return End::NotCreated { stage: "limit resources".into(), message: error.to_string() },
        }
        self.state.cgroups = self.cgroup.as_ref().map(JobCgroup::directories).unwrap_or_default();
        self.write_state();
        let end = self.run_all();
        // A step that cannot be made fails before that, and what then stops the waits between its tries is no cancel.
        self.deserted().unwrap_or(end)
    }

    /// The end of all processes is known: collect, write, clean up, tell.
    fn finish(mut self, end: End, reserved: OutcomeFile) -> Over {
        self.set_stage(Stage::Ending { started_at: self.main_started_at });
        if let Err(error) = sys_process::end_children(drop) {
            tracing::warn!(%error, "a child that was not known goes on");
        }
        for (name, caller) in ["stdout", "stderr"].into_iter().zip(&self.output.callers) {
            if let Some(error) = caller.error() {
                self.notes.push(lost_output(name, error));
            }
        }
        if let Some(cgroup) = &self.cgroup {
            cgroup.read_usage(&mut self.usage);
        }
        if let Some(cgroup) = self.cgroup.take() {
            self.notes.extend(
                cgroup.remove().iter().map(|path| format!("the cgroup {} could not be removed", path.display())),
            );
        }
        if let Some(ring) = self.output.ring.take() {
            if let Some(error) = ring.write_error() {
                self.notes.push(format!("parts of the log could not be written: {error}"));
            }
            ring.close(jiff::Timestamp::now());
        }
        let notes = std::mem::take(&mut self.notes);
        let attempt = self.plan.attempt;
        let outcome = outcome(attempt, end, self.started, std::mem::take(&mut self.usage), notes, self.main_started_at);
        if let Err(error) = reserved.write(&outcome) {
            // There is none, so it is settled as lost.
            tracing::error!(%error, "the outcome could not be written");
        }
        // What follows may fail: it is done again by whoever settles.
        let namespaces = std::mem::take(&mut self.namespaces);
        if let Err(error) = cleanup::remove_files_from_namespace(&self.directory, &namespaces) {
            tracing::warn!(%error, "files of the execution are left to the settler");
        }
        drop(namespaces);
        Over::tell(self.front.take(), self.released)
    }

    fn set_stage(&mut self, stage: Stage) {
        self.state.stage = stage;
        self.state.since = jiff::Timestamp::now();
        self.write_state();
    }

    /// The live stage is for people; a full disk must not end a job.
    fn write_state(&mut self) {
        if let Err(error) = self.state.write(&self.directory.state()) {
            tracing::warn!(%error, "the live state could not be written");
        }
    }
}

fn outcome(
    attempt: u32,
    end: End,
    started: Instant,
    usage: Usage,
    notes: Vec<String>,
    started_at: Option<jiff::Timestamp>,
) -> Outcome {
    Outcome {
        version: OUTCOME_VERSION,
        attempt,
        end,
        started_at,
        completed_at: jiff::Timestamp::now(),
        elapsed: started.elapsed(),
        usage,
        notes,
    }
}

/// The outcome when the plan cannot be used. Its attempt may still be told, as the part of a plan that every
/// version has; where not even that can, the first is the likely one.
fn without_plan(directory: &ContainerDir, end: End, started: Instant) -> Outcome {
    #[derive(serde::Deserialize)]
    struct Planned {
        attempt: u32,
    }
    let planned = std::fs::read(directory.plan()).ok().and_then(|bytes| serde_json::from_slice::<Planned>(&bytes).ok());
    outcome(planned.map_or(FIRST_ATTEMPT, |planned| planned.attempt), end, started, Usage::default(), Vec::new(), None)
}

/// What the front gave.
struct Streams {
    front: OwnedFd,
    callers: [Caller; 2],
}

/// A session of its own, nothing of the caller's but the streams it asked for, and those not under
/// the standard numbers, where a library could write to them.
#[expect(clippy::disallowed_methods, reason = "the supervisor has one thread and must hold no directory")]
fn detach_from_caller() -> io::Result<Streams> {
    // Before anything is opened. A lock or a pipe of the caller's would be held until the job's end.
    sys_process::close_all_except(&[])?;
    // Fails only for the leader of a process group, which has what it wants already.
    let _ = nix::unistd::setsid();
    // Whatever the caller ignored or blocked.
    sys_process::reset_signals();
    sys_process::ignore_write_signals();
    // Started through a descriptor, it would be named by a number.
    nix::sys::prctl::set_name(c"coracle")?;
    std::env::set_current_dir("/")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let own = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned();
    let (front, stdout, stderr) = (own(io::stdin().as_fd())?, own(io::stdout().as_fd())?, own(io::stderr().as_fd())?);
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(Streams { front, callers: [caller(stdout, &null)?, caller(stderr, &null)?] })
}

fn caller(stream: OwnedFd, null: &File) -> io::Result<Caller> {
    use std::os::unix::fs::MetadataExt;
    let stream = File::from(stream);
    let is_null = stream.metadata()?.rdev() == null.metadata()?.rdev();
    Ok(Caller::new(if is_null { None } else { Some(NonBlockingSink::new(stream.into())) }))
}

fn watch_signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in SIGNALS {
        set.add(signal);
    }
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// What is left of the supervisor when all is over.
struct Over {
    /// While it is there.
    front: Option<OwnedFd>,
    /// Whether the front has said that the record is durable.
    released: bool,
}

impl Over {
    fn tell(front: Option<OwnedFd>, released: bool) -> Over {
        Over { front: front.filter(|front| control::send(front.as_fd(), control::ENDED, None).is_ok()), released }
    }

    /// True when the front says that it has recorded the outcome; false when it is gone, or does not do it:
    /// one that is stopped, as by Ctrl-Z, must not keep everybody else waiting. Both may record it.
    ///
    /// Before [`control::GO`] it has all the time it needs, as for what did not fail: until the attempt is on record as
    /// this process's, nobody else could settle it.
    fn wait_until_settled(mut self) -> bool {
        let Some(front) = &self.front else { return false };
        loop {
            let patience = if self.released { PollTimeout::from(FRONT_PATIENCE_MILLIS) } else { PollTimeout::NONE };
            let mut fds = [PollFd::new(front.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, patience) {
                Err(Errno::EINTR) => continue,
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
            match control::receive(front.as_fd()) {
                Ok(Some((control::SETTLED, _))) => return true,
                Ok(Some((control::GO, _))) => self.released = true,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return false,
            }
        }
    }
}

/// Becomes the settler.
#[expect(clippy::disallowed_methods, reason = "the settler is a role of ours")]
fn settle(root: &OsString, runtime: &OsString, id: &str) -> i32 {
    use std::os::unix::process::CommandExt;
    // Blocked signals and ignored SIGPIPE would be inherited. Whoever cancels still takes this process for the
    // job's supervisor: that must not keep it from recording the end and starting what comes next.
    sys_process::reset_signals_ignoring_termination();
    let error = std::process::Command::new(own_binary())
        .arg(super::role::SETTLE)
        .args([root, runtime])
        .arg(id)
        .env_clear()
        .exec();
    tracing::error!(%error, "failed to become the settler");
    1
}

/// The running binary, also after its file was replaced by an upgrade.
fn own_binary() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}
