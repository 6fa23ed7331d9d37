//! Credential helpers: programs that keep credentials for others.
//! <https://docs.docker.com/reference/cli/docker/login/#credential-helper-protocol>

use super::Credentials;
use super::places::Places;
use crate::image::surroundings::Surroundings;
use crate::sys::process::pidfd_open;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Deserialize;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A helper may ask its user for a passphrase, but not for ever.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// More is no answer.
const LONGEST_ANSWER: usize = 1 << 20;
/// How much of a helper's complaint is shown.
const LONGEST_COMPLAINT: usize = 300;

/// What a helper says when it has nothing for a server.
/// <https://github.com/docker/docker-credential-helpers/blob/master/credentials/error.go>
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user name that marks an identity token.
const TOKEN_USER: &str = "<token>";

/// A credential helper gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    #[error("failed to find the program {program} in PATH; install it, or remove the helper from the file")]
    Missing { program: String },
    #[error("failed to run {}", program.display())]
    Run { program: PathBuf, source: io::Error },
    #[error("{} did not answer within {} seconds", program.display(), timeout.as_secs())]
    TimedOut { program: PathBuf, timeout: Duration },
    #[error("{} ended with {status}: {complaint}", program.display())]
    Failed { program: PathBuf, status: ExitStatus, complaint: String },
    /// The answer itself may hold a password, so it is not shown.
    #[error("{} answered with something else than a user name and a secret in JSON", program.display())]
    Answer { program: PathBuf },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Asks `docker-credential-NAME` for a server's credentials; `None` when it has none.
///
/// # Errors
/// See [`HelperError`]. A program that does not answer is killed.
pub(super) fn ask(
    places: &Places,
    name: &str,
    server: &str,
    timeout: Duration,
) -> Result<Option<Credentials>, HelperError> {
    let program = find(&places.programs, name)?;
    let failed = |source| HelperError::Run { program: program.clone(), source };
    let mut helper = Running::start(&program, &places.surroundings).map_err(failed)?;
    let Some((answer, status)) = helper.converse(server, Instant::now() + timeout).map_err(failed)? else {
        return Err(HelperError::TimedOut { program, timeout });
    };
    if !status.success() {
        let complaint = String::from_utf8_lossy(&answer);
        if complaint.trim() == NOT_FOUND {
            return Ok(None);
        }
        let complaint = if complaint.trim().is_empty() { "it gives no reason" } else { complaint.trim() };
        let complaint = complaint.chars().take(LONGEST_COMPLAINT).collect::<String>().escape_debug().to_string();
        return Err(HelperError::Failed { program, status, complaint });
    }
    let Ok(Answer { username, secret }) = serde_json::from_slice(&answer) else {
        return Err(HelperError::Answer { program });
    };
    Ok(match (username.as_str(), secret.is_empty()) {
        (_, true) => None,
        (TOKEN_USER, false) => Some(Credentials::IdentityToken(secret)),
        (_, false) => Some(Credentials::Basic { user: username, password: secret }),
    })
}

fn find(directories: &[PathBuf], name: &str) -> Result<PathBuf, HelperError> {
    let program = format!("docker-credential-{name}");
    let is_program = |path: &Path| path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok();
    // A name with a slash would lead out of the directories.
    let found = Some(directories).filter(|_| !name.contains(['/', '\0'])).into_iter().flatten();
    let found = found.map(|directory| directory.join(&program)).find(|path| is_program(path));
    found.ok_or(HelperError::Missing { program })
}

/// A helper that is killed and reaped when it is let go before its end.
struct Running(Child);

impl Running {
    #[expect(clippy::disallowed_methods, reason = "the helper's protocol is a program")]
    fn start(program: &Path, surroundings: &Surroundings) -> io::Result<Running> {
        let mut command = Command::new(program);
        if let Some(variables) = surroundings.foreign() {
            command.env_clear().envs(variables);
        }
        // It may prompt or complain on the caller's stderr.
        command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map(Running)
    }

    /// What it writes, and how it ended; `None` when it did not end in time.
    fn converse(&mut self, server: &str, deadline: Instant) -> io::Result<Option<(Vec<u8>, ExitStatus)>> {
        if let Some(mut stdin) = self.0.stdin.take() {
            // Far less than a pipe holds, so this does not block. A helper need not read it.
            match stdin.write_all(server.as_bytes()) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        let mut stdout = self.0.stdout.take();
        let process = pidfd_open(self.0.id() as i32)?.ok_or(io::ErrorKind::NotFound)?;
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        loop {
            // Some helpers leave an agent behind that keeps the pipe open: the end of the process counts.
            let mut fds = vec![PollFd::new(process.as_fd(), PollFlags::POLLIN)];
            fds.extend(stdout.iter().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
            let left = deadline.saturating_duration_since(Instant::now());
            match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let is_ready = |at: usize| fds.get(at).and_then(PollFd::any).unwrap_or(false);
            let (has_ended, has_output) = (is_ready(0), is_ready(1));
            if let Some(pipe) = stdout.as_mut().filter(|_| has_output) {
                let count = pipe.read(&mut piece)?;
                answer.extend_from_slice(&piece[..count]);
                if count == 0 || answer.len() > LONGEST_ANSWER {
                    stdout = None;
                }
            } else if has_ended {
                return Ok(Some((answer, self.0.wait()?)));
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
