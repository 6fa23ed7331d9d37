//! Asking a supervisor to stop its job, from any process of the same user.

use super::state::LiveState;
use crate::state_dir::ContainerDir;
use crate::sys::file::write_atomic_volatile;
use crate::sys::process::pidfd_send_signal;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// Tells the supervisor to send the stop signal and, after `grace` (`None`: the job's own), SIGKILL.
/// False when it is gone.
///
/// # Errors
/// The file system's, and `EPERM` for another user's.
pub fn request(directory: &ContainerDir, grace: Option<Duration>) -> io::Result<bool> {
    let Some(state) = LiveState::read(&directory.state())? else { return Ok(false) };
    let Some(pidfd) = state.supervisor.open()? else { return Ok(false) };
    if let Some(grace) = grace {
        write_atomic_volatile(&directory.cancel_request(), grace.as_millis().to_string().as_bytes())?;
    }
    match pidfd_send_signal(pidfd.as_fd(), libc::SIGTERM) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The grace period that a request asked for.
pub(super) fn requested_grace(directory: &ContainerDir) -> Option<Duration> {
    let text = std::fs::read_to_string(directory.cancel_request()).ok()?;
    text.trim().parse().ok().map(Duration::from_millis)
}
