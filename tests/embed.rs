//! The example that embeds the library, with real containers.

#![allow(clippy::disallowed_methods, reason = "tests write files and start programs")]

mod common;

use common::fixture;
use common::host::readable_within;
use common::leftovers::Leftovers;
use common::moments::most_at_once;
use coracle::record::{Query, Record, Status};
use coracle::state_dir::StateDir;
use coracle::testing::FixtureImage;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

const EXECUTIONS: usize = 20;
const AT_ONCE: usize = 4;

/// Far above what it takes until the next job runs.
const HANGS_AFTER: Duration = Duration::from_secs(120);

/// Beside the tests; `cargo test` builds both.
fn example() -> PathBuf {
    let tests = std::env::current_exe().expect("this program");
    let built = tests.ancestors().nth(2).expect("a target directory").join("examples/embed");
    assert!(built.exists(), "{} is missing: cargo build --examples", built.display());
    built
}

#[test]
fn the_example_fails_with_its_jobs() {
    let directory = tempfile::Builder::new().prefix("coracle-test.").tempdir().expect("a temporary directory");
    // Rust would write the quote in another way than YAML reads it.
    let image = format!("oci:{}/it\u{200b}", directory.path().display());
    let output = Command::new(example())
        .args([&image, "/bin/true"])
        .env("CORACLE_ROOT", directory.path().join("root"))
        .output()
        .expect("the example starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("20 of 20 have not completed"), "{stderr}");
}

/// Lets jobs go as soon as so many are connected, one such group after the other. When the next one does not come,
/// none can connect any more.
fn meet(listener: TcpListener) {
    for _ in 0..EXECUTIONS / AT_ONCE {
        let mut met: Vec<TcpStream> = Vec::new();
        while met.len() < AT_ONCE {
            if !readable_within(listener.as_fd(), HANGS_AFTER) {
                return;
            }
            met.push(listener.accept().expect("a connection").0);
        }
    }
}

/// Each waits until four run.
#[test]
fn twenty_jobs_run_four_at_a_time_and_leave_nothing() {
    let directory = tempfile::Builder::new().prefix("coracle-test.").tempdir().expect("a temporary directory");
    let image = FixtureImage::new()
        .program("/bin/toolbox", fixture::toolbox_on_host())
        .directory("/proc", 0o755)
        .entrypoint(&["/bin/toolbox"])
        .write(&directory.path().join("image"))
        .expect("an image");
    let root = directory.path().join("root");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    let mut command = Command::new(example());
    command.args([image.reference.as_str(), "/bin/toolbox", "connect", "127.0.0.1", &port, "--hold"]);
    command.env("CORACLE_ROOT", &root).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = command.spawn().expect("the example starts");
    meet(listener);
    let output = running.wait_with_output().expect("the example ends");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    let rows: Vec<&str> = stdout.lines().skip(1).collect();
    assert_eq!(rows.len(), EXECUTIONS, "{stdout}");
    for row in &rows {
        assert!(row.contains("completed(0)") && row.ends_with("  connected"), "{stdout}");
    }

    let state = StateDir::open(Some(&root)).expect("a root");
    let executions = Record::open(&state).and_then(|record| record.list(&Query::default())).expect("a record");
    assert_eq!(executions.len(), EXECUTIONS);
    let ran = executions.iter().map(|execution| {
        assert_eq!(execution.status, Status::Completed, "{execution:?}");
        assert_eq!(execution.image_digest.as_deref(), Some(image.digest.as_str()));
        (execution.started_at.expect("it ran"), execution.completed_at.expect("it ended"))
    });
    assert_eq!(most_at_once(ran), AT_ONCE, "{stdout}");

    let ids: Vec<String> = executions.into_iter().map(|execution| execution.id).collect();
    let left = Leftovers::of(&root, &ids);
    assert!(left.is_empty(), "{left}");
}
