//! From the plan to activities, and what their ends mean.

use super::Supervisor;
use super::activity::Activity;
use super::drive::Kind;
use super::process::{ProcessEnd, Running, Streams};
use super::role::{Role, Work};
use super::stop::Cause;
use crate::outcome::{End, StepCause, Stopped};
use crate::plan::{Program, StepAction};
use crate::runtime::launcher::Launch;
use crate::runtime::state::Stage;
use crate::sys::pipe;
use crate::sys::process::RawStatus;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use std::time::Instant;

/// What a process of the job or a try of a step came to. Success is exit code 0.
pub struct RunEnd {
    pub cause: StepCause,
    /// Of its output, where the cause does not say it already.
    pub last_line: Option<String>,
}

impl Supervisor {
    /// Runs the plan; the main process's end is the execution's, unless it does not come to that.
    pub(super) fn run_all(&mut self) -> End {
        if let Err(end) = self.initialize() {
            return end;
        }
        self.output.process = None;
        match self.run(Kind::Main, Supervisor::start_main) {
            Err(end) => end,
            Ok(RunEnd { cause, .. }) => match cause {
                StepCause::Exited { code } => End::Exited { code },
                StepCause::Signalled { signal } => End::Signalled { signal },
                StepCause::OomKilled => End::OomKilled,
                StepCause::NotExecutable { command, errno } => End::NotExecutable { command, errno },
                // Only steps have a time limit of their own and fail with a message.
                StepCause::TimedOut { after } => End::Deadline { after, how: Stopped::BeforeStart },
                StepCause::Failed { message } => not_created("run the main process", message),
            },
        }
    }

    /// Starts something and returns when it is over.
    ///
    /// # Errors
    /// The end of the execution, when this has decided it.
    pub(super) fn run(
        &mut self,
        kind: Kind,
        start: impl FnOnce(&mut Supervisor) -> io::Result<Activity>,
    ) -> Result<RunEnd, End> {
        self.stop.next_process();
        if let Some(cause) = self.stop.cause() {
            return Err(cause.end(self.stopped(kind, Stopped::BeforeStart, None)));
        }
        let ooms_before = self.oom_kills();
        let driven = start(self).and_then(|mut activity| self.drive(&mut activity, kind).map(|()| activity));
        self.state.init_pid = None;
        let mut last_line = self.output.last_line.take();
        let ended = match driven {
            Ok(activity) => {
                let ended = activity.end(last_line.as_deref());
                if let Some(doubt) = activity.doubt() {
                    self.output.say(doubt);
                    last_line = Some(doubt.to_owned());
                }
                ended
            }
            Err(error) => ProcessEnd::Failed { stage: "run the container".into(), message: error.to_string() },
        };
        let oom = self.oom_kills() > ooms_before;
        let cause = self.cause_of(kind, ended, oom, last_line.as_deref())?;
        if let StepCause::Failed { message } = &cause {
            if last_line.as_ref() != Some(message) {
                // Else the log would have what the other side of a transfer made of it alone.
                self.output.say(message);
            }
            // A message of ours is the whole reason; output that follows from it would only distract.
            last_line = None;
        }
        Ok(RunEnd { cause, last_line })
    }

    /// Does nothing for so long; cancel and deadline act at once. `why` says what it waits for.
    ///
    /// # Errors
    /// The end of the execution, when it is to stop.
    pub(super) fn pause(&mut self, delay: Duration, why: &str) -> Result<(), End> {
        self.stop.next_process();
        let kind = Kind::Pause { until: Instant::now().checked_add(delay) };
        self.drive(&mut Activity::pause(), kind)
            .map_err(|error| not_created("wait for the next try of an init step", error.to_string()))?;
        match self.stop.cause() {
            Some(cause) => Err(cause.end(self.stopped(kind, Stopped::BeforeStart, Some(why)))),
            None => Ok(()),
        }
    }

    /// What has become of the job: `how` is that of its main process, `detail` is for an init step.
    fn stopped(&self, kind: Kind, how: Stopped, detail: Option<&str>) -> Stopped {
        match (kind, &self.state.stage) {
            (Kind::Try { .. } | Kind::Pause { .. }, Stage::Initializing { step: Some(live) }) => {
                Stopped::InStep { step: live.id.clone(), attempt: live.attempt, detail: detail.map(str::to_owned) }
            }
            _ => how,
        }
    }

    /// The end when the front was gone before it let the job begin.
    pub(super) fn deserted(&self) -> Option<End> {
        let message = "the command that started it ended before the job could begin";
        (!self.released && self.front.is_none()).then(|| not_created("start the job", message.to_owned()))
    }

