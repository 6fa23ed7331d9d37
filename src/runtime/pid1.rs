//! Pid 1 of a container and the start of the job's program: what runs inside libcontainer's executor
//! hook, in the container, with the job's user, capabilities and `no_new_privs` already in force.
//!
//! Pid 1 reaps, forwards every signal to the job's main process, reports that process's exact wait
//! status, and dies with the supervisor: it never changes its user, which would clear its
//! parent-death signal, as a job may. When it ends, the kernel kills all else in the container.

use super::report::{self, Report};
use super::rlimit::Rlimits;
use super::transfer;
use crate::plan::Program;
use crate::sys::process::{self, ChildUsage};
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{ForkResult, Pid};
use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// What `ps` in the container shows of pid 1.
const COMMAND_LINE: &str = "coracle-init";
/// Exit code of a pid 1 that could not go on; the reason has been reported before.
const EXIT_FAILED: i32 = 125;
/// What execvp(3) uses without PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the launcher hands to the hook.
#[derive(Clone)]
pub struct JobProcess(Rc<Inner>);

struct Inner {
    /// To the supervisor.
    report: OwnedFd,
    /// Read end of a pipe whose only write end the supervisor holds.
    lifeline: OwnedFd,
    /// `tasks` (v1) or `cgroup.procs` (v2) of the job's cgroups, opened for writing on the host.
    cgroups: Vec<OwnedFd>,
    /// Compiled seccomp program.
    seccomp: Option<Vec<u8>>,
    rlimits: Rlimits,
    /// Whether to stay as pid 1 or to become the job's program.
    init: bool,
    program: Program,
}

impl JobProcess {
    pub fn new(
        report: OwnedFd,
        lifeline: OwnedFd,
        cgroups: Vec<OwnedFd>,
        seccomp: Option<Vec<u8>>,
        rlimits: Rlimits,
        init: bool,
        program: Program,
    ) -> JobProcess {
        JobProcess(Rc::new(Inner { report, lifeline, cgroups, seccomp, rlimits, init, program }))
    }
}

impl Executor for JobProcess {
    /// Runs in the container's init before it waits for the start: from here on it dies with the supervisor.
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        die_with_supervisor(&self.0).map_err(|error| ExecutorValidationError::ArgValidationError(error.to_string()))
    }

    /// The program gets its environment through execve(2), not through this process's own.
    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }

    /// Never returns: an error here would only be printed into the job's own stderr by the library.
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let Err((stage, error)) = run(&self.0, spec);
        report::send_failure(&self.0.report, stage, &error);
        process::exit_now(EXIT_FAILED);
    }
}

type Failure = (&'static str, io::Error);

fn run(inner: &Inner, spec: &Spec) -> Result<std::convert::Infallible, Failure> {
    // Once more, after the last change of credentials, which clears it.
    die_with_supervisor(inner).map_err(|error| ("bind pid 1 to its supervisor", error))?;
    for cgroup in &inner.cgroups {
        // 0 means the writer, and "tasks" takes single threads: the fastest way in.
        let mut file = File::from(cgroup.try_clone().map_err(|error| ("join the job's cgroups", error))?);
        file.write_all(b"0").map_err(|error| ("join the job's cgroups", error))?;
    }
    // Owned by the job's user, so after the change of credentials.
    crate::sys::keyring::join_new_session().map_err(|error| ("make a session keyring", error))?;
    let command = Command::new(spec).map_err(|error| ("read the runtime spec", error))?;
    // Before the fork: what a job with CAP_SYS_PTRACE may do to pid 1 is then filtered like the job.
    if let Some(filter) = &inner.seccomp {
        crate::sys::seccomp::load(filter).map_err(|error| ("load the seccomp filter", error))?;
    }
    if inner.init {
        conceal().map_err(|error| ("protect pid 1", error))?;
        match process::fork().map_err(|error| ("fork the job's process", error))? {
            ForkResult::Parent { child } => stay(inner, child),
            ForkResult::Child => {}
        }
        // A process group of its own: what the job sends to its group does not reach pid 1.
        nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0))
            .map_err(|error| ("start a process group", io::Error::from(error)))?;
    }
    process::reset_signals();
    inner.rlimits.apply().map_err(|error| ("set the resource limits", error.into()))?;
    if inner.program != Program::Command {
        process::exit_now(transfer::run(&inner.program, inner.report.as_fd()).into());
    }
    let errno = command.execute();
    let report = Report::NotExecutable { command: command.name, errno };
    // The supervisor is gone when this fails, and with it the need to know.
    let _ = report::send(inner.report.as_fd(), &report, &[]);
    process::exit_now(EXIT_FAILED);
}

