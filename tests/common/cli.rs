//! Drives the built binary as a user would, in a state root of its own.

use super::fixture;
use super::host::{HANGS_AFTER, Process, readable_within};
use super::leftovers::{self, Leftovers};
use nix::sys::signal::Signal;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;
use tempfile::TempDir;

/// A state root with the binary. When dropped it checks that nothing is left on the host.
pub struct Coracle {
    directory: TempDir,
    /// Executions that were started detached, for the search for leftovers after `rm`.
    started: Mutex<Vec<String>>,
}

impl Default for Coracle {
    fn default() -> Coracle {
        Coracle::new()
    }
}

impl Coracle {
    pub fn new() -> Coracle {
        let directory = tempfile::Builder::new().prefix("coracle-test.").tempdir().expect("a temporary directory");
        Coracle { directory, started: Mutex::default() }
    }

    pub fn binary() -> PathBuf {
        std::env::var_os("CORACLE_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_coracle").into(), PathBuf::from)
    }

    /// The state root; it does not exist before the first command.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// The directory of an execution's only container.
    pub fn container(&self, id: &str) -> PathBuf {
        let containers = std::fs::read_dir(self.root().join("executions").join(id)).expect("an execution");
        let mut paths: Vec<_> = containers.map(|entry| entry.expect("a readable directory").path()).collect();
        assert_eq!(paths.len(), 1, "{paths:?}");
        paths.remove(0)
    }

    /// A place for the test's own files, removed with the root.
    pub fn scratch(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file into the scratch directory.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.scratch().join(name);
        std::fs::write(&path, content).expect("the scratch directory takes a file");
        path
    }

    /// Writes the deployment of one job named `job`: its image is the toolbox unless `body` (YAML,
    /// indented like a service's fields) names one.
    pub fn job(&self, body: &str) -> PathBuf {
        let mut text = String::from("version: v1\ndeployment: test\nservices:\n  job:\n    rtype: job\n");
        if !body.lines().any(|line| line.starts_with("image:")) {
            writeln!(text, "    image: {{ name: {:?} }}", fixture::toolbox()).expect("a string takes text");
        }
        for line in body.lines() {
            writeln!(text, "    {line}").expect("a string takes text");
        }
        self.file("job.yaml", text)
    }

    /// The binary with these arguments: a clean environment, this root, stdin from /dev/null.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(Self::binary());
        command.args(args).env_clear().env("CORACLE_ROOT", self.root()).stdin(Stdio::null());
        for name in ["PATH", "HOME", "RUST_BACKTRACE", "XDG_RUNTIME_DIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    /// Runs to the end.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Finished {
        self.finish(self.command(args))
    }

    /// Runs a prepared command to the end.
    pub fn finish(&self, command: Command) -> Finished {
        self.start(command).finish()
    }

    /// `coracle run --image TOOLBOX FLAGS -- COMMAND`
    pub fn toolbox(&self, flags: &[&str], command: &[&str]) -> Finished {
        self.finish(self.toolbox_command(flags, command))
    }

    pub fn toolbox_command(&self, flags: &[&str], command: &[&str]) -> Command {
        self.image_command(&fixture::toolbox(), flags, command)
    }

    /// `coracle run --image BUSYBOX FLAGS -- sh -c SCRIPT`
    pub fn shell(&self, flags: &[&str], script: &str) -> Finished {
        self.finish(self.image_command(&fixture::busybox(), flags, &["sh", "-c", script]))
    }

    pub fn image_command(&self, image: &str, flags: &[&str], command: &[&str]) -> Command {
        self.command([&["run", "--image", image], flags, &["--"], command].concat())
    }

    /// Starts `coracle run -d …` and returns the id.
    pub fn detach(&self, args: &[&str]) -> String {
        let finished = self.run([&["run", "-d"], args].concat()).expect_code(0);
        let id = finished.stdout().trim().to_owned();
        assert!(!id.is_empty() && !id.contains(char::is_whitespace), "an id, not {id:?}\n{finished}");
        self.started.lock().expect("no test panics with the lock").push(id.clone());
        id
    }

    /// As [`Coracle::detach`] with a toolbox command.
    pub fn detach_toolbox(&self, flags: &[&str], command: &[&str]) -> String {
        let image = fixture::toolbox();
        self.detach(&[&["--image", image.as_str()], flags, &["--"], command].concat())
    }

    /// Starts a command whose output the test reads as it comes.
    pub fn start(&self, mut command: Command) -> Running {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let argv = command.get_args().fold(command.get_program().to_owned(), |mut line, arg| {
            line.push(" ");
            line.push(arg);
            line
        });
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{argv:?}: {error}"));
        let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let stderr = child.stderr.take().expect("stderr is a pipe");
        let process = Process::open(child.id() as i32).expect("a child that was not waited for");
        Running {
            argv: argv.to_string_lossy().into_owned(),
            root: self.root(),
            child,
            process,
            stdout: Some(stdout),
            stderr: Some(stderr),
        }
    }

    /// `coracle inspect --json ID`
    pub fn inspect(&self, id: &str) -> serde_json::Value {
        let finished = self.run(["inspect", "--json", id]).expect_code(0);
        serde_json::from_slice(&finished.stdout).unwrap_or_else(|error| panic!("{error}\n{finished}"))
    }

    /// `coracle ps -a --json`, newest first.
    pub fn executions(&self) -> Vec<serde_json::Value> {
        let finished = self.run(["ps", "-a", "--json"]).expect_code(0);
        let value: serde_json::Value =
            serde_json::from_slice(&finished.stdout).unwrap_or_else(|error| panic!("{error}\n{finished}"));
        value.as_array().unwrap_or_else(|| panic!("not a list\n{finished}")).clone()
    }

    /// The record of the only execution.
    pub fn only_execution(&self) -> serde_json::Value {
        let mut all = self.executions();
        assert_eq!(all.len(), 1, "{all:#?}");
        self.inspect(all.remove(0)["id"].as_str().expect("an id"))
    }

    /// The directories of unpacked layers.
    pub fn layers(&self) -> Vec<PathBuf> {
        let below = |directory: PathBuf| {
            let entries = std::fs::read_dir(directory).into_iter().flatten();
            entries.map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>()
        };
        // One directory per kind of layer: those with one owner for all files are kept apart.
        below(self.root().join("layers")).into_iter().flat_map(below).collect()
    }

    /// The supervisor of a live execution.
    pub fn supervisor(&self, id: &str) -> Process {
        let record = self.inspect(id);
        let pid = record["supervisor_pid"].as_i64().unwrap_or_else(|| panic!("no live supervisor: {record:#}"));
        Process::open(pid as i32).unwrap_or_else(|| panic!("the supervisor is gone: {record:#}"))
    }

    /// Returns when it is so: for what has no event for an outsider than asking again. `what` is for the message.
    #[track_caller]
    pub fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        self.found(what, || is_so().then_some(()));
    }

    /// As [`Coracle::until`], with what was found.
    #[track_caller]
    pub fn found<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begin.elapsed() < HANGS_AFTER, "no sign of {what}\n{}", self.story());
            std::thread::yield_now();
        }
    }

    /// Its processes and files, for messages.
    fn story(&self) -> String {
        let root = self.root();
        let mut text = format!("--- processes of {}\n", root.display());
        for related in leftovers::processes(&root) {
            writeln!(text, "{} {}", related.handle.pid, related.what).expect("a string takes text");
        }
        text + "--- files\n" + &tree(&root)
    }

    /// Kills every process of the root, and what those start meanwhile.
    pub fn kill_everything(&self) {
        self.until("the end of every process", || {
            let all = leftovers::kill(&self.root());
            for related in &all {
                assert!(related.handle.ends_within(HANGS_AFTER), "{} goes on: {}", related.handle.pid, related.what);
            }
            all.is_empty()
        });
    }

    /// What this root left on the host.
    pub fn leftovers(&self) -> Leftovers {
        Leftovers::of(&self.root(), &self.started.lock().expect("no test panics with the lock"))
    }
}

