//! Holding an execution's directory while its files are made and removed.

use super::OciRuntime;
use super::runtime::plan_of;
use crate::engine::{Removal, RuntimeError};
use crate::id::{ContainerId, JobExecutionId};
use crate::outcome::FIRST_ATTEMPT;
use crate::plan::IdMappings;
use crate::record::Status;
use crate::remove_tree::remove_tree;
use crate::runtime::hold::Hold;
use crate::runtime::{cleanup, outcome_file};
use crate::state_dir::ExecutionDir;
use crate::sys::tree;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a directory is looked at that somebody else holds: flock(2) has no time limit.
const PAUSE: Duration = Duration::from_millis(5);

/// Runs what blocks, to its end even if nobody waits for that any more.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
) -> Result<T, RuntimeError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        let message = "work on the files of an execution was interrupted".into();
        Err(RuntimeError::Other { message, source: None })
    })
}

impl OciRuntime {
    /// Holds the directory of an attempt that begins, with nothing in it but logs. A supervisor of an earlier
    /// front that has died lets go of it by itself.
    ///
    /// # Errors
    /// The file system's.
    pub(super) async fn begin(&self, container: &ContainerId) -> Result<Hold, RuntimeError> {
        let (this, container) = (self.clone(), container.clone());
        blocking(move || {
            let (directory, mark) = (this.directory(&container), this.mark(&container));
            let make = |path: &Path| {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
                made.map_err(RuntimeError::io("create the directory", path))
            };
            make(directory.path())?;
            let hold = Hold::wait(&directory).map_err(RuntimeError::io("lock", directory.path()))?;
            make(&this.state_dir().busy())?;
            File::create(&mark).map_err(RuntimeError::io("create", &mark))?;
            this.remove_attempt(&directory, Removal::Outcome)?;
            Ok(hold)
        })
        .await
    }

    /// Holds the directory of a container that is to be removed. `None` when there is none, or it is a later
    /// attempt's. Blocks.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn hold_to_remove(&self, container: &ContainerId) -> Result<Option<Hold>, RuntimeError> {
        let directory = self.directory(container);
        loop {
            if is_later(&directory, container.parts().1) {
                return Ok(None);
            }
            match Hold::attempt(&directory) {
                // It may have changed until it was held.
                Ok(Some(hold)) => return Ok(Some(hold).filter(|_| !is_later(&directory, container.parts().1))),
                Ok(None) => std::thread::sleep(PAUSE),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(RuntimeError::io("lock", directory.path())(error)),
            }
        }
    }

    /// Removes what the container has, as far as `extent` says.
    ///
    /// # Errors
    /// The first failure; the rest is still tried.
    pub(super) fn remove_files(
        &self,
        _hold: &Hold,
        container: &ContainerId,
        extent: Removal,
    ) -> Result<(), RuntimeError> {
        let directory = self.directory(container);
        self.remove_attempt(&directory, extent)?;
        if extent == Removal::Everything {
            tree::remove(directory.path()).map_err(RuntimeError::io("remove", directory.path()))?;
        }
        if extent != Removal::Leftovers {
            tree::remove(&self.mark(container)).map_err(RuntimeError::io("remove", self.mark(container)))
        } else {
            Ok(())
        }
    }

    /// When there is no directory there is nothing to be found by its mark.
    pub(super) fn unmark(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        if self.directory(container).path().exists() {
            return Ok(());
        }
        let mark = self.mark(container);
        tree::remove(&mark).map_err(RuntimeError::io("remove", mark))
    }

    fn mark(&self, container: &ContainerId) -> PathBuf {
        self.state_dir().busy().join(container.parts().0)
    }

    fn remove_attempt(&self, directory: &ExecutionDir, extent: Removal) -> Result<(), RuntimeError> {
        let mappings = plan_of(directory).and_then(|plan| plan.rootless);
        let remove_tree = |path: &Path, mappings: &IdMappings| {
            remove_tree(self.binary(), path, Some(mappings)).map_err(io::Error::other)
        };
        let mut removed = cleanup::remove_leftovers(directory, mappings.as_ref(), &remove_tree)
            .map_err(RuntimeError::io("remove what is left in", directory.path()));
        if extent != Removal::Leftovers {
            for path in [directory.state(), directory.outcome()] {
                removed = removed.and(tree::remove(&path).map_err(RuntimeError::io("remove", &path)));
            }
        }
        removed
    }

    /// Removes what is left of executions that have ended, by processes that died while they cleaned up. Nothing
    /// depends on it, so a failure is left to the next one who opens the store.
    pub(super) fn sweep_executions(&self) {
        // There is no directory before the first execution.
        let marks = std::fs::read_dir(self.state_dir().busy()).into_iter().flatten().flatten();
        for mark in marks {
            if let Some(id) = mark.file_name().to_str()
                && let Err(error) = self.sweep_execution(id)
            {
                tracing::debug!(%error, id, "left behind");
            }
        }
    }

    fn sweep_execution(&self, id: &str) -> Result<(), RuntimeError> {
        let extent = match self.record().get(id)? {
            None => Removal::Everything,
            Some(row) if matches!(row.status, Status::Pending | Status::Active) => return Ok(()),
            Some(_) => Removal::Outcome,
        };
        let container = ContainerId::of(&JobExecutionId(id.to_owned()), FIRST_ATTEMPT);
        match Hold::attempt(&self.directory(&container)) {
            Ok(Some(hold)) => self.remove_files(&hold, &container, extent),
            // Its supervisor ends this moment.
            Ok(None) => Ok(()),
            Err(_) => self.unmark(&container),
        }
    }
}

/// True when what is there belongs to a later attempt.
fn is_later(directory: &ExecutionDir, attempt: u32) -> bool {
    let planned = plan_of(directory).map(|plan| plan.attempt);
    // One that cannot be read tells nothing.
    let ended = outcome_file::read(&directory.outcome()).ok().flatten().map(|outcome| outcome.attempt);
    planned.max(ended).is_some_and(|there| there > attempt)
}
