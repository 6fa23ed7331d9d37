//! The exit code of `coracle run` follows `docker run`, and the record tells the ends apart.

use crate::common::cli::Coracle;

#[test]
fn the_jobs_own_code_is_the_exit_code() {
    let coracle = Coracle::new();
    for code in [0, 7, 255] {
        coracle.toolbox(&[], &["exit", &code.to_string()]).expect_code(code);
    }
    let ends: Vec<_> =
        coracle.executions().iter().map(|row| (row["status"].clone(), row["exit_code"].clone())).collect();
    assert_eq!(ends, [("failed".into(), 255.into()), ("failed".into(), 7.into()), ("completed".into(), 0.into())]);
}

#[test]
fn a_signal_gives_128_plus_its_number_and_no_exit_code_in_the_record() {
    for (name, number) in [("TERM", 15), ("KILL", 9), ("SEGV", 11)] {
        let coracle = Coracle::new();
        coracle.toolbox(&[], &["signal", name]).expect_code(128 + number);
        let record = coracle.only_execution();
        assert_eq!(record["status"], "failed", "{record:#}");
        assert!(record["exit_code"].is_null(), "a signal is no exit code: {record:#}");
        let reason = record["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(&format!("SIG{name}")), "{record:#}");
    }
}

#[test]
fn exit_code_143_is_not_sigterm() {
    let coracle = Coracle::new();
    coracle.toolbox(&[], &["exit", "143"]).expect_code(143);
    let record = coracle.only_execution();
    assert_eq!(record["exit_code"], 143, "{record:#}");
    assert!(!record["reason"].as_str().unwrap_or_default().contains("SIGTERM"), "{record:#}");
}

#[test]
fn a_job_that_is_pid_1_itself_has_the_same_exit_codes() {
    let coracle = Coracle::new();
    coracle.toolbox(&["--init=false"], &["exit", "7"]).expect_code(7);
    coracle.toolbox(&["--init=false"], &["ps"]).expect_code(0);
    coracle.toolbox(&["--init=false"], &["no-such-applet"]).expect_code(127);
}

#[test]
fn a_command_that_is_not_there_gives_127() {
    let coracle = Coracle::new();
    coracle.toolbox(&[], &["/no/such/program"]).expect_error(127, &["/no/such/program"]);
    coracle.toolbox(&[], &["not-in-path"]).expect_error(127, &["not-in-path"]);
}

#[test]
fn a_command_that_is_no_program_gives_126() {
    let coracle = Coracle::new();
    coracle.toolbox(&[], &["/bin/not-executable"]).expect_error(126, &["/bin/not-executable"]);
    coracle.toolbox(&[], &["/etc"]).expect_error(126, &["/etc"]);
}

#[test]
fn a_failure_of_coracle_gives_125() {
    let coracle = Coracle::new();
    coracle.run(["run", "no-such-file.yaml"]).expect_error(125, &["no-such-file.yaml"]);
    coracle.run(["run", "--no-such-flag"]).expect_code(125);
    coracle.run(["inspect", "0123"]).expect_error(125, &["0123"]);
}

#[test]
fn a_command_too_long_to_report_is_still_one_that_cannot_be_executed() {
    let coracle = Coracle::new();
    let name = format!("/{}", "\u{1}".repeat(100_000));
    coracle.toolbox(&["--entrypoint", ""], &[&name]).expect_error(126, &["failed to execute"]);
}
