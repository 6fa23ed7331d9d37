//! Asking a supervisor to stop its job, from any process of the same user.

use super::state::LiveState;
use crate::state_dir::ContainerDir;
use crate::sys::process::pidfd_send_signal;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

/// Tells the supervisor to send the stop signal and, after `grace` (`None`: what was asked for before, else the job's
/// own), SIGKILL. False when it is gone. A further request can only shorten the time.
///
/// # Errors
/// The file system's, and `EPERM` for another user's.
pub fn request(directory: &ContainerDir, grace: Option<Duration>) -> io::Result<bool> {
    let Some(state) = LiveState::read(&directory.state())? else { return Ok(false) };
    let Some(pidfd) = state.supervisor.open()? else { return Ok(false) };
    if let Some(grace) = grace {
        ask_for(directory, grace)?;
    }
    match pidfd_send_signal(pidfd.as_fd(), libc::SIGTERM) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        Err(error) => Err(error),
    }
}

/// One line for each request, so that none is lost that the supervisor has not seen yet.
fn ask_for(directory: &ContainerDir, grace: Duration) -> io::Result<()> {
    let path = directory.cancel_request();
    if planned_grace(directory) == Some(grace) && !path.exists() {
        // It goes by that anyway, and a disk without space cannot keep anybody from saying so.
        return Ok(());
    }
    let mut file = File::options().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(format!("{}\n", grace.as_millis()).as_bytes())
}

/// The job's own.
fn planned_grace(directory: &ContainerDir) -> Option<Duration> {
    /// The part of a plan that this is about.
    #[derive(Deserialize)]
    struct Planned {
        stop_grace_period: Duration,
    }
    let planned: Planned = serde_json::from_slice(&std::fs::read(directory.plan()).ok()?).ok()?;
    Some(planned.stop_grace_period)
}

/// The shortest grace period that a request asked for; `None`: none of them named one.
pub(super) fn requested_grace(directory: &ContainerDir) -> Option<Duration> {
    shortest(&std::fs::read_to_string(directory.cancel_request()).ok()?)
}

fn shortest(requests: &str) -> Option<Duration> {
    // What is not a whole line is still being written, by somebody who has not signalled yet.
    let (whole, _) = requests.rsplit_once('\n')?;
    whole.lines().filter_map(|line| line.parse().ok()).min().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_of_all_requests_counts() {
        let millis = |number| Some(Duration::from_millis(number));
        assert_eq!(shortest(""), None);
        assert_eq!(shortest("3600000\n"), millis(3_600_000));
        assert_eq!(shortest("3600000\n1000\n"), millis(1000));
        assert_eq!(shortest("1000\n3600000\n"), millis(1000));
        assert_eq!(shortest("3600000\n10"), millis(3_600_000), "the rest is on its way");
    }
}
