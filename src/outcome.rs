//! How one attempt of an execution ended: the value that the supervisor hands to the record.
//!
//! [`Outcome`] is written by the supervisor as `outcome` in the execution's directory, read by
//! whoever settles the execution, and folded into the durable record. It imports nothing of this
//! crate, so that every layer can speak of an end in the same terms. No number stands for
//! something it is not: an end by signal has no exit code.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Version of the JSON document; a reader refuses a higher one. Version 1 named no attempt: it was the first.
pub const OUTCOME_VERSION: u32 = 2;

/// The first attempt of every execution.
pub const FIRST_ATTEMPT: u32 = 1;

/// The end of one attempt, with what it used. Times on the wall clock are RFC 3339 UTC; `elapsed` is
/// from the monotonic clock and does not follow changes of the wall clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Always [`OUTCOME_VERSION`] when written.
    pub version: u32,
    /// Which attempt of its execution this was, from [`FIRST_ATTEMPT`].
    #[serde(default = "first_attempt")]
    pub attempt: u32,
    /// Why and how it ended.
    pub end: End,
    /// When the main process was started; `None` when it never was.
    pub started_at: Option<jiff::Timestamp>,
    /// When the end was known.
    pub completed_at: jiff::Timestamp,
    /// From the supervisor's start to the end.
    pub elapsed: Duration,
    /// Resource use of all processes of the attempt.
    pub usage: Usage,
    /// Notes for the user that are no failures (a limit that could not be read, a log cut short).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Ways an attempt ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum End {
    /// The main process called `exit` with this code (0..=255).
    Exited { code: u8 },
    /// The main process was ended by this signal, which neither the user nor a limit of ours sent.
    Signalled { signal: i32 },
    /// The kernel's OOM killer acted in the job's cgroup and the main process was killed.
    OomKilled,
    /// The deadline passed; `how` is how the job ended after the stop signal.
    Deadline { after: Duration, how: Stopped },
    /// A user cancelled; `how` is how the job ended after the stop signal.
    Cancelled { how: Stopped },
    /// An init step failed; the main process was not started.
    InitStep {
        step: String,
        cause: StepCause,
        /// Tries of the step that were made; this is the end of the last one.
        #[serde(default = "first_attempt")]
        attempt: u32,
        /// The last line that it wrote, as far as it was kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_line: Option<String>,
    },
    /// `execve` of the main process failed with this errno: the command was not found or is not
    /// executable (ENOENT → exit code 127, all else → 126, as `docker run`).
    NotExecutable { command: String, errno: i32 },
    /// The image could not be got: pulled, verified or unpacked.
    Image { image: String, message: String },
    /// The container could not be made or started; `stage` is what was being done.
    NotCreated { stage: String, message: String },
    /// The host failed: the record, the disk, a process that could not be started.
    Host { message: String },
    /// The supervisor is gone and left no outcome; set by whoever finds that out.
    SupervisorLost { message: String },
}

/// What became of a process that was told to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Stopped {
    /// It had not been started.
    BeforeStart,
    /// It had waited for its turn, and had not been prepared.
    InQueue,
    /// It had not been started: an init step was under way, or a wait before its next try.
    InStep {
        step: String,
        /// The try, from 1; that before a wait.
        attempt: u32,
        /// The last line that the step wrote, or what it waited for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// It was to be started again, for this attempt.
    BetweenAttempts { next: u32 },
    /// It exited by itself with this code, within the grace period.
    Exited { code: u8 },
    /// It was ended by this signal; SIGKILL when the grace period was over.
    Signalled { signal: i32 },
}

/// Why an init step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepCause {
    Exited {
        code: u8,
    },
    Signalled {
        signal: i32,
    },
    OomKilled,
    NotExecutable {
        command: String,
        errno: i32,
    },
    TimedOut {
        after: Duration,
    },
    /// A check or a transfer, which is no process of the job, failed; or the process of the step could not be
    /// made.
    Failed {
        message: String,
    },
}

