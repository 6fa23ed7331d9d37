//! One process of the job from the supervisor's side: its launcher, its pid 1, its pipes, its end.

use super::output::JobPipe;
use crate::log::LogStream;
use crate::plan::Plan;
use crate::runtime::launcher::{self, Inherited, Launch};
use crate::runtime::report::{self, Received, Report, Verdict};
use crate::state_dir::ContainerDir;
use crate::sys::pipe;
use crate::sys::process::{RawStatus, Reaped, pidfd_open, pidfd_send_signal};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How the process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessEnd {
    Status(RawStatus),
    NotExecutable {
        command: String,
        errno: i32,
    },
    Failed {
        stage: String,
        message: String,
    },
    /// A step role, or the file's side of a transfer, tells why.
    Unsuccessful {
        message: String,
    },
    /// It was stopped before it could run.
    NeverStarted,
}

/// The standard streams that a process does not share with all others.
pub struct Streams {
    pub stdin: OwnedFd,
    /// `None`: into the log.
    pub stdout: Option<OwnedFd>,
}

/// A process that has a launcher or more.
pub struct Running {
    launcher: Option<Pid>,
    init: Option<Init>,
    /// Receives; `None` when every sender is gone.
    report: Option<OwnedFd>,
    /// Write end; dropping it unopened means "do not start".
    gate: Option<OwnedFd>,
    gate_opened: bool,
    /// The supervisor itself has killed it.
    killed: bool,
    /// Write end that pid 1 watches; held for as long as this value lives.
    _lifeline: OwnedFd,
    pub pipes: Vec<JobPipe>,
    /// From pid 1: what waitpid(2) told it about the job's main process.
    reported: Option<RawStatus>,
    not_executable: Option<(String, i32)>,
    not_transferred: Option<String>,
    failure: Option<(String, String)>,
}

struct Init {
    pid: Pid,
    pidfd: Option<OwnedFd>,
    status: Option<RawStatus>,
}

/// Who a child that ended was to a [`Running`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Child {
    Init,
    Launcher,
    /// A launcher that was killed before it reported an init. It may have made one, which holds the job's pipes.
    SilentLauncher,
    /// None of its.
    Other,
}

/// What the reports so far ask of the supervisor.
#[derive(Default)]
pub struct News {
    pub namespaces: Vec<OwnedFd>,
    /// The container exists; its init has this pid.
    pub created: Option<i32>,
}

impl Running {
    /// Starts the launcher.
    ///
    /// # Errors
    /// No descriptors or processes left.
    pub fn start(
        directory: &ContainerDir,
        plan: &Plan,
        which: Launch,
        streams: Streams,
        cgroups: Vec<OwnedFd>,
        namespaces: &[OwnedFd],
    ) -> io::Result<Running> {
        let (report, their_report) = report::pair()?;
        let (their_gate, gate) = pipe::new()?;
        let (their_lifeline, lifeline) = pipe::new()?;
        let mut pipes = Vec::with_capacity(2);
        let stdout = match streams.stdout {
            Some(stdout) => stdout,
            None => {
                let (pipe, stdout) = JobPipe::new(LogStream::Stdout)?;
                pipes.push(pipe);
                stdout
            }
        };
        let (pipe, stderr) = JobPipe::new(LogStream::Stderr)?;
        pipes.push(pipe);
        let inherited = Inherited {
            report: their_report,
            gate: their_gate,
            lifeline: their_lifeline,
            stdin: streams.stdin,
            stdout,
            stderr,
            cgroups,
        };
        let launcher = launcher::spawn(directory, plan, which, inherited, namespaces)?;
        Ok(Running {
            launcher: Some(launcher),
            init: None,
            report: Some(report),
            gate: Some(gate),
            gate_opened: false,
            killed: false,
            _lifeline: lifeline,
            pipes,
            reported: None,
            not_executable: None,
            not_transferred: None,
            failure: None,
        })
    }

