//! What the host offers, and processes by file descriptor.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// What takes longer hangs. Far above anything that is measured.
pub const HANGS_AFTER: Duration = Duration::from_secs(120);

/// Something that a test needs and not every host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    Root,
    /// Root, or a user with subordinate ids and newuidmap(1).
    ManyIds,
    /// Limits through a cgroup that the caller may write.
    Cgroups,
    /// docker-registry(1) and skopeo(1).
    Registry,
    /// podman(1).
    Podman,
    /// mmdebstrap(1) and a Debian mirror.
    Debian,
    /// The S3 server s3s-fs of <https://crates.io/crates/s3s-fs>.
    S3,
}

/// True when the host has `feature`. Otherwise, in CI the test fails; elsewhere it says visibly that
/// it is skipped.
pub fn needs(feature: Feature) -> bool {
    let missing = match feature {
        Feature::Root => (!is_root()).then_some("root"),
        Feature::ManyIds => (!has_many_ids()).then_some("subordinate user ids and newuidmap"),
        // Unprivileged users own no cgroup unless a session manager delegates one.
        Feature::Cgroups => (!is_root()).then_some("a cgroup it may write"),
        Feature::Registry => {
            (!has_program("docker-registry") || !has_program("skopeo")).then_some("docker-registry and skopeo")
        }
        Feature::Podman => (!has_program("podman")).then_some("podman"),
        Feature::Debian => (!has_program("mmdebstrap")).then_some("mmdebstrap"),
        Feature::S3 => (!has_program("s3s-fs")).then_some("s3s-fs"),
    };
    let Some(missing) = missing else { return true };
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Being unprivileged, or without subordinate ids, is a way to run the suite, not a defect.
    let expected = matches!(feature, Feature::Root | Feature::Cgroups)
        || (feature == Feature::ManyIds && std::env::var_os("CORACLE_TEST_SINGLE_MAPPING").is_some());
    assert!(expected || std::env::var("CI").as_deref() != Ok("true"), "{test} needs {missing}, and CI must have it");
    // Not a print macro: the test harness would swallow the line.
    writeln!(std::io::stderr(), "SKIPPED {test}: needs {missing}").expect("stderr is open");
    false
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn has_many_ids() -> bool {
    if is_root() {
        return true;
    }
    let uid = nix::unistd::geteuid();
    let name = nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name);
    let listed = |file: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().any(|line| {
            let owner = line.split(':').next();
            owner == name.as_deref() || owner == Some(uid.to_string().as_str())
        })
    };
    has_program("newuidmap") && listed("/etc/subuid") && listed("/etc/subgid")
}

fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

/// One process, told apart from any later one with the same pid.
pub struct Process {
    pub pid: i32,
    fd: OwnedFd,
}

impl Process {
    /// `None` when there is no such process.
    pub fn open(pid: i32) -> Option<Process> {
        // SAFETY: pidfd_open(2) takes two integers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        // SAFETY: a new descriptor that nothing else knows.
        (fd >= 0).then(|| Process { pid, fd: unsafe { OwnedFd::from_raw_fd(fd as i32) } })
    }

    /// True when it ended within `limit`.
    pub fn ends_within(&self, limit: Duration) -> bool {
        readable_within(self.fd.as_fd(), limit)
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        assert!(self.try_signal(signal), "signal {signal} to {}: {}", self.pid, std::io::Error::last_os_error());
    }

    /// False when it has ended.
    pub fn try_signal(&self, signal: nix::sys::signal::Signal) -> bool {
        // SAFETY: integers and a null pointer, which pidfd_send_signal(2) allows.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.fd.as_raw_fd(),
                signal as i32,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        result == 0
    }
}

/// The next connection to a listener; reading from it takes no longer either.
#[track_caller]
pub fn accept(listener: &TcpListener) -> TcpStream {
    assert!(readable_within(listener.as_fd(), HANGS_AFTER), "nobody connects");
    let (connection, _) = listener.accept().expect("a connection");
    connection.set_read_timeout(Some(HANGS_AFTER)).expect("a limit");
    connection
}

/// True when `fd` has something to read, or its end, within `limit`.
pub fn readable_within(fd: BorrowedFd<'_>, limit: Duration) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(limit).expect("a limit of less than 24 days");
    loop {
        match poll(&mut fds, timeout) {
            Ok(count) => return count > 0,
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}
