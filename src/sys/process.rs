//! Processes: who they are beyond a pid that may be reused, forking, and what a child inherits.

#![allow(unsafe_code)] // fork, signal dispositions and argv have no safe interface

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{ForkResult, Pid, SysconfVar, sysconf};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// A process, such that neither a reused pid nor a reboot can be mistaken for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessIdentity {
    pub pid: i32,
    /// Clock ticks after boot, field 22 of `/proc/PID/stat` (proc_pid_stat(5)).
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

impl ProcessIdentity {
    /// The calling process.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn current() -> io::Result<ProcessIdentity> {
        ProcessIdentity::of(std::process::id().cast_signed())
    }

    /// The process that has this pid now; for a child that has not been waited for.
    ///
    /// # Errors
    /// When there is none, or `/proc` cannot be read.
    pub fn of(pid: i32) -> io::Result<ProcessIdentity> {
        Ok(ProcessIdentity { pid, start_time: start_time(pid)?, boot_id: boot_id()? })
    }

    /// A pidfd of the process if it is alive, `None` when it is gone (or a zombie, which runs no more).
    ///
    /// # Errors
    /// When the answer cannot be had (no `/proc`, no more file descriptors).
    pub fn open(&self) -> io::Result<Option<OwnedFd>> {
        if boot_id()? != self.boot_id {
            return Ok(None);
        }
        // First the pidfd, then the look: once held, the pid cannot become another process's.
        let Some(pidfd) = pidfd_open(self.pid)? else { return Ok(None) };
        match stat_fields(self.pid) {
            Ok(fields) if fields.start_time == self.start_time && !fields.is_dead() => Ok(Some(pidfd)),
            Ok(_) => Ok(None),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a signal has stopped it (SIGSTOP, Ctrl-Z), and nothing let it go on yet.
    pub fn is_stopped(&self) -> bool {
        let is_same = |fields: &StatFields| fields.start_time == self.start_time;
        boot_id().is_ok_and(|boot| boot == self.boot_id)
            && stat_fields(self.pid).is_ok_and(|fields| is_same(&fields) && fields.state == 'T')
    }

    /// How long ago it began, time in which the host slept included. `None`: before the host was started.
    pub fn age(&self) -> Option<Duration> {
        if boot_id().ok()? != self.boot_id {
            return None;
        }
        let now = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?);
        // In clock ticks since the boot (proc_pid_stat(5)).
        let ticks = u64::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok().filter(|ticks| *ticks > 0)?;
        now.checked_sub(Duration::from_millis(self.start_time.saturating_mul(1000) / ticks))
    }
}

/// Sends `signal` to exactly that process.
///
/// # Errors
/// `ESRCH` when it has ended.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: pidfd is open for the call; a null siginfo asks the kernel to fill it like kill(2).
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// A CLOEXEC pidfd, `None` when there is no such process.
///
/// # Errors
/// Any but `ESRCH`.
pub fn pidfd_open(pid: i32) -> io::Result<Option<OwnedFd>> {
    // SAFETY: takes two integers; the result is checked before it becomes an owned descriptor.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match Errno::result(result) {
        // SAFETY: the kernel just made this descriptor for us and nobody else knows it.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })),
        Err(Errno::ESRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn start_time(pid: i32) -> io::Result<u64> {
    Ok(stat_fields(pid)?.start_time)
}

struct StatFields {
    state: char,
    start_time: u64,
}

impl StatFields {
    fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

fn stat_fields(pid: i32) -> io::Result<StatFields> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&stat).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat: {stat:?}")))
}

fn parse_stat(stat: &str) -> Option<StatFields> {
    // The name in parentheses may hold spaces and parentheses itself.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?.chars().next()?; // field 3
    let start_time = fields.nth(18)?.parse().ok()?; // field 22
    Some(StatFields { state, start_time })
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// fork(2) for a process with one thread.
///
/// # Errors
/// `EAGAIN`, `ENOMEM`; `EDEADLK` when the process has more than one thread.
pub fn fork() -> io::Result<ForkResult> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    // SAFETY: one thread, checked above, so no lock can be held by a thread that the child lacks.
    unsafe { nix::unistd::fork() }.map_err(io::Error::from)
}

/// Has the command begin in a session of its own: it is never in reach of what a terminal sends.
pub fn begin_in_own_session(command: &mut Command) {
    // SAFETY: setsid(2) is async-signal-safe (signal-safety(7)) and touches no memory; so are the conversions.
    unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(io::Error::from)) };
}

/// Ends the process at once, without running destructors or exit handlers of a parent's copy.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) does not return and touches no memory.
    unsafe { libc::_exit(code) }
}