    pub fn report_fd(&self) -> Option<BorrowedFd<'_>> {
        self.report.as_ref().map(AsFd::as_fd)
    }

    /// Takes every report that has arrived.
    pub fn read_reports(&mut self, news: &mut News) {
        while let Some(socket) = &self.report {
            match report::receive(socket.as_fd()) {
                Ok(Received::Report(report, descriptors)) => self.take(report, descriptors, news),
                Ok(Received::WouldBlock) => break,
                Ok(Received::Closed) => self.report = None,
                Err(error) => {
                    self.fail("read a report of the launcher", &error.to_string());
                    self.report = None;
                }
            }
        }
    }

    fn take(&mut self, report: Report, descriptors: Vec<OwnedFd>, news: &mut News) {
        match report {
            Report::Namespaces => news.namespaces = descriptors,
            Report::Created { pid } => {
                // Our own unreaped child, so the pid is still its own.
                let pidfd = pidfd_open(pid).unwrap_or(None);
                self.init = Some(Init { pid: Pid::from_raw(pid), pidfd, status: None });
                news.created = Some(pid);
            }
            Report::Failed { stage, message } => self.fail(&stage, &message),
            Report::NotExecutable { command, errno } => self.not_executable = Some((command, errno)),
            Report::NotTransferred { message } => self.not_transferred = Some(message),
            Report::Ended { status } => self.reported = Some(RawStatus(status)),
        }
    }

    fn fail(&mut self, stage: &str, message: &str) {
        // The first failure is the cause of those that follow.
        self.failure.get_or_insert_with(|| (stage.to_owned(), message.to_owned()));
        // Whatever was made half must not linger.
        self.kill_init();
    }

    /// Lets the created process run; true when this call did it.
    pub fn open_gate(&mut self) -> bool {
        if self.init.is_none() {
            return false;
        }
        let Some(gate) = self.gate.take() else { return false };
        // A launcher that is gone is noticed by its own end.
        self.gate_opened = File::from(gate).write_all(b"g").is_ok();
        self.gate_opened
    }

    /// Sends the stop signal; a process that has not been started will not be.
    pub fn signal(&mut self, signal: i32) {
        if !self.gate_opened {
            self.gate = None;
            return;
        }
        if let Some(Init { pidfd: Some(pidfd), status: None, .. }) = &self.init {
            // It may end this very moment.
            let _ = pidfd_send_signal(pidfd.as_fd(), signal);
        }
    }

    /// Ends everything in the container at once, and a launcher that has not finished.
    pub fn kill(&mut self) {
        self.killed = true;
        self.gate = None;
        self.kill_init();
        if let Some(launcher) = self.launcher {
            // An unreaped child of ours.
            let _ = crate::sys::process::kill(launcher, libc::SIGKILL);
        }
    }

    fn kill_init(&self) {
        if let Some(Init { pidfd: Some(pidfd), status: None, .. }) = &self.init {
            // It may have ended this very moment.
            let _ = pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
        }
    }

    /// Notes the end of a child, and says who it was.
    pub fn reaped(&mut self, child: &Reaped) -> Child {
        if self.launcher == Some(child.pid) {
            self.launcher = None;
            // An init that was not told to start would wait for ever.
            self.gate = None;
            let Some(signal) = child.status.signalled() else { return Child::Launcher };
            if !self.killed {
                self.fail(
                    "start the container",
                    &format!("its launcher was killed by {}", crate::outcome::signal_name(signal)),
                );
            }
            return if self.init.is_none() { Child::SilentLauncher } else { Child::Launcher };
        }
        match &mut self.init {
            Some(init) if init.pid == child.pid => {
                init.status = Some(child.status);
                Child::Init
            }
            _ => Child::Other,
        }
    }

    /// True when no process of it is left.
    pub fn is_over(&self) -> bool {
        self.launcher.is_none() && self.init.as_ref().is_none_or(|init| init.status.is_some())
    }

    /// The end; call when [`Running::is_over`] and all reports are read.
    pub fn end(&self) -> ProcessEnd {
        if let Some((command, errno)) = &self.not_executable {
            return ProcessEnd::NotExecutable { command: command.clone(), errno: *errno };
        }
        if let Some(message) = &self.not_transferred {
            return ProcessEnd::Unsuccessful { message: message.clone() };
        }
        if let Some(status) = self.reported {
            return ProcessEnd::Status(status);
        }
        if let Some((stage, message)) = &self.failure {
            return ProcessEnd::Failed { stage: stage.clone(), message: message.clone() };
        }
        match self.init.as_ref().and_then(|init| init.status) {
            Some(status) if self.gate_opened => ProcessEnd::Status(status),
            _ => ProcessEnd::NeverStarted,
        }
    }

    /// Tells the file's side of a transfer whether the data that came was all.
    pub fn decide(&self, verdict: Verdict) {
        if let Some(report) = &self.report {
            report::send_verdict(report.as_fd(), verdict);
        }
    }

    /// The exit code of its main process, when it is over and had one.
    pub fn exited(&self) -> Option<u8> {
        match self.end() {
            ProcessEnd::Status(status) if self.is_over() => status.exited(),
            _ => None,
        }
    }

    pub fn succeeded(&self) -> bool {
        self.exited() == Some(0)
    }

    /// Whether the process was told to start.
    pub fn has_started(&self) -> bool {
        self.gate_opened
    }
}
