//! Supervisors that this process has started.

use super::{OWN_BINARY, OciRuntime};
use crate::engine::{RuntimeError, Stdio};
use crate::id::ContainerId;
use crate::runtime::{control, role};
use crate::sys::mount::read_only_view;
use crate::sys::process::ProcessIdentity;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, OnceCell};

/// A container and the supervisor that looks after it, a child of this process.
#[derive(Debug)]
pub(super) struct Container {
    pub identity: ProcessIdentity,
    /// The image's reference, when it was fetched for this container.
    pub pulled: Option<String>,
    control: UnixStream,
    started: AtomicBool,
    /// True: the outcome is on disk. False: the supervisor is gone.
    ended: OnceCell<bool>,
    supervisor: Mutex<Child>,
}

impl Container {
    /// Starts a supervisor in the prepared directory of an execution. It waits for [`Container::start`].
    ///
    /// # Errors
    /// No process or descriptor can be had.
    pub async fn create(
        runtime: &OciRuntime,
        container: &ContainerId,
        stdio: Stdio,
        pulled: Option<String>,
    ) -> Result<Container, RuntimeError> {
        let name = container.as_str();
        let (ours, theirs) = StdUnixStream::pair().map_err(RuntimeError::io("make a socket for", name))?;
        let stdin = match stdio {
            Stdio::Attached { stdin: true } => Some(io::stdin()),
            Stdio::Attached { stdin: false } | Stdio::Detached => None,
        };
        control::send(ours.as_fd(), control::HELLO, stdin.as_ref().map(AsFd::as_fd))
            .map_err(RuntimeError::io("write to the supervisor of", name))?;
        let supervisor = runtime.spawn(container, stdio, theirs.into())?;
        let pid = supervisor.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| RuntimeError::SupervisorGone { container: container.clone() })?;
        let identity = ProcessIdentity::of(pid).map_err(RuntimeError::io("look at process", format!("/proc/{pid}")))?;
        let control = ours
            .set_nonblocking(true)
            .and_then(|()| UnixStream::from_std(ours))
            .map_err(RuntimeError::io("watch the supervisor of", name))?;
        Ok(Container {
            identity,
            pulled,
            control,
            started: AtomicBool::new(false),
            ended: OnceCell::new(),
            supervisor: Mutex::new(supervisor),
        })
    }

    /// Lets it run. A supervisor that is gone by now is found out by whoever waits for it.
    pub fn start(&self) {
        self.started.store(true, Ordering::Relaxed);
        self.tell(control::GO);
    }

    pub fn is_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// Not through its state file, which a supervisor that has only just begun has not written yet.
    pub fn tell(&self, byte: u8) {
        // One that is gone has nothing left to do.
        let _ = control::send(self.control.as_fd(), byte, None);
    }

    /// Waits until the outcome is on disk, or the supervisor is gone.
    ///
    /// # Errors
    /// When the supervisor cannot be waited for.
    pub async fn wait_for_outcome(&self) -> io::Result<()> {
        if !*self.ended.get_or_init(|| self.hear_of_end()).await {
            self.wait_for_exit().await?;
        }
        Ok(())
    }

    /// True when the supervisor says that the outcome is on disk, false when it is gone.
    async fn hear_of_end(&self) -> bool {
        loop {
            if self.control.readable().await.is_err() {
                return false;
            }
            let received =
                self.control.try_io(tokio::io::Interest::READABLE, || control::receive(self.control.as_fd()));
            match received {
                Ok(Some((control::ENDED, _))) => return true,
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
    }

    /// Tells a supervisor that has not been started that it will not be.
    pub fn abandon(&self) {
        // Gone already, it cannot be told and need not.
        let _ = nix::sys::socket::shutdown(self.control.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }

    /// Waits until the supervisor, or the settler that it may become, has exited.
    ///
    /// # Errors
    /// wait(2)'s.
    pub async fn wait_for_exit(&self) -> io::Result<()> {
        self.supervisor.lock().await.wait().await.map(drop)
    }
}

impl OciRuntime {
    /// Leaves a process behind that starts what waits for its time, until nothing does. One that finds another
    /// such process ends at once.
    ///
    /// # Errors
    /// No process can be had.
    #[expect(clippy::disallowed_methods, reason = "the settler is a role of ours, and nobody waits for it")]
    pub fn spawn_settler(&self) -> Result<(), RuntimeError> {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new(self.binary());
        command.arg0("coracle").arg(role::SETTLE).args([self.state_dir().root(), self.state_dir().runtime()]);
        command.env_clear().stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        command.stderr(std::process::Stdio::null()).process_group(0);
        let spawned =
            command.spawn().map_err(|source| RuntimeError::Spawn { binary: self.binary().to_owned(), source });
        // It may outlive this process. Should this one live longer, those that have ended are not to stay zombies.
        let mut settlers = self.inner.settlers.lock().unwrap_or_else(PoisonError::into_inner);
        settlers.retain_mut(|settler| matches!(settler.try_wait(), Ok(None)));
        settlers.push(spawned?);
        Ok(())
    }

    fn spawn(&self, container: &ContainerId, stdio: Stdio, control: OwnedFd) -> Result<Child, RuntimeError> {
        use std::process::Stdio as Stream;
        let stream = || match stdio {
            Stdio::Attached { .. } => Stream::inherit(),
            Stdio::Detached => Stream::null(),
        };
        let view = self.read_only_binary();
        let program = match &view {
            Some(view) => PathBuf::from(format!("/proc/self/fd/{}", view.as_raw_fd())),
            None => self.binary().to_owned(),
        };
        Command::new(program)
            .arg0("coracle")
            .arg(role::SUPERVISE)
            .args([self.state_dir().root(), self.state_dir().runtime()])
            .arg(container.as_str())
            .env_clear()
            .stdin(control)
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .map_err(|source| RuntimeError::Spawn { binary: self.binary().to_owned(), source })
    }

    /// The binary on a read-only mount, where this process may make one: supervisor and pid 1 then run
    /// from it. Where it may not, the launcher sees to that.
    fn read_only_binary(&self) -> Option<OwnedFd> {
        let is_own = self.binary() == Path::new(OWN_BINARY);
        (is_own && nix::unistd::geteuid().is_root()).then(read_only_view)?.ok()
    }
}
