//! Taking over what dead processes have left.

use super::drive::Claimed;
use super::error::ExecError;
use super::executor::JobExecutor;
use super::model::ContainerId;
use super::queue::is_alive;
use super::settle::outcome;
use crate::causes::with_causes;
use crate::outcome::End;
use crate::record::{Execution, RecordError, Status};
use crate::spec::Retry;
use crate::sys::process::ProcessIdentity;
use std::time::Duration;

impl JobExecutor {
    /// Looks at every execution that somebody has to look after, and takes over those whose process is gone.
    /// Any number of processes may do so at once.
    ///
    /// # Errors
    /// When the record cannot be read or written.
    pub(super) async fn reconcile(&self) -> Result<(), ExecError> {
        for row in self.record().attended()? {
            let id = row.id.clone();
            match self.reconcile_one(row).await {
                Ok(_) => {}
                Err(ExecError::Record(error))
                    if !matches!(error, RecordError::Unreadable { .. } | RecordError::NotFound { .. }) =>
                {
                    return Err(error.into());
                }
                // What is wrong with one says nothing about others.
                Err(error) => tracing::warn!(error = with_causes(&error), id, "an execution is left as it is"),
            }
        }
        if !self.record().departing(1)?.is_empty() || !self.record().expired(self.now(), 1)?.is_empty() {
            self.tidy(None);
        }
        Ok(())
    }

    /// Takes the execution over if its process is gone; true when something was done.
    ///
    /// # Errors
    /// As [`JobExecutor::reconcile`].
    pub(super) async fn reconcile_one(&self, mut row: Execution) -> Result<bool, ExecError> {
        loop {
            // One whose owner is not recorded is as good as lost: every claim and start records it.
            let is_owned = row.owner.as_ref().is_some_and(|owner| *owner == self.inner.me || is_alive(owner));
            if row.status == Status::Active && is_owned && row.cancel_requested {
                // Whoever asked for it may have died before its supervisor was told; once more does nothing.
                if let Some(container) = row.container_id.map(ContainerId) {
                    self.runtime().stop(&container, None).await?;
                }
                return Ok(false);
            }
            let is_lost = match row.status {
                Status::Active => !is_owned,
                Status::Pending if row.owner.is_some() => !is_owned,
                Status::Pending => row.reserved_for.as_ref().is_some_and(|process| !is_alive(process)),
                _ => false,
            };
            if !is_lost {
                return Ok(false);
            }
            // That process may have gone on before it died: it may have started the job, which its supervisor has
            // by now. Once it is known to be dead it changes nothing any more.
            let Some(now) = self.record().get(&row.id)? else { return Ok(false) };
            if (now.status, now.attempt, &now.owner, &now.reserved_for)
                == (row.status, row.attempt, &row.owner, &row.reserved_for)
            {
                break;
            }
            row = now;
        }
        match row.status {
            Status::Active => self.settle_lost(row).await?,
            _ => self.take_back(row).await?,
        }
        Ok(true)
    }

    /// An attempt that its owner was preparing, or that waits for a process which is gone.
    async fn take_back(&self, row: Execution) -> Result<(), ExecError> {
        let is_of_another_boot = |owner: &ProcessIdentity| owner.boot_id != self.inner.me.boot_id;
        if row.owner.as_ref().is_some_and(is_of_another_boot) {
            // It may have been started: that is not on the disk at once, as that it was claimed is.
            return self.settle_lost(row).await;
        }
        // Nothing of it has run: it goes back to the queue, unless it was for a caller who is gone.
        if row.reserved_for.is_none() || row.attempt > 1 {
            if let Some(owner) = &row.owner {
                self.record().release(&row.id, owner)?;
            }
            if let Some(holder) = &row.reserved_for {
                self.record().unreserve(&row.id, holder)?;
            }
            self.inner.changes.notify();
            return Ok(());
        }
        let message = "the command that it was for ended before the job could begin".to_owned();
        let end = End::NotCreated { stage: "start the job".into(), message };
        if row.owner.is_none() {
            return self.end_waiting(&row, end);
        }
        let outcome = outcome(end, row.attempt, self.now(), Duration::ZERO);
        match Claimed::from_row(row.clone()) {
            Ok(mut attempt) => {
                // Nobody is there for whom to try again.
                attempt.job.policy.retry = Retry::default();
                self.end_if_prepared_by(row.owner.as_ref(), &attempt, outcome).await
            }
            Err(unreadable) => self.end_unreadable(&row, outcome, &unreadable).await,
        }
    }
}
