//! Who may use the store when: whoever resolves images shares a lock, and a collection has it alone.
//!
//! The lock is flock(2) on `images.lock`, which the kernel drops with its last holder, however that ends.

use super::{ImageError, ImageStore};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::oneshot;

/// While any clone of it lives, no collection removes anything.
#[derive(Debug, Clone)]
pub struct Lease(#[expect(dead_code, reason = "held, not read")] Arc<Flock<File>>);

/// While it lives, nobody resolves or pulls an image.
#[derive(Debug)]
pub struct Exclusive(#[expect(dead_code, reason = "held, not read")] Flock<File>);

impl ImageStore {
    /// Shares the store; waits while a collection decides what to remove, which takes moments.
    ///
    /// # Errors
    /// [`ImageError::Lock`].
    pub async fn lease(&self) -> Result<Lease, ImageError> {
        Ok(Lease(Arc::new(self.wait_for(FlockArg::LockShared, FlockArg::LockSharedNonblock).await?)))
    }

    /// Has the store alone; waits until every lease that there is has ended. Giving up the wait is safe.
    ///
    /// # Errors
    /// [`ImageError::Lock`].
    pub async fn exclusive(&self) -> Result<Exclusive, ImageError> {
        Ok(Exclusive(self.wait_for(FlockArg::LockExclusive, FlockArg::LockExclusiveNonblock).await?))
    }

    /// Has the store alone, if nobody uses it at this moment.
    ///
    /// # Errors
    /// [`ImageError::Lock`].
    pub fn try_exclusive(&self) -> Result<Option<Exclusive>, ImageError> {
        Ok(lock(&self.lock, FlockArg::LockExclusiveNonblock)?.map(Exclusive))
    }

    /// Waits on a thread of its own: that is in nobody's way when the wait is given up, and drops the
    /// lock as soon as it gets it.
    async fn wait_for(&self, waiting: FlockArg, at_once: FlockArg) -> Result<Flock<File>, ImageError> {
        if let Some(lock) = lock(&self.lock, at_once)? {
            return Ok(lock);
        }
        tracing::debug!(path = %self.lock.display(), "waiting for the store");
        let (sender, receiver) = oneshot::channel();
        let path = self.lock.clone();
        std::thread::spawn(move || {
            // Nobody waits any more: the lock is dropped at once.
            let _ = sender.send(lock(&path, waiting));
        });
        let ended = || ImageError::Lock { path: self.lock.clone(), source: io::ErrorKind::Other.into() };
        receiver.await.map_err(|_| ended())??.ok_or_else(ended)
    }
}

/// `None` when somebody has it and `how` does not wait.
fn lock(path: &Path, how: FlockArg) -> Result<Option<Flock<File>>, ImageError> {
    let failed = |source| ImageError::Lock { path: path.to_owned(), source };
    let open = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mut file = open.map_err(failed)?;
    loop {
        match Flock::lock(file, how) {
            Ok(lock) => return Ok(Some(lock)),
            Err((_, Errno::EAGAIN)) => return Ok(None),
            Err((back, Errno::EINTR)) => file = back,
            Err((_, errno)) => return Err(failed(errno.into())),
        }
    }
}
