//! The loop: from the first init step to the end of the main process.

use super::process::{ProcessEnd, Running};
use super::stop::{Action, Cause};
use super::{Supervisor, control};
use crate::outcome::{End, FIRST_ATTEMPT, StepCause, Stopped};
use crate::runtime::cancel;
use crate::runtime::state::Stage;
use crate::sys::process::{RawStatus, reap_any};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long an empty pipe that something outside the container still holds open is listened to
/// after the last process of the job ended.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

impl Supervisor {
    /// Runs the processes of the plan in turn; the last one's end is the execution's.
    pub(super) fn run_all(&mut self) -> End {
        let last = self.plan.processes.len().saturating_sub(1);
        for index in 0..self.plan.processes.len() {
            let step = self.plan.processes[index].step.clone();
            self.stop.next_process();
            if let Some(cause) = self.stop.cause() {
                return cause.end(step.as_deref(), Stopped::BeforeStart);
            }
            if step.is_some() {
                self.set_stage(Stage::Initializing { step: step.clone() });
            }
            let ooms_before = self.oom_kills();
            let ended = match self.run_process(index) {
                Ok(ended) => ended,
                Err(error) => ProcessEnd::Failed { stage: "run the container".into(), message: error.to_string() },
            };
            let oom = self.oom_kills() > ooms_before;
            let end = self.end_of(step.as_deref(), ended, oom);
            if index == last || end != (End::Exited { code: 0 }) {
                return end;
            }
        }
        End::NotCreated { stage: "run the container".into(), message: "the plan has no process".into() }
    }

    fn oom_kills(&self) -> u64 {
        self.cgroup.as_ref().and_then(super::JobCgroup::oom_kills).unwrap_or(0)
    }

    /// What the end of one process means for the execution.
    fn end_of(&self, step: Option<&str>, ended: ProcessEnd, oom: bool) -> End {
        if !self.released && self.front.is_none() {
            let message = "the command that started it ended before the job could begin".to_owned();
            return End::NotCreated { stage: "start the job".into(), message };
        }
        let stopped = match &ended {
            ProcessEnd::Status(status) => stopped(*status),
            _ => Some(Stopped::BeforeStart),
        };
        if let Some(cause) = self.stop.cause()
            && !matches!(ended, ProcessEnd::NotExecutable { .. } | ProcessEnd::Failed { .. })
        {
            return cause.end(step, stopped.unwrap_or(Stopped::BeforeStart));
        }
        let cause = match ended {
            ProcessEnd::NotExecutable { command, errno } => StepCause::NotExecutable { command, errno },
            ProcessEnd::Failed { stage, message } => return End::NotCreated { stage, message },
            ProcessEnd::NeverStarted => {
                let message = "its process ended before it could be started".to_owned();
                return End::NotCreated { stage: "start the container".into(), message };
            }
            ProcessEnd::Status(status) => match (status.exited(), status.signalled()) {
                (Some(code), _) => StepCause::Exited { code },
                (None, Some(libc::SIGKILL)) if oom => StepCause::OomKilled,
                (None, Some(signal)) => StepCause::Signalled { signal },
                (None, None) => {
                    let message = format!("unknown wait status {:#x}", status.0);
                    return End::NotCreated { stage: "wait for the container".into(), message };
                }
            },
        };
        match (step, cause) {
            (Some(_), StepCause::Exited { code: 0 }) => End::Exited { code: 0 },
            (Some(step), cause) => {
                End::InitStep { step: step.to_owned(), cause, attempt: FIRST_ATTEMPT, last_line: None }
            }
            (None, StepCause::Exited { code }) => End::Exited { code },
            (None, StepCause::Signalled { signal }) => End::Signalled { signal },
            (None, StepCause::OomKilled) => End::OomKilled,
            (None, StepCause::NotExecutable { command, errno }) => End::NotExecutable { command, errno },
            (None, StepCause::TimedOut { after }) => End::Deadline { after, how: Stopped::BeforeStart },
            (None, StepCause::Failed { message }) => End::Host { message },
        }
    }

    fn run_process(&mut self, index: usize) -> io::Result<ProcessEnd> {
        let cgroups = match &self.cgroup {
            Some(cgroup) => cgroup.open_joins().map_err(io::Error::other)?,
            None => Vec::new(),
        };
        // Only the main process reads what the caller gives.
        let stdin = match self.stdin.take_if(|_| self.plan.processes[index].step.is_none()) {
            Some(stdin) => stdin,
            None => std::fs::File::open("/dev/null")?.into(),
        };
        let mut running = Running::start(&self.directory, &self.plan, index, stdin, cgroups, &self.namespaces)?;
        let began = Instant::now();
        let log_process = self.plan.processes[index].step.as_ref().map(|_| u16::try_from(index).unwrap_or(u16::MAX));
        let mut idle_since: Option<Instant> = None;
        loop {
            let now = Instant::now();
            self.request_due_stops(index, began, now);
            match self.stop.due(now) {
                Some(Action::Signal) => running.signal(self.plan.stop_signal),
                Some(Action::Kill) => running.kill(),
                None => {}
            }
            if self.released && self.stop.cause().is_none() && running.open_gate() {
                self.note_start(index);
            }
            let moved = running.pump(&mut self.buffer, &mut self.ring, log_process, &mut self.callers);
            let over = running.is_over();
            if over && self.is_drained(&running) {
                break;
            }
            if !over || moved || self.callers.iter().any(super::Caller::is_blocked) {
                idle_since = None;
            } else if *idle_since.get_or_insert(now) + DRAIN_GRACE <= now {
                self.notes.push(
                    "something outside the container kept its output open; what it wrote later is not in the log"
                        .into(),
                );
                break;
            }
            if !moved {
                self.wait(&mut running, index, began, idle_since)?;
            }
            self.handle_events(&mut running)?;
        }
        self.state.init_pid = None;
        Ok(running.end())
    }