impl Drop for Coracle {
    fn drop(&mut self) {
        let failing = std::thread::panicking();
        let left = if failing { Leftovers::default() } else { self.leftovers() };
        let tree = if left.is_empty() { String::new() } else { tree(&self.root()) };
        if failing {
            // A failed test must not leave a container behind for the next one.
            leftovers::kill(&self.root());
        }
        remove(self.directory.path());
        assert!(left.is_empty(), "left on the host:\n{left}\nthe state root held:\n{tree}");
    }
}

/// Removes a tree that may hold files of subordinate ids, which only the namespace's root may.
pub fn remove(directory: &Path) {
    if std::fs::remove_dir_all(directory).is_ok() {
        return;
    }
    let arguments = ["--user", "--map-auto", "--map-root-user", "rm", "-rf"];
    let status = Command::new("unshare").args(arguments).arg(directory).stderr(Stdio::null()).status();
    // The directory is temporary; what cannot be removed is worth a line, not a failure.
    if !status.is_ok_and(|status| status.success()) {
        eprintln!("{} could not be removed", directory.display());
    }
}

/// A command under way.
pub struct Running {
    argv: String,
    root: PathBuf,
    child: Child,
    pub process: Process,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Option<ChildStderr>,
}

impl Running {
    /// The next line of stdout, without its end; `None` at the end of the stream.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let stdout = self.stdout.as_mut().expect("stdout is open");
        let silent = stdout.buffer().is_empty() && !readable_within(stdout.get_ref().as_fd(), HANGS_AFTER);
        assert!(!silent, "{} writes nothing more", self.argv);
        let count = stdout.read_line(&mut line).expect("stdout can be read");
        (count > 0).then(|| line.trim_end_matches('\n').to_owned())
    }

    /// Reads lines until this one.
    pub fn wait_for_line(&mut self, wanted: &str) {
        let mut seen = Vec::new();
        while let Some(line) = self.line() {
            if line == wanted {
                return;
            }
            seen.push(line);
        }
        let mut stderr = String::new();
        // Only for the message.
        let _ = self.stderr.take().map(|mut stream| stream.read_to_string(&mut stderr));
        panic!("{} ended without {wanted:?}; stdout {seen:?}, stderr {stderr}", self.argv);
    }

    /// Nothing of stdout is read any more, as when `head` has seen enough.
    pub fn close_stdout(mut self) -> Running {
        self.stdout = None;
        self
    }

    /// The rest of both streams, and the end.
    pub fn finish(mut self) -> Finished {
        let mut stderr = self.stderr.take().expect("only finish takes stderr");
        let errors = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).map(|_| bytes)
        });
        let stdout = self.stdout.take();
        let output = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.map_or(Ok(0), |mut stream| stream.read_to_end(&mut bytes)).map(|_| bytes)
        });
        let hung = !self.process.ends_within(HANGS_AFTER);
        if hung {
            // It may end this moment.
            self.process.try_signal(Signal::SIGKILL);
            leftovers::kill(&self.root);
        }
        let status = self.child.wait().expect("a child that was not waited for");
        let finished = Finished {
            argv: self.argv,
            root: self.root,
            status,
            stdout: output.join().expect("no panic").expect("stdout can be read"),
            stderr: errors.join().expect("no panic").expect("stderr can be read"),
        };
        assert!(!hung, "hangs: {finished}");
        finished
    }
}