/// Resources used by an attempt. `None` means that the host offers no way to know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Peak memory in bytes: of the cgroup where there is one, else the largest resident set of any
    /// one process; `peak_memory_source` says which.
    pub peak_memory: Option<u64>,
    pub peak_memory_source: Option<PeakMemorySource>,
    /// CPU time in user mode.
    pub cpu_user: Option<Duration>,
    /// CPU time in kernel mode.
    pub cpu_system: Option<Duration>,
    /// Times the kernel's OOM killer acted in the job's cgroup; `None` without a cgroup.
    pub oom_kills: Option<u64>,
}

/// Where [`Usage::peak_memory`] comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeakMemorySource {
    /// `memory.peak` (v2) or `memory.max_usage_in_bytes` (v1).
    Cgroup,
    /// `ru_maxrss` of getrusage(2).
    LargestProcess,
}

/// First exit code above 128 is for signal 1, as shells and `docker run` have it.
const SIGNAL_BASE: u8 = 128;
/// How the note of [`lost_output`] goes on after the stream's name.
const INCOMPLETE: &str = " is incomplete, the log has the rest";

/// The note of an attempt whose caller did not get all of this stream, for another reason than that it closed it.
pub fn lost_output(stream: &str, error: &std::io::Error) -> String {
    format!("{stream}{INCOMPLETE}: writing to it failed: {error}")
}

/// True for a note of [`lost_output`].
pub fn is_of_lost_output(note: &str) -> bool {
    ["stdout", "stderr"].iter().any(|stream| note.strip_prefix(stream).is_some_and(|rest| rest.starts_with(INCOMPLETE)))
}

/// The container engine itself failed (`docker run`).
pub const EXIT_ENGINE: u8 = 125;
/// Cancelled before there was a process to have a code: that of SIGTERM, which asks things to end.
pub const EXIT_CANCELLED: u8 = SIGNAL_BASE + 15;
/// The command cannot be invoked (`docker run`).
pub const EXIT_NOT_EXECUTABLE: u8 = 126;
/// The command cannot be found (`docker run`).
pub const EXIT_NOT_FOUND: u8 = 127;

fn first_attempt() -> u32 {
    FIRST_ATTEMPT
}

impl Stopped {
    /// That of a process that ended like this; `None` when there was none.
    fn exit_code(&self) -> Option<u8> {
        match self {
            Stopped::BeforeStart | Stopped::InQueue | Stopped::InStep { .. } | Stopped::BetweenAttempts { .. } => None,
            Stopped::Exited { code } => Some(*code),
            Stopped::Signalled { signal } => Some(signal_code(*signal)),
        }
    }
}

impl End {
    /// The exit code of `coracle run`, by the rules of `docker run`
    /// (<https://docs.docker.com/reference/cli/docker/container/run/#exit-status>).
    pub fn exit_code(&self) -> u8 {
        match self {
            End::Exited { code } => *code,
            End::Signalled { signal } => signal_code(*signal),
            End::OomKilled => signal_code(libc::SIGKILL),
            End::Deadline { how, .. } => how.exit_code().unwrap_or(EXIT_ENGINE),
            // As of a process that the stop signal has ended.
            End::Cancelled { how } => how.exit_code().unwrap_or(EXIT_CANCELLED),
            End::NotExecutable { errno, .. } => errno_code(*errno),
            End::InitStep { cause, .. } => match cause {
                StepCause::Exited { code } => *code,
                StepCause::Signalled { signal } => signal_code(*signal),
                StepCause::OomKilled => signal_code(libc::SIGKILL),
                StepCause::NotExecutable { errno, .. } => errno_code(*errno),
                StepCause::TimedOut { .. } | StepCause::Failed { .. } => EXIT_ENGINE,
            },
            End::Image { .. } | End::NotCreated { .. } | End::Host { .. } | End::SupervisorLost { .. } => EXIT_ENGINE,
        }
    }

    /// The exit code of the job's own main process, where it had one.
    pub fn job_exit_code(&self) -> Option<u8> {
        match self {
            End::Exited { code }
            | End::Deadline { how: Stopped::Exited { code }, .. }
            | End::Cancelled { how: Stopped::Exited { code } } => Some(*code),
            _ => None,
        }
    }
}

