//! The launcher: a short-lived child of the supervisor, one for each process of the job that is started.
//!
//! Its first half is a fork of the supervisor that makes (or enters) the job's namespaces. Its second
//! half lets libcontainer create the container, whose init becomes the supervisor's child, and start
//! it when the supervisor opens the gate.
//!
//! Nothing in the container may reach a writable way to our binary. With privileges the front has
//! started the supervisor from a read-only mount of it. Without, such a mount can only be made in a
//! user namespace: between its halves the launcher replaces itself by the same binary seen through one
//! ([`own_binary_read_only`]).

use super::pid1::JobProcess;
use super::report::{self, Report};
use super::rlimit::Rlimits;
use super::rootfs::{self, RootfsError};
use super::{container, role};
use crate::plan::Plan;
use crate::state_dir::ContainerDir;
use crate::sys::mount::{execute, own_binary_read_only};
use crate::sys::process;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid};
use std::convert::Infallible;
use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// What a launcher inherits from the supervisor.
pub struct Inherited {
    pub report: OwnedFd,
    /// One byte: start the process. End of file: do not.
    pub gate: OwnedFd,
    pub lifeline: OwnedFd,
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    pub cgroups: Vec<OwnedFd>,
}

/// Which process is to be launched.
#[derive(Debug, Clone, Copy)]
pub struct Launch {
    /// [`Plan::process`].
    pub index: usize,
    /// Of this container among all of the execution: a step may have several tries.
    pub serial: u32,
}

/// Starts a launcher. `namespaces` are those that the first launcher reported; empty for the first.
///
/// # Errors
/// fork(2)'s. Everything later comes as a report.
pub fn spawn(
    directory: &ContainerDir,
    plan: &Plan,
    which: Launch,
    inherited: Inherited,
    namespaces: &[OwnedFd],
) -> io::Result<Pid> {
    match process::fork()? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => launch(directory, plan, which, inherited, namespaces),
    }
}

pub(super) type Failure = (&'static str, Box<dyn std::error::Error>);

/// In the child of the supervisor, which must not return into the parent's frames.
fn launch(directory: &ContainerDir, plan: &Plan, which: Launch, inherited: Inherited, namespaces: &[OwnedFd]) -> ! {
    let prepared = first_half(plan, which, &inherited, namespaces).and_then(|()| {
        if is_binary_read_only() {
            return Ok(());
        }
        let Err(failure) = replace_binary(directory, which, &inherited);
        Err(failure)
    });
    if let Err((stage, error)) = prepared {
        report::send_failure(&inherited.report, stage, &error);
        process::exit_now(1);
    }
    // What the supervisor holds open for itself, above all its end of the lifeline, is not for here.
    if let Err(error) = process::close_all_except(&inherited.all()) {
        report::send_failure(&inherited.report, "close the supervisor's descriptors", &error);
        process::exit_now(1);
    }
    process::exit_now(run_second_half(directory, Some(plan), which, inherited));
}

fn first_half(plan: &Plan, which: Launch, inherited: &Inherited, namespaces: &[OwnedFd]) -> Result<(), Failure> {
    enter_job(plan, inherited.report.as_fd(), namespaces)?;
    if let Some(root) = plan.step_roots.get(&which.index) {
        rootfs::prepare_step(root, plan.rootless.is_some())
            .map_err(|error| ("prepare the root file system of the step", error.into()))?;
    }
    // After the changes of credentials above. A supervisor that died before is seen at the gate.
    process::set_parent_death_signal(Signal::SIGKILL).map_err(|error| ("watch the supervisor", error.into()))
}

/// Enters the job's namespaces, or makes and reports them when there are none yet.
pub(super) fn enter_job(plan: &Plan, report: BorrowedFd<'_>, namespaces: &[OwnedFd]) -> Result<(), Failure> {
    if namespaces.is_empty() {
        let made =
            rootfs::prepare(plan).map_err(|error: RootfsError| ("prepare the root file system", error.into()))?;
        return report::send(report, &Report::Namespaces, &super::pid1::borrow_all(&made))
            .map_err(|error| ("hand over the namespaces", error.into()));
    }
    for namespace in namespaces {
        setns(namespace, CloneFlags::empty()).map_err(|error| ("enter the job's namespaces", error.into()))?;
    }
    Ok(())
}

/// True when the front could start the supervisor from a read-only mount, which takes privileges.
fn is_binary_read_only() -> bool {
    nix::sys::statvfs::statvfs("/proc/self/exe")
        .is_ok_and(|status| status.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY))
}

/// Goes on as the same binary on a read-only mount of this launcher's own mount namespace.
fn replace_binary(directory: &ContainerDir, which: Launch, inherited: &Inherited) -> Result<Infallible, Failure> {
    let binary = own_binary_read_only().map_err(|error| ("protect the binary of pid 1", error.into()))?;
    let arguments = Arguments::of(directory, which, inherited);
    for fd in inherited.all() {
        process::set_cloexec(fd, false).map_err(|error| ("pass descriptors on", error.into()))?;
    }
    let error = execute(binary.as_fd(), &arguments.to_strings(), &[]);
    Err(("execute the launcher", error.into()))
}