/// A command that ended. Its `Display` is what a failing test prints.
pub struct Finished {
    pub argv: String,
    root: PathBuf,
    pub status: std::process::ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Finished {
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Finished {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    /// Exit code `code`, and every one of these texts in stderr.
    #[track_caller]
    pub fn expect_error(self, code: i32, texts: &[&str]) -> Finished {
        let finished = self.expect_code(code);
        for text in texts {
            assert!(finished.stderr().contains(text), "no {text:?} in stderr: {finished}");
        }
        finished
    }

    /// stdout is exactly this.
    #[track_caller]
    pub fn expect_stdout(self, text: &str) -> Finished {
        assert_eq!(self.stdout(), text, "{self}");
        self
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    pub fn lines(&self) -> Vec<String> {
        self.stdout().lines().map(str::to_owned).collect()
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            if text.len() < 8192 { text } else { format!("({} bytes)", bytes.len()) }
        };
        writeln!(f, "\n$ {}\n{}", self.argv, self.status)?;
        writeln!(f, "--- stdout\n{}--- stderr\n{}", short(&self.stdout), short(&self.stderr))?;
        write!(f, "--- {}\n{}", self.root.display(), tree(&self.root))
    }
}

/// The paths below `root`, three levels deep and not the layers' own content.
fn tree(root: &Path) -> String {
    fn walk(directory: &Path, depth: usize, text: &mut String) {
        let mut entries: Vec<_> = std::fs::read_dir(directory).into_iter().flatten().flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            writeln!(text, "{:indent$}{}", "", entry.file_name().display(), indent = depth * 2)
                .expect("a string takes text");
            if depth < 3 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                walk(&entry.path(), depth + 1, text);
            }
        }
    }
    let mut text = String::new();
    walk(root, 0, &mut text);
    text
}
