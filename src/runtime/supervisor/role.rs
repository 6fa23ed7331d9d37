//! One step role from the supervisor's side: a forked child that enters the job's network if it is to,
//! gives up its privileges and becomes the role. It has no part in the job's cgroup: it is ours, and a small
//! limit of the job must not end a check.

use super::output::JobPipe;
use super::process::{News, ProcessEnd};
use crate::log::LogStream;
use crate::outcome::signal_name;
use crate::plan::Plan;
use crate::runtime::launcher::{Failure, enter_job};
use crate::runtime::report::{self, Received, Report};
use crate::runtime::role;
use crate::step::{COMMIT, DATA_FD, HostFile, StepRequest};
use crate::sys::process::{self, RawStatus, Reaped};
use crate::sys::{capabilities, pipe};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid};
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Exit code of a child that could not become the role; the reason has been reported before.
const EXIT_FAILED: i32 = 125;

/// Where a role works, and what it moves.
pub enum Work {
    /// In the job's network.
    Check,
    /// In the host's network, with this end of the data pipe.
    Transfer { data: OwnedFd },
}

/// A role that was started.
pub struct Role {
    pid: Pid,
    status: Option<RawStatus>,
    /// Receives; `None` when the child has become the role, or is gone.
    report: Option<OwnedFd>,
    /// Until the role is told what to do.
    request: Option<String>,
    /// Its standard input: the request, then the word that a push is complete.
    input: Option<File>,
    /// Write end that the child looks at before it becomes the role.
    _lifeline: OwnedFd,
    pub pipe: JobPipe,
    failure: Option<(String, String)>,
}

/// What the child keeps.
struct Inherited {
    report: OwnedFd,
    lifeline: OwnedFd,
    input: OwnedFd,
    output: OwnedFd,
    data: Option<OwnedFd>,
    /// What it may read of the host's files.
    files: Vec<(HostFile, PathBuf)>,
}

impl Role {
    /// Forks the child. It does nothing of its work before [`Role::release`].
    ///
    /// # Errors
    /// No descriptors or processes left. Everything later comes as a report.
    pub fn start(plan: &Plan, request: String, work: Work, namespaces: &[OwnedFd]) -> io::Result<Role> {
        let (report, their_report) = report::pair()?;
        let (their_lifeline, lifeline) = pipe::new()?;
        // It takes the whole request at once, so that nobody waits for the role to read.
        let (their_input, input) = pipe::with_room(request.len() + 1)?;
        let (pipe, output) = JobPipe::new(LogStream::Stderr)?;
        let in_network = plan.private_network && matches!(work, Work::Check);
        let data = match work {
            Work::Check => None,
            Work::Transfer { data } => Some(data),
        };
        // A request that is not understood is for the role to complain of.
        let files = serde_json::from_str::<StepRequest>(&request)
            .map(|request| request.files().into_iter().map(|(file, path)| (file, path.to_owned())).collect());
        let files = files.unwrap_or_default();
        let inherited =
            Inherited { report: their_report, lifeline: their_lifeline, input: their_input, output, data, files };
        let pid = match process::fork()? {
            ForkResult::Parent { child } => child,
            ForkResult::Child => become_role(in_network.then_some(plan), inherited, namespaces),
        };
        Ok(Role {
            pid,
            status: None,
            report: Some(report),
            request: Some(request),
            input: Some(input.into()),
            _lifeline: lifeline,
            pipe,
            failure: None,
        })
    }

    /// Tells it what to do.
    pub fn release(&mut self, keeps_input: bool) {
        let (Some(request), Some(input)) = (self.request.take(), &mut self.input) else { return };
        // A role that is gone is noticed by its own end.
        let _ = input.write_all(format!("{request}\n").as_bytes());
        if !keeps_input {
            self.input = None;
        }
    }

    /// Tells a push whether what came was all.
    pub fn decide(&mut self, complete: bool) {
        if let Some(mut input) = self.input.take()
            && complete
        {
            // A role that is gone is noticed by its own end.
            let _ = input.write_all(&[COMMIT]);
        }
    }

