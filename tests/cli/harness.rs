//! Runs the binary on a root of its own.

use coracle::id::ContainerId;
use coracle::outcome::{End, FIRST_ATTEMPT, OUTCOME_VERSION, Outcome, Usage};
use coracle::record::{AfterAttempt, Ended, Insertion, JobTrigger, NewExecution, Record};
use coracle::state_dir::StateDir;
use coracle::sys::process::ProcessIdentity;
use jiff::Timestamp;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A directory with a state root in it, which is not made before something needs it.
pub struct Host {
    directory: tempfile::TempDir,
}

/// What a run of the binary came to.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
    /// For failed assertions.
    story: String,
}

impl Host {
    pub fn new() -> Host {
        Host { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// Where files of the test may go, outside of the root.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn root(&self) -> PathBuf {
        self.path("root")
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a writable directory");
        path
    }

    /// The binary with these arguments, on this root, in this directory.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        command.args(arguments).current_dir(self.directory.path()).stdin(Stdio::null());
        command.env("CORACLE_ROOT", self.root()).env_remove("CORACLE_LOG");
        command
    }

    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        self.finish(self.command(arguments), b"")
    }

    /// Runs a command with this standard input.
    pub fn finish(&self, mut command: Command, input: &[u8]) -> Ran {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("an executable");
        // A command that does not read its input closes it.
        let _ = child.stdin.take().expect("a pipe").write_all(input);
        let output = child.wait_with_output().expect("a child to wait for");
        let (stdout, stderr) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
        let mut story = format!("{command:?}\nended with {}\n", output.status);
        write!(story, "--- stdout\n{}\n--- stderr\n{stderr}\n--- files\n", String::from_utf8_lossy(&stdout))
            .expect("a string");
        self.tree().iter().for_each(|name| writeln!(story, "{name}").expect("a string"));
        Ran { code: output.status.code(), stdout, stderr, story }
    }

    /// Every file below the directory, relative to it.
    pub fn tree(&self) -> Vec<String> {
        fn walk(directory: &Path, base: &Path, names: &mut Vec<String>) {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                names.push(path.strip_prefix(base).expect("below it").display().to_string());
                if path.is_dir() && !path.is_symlink() {
                    walk(&path, base, names);
                }
            }
        }
        let mut names = Vec::new();
        walk(self.directory.path(), self.directory.path(), &mut names);
        names.sort();
        names
    }

    pub fn state(&self) -> StateDir {
        StateDir::open(Some(&self.root())).expect("a usable root")
    }

    pub fn record(&self) -> Record {
        Record::open(&self.state()).expect("a usable record")
    }

    /// Records an execution that this test process is preparing.
    pub fn pending(&self, id: &str, job: &str) -> Record {
        let record = self.record();
        let now = Timestamp::now();
        let new = NewExecution {
            labels: [("team".to_owned(), "a".to_owned())].into(),
            notes: vec!["a note".into()],
            ..NewExecution::new(id, job, JobTrigger::Cli, "oci:image:v1", serde_json::json!({"name": job}), now)
        };
        let me = ProcessIdentity::current().expect("a mounted /proc");
        assert_eq!(record.insert(&new, Some(&me), now).expect("a writable record"), Insertion::Claimed);
        record
    }

    /// The container of an execution's first attempt.
    pub fn container(id: &str) -> ContainerId {
        ContainerId(format!("{id}-1-0123abcd"))
    }

    /// Records an execution that `supervisor` looks after.
    pub fn active(&self, id: &str, job: &str, supervisor: &ProcessIdentity) -> Record {
        let record = self.pending(id, job);
        let container = Host::container(id);
        let active = record.activate(id, FIRST_ATTEMPT, "sha256:0", container.as_str(), supervisor);
        assert!(active.expect("a writable record"));
        record
    }

    /// Records an execution that has ended.
    pub fn ended(&self, id: &str, job: &str, end: End) {
        let outcome = Outcome {
            version: OUTCOME_VERSION,
            attempt: FIRST_ATTEMPT,
            end,
            started_at: Some(Timestamp::UNIX_EPOCH),
            completed_at: Timestamp::UNIX_EPOCH,
            elapsed: Duration::from_millis(1500),
            usage: Usage { peak_memory: Some(3 << 20), ..Usage::default() },
            notes: Vec::new(),
        };
        let me = ProcessIdentity::current().expect("a mounted /proc");
        let ended = self.active(id, job, &me).end_attempt(id, FIRST_ATTEMPT, &outcome, AfterAttempt::Final);
        assert_eq!(ended.expect("a writable record"), Ended::Final);
    }
}

impl Ran {
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Ran {
        assert_eq!(self.code, Some(code), "{}", self.story);
        self
    }

    #[track_caller]
    pub fn prints(&self, expected: &str) -> &Ran {
        assert_eq!(String::from_utf8_lossy(&self.stdout), expected, "{}", self.story);
        self
    }

    /// Each part stands somewhere in standard error.
    #[track_caller]
    pub fn complains(&self, parts: &[&str]) -> &Ran {
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is missing\n{}", self.story);
        }
        self
    }

    /// Nothing at all on standard error.
    #[track_caller]
    pub fn is_quiet(&self) -> &Ran {
        assert_eq!(self.stderr, "", "{}", self.story);
        self
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{}", self.story))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// True when tests may mount in a namespace of their own; else says what is skipped, and fails in CI.
pub fn can_mount(test: &str) -> bool {
    let mut probe = unshare();
    let can = probe.args(["mount", "-t", "tmpfs", "none", "/tmp"]).output().is_ok_and(|output| output.status.success());
    if !can {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} needs mount namespaces (unshare --mount)");
        eprintln!("skipped: {test} needs mount namespaces (unshare --mount)");
    }
    can
}

/// unshare(1) into a mount namespace, with a user namespace where that takes one.
pub fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !nix::unistd::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.arg("--");
    command
}
