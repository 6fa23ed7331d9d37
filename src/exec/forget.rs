//! Forgetting ended executions: first the files, then the row. A crash in between leaves a row whose files are
//! gone, which is forgotten again.

use super::error::ExecError;
use super::executor::JobExecutor;
use super::model::{ContainerId, JobExecution, JobExecutionId};
use super::waiters::Alone;
use crate::causes::with_causes;
use crate::engine::Removal;
use crate::state_dir::StateDir;
use jiff::SignedDuration;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

/// How many forgotten executions are remembered for those who begin to wait only now. Those of other processes
/// are only for a while after their end.
const REMEMBERED: usize = 1024;
const REMEMBERED_FOR: SignedDuration = SignedDuration::from_secs(10);

/// Ended executions among which those are looked for that this process holds.
const HELD_BATCH: u32 = 64;

/// How often those are looked for who wait for what is to be forgotten, and for how long.
const WAITERS_POLL: Duration = Duration::from_millis(5);
const WAITERS_LIMIT: Duration = Duration::from_secs(5);

/// What became of executions that were to be forgotten.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub gone: Vec<String>,
    pub waited_for: Vec<String>,
    /// Id and cause.
    pub failed: Vec<(String, String)>,
}

impl JobExecutor {
    /// Forgets ended executions, but for those whose end somebody waits for. What cannot be removed stays on
    /// record.
    ///
    /// # Errors
    /// When the record cannot be used.
    pub(super) async fn forget(&self, ids: &[String]) -> Result<Batch, ExecError> {
        let mut batch = Batch::default();
        // Held until the rows are gone: whoever begins to wait finds none then.
        let alone = self.inner.waiters.alone().map_err(ExecError::io("open", "waiters.lock"))?;
        for id in ids {
            let execution = JobExecutionId(id.clone());
            // First: from the next call on others may forget it.
            self.remember(&execution)?;
            let is_alone = self.inner.waiters.take(&alone, &execution).unwrap_or_else(|error| {
                tracing::debug!(%error, id, "whether others wait for it is not known");
                true
            });
            if !is_alone {
                batch.waited_for.push(id.clone());
                continue;
            }
            match self.runtime().remove(&ContainerId::new(&execution, 1), Removal::Everything).await {
                Ok(()) => batch.gone.push(id.clone()),
                Err(error) => batch.failed.push((id.clone(), with_causes(&error))),
            }
        }
        let gone: Vec<&str> = batch.gone.iter().map(String::as_str).collect();
        self.record().remove_many(&gone)?;
        if !gone.is_empty() {
            self.inner.changes.notify();
        }
        Ok(batch)
    }

    /// For the last of those who waited for an execution with `delete_on_exit`.
    pub(super) async fn depart(&self, id: &JobExecutionId) {
        match self.forget(std::slice::from_ref(&id.0)).await {
            Ok(batch) => {
                for (id, cause) in batch.failed {
                    tracing::warn!(id, cause, "an execution is forgotten later");
                }
            }
            Err(error) => tracing::warn!(error = with_causes(&error), %id, "an execution is forgotten later"),
        }
    }

    /// Returns when nobody waits for the end of an execution any more, which it has come to; after a while in any
    /// case, because a waiter may have been stopped. Until the result is dropped nobody else forgets it.
    ///
    /// # Errors
    /// When the file of the locks cannot be opened.
    pub(super) async fn after_waiters(&self, id: &JobExecutionId) -> Result<Alone, ExecError> {
        let alone = self.inner.waiters.alone().map_err(ExecError::io("open", "waiters.lock"))?;
        let nobody = async {
            // Where files cannot be locked only this process's are known.
            while !self.inner.waiters.take(&alone, id).unwrap_or(true) {
                tokio::time::sleep(WAITERS_POLL).await;
            }
        };
        // Whoever needs longer does without.
        let _ = tokio::time::timeout(WAITERS_LIMIT, nobody).await;
        Ok(alone)
    }

