//! One step under way.

#![cfg_attr(not(feature = "s3"), expect(dead_code, reason = "only transfers have data pipes"))]

use coracle::step::{DATA_FD, Resolve, StepRequest};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A step that says nothing for longer hangs.
const HANGS_AFTER: Duration = Duration::from_secs(120);
/// Between the tries of a check.
pub const INTERVAL: Duration = Duration::from_millis(10);

/// A step role; killed when dropped.
pub struct Step {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

/// How it ended, and what it wrote in between.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub lines: Vec<String>,
}

impl Step {
    pub fn start(request: &StepRequest) -> Step {
        Step::start_with(&serde_json::to_string(request).expect("a request is JSON"), None, None)
    }

    /// As [`Step::start`], with this end of the data pipe.
    pub fn start_on(request: &StepRequest, data: OwnedFd) -> Step {
        Step::start_with(&serde_json::to_string(request).expect("a request is JSON"), Some(data), None)
    }

    /// As [`Step::start`], where these are the host's CA certificates.
    pub fn start_trusting(request: &StepRequest, authorities: &Path) -> Step {
        Step::start_with(&serde_json::to_string(request).expect("a request is JSON"), None, Some(authorities))
    }

    pub fn start_with(line: &str, data: Option<OwnedFd>, authorities: Option<&Path>) -> Step {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        command.arg("--role=step").env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        if let Some(authorities) = authorities {
            command.env("SSL_CERT_FILE", authorities).env("SSL_CERT_DIR", "/nonexistent");
        }
        if let Some(data) = &data {
            let data = data.as_raw_fd();
            let pass = move || {
                // SAFETY: integers; in the child, where only the copy is to survive the exec.
                let result = unsafe {
                    if data == DATA_FD { libc::fcntl(data, libc::F_SETFD, 0) } else { libc::dup2(data, DATA_FD) }
                };
                if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
            };
            // SAFETY: one system call that may be made between fork and exec.
            unsafe { command.pre_exec(pass) };
        }
        let mut child = command.spawn().expect("the binary starts");
        let mut input = child.stdin.take().expect("stdin is a pipe");
        input.write_all(format!("{line}\n").as_bytes()).expect("the request is read");
        let errors = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // Nobody may listen any more.
            errors.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Step { child, input: Some(input), lines }
    }

    /// The next line on standard error.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(HANGS_AFTER).expect("the step says something")
    }

    /// Tells a push that its content is complete.
    pub fn commit(&mut self) {
        let input = self.input.as_mut().expect("stdin is open");
        // A step that has failed reads no more.
        let _ = input.write_all(&[coracle::step::COMMIT]);
    }

    /// Closes its standard input.
    pub fn abandon(&mut self) {
        self.input = None;
    }

    /// The most memory that it has had so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it is alive");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it has memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Ended {
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(HANGS_AFTER) {
                Ok(line) => lines.push(line),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("it hangs: {lines:?}"),
            }
        }
        let code = self.child.wait().expect("a child that was not waited for").code();
        Ended { code, lines }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about it then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Fails unless it did what it was to do, with nothing more to say.
    pub fn succeeded(self) {
        assert!(self.code == Some(0) && self.lines.is_empty(), "{self:?}");
    }

    /// Its one line, which begins as all of them do.
    pub fn failed(self) -> String {
        assert_eq!((self.code, self.lines.len()), (Some(1), 1), "{self:?}");
        assert!(self.lines[0].starts_with("failed to "), "{self:?}");
        self.lines.into_iter().next().expect("one line")
    }
}

/// Both ends of a pipe: to read from, to write to.
pub fn pipe() -> (File, File) {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("a pipe");
    (reader.into(), writer.into())
}

pub fn host_resolver() -> Resolve {
    Resolve::default()
}

/// Names and their addresses as in `extra_hosts`.
pub fn hosts(hosts: &[(&str, &str)]) -> Resolve {
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    Resolve { hosts: hosts.iter().map(|(name, text)| (name.to_string(), address(text))).collect(), servers: Vec::new() }
}