/// What asks a process to end (signal(7)).
const TERMINATION: [libc::c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// Gives every signal its default action and unblocks all, as a freshly logged-in shell would have it.
pub fn reset_signals() {
    reset_signals_but(&[]);
}

/// As [`reset_signals`], but what asks to end is ignored, also where it has come already, until [`heed_termination`].
pub fn reset_signals_ignoring_termination() {
    reset_signals_but(&TERMINATION);
}

/// Gives the signals that ask to end their default action.
pub fn heed_termination() {
    for signal in TERMINATION {
        // SAFETY: SIG_DFL is no function of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

fn reset_signals_but(ignored: &[libc::c_int]) {
    /// The kernel's struct sigaction: handler, flags, restorer (on some architectures), mask. All zero
    /// is SIG_DFL with nothing else.
    const DEFAULT_ACTION: [u64; 4] = [0; 4];
    /// The same with SIG_IGN, which discards what is pending.
    const IGNORE: [u64; 4] = [1, 0, 0, 0];
    /// Bytes of the kernel's signal set, which it checks.
    const SET_SIZE: usize = 8;
    for signal in 1..=64 {
        let action = if ignored.contains(&signal) { &IGNORE } else { &DEFAULT_ACTION };
        // Past the C library, which hides 32 and 33 and has its posix_spawn ignore them.
        // SAFETY: the kernel reads at most the four words; SIG_DFL and SIG_IGN are no functions of ours. It
        // refuses SIGKILL and SIGSTOP, which is harmless.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), std::ptr::null::<u64>(), SET_SIZE) };
    }
    // Emptying the mask of the calling thread cannot fail with valid arguments.
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
}

/// Ignores SIGPIPE and SIGXFSZ, so that writing to a closed pipe or beyond the file size limit is an
/// error and not the end.
pub fn ignore_write_signals() {
    for signal in [libc::SIGPIPE, libc::SIGXFSZ] {
        // SAFETY: SIG_IGN is no function of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Gives SIGCHLD its default action. Ignored, as a caller may have left it, the kernel reaps children
/// by itself and nobody learns how they ended (wait(2), Notes).
pub fn make_children_waitable() {
    // SAFETY: SIG_DFL is no function of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// A number that kill(2) and our plans may carry: also those of real-time signals.
pub fn is_signal_number(signal: i32) -> bool {
    (1..=libc::SIGRTMAX()).contains(&signal)
}

/// kill(2) with any signal number.
///
/// # Errors
/// `ESRCH`, `EPERM`, `EINVAL`.
pub fn kill(pid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: two integers.
    Errno::result(unsafe { libc::kill(pid.as_raw(), signal) }).map(drop).map_err(io::Error::from)
}

/// One child that changed state: its pid and raw wait status; `None` when none has.
///
/// # Errors
/// `ECHILD` is not one: no children means `None`.
pub fn reap_any() -> io::Result<Option<Reaped>> {
    match wait4(-1, libc::WNOHANG) {
        Err(Errno::ECHILD | Errno::EINTR) => Ok(None),
        reaped => Ok(reaped?),
    }
}

/// Kills and reaps every child of the calling process, which has one thread. `reaped` is told of each, also before an
/// error: whoever knows a child must not take its pid for its own any more.
///
/// # Errors
/// A kernel without `/proc/PID/task/TID/children` (`CONFIG_PROC_CHILDREN`), when there is any child.
pub fn end_children(mut reaped: impl FnMut(Reaped)) -> io::Result<()> {
    loop {
        match wait4(-1, libc::WNOHANG) {
            Err(Errno::ECHILD) => return Ok(()),
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(None) => {}
            Ok(Some(child)) => {
                reaped(child);
                continue;
            }
        }
        let own = std::process::id();
        let children = std::fs::read_to_string(format!("/proc/self/task/{own}/children"))?;
        for pid in children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()) {
            // An unreaped child of ours, so the pid is still its own.
            kill(Pid::from_raw(pid), libc::SIGKILL)?;
            match wait4(pid, 0) {
                Ok(child) => child.into_iter().for_each(&mut reaped),
                Err(Errno::EINTR | Errno::ECHILD) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// wait4(2); `None`: no such child has ended.
fn wait4(pid: i32, options: i32) -> nix::Result<Option<Reaped>> {
    let mut status = 0;
    // SAFETY: both pointers are to live values of the right type for the time of the call.
    let (result, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(pid, &raw mut status, options, &raw mut usage), usage)
    };
    let pid = Errno::result(result)?;
    let reaped = Reaped { pid: Pid::from_raw(pid), status: RawStatus(status), usage: ChildUsage::from(usage) };
    Ok((pid != 0).then_some(reaped))
}

/// A child that ended.
#[derive(Debug, Clone, Copy)]
pub struct Reaped {
    pub pid: Pid,
    pub status: RawStatus,
    pub usage: ChildUsage,
}

/// What a child and the descendants it waited for used (getrusage(2)).
#[derive(Debug, Clone, Copy, Default)]
pub struct ChildUsage {
    pub user: std::time::Duration,
    pub system: std::time::Duration,
    /// Bytes.
    pub max_rss: u64,
}

impl From<libc::rusage> for ChildUsage {
    fn from(usage: libc::rusage) -> ChildUsage {
        let duration = |time: libc::timeval| {
            std::time::Duration::from_secs(time.tv_sec.unsigned_abs())
                + std::time::Duration::from_micros(time.tv_usec.unsigned_abs())
        };
        ChildUsage {
            user: duration(usage.ru_utime),
            system: duration(usage.ru_stime),
            max_rss: usage.ru_maxrss.unsigned_abs() * 1024,
        }
    }
}

/// A wait status as the kernel gives it, so that one process can pass it on to another exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawStatus(pub i32);

impl RawStatus {
    /// The exit code, when it exited.
    pub fn exited(self) -> Option<u8> {
        // WEXITSTATUS is the low eight bits of what exit(3) got.
        libc::WIFEXITED(self.0).then(|| (libc::WEXITSTATUS(self.0) & 0xff) as u8)
    }

    /// The signal that ended it, when one did.
    pub fn signalled(self) -> Option<i32> {
        libc::WIFSIGNALED(self.0).then(|| libc::WTERMSIG(self.0))
    }
}

/// Clears or sets FD_CLOEXEC.
///
/// # Errors
/// `EBADF` cannot happen with a borrowed descriptor; anything else is the kernel's.
pub fn set_cloexec(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let flag = if on { nix::fcntl::FdFlag::FD_CLOEXEC } else { nix::fcntl::FdFlag::empty() };
    nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(flag)).map(drop).map_err(io::Error::from)
}

/// Takes over a descriptor whose number the starter of this process passed, and marks it CLOEXEC.
///
/// # Errors
/// `EBADF` when it is not open, `EINVAL` for the standard streams.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 3 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: fcntl with an integer; tells whether the number is open.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    // SAFETY: open, checked above; roles take each passed number over once, before anything else opens files.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    set_cloexec(fd.as_fd(), true)?;
    Ok(fd)
}

/// Owns a descriptor that recvmsg(2) just made.
pub(crate) fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller got the number out of SCM_RIGHTS, where the kernel made it for this process alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Closes every descriptor above the standard streams but those in `keep`.
///
/// Only for a process that has opened nothing yet or is about to do one last thing: any owner of a closed descriptor
/// must not be used or dropped afterwards.
///
/// # Errors
/// `ENOSYS` on kernels without close_range(2) (before 5.9).
pub fn close_all_except(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).collect();
    keep.sort_unstable();
    let mut from = 3;
    for fd in keep.into_iter().chain([u32::MAX]) {
        if fd > from {
            let last = if fd == u32::MAX { fd } else { fd - 1 };
            // SAFETY: three integers; the contract above makes the callers leave closed ones alone.
            Errno::result(unsafe { libc::syscall(libc::SYS_close_range, from, last, 0) })?;
        }
        from = from.max(fd.saturating_add(1));
    }
    Ok(())
}

/// Closes standard input, output and error of a process that uses them no more.
pub fn close_standard_streams() {
    for fd in 0..3 {
        // SAFETY: the caller's contract; a number that is not open is a harmless EBADF.
        unsafe { libc::close(fd) };
    }
}

/// Overwrites the command line that `/proc/PID/cmdline` shows with `text`, cut to the room there is.
///
/// # Errors
/// When `/proc/self/stat` cannot be read.
pub fn overwrite_command_line(text: &str) -> io::Result<()> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat[stat.rfind(')').map_or(0, |at| at + 1)..].split_ascii_whitespace().collect();
    // Fields 48 and 49 of proc_pid_stat(5): arg_start and arg_end; the first here is field 3.
    let address = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    let (start, end) = (address(48), address(49));
    if start == 0 || end <= start {
        return Ok(());
    }
    let length = end - start;
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(length, 0);
    bytes[length - 1] = 0;
    // SAFETY: the kernel says that these bytes are this process's argument strings, which are
    // writable stack memory; Rust reads them only through std::env::args, which no role calls later.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start as *mut u8, length) };
    Ok(())
}

/// Sets the signal that the kernel sends to the caller when its parent ends.
///
/// # Errors
/// The kernel's.
pub fn set_parent_death_signal(signal: Signal) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(signal).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_an_awkward_name() {
        let mut line = String::from("12 (a) b (c) S");
        (4..22).for_each(|field| line.push_str(&format!(" {field}")));
        line.push_str(" 777 23 24");
        let fields = parse_stat(&line).unwrap();
        assert_eq!((fields.state, fields.start_time), ('S', 777));
        assert!(parse_stat("12 nonsense").is_none());
    }

    #[test]
    fn identity_tells_a_reused_pid_and_a_reboot_apart() {
        let me = ProcessIdentity::current().unwrap();
        assert!(me.open().unwrap().is_some());
        let reused = ProcessIdentity { start_time: me.start_time + 1, ..me.clone() };
        assert!(reused.open().unwrap().is_none());
        assert!(me.age().unwrap() < ProcessIdentity { start_time: 0, ..me.clone() }.age().unwrap());
        let rebooted = ProcessIdentity { boot_id: "another".into(), ..me };
        assert!(rebooted.open().unwrap().is_none());
        assert_eq!(rebooted.age(), None);
    }

    #[test]
    fn fork_is_refused_with_more_than_one_thread() {
        let (send, receive) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || receive.recv());
        assert_eq!(fork().map(drop).unwrap_err().raw_os_error(), Some(libc::EDEADLK));
        drop(send);
        thread.join().unwrap().unwrap_err();
    }
}
