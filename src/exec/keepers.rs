//! Hearing that another process dies whose executions keep others from their turn, without polling.

use super::error::ExecError;
use super::executor::JobExecutor;
use crate::sys::process::ProcessIdentity;
use crate::sys::readable;
use futures_util::future::select_all;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// The processes that are watched, a descriptor for each.
#[derive(Debug, Default)]
pub(super) struct Keepers {
    watched: HashMap<ProcessIdentity, AsyncFd<OwnedFd>>,
}

impl Keepers {
    /// Watches these from now on, and no others. False when one of them is gone.
    fn watch(&mut self, processes: impl Iterator<Item = ProcessIdentity>) -> bool {
        let mut before = std::mem::take(&mut self.watched);
        let mut are_alive = true;
        for process in processes {
            if self.watched.contains_key(&process) {
                continue;
            }
            let opened = match before.remove(&process) {
                Some(pidfd) => Ok(Some(pidfd)),
                None => process.open().and_then(|pidfd| pidfd.map(readable::watch).transpose()),
            };
            match opened {
                Ok(Some(pidfd)) => drop(self.watched.insert(process, pidfd)),
                Ok(None) => are_alive = false,
                // It is not given up; whoever next opens the store looks at it.
                Err(error) => tracing::warn!(%error, pid = process.pid, "a process cannot be watched"),
            }
        }
        are_alive
    }

    /// Returns when one of them has ended.
    pub async fn ended(&mut self) {
        if self.watched.is_empty() {
            return std::future::pending().await;
        }
        let ends = self.watched.iter().map(|(process, pidfd)| {
            Box::pin(async move {
                // A pidfd becomes readable when its process ends (pidfd_open(2)).
                match pidfd.readable().await {
                    Ok(_) => process.clone(),
                    // Tokio is being shut down, and waits for tasks that do not wait themselves.
                    Err(_) => std::future::pending().await,
                }
            })
        });
        let (process, ..) = select_all(ends).await;
        // The next look finds it gone.
        self.watched.remove(&process);
    }
}

impl JobExecutor {
    /// Takes over what processes have left that are gone, as far as something else waits for it, and has `keepers`
    /// watch those that live. At most one descriptor for each execution that runs or is reserved.
    ///
    /// # Errors
    /// When the record cannot be used.
    pub(super) async fn attend_keepers(&self, keepers: &mut Keepers) -> Result<(), ExecError> {
        let others = self.record().keepers()?.into_iter().filter(|process| *process != self.inner.me);
        if !keepers.watch(others) {
            self.reconcile().await?;
        }
        Ok(())
    }
}