    pub fn report_fd(&self) -> Option<BorrowedFd<'_>> {
        self.report.as_ref().map(AsFd::as_fd)
    }

    /// Takes every report that has arrived.
    pub fn read_reports(&mut self, news: &mut News) {
        while let Some(socket) = &self.report {
            match report::receive(socket.as_fd()) {
                Ok(Received::Report(Report::Namespaces, descriptors)) => news.namespaces = descriptors,
                Ok(Received::Report(Report::Failed { stage, message }, _)) => self.failure = Some((stage, message)),
                Ok(Received::Report(..)) => {}
                Ok(Received::WouldBlock) => break,
                Ok(Received::Closed) => self.report = None,
                Err(error) => {
                    self.failure = Some(("read a report of the step role".into(), error.to_string()));
                    self.report = None;
                }
            }
        }
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.input = None;
        if self.status.is_none() {
            // An unreaped child of ours.
            let _ = process::kill(self.pid, libc::SIGKILL);
        }
    }

    pub fn reaped(&mut self, child: &Reaped) {
        if child.pid == self.pid {
            self.status = Some(child.status);
        }
    }

    pub fn is_over(&self) -> bool {
        self.status.is_some()
    }

    pub fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| status.exited() == Some(0))
    }

    /// The end; call when [`Role::is_over`] and all its output and reports are read. `last_line` is what it
    /// said last: why it failed.
    pub fn end(&self, last_line: Option<String>) -> ProcessEnd {
        if let Some((stage, message)) = &self.failure {
            return ProcessEnd::Failed { stage: stage.clone(), message: message.clone() };
        }
        let Some(status) = self.status else { return ProcessEnd::NeverStarted };
        let message = match (status.exited(), status.signalled()) {
            (Some(0), _) => return ProcessEnd::Status(status),
            (Some(code), _) => last_line.unwrap_or_else(|| format!("its process exited with code {code}")),
            (None, signal) => {
                let said = last_line.map(|line| format!(" after it had said: {line}")).unwrap_or_default();
                format!("its process was killed by {}{said}", signal_name(signal.unwrap_or_default()))
            }
        };
        ProcessEnd::Unsuccessful { message }
    }
}

/// In the child of the supervisor, which must not return into the parent's frames. `network`: the plan whose
/// network to enter.
fn become_role(network: Option<&Plan>, inherited: Inherited, namespaces: &[OwnedFd]) -> ! {
    let report = inherited.report.as_fd();
    let Err((stage, error)) = prepare(network, report, &inherited, namespaces).and_then(|files| {
        let Inherited { input, output, data, .. } = &inherited;
        let error = execute(input, output, data.as_ref(), &files);
        Err::<Infallible, _>(("execute the step role", error.into()))
    });
    report::send_failure(&report, stage, &error);
    process::exit_now(EXIT_FAILED);
}

fn prepare(
    network: Option<&Plan>,
    report: BorrowedFd<'_>,
    inherited: &Inherited,
    namespaces: &[OwnedFd],
) -> Result<Vec<(HostFile, OwnedFd)>, Failure> {
    if let Some(plan) = network {
        enter_job(plan, report, namespaces)?;
    }
    let Inherited { lifeline, input, output, data, files, .. } = inherited;
    let kept = [report, lifeline.as_fd(), input.as_fd(), output.as_fd()];
    let kept: Vec<_> = kept.into_iter().chain(data.as_ref().map(AsFd::as_fd)).collect();
    // Above all the supervisor's end of the lifeline, and its own ends of the pipes.
    process::close_all_except(&kept).map_err(|error| ("close the supervisor's descriptors", error.into()))?;
    let files = open_for_role(files);
    nix::sys::prctl::set_no_new_privs().map_err(|error| ("give up privileges", error.into()))?;
    capabilities::keep_only(&[]).map_err(|error| ("give up privileges", error.into()))?;
    // After the changes of credentials, which clear it; an execve keeps it.
    process::set_parent_death_signal(Signal::SIGKILL).map_err(|error| ("watch the supervisor", error.into()))?;
    let mut fds = [PollFd::new(lifeline.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).map_err(|error| ("watch the supervisor", error.into()))?;
    if fds[0].any() == Some(true) {
        process::exit_now(EXIT_FAILED); // the supervisor is gone
    }
    process::reset_signals();
    Ok(files)
}

/// With the supervisor's rights: root may name files of others, which the role could not open any more. What cannot be
/// opened is left to the role, which says why. Whatever it is, opening it does not wait.
fn open_for_role(files: &[(HostFile, PathBuf)]) -> Vec<(HostFile, OwnedFd)> {
    let open = |(file, path): &(HostFile, PathBuf)| {
        let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
        Some((*file, pipe::high_duplicate(opened.as_fd()).ok()?))
    };
    files.iter().filter_map(open).collect()
}

/// Returns only when it fails. The role's messages are all on one pipe.
#[expect(clippy::disallowed_methods, reason = "a role of ours")]
fn execute(input: &OwnedFd, output: &OwnedFd, data: Option<&OwnedFd>, files: &[(HostFile, OwnedFd)]) -> io::Error {
    use std::os::unix::process::CommandExt;
    let streams = || {
        // Out of the way of the data's number first.
        let streams = (pipe::high_duplicate(input.as_fd())?, pipe::high_duplicate(output.as_fd())?);
        if let Some(data) = data {
            pipe::place(data.as_fd(), DATA_FD)?;
        }
        for (_, file) in files {
            process::set_cloexec(file.as_fd(), false)?;
        }
        Ok::<_, io::Error>((streams.0, streams.1.try_clone()?, streams.1))
    };
    match streams() {
        Ok((stdin, stdout, stderr)) => std::process::Command::new(super::own_binary())
            .arg(role::STEP)
            .args(files.iter().map(|(file, content)| format!("{}={}", file.name(), content.as_raw_fd())))
            .env_clear()
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .exec(),
        Err(error) => error,
    }
}