    fn oom_kills(&self) -> u64 {
        self.cgroup.as_ref().and_then(super::JobCgroup::oom_kills).unwrap_or(0)
    }

    fn cause_of(&self, kind: Kind, ended: ProcessEnd, oom: bool, last_line: Option<&str>) -> Result<StepCause, End> {
        if let Some(end) = self.deserted() {
            return Err(end);
        }
        if let Some(cause) = self.stop.cause()
            && !matches!(ended, ProcessEnd::NotExecutable { .. } | ProcessEnd::Failed { .. })
        {
            let how = match &ended {
                ProcessEnd::Status(status) => stopped(*status),
                _ => Stopped::BeforeStart,
            };
            return match cause {
                Cause::StepTimeout { after } => Ok(StepCause::TimedOut { after }),
                Cause::Cancelled | Cause::Deadline { .. } => Err(cause.end(self.stopped(kind, how, last_line))),
            };
        }
        match ended {
            ProcessEnd::NotExecutable { command, errno } => Ok(StepCause::NotExecutable { command, errno }),
            ProcessEnd::Unsuccessful { message } => Ok(StepCause::Failed { message }),
            ProcessEnd::Failed { stage, message } => not_made(kind, &stage, message),
            ProcessEnd::NeverStarted => {
                not_made(kind, "start the container", "its process ended before it could be started".into())
            }
            ProcessEnd::Status(status) => match (status.exited(), status.signalled()) {
                (Some(code), _) => Ok(StepCause::Exited { code }),
                (None, Some(libc::SIGKILL)) if oom => Ok(StepCause::OomKilled),
                (None, Some(signal)) => Ok(StepCause::Signalled { signal }),
                (None, None) => {
                    Err(not_created("wait for the container", format!("unknown wait status {:#x}", status.0)))
                }
            },
        }
    }

    /// Only the main process reads what the caller gives.
    fn start_main(&mut self) -> io::Result<Activity> {
        let stdin = match self.stdin.take() {
            Some(stdin) => stdin,
            None => null()?,
        };
        let index = self.plan.steps.len();
        Ok(Activity::process(self.start_container(index, Streams { stdin, stdout: None })?))
    }

    /// Starts one try of a step.
    pub(super) fn start_step(&mut self, index: usize) -> io::Result<Activity> {
        match &self.plan.steps[index].action {
            StepAction::Run(_) => {
                Ok(Activity::process(self.start_container(index, Streams { stdin: null()?, stdout: None })?))
            }
            StepAction::Impossible { reason } => Ok(Activity::impossible(reason.clone())),
            StepAction::Check { request } => {
                Ok(Activity::check(Role::start(&self.plan, request.clone(), Work::Check, &self.namespaces)?))
            }
            StepAction::Transfer { request, process } => {
                let (request, program) = (request.clone(), process.program.clone());
                let (read, write) = pipe::new()?;
                let (streams, data) = match program {
                    Program::Send { .. } => (Streams { stdin: null()?, stdout: Some(write) }, read),
                    Program::Receive { .. } | Program::Command => (Streams { stdin: read, stdout: None }, write),
                };
                // First what ends by itself should the other one fail: a launcher would go on mounting.
                let role = Role::start(&self.plan, request, Work::Transfer { data }, &self.namespaces)?;
                let container = self.start_container(index, streams)?;
                Ok(Activity::transfer(&program, container, role))
            }
        }
    }

    fn start_container(&mut self, index: usize, streams: Streams) -> io::Result<Running> {
        let cgroups = match &self.cgroup {
            Some(cgroup) => cgroup.open_joins().map_err(io::Error::other)?,
            None => Vec::new(),
        };
        self.containers += 1;
        let which = Launch { index, serial: self.containers };
        Running::start(&self.directory, &self.plan, which, streams, cgroups, &self.namespaces)
    }
}

fn null() -> io::Result<OwnedFd> {
    Ok(File::open("/dev/null")?.into())
}

fn not_created(stage: &str, message: String) -> End {
    End::NotCreated { stage: stage.to_owned(), message }
}

/// A process of a step that could not be made is a failure of the step, under its policy: its user may not exist.
fn not_made(kind: Kind, stage: &str, message: String) -> Result<StepCause, End> {
    match kind {
        Kind::Try { .. } => Ok(StepCause::Failed { message: format!("failed to {stage}: {message}") }),
        Kind::Main | Kind::Pause { .. } => Err(not_created(stage, message)),
    }
}

fn stopped(status: RawStatus) -> Stopped {
    match (status.exited(), status.signalled()) {
        (Some(code), _) => Stopped::Exited { code },
        (None, Some(signal)) => Stopped::Signalled { signal },
        (None, None) => Stopped::BeforeStart,
    }
}
