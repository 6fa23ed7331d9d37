//! Detached runs and the commands about them: ps, inspect, wait, cancel, rm; deadlines and Ctrl-C.

use super::crash::job_processes;
use crate::common::cli::Coracle;
use crate::common::fixture;
use nix::sys::signal::Signal;
use std::time::Duration;

/// Enough for any machine, far below what the jobs here would take.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_detached_run_is_waited_for_by_id_or_prefix() {
    let coracle = Coracle::new();
    let id = coracle.detach_toolbox(&[], &["exit", "7"]);
    let waited = coracle.run(["wait", &id]).expect_code(7);
    assert!(waited.stdout().contains('7'), "{waited}");
    coracle.run(["wait", &id[..13]]).expect_code(7);
    assert_eq!(coracle.inspect(&id[..13])["id"], id.as_str());
}

#[test]
fn a_prefix_of_two_ids_is_refused() {
    let coracle = Coracle::new();
    let first = coracle.detach_toolbox(&[], &["true"]);
    let second = coracle.detach_toolbox(&[], &["true"]);
    coracle.run(["wait", &first, &second]).expect_code(0);
    // Version 7: both begin with the same milliseconds for years to come.
    let common = &first[..2];
    assert!(second.starts_with(common));
    coracle.run(["inspect", common]).expect_error(125, &[&first, &second]);
}

#[test]
fn ps_lists_live_ones_and_with_a_all() {
    let coracle = Coracle::new();
    let done = coracle.detach_toolbox(&[], &["true"]);
    coracle.run(["wait", &done]).expect_code(0);
    let live = coracle.detach_toolbox(&[], &["trap", "USR1"]);
    until_running(&coracle, &live);
    let ids = |args: &[&str]| -> Vec<String> {
        let output = coracle.run([args, &["--json"]].concat()).expect_code(0);
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        rows.as_array().expect("a list").iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
    };
    assert_eq!(ids(&["ps"]), [live.as_str()]);
    assert_eq!(ids(&["ps", "-a"]), [live.as_str(), done.as_str()]);
    assert_eq!(ids(&["ps", "-a", "--limit", "1"]), [live.as_str()]);
    assert_eq!(ids(&["ps", "-a", "--status", "completed"]), [done.as_str()]);
    assert_eq!(ids(&["ps", "-a", "--job", "no-such-job"]), Vec::<String>::new());
    coracle.run(["cancel", "--grace", "0s", &live]).expect_code(0);
    coracle.run(["wait", &live]).expect_code(137);
}

#[test]
fn the_record_holds_times_and_use() {
    let coracle = Coracle::new();
    coracle.toolbox(&[], &["spin", "0.2"]).expect_code(0);
    let record = coracle.only_execution();
    for field in ["created_at", "started_at", "completed_at"] {
        let text = record[field].as_str().unwrap_or_else(|| panic!("no {field}: {record:#}"));
        assert!(text.ends_with('Z'), "UTC: {record:#}");
    }
    assert!(record["image_digest"].as_str().unwrap_or_default().starts_with("sha256:"), "{record:#}");
    let cpu = |kind: &str| record["usage"][kind].as_f64().unwrap_or(0.0);
    let used = cpu("cpu_user_seconds") + cpu("cpu_system_seconds");
    assert!((0.1..10.0).contains(&used), "{record:#}");
    assert!(record["usage"]["peak_memory_bytes"].as_u64().unwrap_or(0) > 0, "{record:#}");
    let duration = record["duration_seconds"].as_f64().unwrap_or(0.0);
    assert!(duration >= 0.2, "{record:#}");
}

#[test]
fn cancel_ends_a_job_at_once_and_stays_cancelled() {
    let coracle = Coracle::new();
    // The job itself has no handler: under our pid 1 the signal's default action ends it.
    let id = coracle.detach_toolbox(&[], &["sleep", "1000"]);
    until_running(&coracle, &id);
    let supervisor = coracle.supervisor(&id);
    coracle.run(["cancel", &id]).expect_code(0);
    assert!(supervisor.ends_within(SOON), "the supervisor ends with its job");
    coracle.run(["wait", &id]).expect_code(143);
    let record = coracle.inspect(&id);
    assert_eq!(record["status"], "cancelled", "{record:#}");
}

#[test]
fn cancel_lets_a_job_clean_up_within_its_grace_period() {
    let coracle = Coracle::new();
    let id = coracle.detach_toolbox(&[], &["trap", "TERM", "--exit", "3"]);
    until_line(&coracle, &id, "ready");
    coracle.run(["cancel", "--grace", "60s", &id]).expect_code(0);
    coracle.run(["wait", &id]).expect_code(3);
    coracle.run(["logs", &id]).expect_code(0).expect_stdout("ready\ngot 15\n");
    assert_eq!(coracle.inspect(&id)["status"], "cancelled");
}

#[test]
fn cancel_kills_a_job_that_does_not_end() {
    let coracle = Coracle::new();
    let id = coracle.detach_toolbox(&[], &["trap", "TERM"]);
    until_line(&coracle, &id, "ready");
    coracle.run(["cancel", "--grace", "100ms", &id]).expect_code(0);
    coracle.run(["wait", &id]).expect_code(137);
}

