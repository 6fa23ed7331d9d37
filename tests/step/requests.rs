//! Requests that are none.

use super::harness::Step;

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
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_coracle"));
    let output = command.arg("--role=step").stdin(std::process::Stdio::null()).output().expect("the binary starts");
    let line = String::from_utf8(output.stderr).expect("text");
    assert_eq!((output.status.code(), line.contains("it ended after 0 bytes")), (Some(1), true), "{line}");
}
