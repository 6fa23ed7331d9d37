//! Finding what processes have left that died while they cleaned up.
//!
//! A container that has more on disk than its log is marked by an empty file. The mark is made first and removed
//! last, so that whoever opens the store finds it without looking at every execution that there ever was.

use super::OciRuntime;
use crate::engine::{Removal, RuntimeError};
use crate::id::ContainerId;
use crate::state_dir::ContainerDir;
use crate::sys::tree;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;

impl OciRuntime {
    /// Marks a container that is about to be made.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn mark(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        let marks = self.state_dir().busy();
        // Stores of earlier versions have none.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&marks);
        made.map_err(RuntimeError::io("create the directory", &marks))?;
        let mark = marks.join(container.as_str());
        File::create(&mark).map(drop).map_err(RuntimeError::io("create", mark))
    }

    /// Nothing of the container is left but its log.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn unmark(&self, directory: &ContainerDir) -> Result<(), RuntimeError> {
        let mark = self.state_dir().busy().join(directory.name());
        tree::remove(&mark).map_err(RuntimeError::io("remove", mark))
    }

    /// Removes what is left of containers whose executions have ended. Nothing depends on it, so a failure is
    /// left to the next one who opens the store.
    pub(super) fn sweep_containers(&self) {
        // There is no such directory before the first container.
        for mark in std::fs::read_dir(self.state_dir().busy()).into_iter().flatten().flatten() {
            if let Some(name) = mark.file_name().to_str()
                && let Err(error) = self.sweep(&ContainerId(name.to_owned()))
            {
                tracing::debug!(%error, name, "left behind");
            }
        }
    }

    fn sweep(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        let has_ended = self.record().get(container.execution())?.is_none_or(|row| row.status.is_terminal());
        // One that was cancelled before its start may still be ending; it removes what it has made.
        if !has_ended || self.supervisor(container)?.is_some() {
            return Ok(());
        }
        self.remove_files(container, Removal::Outcome)
    }
}

#[cfg(test)]
mod tests;