/// 128 + n for a process that signal n ended.
pub fn signal_code(signal: i32) -> u8 {
    // Linux signals are 1..=64, so the sum always fits; anything else is a decoding error upstream.
    SIGNAL_BASE.saturating_add(u8::try_from(signal).unwrap_or(u8::MAX))
}

fn errno_code(errno: i32) -> u8 {
    if errno == libc::ENOENT { EXIT_NOT_FOUND } else { EXIT_NOT_EXECUTABLE }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exited { code } => write!(f, "exited with code {code}"),
            End::Signalled { signal } => write!(f, "killed by {}", signal_name(*signal)),
            End::OomKilled => f.write_str("killed by the OOM killer: the memory limit was reached"),
            End::Deadline { after, how: how @ Stopped::InQueue } => {
                write!(f, "queue deadline of {after:?} passed; {how}")
            }
            End::Deadline { after, how } => write!(f, "deadline of {after:?} passed{}{how}", before(how)),
            End::Cancelled { how: how @ Stopped::BetweenAttempts { .. } } => write!(f, "cancelled while {how}"),
            End::Cancelled { how } => write!(f, "cancelled{}{how}", before(how)),
            End::InitStep { step, cause, attempt, last_line } => {
                write!(f, "init step {step:?} {cause}")?;
                if *attempt > FIRST_ATTEMPT {
                    write!(f, " on try {attempt}")?;
                }
                // Quoted: the job wrote it.
                last_line.as_ref().map_or(Ok(()), |line| write!(f, "; its last line: {line:?}"))
            }
            End::NotExecutable { command, errno } => write_not_executable(f, command, *errno),
            End::Image { image, message } => write!(f, "failed to get image {image:?}: {message}"),
            End::NotCreated { stage, message } => write!(f, "failed to {stage}: {message}"),
            End::Host { message } => write!(f, "the host failed: {message}"),
            End::SupervisorLost { message } => write!(f, "supervisor lost: {message}"),
        }
    }
}

/// What is between the cause of a stop and what became of the job.
fn before(how: &Stopped) -> &'static str {
    if matches!(how, Stopped::InStep { .. }) { " " } else { "; " }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stopped::BeforeStart => f.write_str("it had not started"),
            Stopped::InQueue => f.write_str("its turn had not come"),
            Stopped::InStep { step, attempt, detail } => {
                write!(f, "in init step {step:?}")?;
                if *attempt > FIRST_ATTEMPT {
                    write!(f, ", try {attempt}")?;
                }
                detail.as_ref().map_or(Ok(()), |detail| write!(f, ": {detail}"))
            }
            Stopped::BetweenAttempts { next } => write!(f, "it waited for attempt {next}"),
            Stopped::Exited { code } => write!(f, "it exited with code {code}"),
            Stopped::Signalled { signal } => write!(f, "it was killed by {}", signal_name(*signal)),
        }
    }
}

impl fmt::Display for StepCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StepCause::Exited { code } => write!(f, "exited with code {code}"),
            StepCause::Signalled { signal } => write!(f, "was killed by {}", signal_name(*signal)),
            StepCause::OomKilled => f.write_str("was killed by the OOM killer: the memory limit was reached"),
            StepCause::NotExecutable { command, errno } => write_not_executable(f, command, *errno),
            StepCause::TimedOut { after } => write!(f, "did not end within {after:?}"),
            // "failed to …" says it all.
            StepCause::Failed { message } if message.starts_with("failed") => f.write_str(message),
            StepCause::Failed { message } => write!(f, "failed: {message}"),
        }
    }
}

fn write_not_executable(f: &mut fmt::Formatter<'_>, command: &str, errno: i32) -> fmt::Result {
    let error = std::io::Error::from_raw_os_error(errno);
    write!(f, "failed to execute {command:?}: {error}")
}

/// `SIGTERM` for 15; `signal 34` for a number without a name.
pub fn signal_name(signal: i32) -> String {
    match nix::sys::signal::Signal::try_from(signal) {
        Ok(known) => known.as_str().to_owned(),
        Err(_) => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests;
