//! Waiting for the end of a process from a tokio program.

#![allow(unsafe_code)] // AsyncFd's safe constructors are deprecated

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits until the process behind a pidfd has ended: that is when it becomes readable (pidfd_open(2)).
///
/// # Errors
/// When the descriptor cannot be watched.
pub async fn process_end(pidfd: OwnedFd) -> io::Result<()> {
    // SAFETY: the OwnedFd moves into the AsyncFd and stays open, with the same number, until that is dropped.
    let watched = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }.map_err(io::Error::from)?;
    watched.readable().await.map(drop)
}