    fn is_drained(&self, running: &Running) -> bool {
        !running.pipes.iter().any(super::output::JobPipe::is_open)
            && !self.callers.iter().any(super::Caller::is_blocked)
    }

    fn request_due_stops(&mut self, index: usize, began: Instant, now: Instant) {
        let grace = self.plan.stop_grace_period;
        if let Some(after) = self.plan.deadline
            && self.stop.cause().is_none()
            && now.duration_since(self.started) >= after
        {
            self.stop.request(Cause::Deadline { after }, now, grace);
        }
        if let Some(after) = self.plan.processes[index].timeout
            && self.stop.cause().is_none()
            && now.duration_since(began) >= after
        {
            self.stop.request(Cause::StepTimeout { after }, now, grace);
        }
    }

    fn note_start(&mut self, index: usize) {
        if self.plan.processes[index].step.is_none() {
            self.main_started_at = Some(jiff::Timestamp::now());
            self.set_stage(Stage::Running);
        }
    }

    /// Sleeps until something happens or is due.
    fn wait(&self, running: &mut Running, index: usize, began: Instant, idle_since: Option<Instant>) -> io::Result<()> {
        let due = [
            self.plan
                .deadline
                .filter(|_| self.stop.cause().is_none())
                .and_then(|after| self.started.checked_add(after)),
            self.plan.processes[index]
                .timeout
                .filter(|_| self.stop.cause().is_none())
                .and_then(|after| began.checked_add(after)),
            self.stop.next_wake(),
            idle_since.map(|since| since + DRAIN_GRACE),
        ];
        let timeout = due.into_iter().flatten().min().map_or(PollTimeout::NONE, |at| {
            // Rounded up: waking early would only mean to sleep again.
            let millis = at.saturating_duration_since(Instant::now()).as_millis() + 1;
            PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let mut add = |fd, flags| fds.push(PollFd::new(fd, flags));
        if let Some(front) = &self.front {
            add(front.as_fd(), PollFlags::POLLIN);
        }
        if let Some(report) = running.report_fd() {
            add(report, PollFlags::POLLIN);
        }
        for (pipe, caller) in running.pipes.iter().zip(&self.callers) {
            if let Some(fd) = pipe.wait_fd(caller) {
                add(fd, PollFlags::POLLIN);
            }
            if let Some(fd) = caller.wait_fd() {
                add(fd, PollFlags::POLLOUT);
            }
        }
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Everything but the pipes. Children before reports: what a child reported, it sent before it ended.
    fn handle_events(&mut self, running: &mut Running) -> io::Result<()> {
        self.read_front()?;
        self.read_signals();
        while let Some(child) = reap_any()? {
            // A container that ends before its creation is reported is not ours to miss: read first.
            self.read_reports(running);
            if running.reaped(&child) {
                self.add_usage(child.usage);
            }
        }
        self.read_reports(running);
        Ok(())
    }

    fn read_reports(&mut self, running: &mut Running) {
        let news = running.read_reports();
        if !news.namespaces.is_empty() {
            self.namespaces = news.namespaces;
        }
        if let Some(pid) = news.created {
            self.state.init_pid = Some(pid);
        }
    }

    fn add_usage(&mut self, used: crate::sys::process::ChildUsage) {
        use crate::outcome::PeakMemorySource;
        let add = |sum: &mut Option<Duration>, more| *sum = Some(sum.unwrap_or_default() + more);
        add(&mut self.usage.cpu_user, used.user);
        add(&mut self.usage.cpu_system, used.system);
        self.usage.peak_memory = self.usage.peak_memory.max(Some(used.max_rss));
        self.usage.peak_memory_source = Some(PeakMemorySource::LargestProcess);
    }

    fn read_front(&mut self) -> io::Result<()> {
        let Some(front) = &self.front else { return Ok(()) };
        let mut fds = [PollFd::new(front.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::ZERO)? == 0 {
            return Ok(());
        }
        match control::receive(front.as_fd()) {
            Ok(Some((control::GO, _))) => self.released = true,
            Ok(Some((control::CANCEL, _))) => self.cancel(self.plan.stop_grace_period),
            Ok(Some((control::KILL, _))) => self.kill(),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => {
                self.front = None;
                if !self.released {
                    self.stop.request(Cause::Cancelled, Instant::now(), Duration::ZERO);
                }
            }
        }
        Ok(())
    }

    fn cancel(&mut self, grace: Duration) {
        self.stop.request(Cause::Cancelled, Instant::now(), grace);
    }

    fn kill(&mut self) {
        self.cancel(Duration::ZERO);
        self.callers.iter_mut().for_each(super::Caller::abandon);
    }

    fn read_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            match signal.ssi_signo.cast_signed() {
                libc::SIGTERM | libc::SIGINT => {
                    self.cancel(cancel::requested_grace(&self.directory).unwrap_or(self.plan.stop_grace_period));
                }
                libc::SIGQUIT => self.kill(),
                // SIGCHLD only wakes; SIGHUP, when a terminal closes, must not end a job.
                _ => {}
            }
        }
    }
}

fn stopped(status: RawStatus) -> Option<Stopped> {
    match (status.exited(), status.signalled()) {
        (Some(code), _) => Some(Stopped::Exited { code }),
        (None, Some(signal)) => Some(Stopped::Signalled { signal }),
        (None, None) => None,
    }
}
