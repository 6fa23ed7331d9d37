//! The example that embeds the library, with real containers.

#![allow(clippy::disallowed_methods, reason = "tests write files and start programs")]

mod common;

use common::fixture;
use common::leftovers::Leftovers;
use coracle::record::{Query, Record, Status};
use coracle::state_dir::StateDir;
use coracle::testing::FixtureImage;
use jiff::Timestamp;
use std::path::PathBuf;
use std::process::Command;

const EXECUTIONS: usize = 20;
const AT_ONCE: i32 = 4;

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
    let mut command = Command::new(example());
    command.args([image.reference.as_str(), "/bin/toolbox", "echo", "hello from inside"]);
    let output = command.env("CORACLE_ROOT", &root).output().expect("the example starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    let rows: Vec<&str> = stdout.lines().skip(1).collect();
    assert_eq!(rows.len(), EXECUTIONS, "{stdout}");
    for row in &rows {
        assert!(row.contains("completed(0)") && row.ends_with("hello from inside"), "{stdout}");
    }

    let state = StateDir::open(Some(&root)).expect("a root");
    let executions = Record::open(&state).and_then(|record| record.list(&Query::default())).expect("a record");
    assert_eq!(executions.len(), EXECUTIONS);
    let mut moments: Vec<(Timestamp, i32)> = Vec::new();
    for execution in &executions {
        assert_eq!(execution.status, Status::Completed, "{execution:?}");
        assert_eq!(execution.image_digest.as_deref(), Some(image.digest.as_str()));
        moments.push((execution.started_at.expect("it ran"), 1));
        moments.push((execution.completed_at.expect("it ended"), -1));
    }
    moments.sort_unstable();
    let running = moments.iter().scan(0, |running, (_, change)| {
        *running += change;
        Some(*running)
    });
    let most = running.max().expect("some ran");
    assert!(most <= AT_ONCE, "{most} at once\n{stdout}");

    let ids: Vec<String> = executions.into_iter().map(|execution| execution.id).collect();
    let left = Leftovers::of(&root, &ids);
    assert!(left.is_empty(), "{left}");
}
