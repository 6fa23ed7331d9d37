//! Requests that are none, and the end of whoever made one.

use super::harness::Step;
use crate::common::host::Process;
#[cfg(not(feature = "s3"))]
use std::io::Write;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn what_is_no_request_ends_the_step_without_being_quoted() {
    let unknown = r#"{"wait_tcp":{"host":"h","port":1,"interval":{"secs":1,"nanos":0},"more":"hidden"}}"#;
    for line in ["", "{}", "null", unknown, r#"{"s3":"hidden"}"#] {
        let line = Step::start_with(line, None, None).finish().failed();
        assert!(line.contains("another version of coracle") && !line.contains("hidden"), "{line}");
    }
}

#[test]
fn a_request_that_is_cut_is_not_carried_out() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
    let output = command.arg("--role=step").stdin(Stdio::null()).output().expect("the binary starts");
    let line = String::from_utf8(output.stderr).expect("text");
    assert_eq!((output.status.code(), line.contains("it ended after 0 bytes")), (Some(1), true), "{line}");
}

#[test]
fn a_step_does_not_outlive_its_starter() {
    // Nobody listens on port 1.
    let request = r#"{"wait_tcp":{"host":"127.0.0.1","port":1,"interval":{"secs":1,"nanos":0},"resolve":{"hosts":[],"servers":[]}}}"#;
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), format!("{request}\n")).expect("a temporary file");
    let mut starter = Command::new("sh")
        .args(["-c", r#""$0" --role=step <"$1" 2>&1 & echo $!; wait"#, env!("CARGO_BIN_EXE_coracle")])
        .arg(file.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sh starts");
    let lines = BufReader::new(starter.stdout.take().expect("stdout is a pipe")).lines();
    let lines: Vec<String> = lines.take(2).map(|line| line.expect("text")).collect();
    let (waiting, others): (Vec<&String>, _) = lines.iter().partition(|line| line.starts_with("waiting for"));
    assert_eq!((waiting.len(), others.len()), (1, 1), "{lines:?}");
    let step = Process::open(others[0].parse().expect("a pid")).expect("it is alive");
    starter.kill().expect("a child that was not waited for");
    starter.wait().expect("a child that was not waited for");
    assert!(step.ends_within(Duration::from_secs(60)));
}

#[cfg(not(feature = "s3"))]
#[test]
fn a_build_without_s3_says_so() {
    let request = r#"{"s3":{"direction":"pull","bucket":"b","key":"k","endpoint":null,"region":null,"env":[],"credentials_file":null,"anonymous":true,"ca_bundle":null,"addressing":"auto","resolve":{"hosts":[],"servers":[]}}}"#;
    assert!(Step::start_with(request, None, None).finish().failed().contains("feature `s3`"));
    for (kind, path) in [("pull", "destination"), ("push", "source")] {
        let mut spec = tempfile::NamedTempFile::new().expect("a temporary file");
        let step = format!("{{uses: init.s3_{kind}, with: {{bucket: abc, key: k, {path}: /x}}}}");
        let job = format!("{{rtype: job, image: {{name: x}}, init: {{steps: [{step}]}}}}");
        write!(spec, "version: v1\ndeployment: demo\nservices: {{job: {job}}}\n").expect("a temporary file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        let output = command.arg("validate").arg(spec.path()).output().expect("the binary starts");
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(said.contains("init.steps[0].uses: this coracle was built without S3; build it"), "{said}");
    }
}
