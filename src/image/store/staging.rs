//! Layers in the making, and who makes them.
//!
//! ```text
//! staging/HEX.lock        flock held by the process that makes the layer HEX (its diff id)
//! staging/HEX.UUID/       the layer being made, in its final form
//! ```
//!
//! The kernel drops a lock with its holder, however that ends, so what lies in the directory while
//! nobody holds the lock is garbage, after a crash of a process or of the host alike.

use super::layers;
use crate::image::digest::Digest;
use crate::plan::IdMappings;
use crate::remove_tree::{RemoveTreeError, remove_tree};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where layers are made. Clones name the same place.
#[derive(Debug, Clone)]
pub struct Staging {
    pub directory: PathBuf,
    /// For removing what holds subordinate ids.
    pub binary: PathBuf,
    pub mappings: Option<IdMappings>,
    /// What shows the opener of the store that something is being made here.
    pub work: Option<Work>,
}

/// Held by whoever works in a store; the sender's `closed` waits until all have ended.
pub type Work = tokio::sync::watch::Receiver<()>;

/// The exclusive right to make one layer. Ends when dropped.
#[derive(Debug)]
pub struct LayerLock {
    path: PathBuf,
    /// Taken only by `drop`.
    file: Option<Flock<File>>,
}

/// A directory that disappears unless it is published.
#[derive(Debug)]
pub struct StagedLayer {
    staging: Staging,
    path: PathBuf,
    published: bool,
}

/// The staging area cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    #[error("failed to {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Remove(#[from] RemoveTreeError),
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StagingError {
    let path = path.to_owned();
    move |source| StagingError::Io { action, path, source }
}

impl Staging {
    /// Takes the lock of a layer if nobody has it.
    ///
    /// # Errors
    /// [`StagingError::Io`].
    pub fn try_lock(&self, diff_id: &Digest) -> Result<Option<LayerLock>, StagingError> {
        self.lock_with(diff_id.hex(), FlockArg::LockExclusiveNonblock)
    }

    /// Waits for the lock of a layer. Blocks.
    ///
    /// # Errors
    /// [`StagingError::Io`].
    pub fn lock(&self, diff_id: &Digest) -> Result<LayerLock, StagingError> {
        loop {
            if let Some(lock) = self.lock_with(diff_id.hex(), FlockArg::LockExclusive)? {
                return Ok(lock);
            }
        }
    }

    fn lock_with(&self, hex: &str, how: FlockArg) -> Result<Option<LayerLock>, StagingError> {
        let path = self.directory.join(format!("{hex}.lock"));
        loop {
            let open = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path);
            let file = open.map_err(failed("open the lock", &path))?;
            let lock = match Flock::lock(file, how) {
                Ok(lock) => lock,
                Err((_, Errno::EAGAIN)) => return Ok(None),
                Err((_, Errno::EINTR)) => continue,
                Err((_, errno)) => return Err(failed("lock", &path)(errno.into())),
            };
            // The holder before may have removed the file between our open and our lock.
            let ours = lock.metadata().map_err(failed("look at", &path))?;
            let is_current = match std::fs::symlink_metadata(&path) {
                Ok(there) => there.ino() == ours.ino() && there.dev() == ours.dev(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(failed("look at", &path)(error)),
            };
            if is_current {
                return Ok(Some(LayerLock { path, file: Some(lock) }));
            }
        }
    }