    /// Lets go of executions that this process has triggered, for it ends: those that have ended are forgotten, as
    /// others could not do it.
    pub(super) async fn let_go(&self) {
        for id in self.inner.waiters.let_all_go() {
            match self.row(&id) {
                Ok(row) if row.status.is_terminal() => self.depart(&id).await,
                // Whoever ends it does it; what cannot be read now is forgotten later.
                _ => {}
            }
        }
    }

    /// Forgets executions that this process has triggered and another one has ended.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub(super) fn attend_held(&self) -> Result<(), ExecError> {
        let waiters = &self.inner.waiters;
        if waiters.holds_any()
            && self.record().departing(HELD_BATCH)?.into_iter().any(|id| waiters.holds(&JobExecutionId(id)))
            && self.inner.stuck.try_lock().is_ok()
        {
            self.tidy(None);
        }
        Ok(())
    }

    fn remember(&self, id: &JobExecutionId) -> Result<(), ExecError> {
        let Some(row) = self.record().get(id.as_str())? else { return Ok(()) };
        let now = self.now();
        let is_news = |at| now.duration_since(at).abs() <= REMEMBERED_FOR || self.inner.waiters.holds(id);
        if !row.completed_at.is_some_and(is_news) {
            return Ok(());
        }
        let mut execution = JobExecution::new(row, None, now);
        execution.attempts = self.record().attempts(id.as_str())?;
        // A panic elsewhere leaves a whole list.
        let mut forgotten = self.inner.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        forgotten.retain(|known| known.id != *id);
        if forgotten.len() == REMEMBERED {
            forgotten.pop_front();
        }
        forgotten.push_back(execution);
        Ok(())
    }

    /// How an execution ended that this executor has forgotten a moment ago.
    pub(super) fn remembered(&self, id: &JobExecutionId) -> Option<JobExecution> {
        let forgotten = self.inner.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        forgotten.iter().rev().find(|execution| execution.id == *id).cloned()
    }

    /// Removes directories of executions that are on no record, and returns their names; with `dry_run`, only
    /// that. What is no id is none of ours.
    ///
    /// # Errors
    /// When the directory or the record cannot be read.
    pub(super) async fn remove_orphans(&self, dry_run: bool) -> Result<Orphans, ExecError> {
        let mut orphans = Orphans::default();
        let Some(directory) = self.runtime().root().map(StateDir::executions_in) else { return Ok(orphans) };
        let failed = || ExecError::io("list", &directory);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&directory).map_err(failed())? {
            names.extend(entry.map_err(failed())?.file_name().into_string());
        }
        names.sort_unstable();
        for name in names {
            // Its row is older than a directory: one that is not there now was not there before.
            if uuid::Uuid::parse_str(&name).is_err() || self.record().get(&name)?.is_some() {
                continue;
            }
            orphans.bytes += self.size_of(&name).await;
            if !dry_run {
                let container = ContainerId::new(&JobExecutionId(name.clone()), 1);
                if let Err(error) = self.runtime().remove(&container, Removal::Everything).await {
                    orphans.failed.push((name, with_causes(&error)));
                    continue;
                }
            }
            orphans.names.push(name);
        }
        Ok(orphans)
    }

    /// Bytes on disk of an execution's files, as far as this user may look at them.
    pub(super) async fn size_of(&self, id: &str) -> u64 {
        let Some(root) = self.runtime().root() else { return 0 };
        let path = StateDir::executions_in(root).join(id);
        tokio::task::spawn_blocking(move || tree_size(&path)).await.unwrap_or_default()
    }
}

/// Directories of executions that are on no record.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    pub names: Vec<String>,
    pub bytes: u64,
    pub failed: Vec<(String, String)>,
}

/// Links are not followed. What cannot be looked at counts nothing: the number is for people.
fn tree_size(top: &Path) -> u64 {
    let mut bytes = 0;
    let mut left = vec![top.to_owned()];
    while let Some(path) = left.pop() {
        let Ok(metadata) = path.symlink_metadata() else { continue };
        // stat(2): in units of 512 bytes.
        bytes += metadata.blocks() * 512;
        if metadata.is_dir()
            && let Ok(entries) = std::fs::read_dir(&path)
        {
            left.extend(entries.flatten().map(|entry| entry.path()));
        }
    }
    bytes
}
