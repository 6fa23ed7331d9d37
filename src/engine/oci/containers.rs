//! Supervisors that this process has started.

use super::{OWN_BINARY, OciRuntime};
use crate::engine::{RuntimeError, Stdio};
use crate::id::ContainerId;
use crate::runtime::{control, role};
use crate::sys::mount::read_only_view;
use crate::sys::process::{ProcessIdentity, begin_in_own_session};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{OnceCell, watch};

/// A container and the supervisor that looks after it, a child of this process.
#[derive(Debug)]
pub(super) struct Container {
    pub identity: ProcessIdentity,
    /// The image's reference, when it was fetched for this container.
    pub pulled: Option<String>,
    control: UnixStream,
    started: AtomicBool,
    /// True: all is over, and the outcome on disk if that took it. False: the supervisor is gone.
    ended: OnceCell<bool>,
    /// True when the supervisor, or the settler that it became, has been reaped.
    exited: watch::Receiver<bool>,
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
    ) -> Result<Arc<Container>, RuntimeError> {
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
        let (reaped, exited) = watch::channel(false);
        let made =
            Container { identity, pulled, control, started: AtomicBool::new(false), ended: OnceCell::new(), exited };
        let made = Arc::new(made);
        tokio::spawn(reap(supervisor, reaped, Unattended(Arc::downgrade(&made))));
        Ok(made)
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

    /// Waits until all is over and the outcome on disk, or the supervisor gone.
    ///
    /// # Errors
    /// When the supervisor cannot be waited for.
    pub async fn wait_for_outcome(&self) -> io::Result<()> {
        if !*self.ended.get_or_init(|| self.hear_of_end()).await {
            let mut exited = self.exited.clone();
            exited.wait_for(|exited| *exited).await.map_err(|_| io::Error::other("tokio is being shut down"))?;
        }
        Ok(())
    }

    /// True when the supervisor says that all is over, false when it is gone.
    async fn hear_of_end(&self) -> bool {
        while let Some(byte) = self.hear().await {
            if byte == control::ENDED {
                return true;
            }
        }
        false
    }

    /// The next byte that the supervisor sends; `None` when it is gone, or has become the settler.
    async fn hear(&self) -> Option<u8> {
        loop {
            self.control.readable().await.ok()?;
            let received =
                self.control.try_io(tokio::io::Interest::READABLE, || control::receive(self.control.as_fd()));
            match received {
                Ok(received) => return received.map(|(byte, _)| byte),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }

    /// Tells the supervisor that its outcome is recorded, and waits until it has ended for that. One that has become
    /// the settler by now has other things to do, which may take it long.
    pub async fn settle(&self) {
        self.tell(control::SETTLED);
        while self.hear().await.is_some() {}
    }
}

/// Waits for the end of the supervisor, or of the settler that it becomes, so that it does not stay a zombie.
async fn reap(mut supervisor: Child, reaped: watch::Sender<bool>, unattended: Unattended) {
    if let Err(error) = supervisor.wait().await {
        tracing::warn!(%error, "a supervisor could not be waited for");
    }
    reaped.send_replace(true);
    drop(unattended);
}

/// A container of a tokio runtime, in whose tasks everything is that could start it. When that runtime ends before, it
/// will not be started.
struct Unattended(Weak<Container>);

impl Drop for Unattended {
    fn drop(&mut self) {
        if let Some(container) = self.0.upgrade()
            && !container.is_started()
        {
            // As if this process had ended. That of a supervisor that is gone has no other end any more.
            let _ = nix::sys::socket::shutdown(container.control.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        }
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
        command.stderr(std::process::Stdio::null());
        begin_in_own_session(&mut command);
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