    /// Makes the directory to build a layer in. The lock's holder alone may do it.
    ///
    /// # Errors
    /// [`StagingError::Io`].
    pub fn stage(&self, diff_id: &Digest, _: &LayerLock) -> Result<StagedLayer, StagingError> {
        let path = self.directory.join(format!("{}.{}", diff_id.hex(), uuid::Uuid::now_v7().simple()));
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed("create the directory", &path))?;
        Ok(StagedLayer { staging: self.clone(), path, published: false })
    }

    /// Takes a directory that is no layer, or none any more, out of the store at once, and then removes it.
    /// The lock's holder alone may do it.
    ///
    /// # Errors
    /// See [`StagingError`]. Once it has been taken out, what cannot be removed is left to the next sweep.
    pub fn discard(&self, diff_id: &Digest, path: &Path, _: &LayerLock) -> Result<(), StagingError> {
        let aside = self.take_out(diff_id.hex(), path)?;
        Ok(remove_tree(&self.binary, &aside, self.mappings.as_ref())?)
    }

    /// Moves a layer's directory here, where it is garbage. Returns its new place.
    ///
    /// # Errors
    /// [`StagingError::Io`].
    pub fn take_out(&self, hex: &str, path: &Path) -> Result<PathBuf, StagingError> {
        let aside = self.directory.join(format!("{hex}.{}", uuid::Uuid::now_v7().simple()));
        std::fs::rename(path, &aside).map_err(failed("move aside", path))?;
        Ok(aside)
    }

    /// Names and bytes of what lies here; garbage as far as nobody works on it.
    ///
    /// # Errors
    /// [`StagingError::Io`].
    pub fn leftovers(&self) -> Result<Vec<(String, u64)>, StagingError> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(failed("list", &self.directory))? {
            let entry = entry.map_err(failed("list", &self.directory))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if layer_entry(&name).is_some_and(|(_, rest)| rest != "lock") {
                found.push((name, layers::unpacked_bytes(&entry.path())));
            }
        }
        Ok(found)
    }

    /// Removes what processes that are gone have left. Goes on after a failure and returns the first.
    /// Blocks.
    ///
    /// # Errors
    /// See [`StagingError`].
    pub fn sweep(&self) -> Result<(), StagingError> {
        let mut result = Ok(());
        for entry in std::fs::read_dir(&self.directory).map_err(failed("list", &self.directory))? {
            let entry = entry.map_err(failed("list", &self.directory))?;
            let name = entry.file_name();
            let Some((hex, rest)) = name.to_str().and_then(layer_entry) else { continue };
            let swept = self.lock_with(hex, FlockArg::LockExclusiveNonblock).and_then(|lock| match lock {
                // A lock file alone goes when the lock is dropped.
                Some(_) if rest == "lock" => Ok(()),
                Some(_lock) => {
                    // A whole layer may have been made under the ids that this user had then.
                    let record = layers::read_record(&entry.path()).ok().flatten();
                    let mappings = record.map_or(self.mappings.clone(), |record| record.mappings);
                    Ok(remove_tree(&self.binary, &entry.path(), mappings.as_ref())?)
                }
                // Being worked on.
                None => Ok(()),
            });
            result = result.and(swept);
        }
        result
    }
}

/// The parts of a name in the staging area; `None` for what this module has not made.
fn layer_entry(name: &str) -> Option<(&str, &str)> {
    name.split_once('.').filter(|(hex, _)| format!("sha256:{hex}").parse::<Digest>().is_ok())
}

impl Drop for LayerLock {
    fn drop(&mut self) {
        // While it is still held, so that whoever opened the same file sees that it is gone. A failure
        // leaves an empty file, which the next sweep removes.
        let _ = std::fs::remove_file(&self.path);
        if let Some(lock) = self.file.take() {
            drop(lock);
        }
    }
}

impl StagedLayer {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it visible as `target` in one step. What it holds must be on disk already.
    ///
    /// # Errors
    /// [`StagingError::Io`]; it is then removed.
    pub fn publish(mut self, target: &Path) -> Result<(), StagingError> {
        std::fs::rename(&self.path, target).map_err(failed("publish the layer", target))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for StagedLayer {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = remove_tree(&self.staging.binary, &self.path, self.staging.mappings.as_ref())
        {
            // The lock is about to be free, so the next sweep tries again.
            tracing::warn!(path = %self.path.display(), %error, "half-made layer not removed");
        }
    }
}