/// The first process ends at once; nothing else in its container would.
#[test]
fn cancel_kills_grandchildren_too() {
    for flags in [&[][..], &["--init=false"]] {
        let coracle = Coracle::new();
        let script = "trap 'exit 3' TERM; (trap '' TERM; sleep 1000 & echo ready; wait) & wait";
        let id = coracle
            .detach(&[&["--grace", "1h", "--image", &fixture::busybox()], flags, &["--", "sh", "-c", script]].concat());
        until_line(&coracle, &id, "ready");
        let all = job_processes(&coracle, &id);
        assert!(all.len() >= 3, "two shells and what one has started");
        coracle.run(["cancel", &id]).expect_code(0);
        for process in &all {
            assert!(process.ends_within(SOON), "{flags:?}: {} goes on", process.pid);
        }
        coracle.run(["wait", &id]).expect_code(3);
        assert_eq!(coracle.inspect(&id)["status"], "cancelled");
    }
}

#[test]
fn cancel_of_an_ended_job_changes_nothing() {
    let coracle = Coracle::new();
    coracle.toolbox(&[], &["true"]).expect_code(0);
    let id = coracle.only_execution()["id"].as_str().expect("an id").to_owned();
    let before = coracle.inspect(&id);
    coracle.run(["cancel", &id]).expect_error(125, &[&id, "has ended already: it is completed(0)"]);
    assert_eq!(coracle.inspect(&id), before);
}

#[test]
fn the_stop_signal_of_the_spec_is_used() {
    let coracle = Coracle::new();
    let spec = coracle.job("stop_signal: SIGUSR1\ncommand: [trap, USR1, TERM, --exit, \"5\"]");
    let id = coracle.detach(&[spec.to_str().expect("a plain name")]);
    until_line(&coracle, &id, "ready");
    coracle.run(["cancel", &id]).expect_code(0);
    coracle.run(["wait", &id]).expect_code(5);
    coracle.run(["logs", &id]).expect_code(0).expect_stdout("ready\ngot 10\n");
}

#[test]
fn a_deadline_stops_a_job() {
    let coracle = Coracle::new();
    let finished = coracle.toolbox(&["--deadline", "5s"], &["sleep", "1000"]).expect_code(143);
    assert!(finished.stderr().contains("deadline"), "{finished}");
    let record = coracle.only_execution();
    assert_eq!(record["status"], "failed", "{record:#}");
    assert!(record["reason"].as_str().unwrap_or_default().contains("deadline"), "{record:#}");
}

#[test]
fn ctrl_c_cancels_and_a_second_one_kills() {
    let coracle = Coracle::new();
    let mut running = coracle.start(coracle.toolbox_command(&[], &["trap", "TERM", "--exit", "4"]));
    running.wait_for_line("ready");
    running.process.signal(Signal::SIGINT);
    let finished = running.finish().expect_code(4);
    assert_eq!(finished.stdout(), "got 15\n", "{finished}");
    assert_eq!(coracle.only_execution()["status"], "cancelled");

    let coracle = Coracle::new();
    let mut running = coracle.start(coracle.toolbox_command(&[], &["trap", "TERM"]));
    running.wait_for_line("ready");
    running.process.signal(Signal::SIGINT);
    running.wait_for_line("got 15");
    running.process.signal(Signal::SIGINT);
    running.finish().expect_code(137);
    assert_eq!(coracle.only_execution()["status"], "cancelled");
}

#[test]
fn rm_forgets_an_ended_execution_and_refuses_a_live_one() {
    let coracle = Coracle::new();
    let id = coracle.detach_toolbox(&[], &["sleep", "1000"]);
    until_running(&coracle, &id);
    coracle.run(["rm", &id]).expect_error(125, &["cancel"]);
    coracle.run(["cancel", &id]).expect_code(0);
    coracle.run(["wait", &id]).expect_code(143);
    coracle.run(["rm", &id]).expect_code(0);
    coracle.run(["inspect", &id]).expect_code(125);
    assert!(!coracle.root().join("executions").join(&id).exists());
    assert!(coracle.executions().is_empty());
}

#[test]
fn wait_follows_several_executions() {
    let coracle = Coracle::new();
    let first = coracle.detach_toolbox(&[], &["exit", "0"]);
    let second = coracle.detach_toolbox(&[], &["exit", "5"]);
    let finished = coracle.run(["wait", &first, &second]);
    assert_eq!(finished.lines().len(), 2, "{finished}");
}

/// Tries longer and longer deadlines until `test` says that one has passed where it is to: how far an execution
/// gets before is the machine's affair.
#[track_caller]
pub fn with_deadline(test: impl FnMut(&str) -> bool) {
    assert!(["1s", "4s", "16s", "64s"].into_iter().any(test), "every deadline has passed before");
}

/// Returns when the main process runs.
#[track_caller]
pub fn until_running(coracle: &Coracle, id: &str) {
    coracle.until("its main process", || {
        let record = coracle.inspect(id);
        match record["status"].as_str() {
            Some("running") => true,
            Some("pending" | "initializing") => false,
            _ => panic!("it ended already: {record:#}"),
        }
    });
}

/// Returns when the job has written this line.
pub fn until_line(coracle: &Coracle, id: &str, line: &str) {
    let mut follower = coracle.start(coracle.command(["logs", "-f", id]));
    follower.wait_for_line(line);
    follower.process.signal(Signal::SIGKILL);
    follower.finish();
}
