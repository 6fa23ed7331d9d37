//! An execution that this process started.

use super::error::ExecError;
use super::executor::JobExecutor;
use super::model::{JobExecution, JobExecutionId};
use crate::runtime::control;
use std::fmt;
use std::os::fd::AsFd;
use tokio::net::UnixStream;
use tokio::process::Child;

/// Something that a user should see while a job is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice(pub String);

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a job's streams go besides its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// Nowhere.
    Detached,
    /// To this process's own stdout and stderr, byte for byte; with `stdin`, the job reads this
    /// process's own, else `/dev/null`.
    Attached { stdin: bool },
}

/// A started execution. Dropping it detaches: the job goes on, and its result is recorded.
#[derive(Debug)]
pub struct Started {
    pub(super) id: JobExecutionId,
    pub(super) executor: JobExecutor,
    pub(super) control: UnixStream,
    pub(super) supervisor: Child,
}

impl Started {
    pub fn id(&self) -> &JobExecutionId {
        &self.id
    }

    /// Waits for the end and records it.
    ///
    /// # Errors
    /// When the record cannot be written or read.
    pub async fn wait(&mut self) -> Result<JobExecution, ExecError> {
        let ended = self.wait_for_end().await;
        if ended {
            self.executor.settler().settle(self.id.as_str())?;
            // A supervisor that has been killed meanwhile has nothing left to do.
            let _ = control::send(self.control.as_fd(), control::SETTLED, None);
        }
        self.supervisor.wait().await.map_err(ExecError::io("wait for the supervisor of", self.id.as_str()))?;
        if !ended {
            self.executor.settler().settle(self.id.as_str())?;
        }
        self.executor.get(&self.id).await
    }

    /// True when the supervisor says that the outcome is on disk, false when it is gone.
    async fn wait_for_end(&self) -> bool {
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
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
    }

    /// Sends the stop signal, and SIGKILL after the job's grace period. Not through its state file,
    /// which a supervisor that has only just begun has not written yet.
    pub fn cancel(&self) {
        self.tell(control::CANCEL);
    }

    /// Kills the job at once.
    pub fn kill(&self) {
        self.tell(control::KILL);
    }

    fn tell(&self, byte: u8) {
        // A supervisor that is gone has nothing left to stop; the wait says so.
        let _ = control::send(self.control.as_fd(), byte, None);
    }

    /// Leaves the job to its supervisor.
    pub fn detach(self) {}
}
