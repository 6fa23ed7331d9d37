//! `coracle logs`: what a job wrote, kept in a ring.

use crate::common::cli::Coracle;

#[test]
fn both_streams_are_kept_and_told_apart() {
    let coracle = Coracle::new();
    let image = crate::common::fixture::busybox();
    let id = coracle.detach(&["--image", &image, "--", "sh", "-c", "echo out; echo err >&2; echo more"]);
    coracle.run(["wait", &id]).expect_code(0);
    let both = coracle.run(["logs", &id]).expect_code(0);
    assert_eq!((both.stdout().as_str(), both.stderr().as_str()), ("out\nmore\n", "err\n"), "{both}");
    let only = coracle.run(["logs", "--stream", "stderr", &id]).expect_code(0);
    assert!(only.stderr().contains("err") && !only.stdout().contains("out"), "{only}");
    coracle.run(["logs", "--stream", "stdout", &id]).expect_code(0).expect_stdout("out\nmore\n");
}

#[test]
fn the_tail_is_counted_in_lines() {
    let coracle = Coracle::new();
    let id = coracle.detach_toolbox(&[], &["flood", "1600", "--lines"]);
    coracle.run(["wait", &id]).expect_code(0);
    coracle.run(["logs", "--tail", "2", &id]).expect_code(0).expect_stdout("000000000000098\n000000000000099\n");
    coracle.run(["logs", "--tail", "0", &id]).expect_code(0).expect_stdout("");
}

#[test]
fn timestamps_are_utc_and_rise() {
    let coracle = Coracle::new();
    let id = coracle.detach_toolbox(&[], &["tick", "3", "2"]);
    coracle.run(["wait", &id]).expect_code(0);
    let lines = coracle.run(["logs", "--timestamps", &id]).expect_code(0).lines();
    let stamps: Vec<&str> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(stamps.len(), 3, "{lines:?}");
    assert!(stamps.iter().all(|stamp| stamp.ends_with('Z') && stamp.contains('T')), "{lines:?}");
    assert!(stamps.is_sorted(), "{lines:?}");
}

#[test]
fn a_follower_sees_every_line_once_and_ends_with_the_job() {
    let coracle = Coracle::new();
    let id = coracle.detach_toolbox(&[], &["tick", "60", "5"]);
    let follower = coracle.run(["logs", "-f", &id]).expect_code(0);
    let expected: Vec<String> = (1..=60).map(|n: u32| n.to_string()).collect();
    assert_eq!(follower.lines(), expected);
    coracle.run(["wait", &id]).expect_code(0);
}

#[test]
fn the_ring_keeps_the_last_lines_and_says_how_much_is_gone() {
    let coracle = Coracle::new();
    let spec = coracle.job("logs: { max_size_bytes: 65536 }\ncommand: [flood, \"1600000\", --lines]");
    let id = coracle.detach(&[spec.to_str().expect("a plain name")]);
    coracle.run(["wait", &id]).expect_code(0);
    let finished = coracle.run(["logs", &id]).expect_code(0);
    let lines = finished.lines();
    assert_eq!(lines.last().map(String::as_str), Some("000000000099999"), "the last line");
    let kept: usize = finished.stdout.len();
    assert!((16_000..65_536).contains(&kept), "{kept} bytes kept of 65536");
    // Without a hole: the lines that are there follow each other.
    let numbers: Vec<u64> = lines.iter().filter(|line| line.len() == 15).filter_map(|line| line.parse().ok()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "a hole in the log");
    assert!(
        finished.stderr().contains("MiB of output are missing"),
        "it says how much is gone: {:?}",
        finished.stderr()
    );
}

#[test]
fn a_foreground_run_shows_everything_whatever_the_rings_size() {
    let coracle = Coracle::new();
    let spec = coracle.job("logs: { max_size_bytes: 65536 }\ncommand: [flood, \"1600000\", --lines]");
    let finished = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0);
    assert_eq!(finished.lines().len(), 100_000);
}

#[test]
fn every_byte_value_survives() {
    let coracle = Coracle::new();
    let expected = std::process::Command::new(crate::common::fixture::toolbox_on_host())
        .args(["flood", "100000"])
        .output()
        .expect("the toolbox runs here")
        .stdout;
    let finished = coracle.toolbox(&[], &["flood", "100000"]).expect_code(0);
    assert!(finished.stdout == expected, "the foreground's bytes differ");
    let record = coracle.only_execution();
    let logged = coracle.run(["logs", record["id"].as_str().expect("an id")]).expect_code(0);
    assert!(logged.stdout == expected, "the log's bytes differ");
}

#[test]
fn a_grandchild_that_keeps_the_pipe_open_does_not_keep_the_job_running() {
    let coracle = Coracle::new();
    for init in ["--init=true", "--init=false"] {
        coracle.toolbox(&[init], &["orphan", "1000"]).expect_code(0).expect_stdout("left\n");
    }
}

#[test]
fn a_closed_stdout_does_not_end_the_job() {
    let coracle = Coracle::new();
    let spec = coracle.job("command: [flood, \"4000000\", --lines]");
    let mut running = coracle.start({
        let mut command = coracle.command(["run"]);
        command.arg(&spec);
        command
    });
    assert_eq!(running.line().as_deref(), Some("000000000000000"));
    // As `| head -1` does. Which code the front ends with is not said; the job must go on.
    let finished = running.close_stdout().finish();
    assert!(finished.stderr().contains("coracle: note: nobody reads standard output any more"), "{finished}");
    let id = coracle.executions()[0]["id"].as_str().expect("an id").to_owned();
    coracle.run(["wait", &id]).expect_code(0);
    coracle.run(["logs", "--tail", "1", &id]).expect_code(0).expect_stdout("000000000249999\n");
}

#[test]
fn the_log_of_an_unknown_execution_is_an_error() {
    let coracle = Coracle::new();
    coracle.run(["logs", "ffff"]).expect_error(125, &["ffff"]);
}
