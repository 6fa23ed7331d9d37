//! The live stage of an execution: a small file that its supervisor alone writes and anyone may
//! read. It says who the supervisor is, so that its death can be told; what is final is in the record.

use crate::sys::file::write_atomic_volatile;
use crate::sys::process::ProcessIdentity;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use std::time::Duration;

/// Content of the `state` file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveState {
    pub supervisor: ProcessIdentity,
    pub stage: Stage,
    /// When this stage began.
    pub since: jiff::Timestamp,
    /// The container's init in the host's pid namespace, once there is one.
    pub init_pid: Option<i32>,
    /// Directories under the cgroup file systems that belong to this execution.
    #[serde(default)]
    pub cgroups: Vec<std::path::PathBuf>,
}

/// What a live execution is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// Making the container, or in an init step.
    Initializing { step: Option<LiveStep> },
    /// The main process runs.
    Running,
    /// All processes ended; output is being collected and the outcome written.
    Ending {
        /// When the main process was started; `None` when it never was.
        #[serde(default)]
        started_at: Option<jiff::Timestamp>,
    },
}

/// The init step of a live execution; [`LiveState::since`] is when its present try, or the wait for the next one,
/// began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveStep {
    pub id: String,
    /// Number of the try, from 1, over all runs of the sequence.
    pub attempt: u32,
    /// Tries that it gets at most, over all runs of the sequence; 0: a supervisor of an earlier version did not say.
    #[serde(default)]
    pub max_attempts: u32,
    /// From the beginning of its first try in this run of the sequence to [`LiveState::since`], by the monotonic clock.
    #[serde(default)]
    pub elapsed: Duration,
    /// The try has failed, and the next one or the next run of the sequence waits for its time.
    pub waiting: bool,
}

impl LiveState {
    /// Replaces the file. Not durable across a reboot, which ends the supervisor anyway.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        write_atomic_volatile(path, &serde_json::to_vec(self)?)
    }

    /// `None` when no supervisor has written one yet.
    ///
    /// # Errors
    /// The file system's, and content that is not ours.
    pub fn read(path: &Path) -> io::Result<Option<LiveState>> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