/// The kernel kills this process when its parent, the supervisor, ends; if that has happened
/// already, it ends by itself.
fn die_with_supervisor(inner: &Inner) -> io::Result<()> {
    process::set_parent_death_signal(Signal::SIGKILL)?;
    let mut fds = [PollFd::new(inner.lifeline.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO)?;
    if fds[0].any() == Some(true) {
        process::exit_now(EXIT_FAILED);
    }
    Ok(())
}

/// The container cannot look into this process: not at its memory, descriptors, binary or command
/// line. Before there is a job that could: its own process takes all this over until its execve.
fn conceal() -> io::Result<()> {
    nix::sys::prctl::set_dumpable(false)?;
    process::overwrite_command_line(COMMAND_LINE)?;
    nix::sys::prctl::set_name(c"coracle-init")?;
    Ok(())
}

/// Pid 1: until the job's main process ends.
fn stay(inner: &Inner, job: Pid) -> ! {
    if let Err((stage, error)) = serve(inner, job) {
        report::send_failure(&inner.report, stage, &error);
    }
    process::exit_now(EXIT_FAILED);
}

fn serve(inner: &Inner, job: Pid) -> Result<(), Failure> {
    process::close_all_except(&[inner.report.as_fd(), inner.lifeline.as_fd()])
        .map_err(|error| ("close what pid 1 does not need", error))?;
    process::close_standard_streams();
    let all = SigSet::all();
    all.thread_block().map_err(|error| ("block signals", error.into()))?;
    let signals = SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|error| ("watch signals", error.into()))?;
    // A child that ended before the signals were blocked has left no signal to read.
    reap(inner, job)?;
    loop {
        let mut fds =
            [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(inner.lifeline.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(("wait for signals", error.into())),
        }
        if fds[1].any() == Some(true) {
            process::exit_now(EXIT_FAILED); // the supervisor is gone
        }
        while let Ok(Some(signal)) = signals.read_signal() {
            let number = signal.ssi_signo.cast_signed();
            if number == libc::SIGCHLD {
                reap(inner, job)?;
            } else {
                // The job may have ended this very moment; its status is read next.
                let _ = process::kill(job, number);
            }
        }
    }
}

/// Reaps everything that ended; ends itself with the job's main process.
fn reap(inner: &Inner, job: Pid) -> Result<(), Failure> {
    while let Some(ended) = process::reap_any().map_err(|error| ("wait for processes", error))? {
        if ended.pid == job {
            let _: ChildUsage = ended.usage; // counted by the kernel into what the supervisor reaps
            report::send(inner.report.as_fd(), &Report::Ended { status: ended.status.0 }, &[])
                .map_err(|error| ("report the end", error))?;
            process::exit_now(0);
        }
    }
    Ok(())
}

/// The program that the job runs, ready for execve(2).
struct Command {
    /// As the user wrote it.
    name: String,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    /// Files to try in turn.
    candidates: Vec<CString>,
}

impl Command {
    fn new(spec: &Spec) -> io::Result<Command> {
        let process = spec.process().as_ref().ok_or_else(|| io::Error::other("no process"))?;
        let strings = |list: &Option<Vec<String>>| -> io::Result<Vec<CString>> {
            list.iter().flatten().map(|text| CString::new(text.as_str()).map_err(io::Error::from)).collect()
        };
        let (arguments, environment) = (strings(process.args())?, strings(process.env())?);
        let name = process.args().iter().flatten().next().cloned().ok_or_else(|| io::Error::other("no command"))?;
        let path = process.env().iter().flatten().find_map(|entry| entry.strip_prefix("PATH="));
        let candidates = candidates(&name, path.unwrap_or(DEFAULT_PATH))
            .into_iter()
            .map(|candidate| CString::new(candidate).map_err(io::Error::from))
            .collect::<io::Result<_>>()?;
        Ok(Command { name, arguments, environment, candidates })
    }

    /// Returns only when no candidate could be executed: the errno that says most.
    fn execute(&self) -> i32 {
        let mut worst = libc::ENOENT;
        for candidate in &self.candidates {
            let Err(error) = nix::unistd::execve(candidate, &self.arguments, &self.environment);
            match error {
                Errno::ENOENT | Errno::ENOTDIR => {}
                // As execvp(3): remembered, while a later directory may have an executable one.
                Errno::EACCES => worst = libc::EACCES,
                other => return other as i32,
            }
        }
        worst
    }
}

/// Where execvp(3) would look: the name itself when it has a slash, else in each directory of PATH,
/// where an empty one means the current directory.
fn candidates(name: &str, path: &str) -> Vec<String> {
    if name.contains('/') {
        return vec![name.to_owned()];
    }
    if name.is_empty() {
        return Vec::new();
    }
    path.split(':')
        .map(|directory| if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") })
        .collect()
}

/// Used by the launcher to lend descriptors to the hook.
pub fn borrow_all(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}

#[cfg(test)]
mod tests {
    use super::candidates;

    #[test]
    fn programs_are_looked_up_as_execvp_does() {
        assert_eq!(candidates("/bin/sh", "/a:/b"), ["/bin/sh"]);
        assert_eq!(candidates("./x", "/a"), ["./x"]);
        assert_eq!(candidates("sh", "/a::/b"), ["/a/sh", "sh", "/b/sh"]);
        assert!(candidates("", "/a").is_empty());
    }
}
