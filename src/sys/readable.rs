//! Waiting in a tokio program until a file descriptor can be read, or is in error.

#![allow(unsafe_code)] // AsyncFd's safe constructors are deprecated

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a non-blocking descriptor with the current tokio runtime; `readable` on the result waits.
///
/// # Errors
/// When the descriptor cannot be watched.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the OwnedFd moves into the AsyncFd and stays open, with the same number, until that is dropped.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(io::Error::from)
}

/// Registers a descriptor with the current tokio runtime for errors alone: `ready(Interest::ERROR)` on the result
/// waits for one.
///
/// # Errors
/// When the descriptor cannot be watched; those of regular files cannot.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn watch_errors(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: as in `watch`.
    unsafe { AsyncFd::register_with_interest(fd, Interest::ERROR) }.map_err(io::Error::from)
}
