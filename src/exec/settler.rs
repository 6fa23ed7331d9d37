//! What a settler does: it settles what its supervisor has left, and sees to what waits.

use super::error::ExecError;
use super::executor::JobExecutor;
use super::keepers::Keepers;
use super::model::ContainerId;
use super::notify::SENDERS;
use super::queue::wait;
use crate::causes::with_causes;
use crate::engine::Removal;
use crate::record::Status;
use crate::state_dir::StateDir;
use crate::sys::process::heed_termination;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::time::Duration;
use tokio::time::Instant;

/// How long after a failure of the record it is tried again; that doubles with each one in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Failures in a row before a settler leaves the rest to whoever next opens the store: about a day of them. What
/// went well for longer than the longest pause begins a new row.
const MOST_FAILURES: u32 = 3000;

impl JobExecutor {
    /// The work of a settler on a root, to its end; with `own`, of the one that this container's supervisor became.
    /// A record that cannot be used for a while is waited for, as nobody else may look at it again: it is held by
    /// others, or there is no space for it.
    ///
    /// # Errors
    /// When the record cannot be used and that is not going to pass.
    pub(crate) async fn settle_and_attend(
        state: &StateDir,
        open: impl AsyncFn() -> Result<JobExecutor, ExecError>,
        own: Option<&ContainerId>,
    ) -> Result<(), ExecError> {
        let executor = patiently(state, open).await?;
        if let Some(own) = own
            && let Err(error) = patiently(state, async || executor.settle_own(own).await).await
        {
            if !state.database().exists() {
                return Err(error);
            }
            // Others do not wait for that.
            tracing::error!(error = with_causes(&error), "failed to settle");
        }
        patiently(state, async || executor.attend_alone(state).await).await
    }

    /// For the settler that the container's supervisor became: settles what that one has left.
    ///
    /// # Errors
    /// As [`JobExecutor::end`].
    async fn settle_own(&self, container: &ContainerId) -> Result<(), ExecError> {
        let Some(row) = self.record().get(container.execution())? else { return Ok(()) };
        if row.status == Status::Active && row.container_id.as_deref() == Some(container.as_str()) {
            return self.settle_lost(row).await;
        }
        // Its front has settled it, or gave it up before the start.
        self.runtime().remove(container, Removal::Outcome).await?;
        if row.status.is_terminal() {
            // Whoever has settled it may have gone before this.
            self.tidy(Some(&row.job_name));
        }
        Ok(())
    }

    /// For a settler: starts what may run, and stays until nothing waits for a time or for a process that may die,
    /// unless another one does.
    ///
    /// # Errors
    /// When the record cannot be used.
    async fn attend_alone(&self, state: &StateDir) -> Result<(), ExecError> {
        loop {
            let now = self.now();
            self.kick_at(now)?;
            self.send_notifications()?;
            if !self.needs_care(now, Some(&self.inner.me))? {
                break;
            }
            let path = state.timer_lock();
            let file = File::options().create(true).truncate(false).write(true).open(&path);
            let file = file.map_err(ExecError::io("open", &path))?;
            // The one that holds it looks once more after it let go, so what was recorded before is seen.
            let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { break };
            // The supervisor that this may have been had it ignored. From here on it may stay for long, and whoever
            // next opens the store does what it leaves.
            heed_termination();
            self.attend_while_needed().await?;
        }
        self.inner.preparing.closed().await;
        // What it delivers when another one attends to the timers. The semaphore is never closed.
        drop(self.inner.senders.acquire_many(SENDERS).await);
        self.let_go().await;
        Ok(())
    }

    async fn attend_while_needed(&self) -> Result<(), ExecError> {
        let mut changes = self.inner.changes.watch();
        let mut keepers = Keepers::default();
        loop {
            self.attend_keepers(&mut keepers).await?;
            let due = self.kick_and_next_due()?;
            if due.is_none() && !self.record().depends_on_preparers(Some(&self.inner.me))? {
                return Ok(());
            }
            tokio::select! {
                () = changes.changed() => {}
                () = keepers.ended() => {}
                () = wait(due) => {}
            }
        }
    }
}

/// Tries until it succeeds, or fails for something that does not pass by itself, as when the record is gone.
async fn patiently<T>(state: &StateDir, what: impl AsyncFn() -> Result<T, ExecError>) -> Result<T, ExecError> {
    let mut pause = FIRST_PAUSE;
    let mut failures = 0;
    loop {
        let began = Instant::now();
        let error = match what().await {
            Err(ExecError::Record(error)) if error.may_pass() && state.database().exists() => error,
            done => return done,
        };
        if began.elapsed() > LONGEST_PAUSE {
            (pause, failures) = (FIRST_PAUSE, 0);
        }
        failures += 1;
        if failures == MOST_FAILURES {
            return Err(error.into());
        }
        tracing::warn!(error = with_causes(&error), "tried again later");
        tokio::time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(2 * pause);
    }
}