impl Inherited {
    fn all(&self) -> Vec<BorrowedFd<'_>> {
        let fixed = [&self.report, &self.gate, &self.lifeline, &self.stdin, &self.stdout, &self.stderr];
        fixed.into_iter().chain(&self.cgroups).map(AsFd::as_fd).collect()
    }
}

/// The command line of the second half. Nothing secret: the host's `ps` shows it for a moment, and
/// pid 1 overwrites its copy.
struct Arguments {
    directory: CString,
    numbers: Vec<i64>,
}

impl Arguments {
    fn of(directory: &ContainerDir, which: Launch, inherited: &Inherited) -> Arguments {
        use std::os::unix::ffi::OsStrExt;
        // A path that came from the command line or the environment holds no NUL.
        let directory = CString::new(directory.path().as_os_str().as_bytes()).unwrap_or_default();
        let fds = inherited.all();
        let first = [which.index as i64, i64::from(which.serial)];
        let numbers = first.into_iter().chain(fds.iter().map(|fd| i64::from(fd.as_raw_fd()))).collect();
        Arguments { directory, numbers }
    }

    fn to_strings(&self) -> Vec<CString> {
        let numbers = self.numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        let own = ["coracle", role::LAUNCH].map(|text| CString::new(text).unwrap_or_default());
        let numbers = CString::new(numbers).unwrap_or_default();
        own.into_iter().chain([self.directory.clone(), numbers]).collect()
    }
}

/// The second half: entry point of the hidden role. Returns the exit code.
pub fn main(arguments: &[std::ffi::OsString]) -> i32 {
    let Some((directory, which, inherited)) = parse(arguments) else {
        eprintln!("coracle: this role is started by a supervisor only");
        return 2;
    };
    run_second_half(&directory, None, which, inherited)
}

/// Returns the exit code; the supervisor learns what failed from a report.
fn run_second_half(directory: &ContainerDir, plan: Option<&Plan>, which: Launch, inherited: Inherited) -> i32 {
    let Ok(report) = inherited.report.try_clone() else { return 1 }; // no descriptor left to say so on
    let result = match plan {
        Some(plan) => second_half(directory, plan, which, inherited),
        None => match container::read_plan(directory) {
            Ok(plan) => second_half(directory, &plan, which, inherited),
            Err(error) => Err(("read the plan", error.into())),
        },
    };
    let Err((stage, error)) = result else { return 0 };
    report::send_failure(&report, stage, &error);
    1
}

fn parse(arguments: &[std::ffi::OsString]) -> Option<(ContainerDir, Launch, Inherited)> {
    let [directory, numbers] = arguments else { return None };
    let mut numbers = numbers.to_str()?.split(',').map(str::parse::<RawFd>);
    let index = usize::try_from(numbers.next()?.ok()?).ok()?;
    let serial = u32::try_from(numbers.next()?.ok()?).ok()?;
    let mut fds = numbers.map(|number| process::inherited(number.ok()?).ok());
    let mut next = || fds.next().flatten();
    let inherited = Inherited {
        report: next()?,
        gate: next()?,
        lifeline: next()?,
        stdin: next()?,
        stdout: next()?,
        stderr: next()?,
        cgroups: fds.collect::<Option<_>>()?,
    };
    Some((ContainerDir::from_path(directory.into()), Launch { index, serial }, inherited))
}

fn second_half(directory: &ContainerDir, plan: &Plan, which: Launch, inherited: Inherited) -> Result<(), Failure> {
    let process = plan.process(which.index).ok_or_else(|| ("read the plan", "no such process".into()))?;
    let mut spec =
        container::finish_spec(plan, which.index, process).map_err(|error| ("prepare the process", error.into()))?;
    let rlimits = Rlimits::take(&mut spec);
    rlimits.make_room().map_err(|error| ("raise the resource limits", error.into()))?;
    let filter = match &process.seccomp_filter {
        Some(path) => Some(std::fs::read(path).map_err(|error| ("read the seccomp filter", error.into()))?),
        None => None,
    };
    drop_groups().map_err(|error| ("drop the caller's groups", error.into()))?;
    let Inherited { report, gate, lifeline, stdin, stdout, stderr, cgroups } = inherited;
    let hook = JobProcess::new(
        report.try_clone().map_err(|error| ("create the container", error.into()))?,
        lifeline,
        cgroups,
        filter,
        rlimits,
        process.init,
        process.program.clone(),
    );
    let mut created =
        container::create(directory, plan, which.serial, &spec, hook, container::Stdio { stdin, stdout, stderr })
            .map_err(|error| ("create the container", error.into()))?;
    report::send(report.as_fd(), &Report::Created { pid: created.pid() }, &[])
        .map_err(|error| ("report the container", error.into()))?;
    if !is_open(gate).map_err(|error| ("wait for the start", error.into()))? {
        created.kill();
        return Ok(());
    }
    created.start().map_err(|error| ("start the container", error.into()))
}

/// libcontainer sets the job's groups only when it has some; the caller's must not stay instead.
fn drop_groups() -> nix::Result<()> {
    match nix::unistd::setgroups(&[]) {
        // Where only one id is mapped, the kernel forbids it, and no group of the caller's is mapped.
        Err(nix::errno::Errno::EPERM) => Ok(()),
        other => other,
    }
}

fn is_open(gate: OwnedFd) -> io::Result<bool> {
    let mut byte = [0];
    Ok(std::fs::File::from(gate).read(&mut byte)? == 1)
}
