//! Cancelling.

use super::error::ExecError;
use super::executor::JobExecutor;
use super::model::{ContainerId, JobExecutionId};
use super::queue::is_alive;
use crate::engine::{ContainerState, Removal};
use crate::record::{Cancel, Cancelled, Status};
use crate::spec::ServiceSpec;
use std::time::Duration;

/// How often, and how many times, a supervisor that has only just been spawned is looked for.
const STATE_POLL: Duration = Duration::from_millis(5);
const STATE_POLLS: u32 = 1000;

impl JobExecutor {
    /// Cancels an execution: one that has not started never will; a running one gets its stop signal and, after
    /// its grace period, SIGKILL, and there is no further attempt. Returns when that is under way; see
    /// [`JobExecutor::wait`]. A second call may come at any time.
    ///
    /// # Errors
    /// [`ExecError::Ended`] when it is terminal already, [`ExecError::NotFound`].
    pub async fn cancel(&self, id: &JobExecutionId) -> Result<(), ExecError> {
        self.cancel_with(id, None).await
    }

    /// As [`JobExecutor::cancel`], with another grace period than the job's; none kills at once.
    ///
    /// # Errors
    /// As [`JobExecutor::cancel`].
    pub async fn cancel_with(&self, id: &JobExecutionId, grace: Option<Duration>) -> Result<(), ExecError> {
        let mut is_asked = false;
        for _ in 0..STATE_POLLS {
            let job = self.row(id)?.job_name;
            match self.record().cancel(id.as_str(), self.now())? {
                // It has ended because of this very call.
                Cancel::Over(Status::Cancelled) if is_asked => return Ok(()),
                Cancel::Over(_) => {
                    let status = self.execution(id).await?.status.to_string();
                    return Err(ExecError::Ended { id: id.clone(), status });
                }
                Cancel::Cancelled(cancelled) => {
                    self.inner.changes.notify();
                    self.after_cancel(&cancelled).await?;
                    self.tidy(Some(&job));
                    return self.kick();
                }
                Cancel::Active => is_asked = true,
            }
            let row = self.row(id)?;
            // Outright, for an earlier request may have named a longer one. A spec that is not of this version does not
            // tell; the runtime knows, too.
            let own = || serde_json::from_value(row.spec.clone()).ok().map(|job: ServiceSpec| job.stop.grace_period);
            let grace = grace.or_else(own);
            let container = row.container_id.clone().filter(|_| row.status == Status::Active).map(ContainerId);
            if let Some(container) = &container
                && self.runtime().stop(container, grace).await?
            {
                return Ok(());
            }
            if self.reconcile_one(row).await? {
                continue;
            }
            if let Some(container) = &container
                && matches!(self.runtime().state(container).await?, ContainerState::Ended(_))
            {
                // Whoever has its end is about to record it.
                return Ok(());
            }
            // Its supervisor has been spawned this moment and has not written its state yet.
            tokio::time::sleep(STATE_POLL).await;
        }
        Err(ExecError::Unreachable { id: id.clone() })
    }

    /// Removes what there is of an execution that was cancelled before its attempt was started.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub(super) async fn after_cancel(&self, cancelled: &Cancelled) -> Result<(), ExecError> {
        self.attended().remove(&cancelled.id);
        // Whoever prepares it sees to what is half made, if he lives.
        if !cancelled.preparer.as_ref().is_some_and(is_alive) {
            let container = ContainerId::new(&JobExecutionId(cancelled.id.clone()), cancelled.attempt);
            self.runtime().remove(&container, Removal::AllButLogs).await?;
        }
        Ok(())
    }
}
