//! Limits on executions at once, across processes, and what happens to those beyond them.

use super::lifecycle::{until_line, until_running};
use super::record::{of_each, statuses, statuses_in_the_end, until_count};
use crate::common::cli::Coracle;
use crate::common::leftovers;
use nix::sys::signal::Signal;

/// Registers the toolbox as `job`, with this `job:` block and further fields.
pub fn register(coracle: &Coracle, policy: &str, body: &str) {
    let spec = coracle.job(&format!("job: {{ {policy} }}\n{body}"));
    coracle.run(["jobs".as_ref(), "add".as_ref(), spec.as_os_str()]).expect_code(0);
}

/// Triggers `job` with these arguments.
pub fn trigger(coracle: &Coracle, arguments: &[&str]) -> String {
    let finished = coracle.run([&["trigger", "job"], arguments].concat()).expect_code(0);
    finished.stdout().trim().to_owned()
}

fn sleeper(coracle: &Coracle) -> String {
    let id = trigger(coracle, &["--", "sleep", "1000"]);
    until_running(coracle, &id);
    id
}

fn cancel(coracle: &Coracle, id: &str) {
    coracle.run(["cancel", id]).expect_code(0);
    coracle.run(["wait", id]).expect_code(143);
}

#[test]
fn one_after_the_other_in_the_order_of_their_triggers() {
    let coracle = Coracle::new();
    register(&coracle, "max_concurrent: 1", "command: [\"true\"]");
    let first = sleeper(&coracle);
    let ids: Vec<String> = (0..9).map(|_| trigger(&coracle, &[])).collect();
    let last = ids.last().expect("nine");
    let waiting = coracle.inspect(last);
    assert_eq!((&waiting["status"], &waiting["waiting"]), (&"pending".into(), &true.into()), "{waiting:#}");
    assert_eq!(waiting["queue"], serde_json::json!({"running": 1, "waiting": 8}), "{waiting:#}");
    let shown = coracle.run(["inspect", last]).expect_code(0).stdout();
    assert!(shown.contains("waiting for its turn: 1 running and 8 waiting before it"), "{shown}");
    assert!(coracle.run(["ps"]).stdout().contains("pending (waiting)"));
    coracle.run(["cancel", &first]).expect_code(0);
    let ended = statuses_in_the_end(&coracle);
    assert_eq!((ended[0].as_str(), &ended[1..]), ("cancelled", &["completed"; 9].map(str::to_owned)[..]));
    let codes = coracle.run([&["wait"][..], &ids.iter().map(String::as_str).collect::<Vec<_>>()].concat());
    assert_eq!(codes.expect_code(0).lines(), ["0"; 9]);
    let mut records: Vec<_> = coracle.executions();
    records.reverse();
    let listed: Vec<_> = records.iter().filter_map(|record| record["id"].as_str()).collect();
    assert_eq!(listed, [&[first][..], &ids].concat(), "ids grow with time");
    for pair in records.windows(2) {
        let time = |record: &serde_json::Value, field: &str| -> jiff::Timestamp {
            record[field].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{record:#}"))
        };
        assert!(time(&pair[0], "completed_at") <= time(&pair[1], "started_at"), "{pair:#?}");
    }
}

/// A settler may be there, and no more.
#[test]
fn waiting_costs_rows_and_no_processes() {
    const WAITING: usize = 30;
    let coracle = Coracle::new();
    let processes = || leftovers::processes(&coracle.root()).len();
    register(&coracle, "max_concurrent: 1", "command: [\"true\"]");
    sleeper(&coracle);
    let running = processes();
    for _ in 0..WAITING {
        trigger(&coracle, &[]);
    }
    assert_eq!(of_each::<String>(&coracle, "place"), [&["occupied"][..], &["waiting"; WAITING]].concat());
    coracle.until("the end of all others", || processes() <= running + 1);
    coracle.run(["cancel", "--job", "job"]).expect_code(0);
    statuses_in_the_end(&coracle);

    let missing = format!("image: {{ name: \"oci:{}:latest\" }}", coracle.scratch().join("missing").display());
    let policy = "on_conflict: allow, retry: { max_attempts: 2, backoff: { initial: 1h, max: 1h } }";
    register(&coracle, policy, &missing);
    for _ in 0..WAITING {
        trigger(&coracle, &[]);
    }
    coracle.until("thirty waits for an attempt", || {
        of_each::<bool>(&coracle, "retry_at IS NOT NULL").into_iter().filter(|is_so| *is_so).count() == WAITING
    });
    coracle.until("the end of all others", || processes() <= 1);
    coracle.run(["cancel", "--job", "job"]).expect_code(0);
}

#[test]
fn a_conflict_is_an_error_where_it_is_forbidden() {
    let coracle = Coracle::new();
    register(&coracle, "on_conflict: forbid", "command: [\"true\"]");
    let first = sleeper(&coracle);
    let refused =
        coracle.run(["trigger", "job"]).expect_error(125, &[&first, "no more than 1 may run at once", "hint: "]);
    assert_eq!(refused.stdout(), "");
    assert_eq!(coracle.executions().len(), 1);
    cancel(&coracle, &first);
    coracle.run(["trigger", "job", "--wait"]).expect_code(0);
}

#[test]
fn a_new_execution_replaces_the_others() {
    let coracle = Coracle::new();
    register(&coracle, "on_conflict: replace", "command: [\"true\"]");
    let first = sleeper(&coracle);
    let second = trigger(&coracle, &[]);
    coracle.run(["wait", &second]).expect_code(0);
    assert_eq!(coracle.inspect(&first)["status"], "cancelled");
}

#[test]
fn without_a_limit_they_run_side_by_side() {
    let coracle = Coracle::new();
    register(&coracle, "on_conflict: allow", "command: [\"true\"]");
    let both = [sleeper(&coracle), sleeper(&coracle)];
    let overview: serde_json::Value =
        serde_json::from_slice(&coracle.run(["jobs", "ls", "--json"]).stdout).expect("JSON");
    assert_eq!(overview[0]["running"], 2, "{overview:#}");
    let cancelled = coracle.run(["cancel", "--job", "job"]).expect_code(0);
    assert_eq!(cancelled.lines(), [both[1].clone(), both[0].clone()]);
    both.iter().for_each(|id| drop(coracle.run(["wait", id]).expect_code(143)));
}

#[test]
fn waiting_too_long_is_a_failure() {
    let coracle = Coracle::new();
    register(&coracle, "max_concurrent: 1, queue_deadline: 200ms", "command: [\"true\"]");
    let first = sleeper(&coracle);
    let second = trigger(&coracle, &[]);
    coracle.run(["wait", &second]).expect_code(125);
    let record = coracle.inspect(&second);
    assert_eq!((&record["status"], &record["end"]["kind"]), (&"failed".into(), &"deadline".into()), "{record:#}");
    assert_eq!(record["end"]["stopped"]["kind"], "in_queue", "{record:#}");
    cancel(&coracle, &first);
}

#[test]
fn what_waits_is_cancelled_at_once() {
    let coracle = Coracle::new();
    register(&coracle, "max_concurrent: 1", "command: [\"true\"]");
    let first = sleeper(&coracle);
    let second = trigger(&coracle, &[]);
    coracle.run(["cancel", &second]).expect_code(0);
    let record = coracle.inspect(&second);
    assert_eq!((&record["status"], &record["started_at"]), (&"cancelled".into(), &serde_json::Value::Null));
    cancel(&coracle, &first);
}

#[test]
fn a_foreground_run_says_that_it_waits() {
    let coracle = Coracle::new();
    let flags = ["--name", "job", "--max-concurrent", "1"];
    let holder = coracle.detach_toolbox(&flags, &["sleep", "1000"]);
    until_running(&coracle, &holder);
    let waiting = coracle.start(coracle.toolbox_command(&flags, &["echo", "my turn"]));
    until_count(&coracle, 2);
    coracle.run(["cancel", &holder]).expect_code(0);
    let finished = waiting.finish().expect_code(0).expect_stdout("my turn\n");
    assert!(finished.stderr().contains("note: waiting for its turn: 1 running before it"), "{finished}");
}

#[test]
fn a_stopped_run_that_waits_holds_nobody_up() {
    let coracle = Coracle::new();
    let flags = ["--name", "job", "--max-concurrent", "1"];
    let holder = coracle.detach_toolbox(&flags, &["sleep", "1000"]);
    until_running(&coracle, &holder);
    let stopped = coracle.start(coracle.toolbox_command(&flags, &["echo", "my turn"]));
    until_count(&coracle, 2);
    stopped.process.signal(Signal::SIGSTOP);
    let younger = coracle.detach_toolbox(&flags, &["true"]);
    coracle.run(["cancel", &holder]).expect_code(0);
    coracle.until("the younger one's end", || statuses(&coracle)[2] == "completed");
    coracle.run(["wait", &younger]).expect_code(0);
    stopped.process.signal(Signal::SIGCONT);
    stopped.finish().expect_code(0).expect_stdout("my turn\n");
}

#[test]
fn ctrl_c_ends_a_run_that_waits() {
    let coracle = Coracle::new();
    let flags = ["--name", "job", "--max-concurrent", "1"];
    let holder = coracle.detach_toolbox(&flags, &["sleep", "1000"]);
    until_running(&coracle, &holder);
    let waiting = coracle.start(coracle.toolbox_command(&flags, &["echo", "never"]));
    until_count(&coracle, 2);
    waiting.process.signal(Signal::SIGINT);
    let finished = waiting.finish().expect_code(130).expect_stdout("");
    assert!(finished.stderr().contains("cancelled before its start"), "{finished}");
    let records = coracle.executions();
    assert_eq!(records[0]["status"], "cancelled", "{records:#?}");
    cancel(&coracle, &holder);
}

#[test]
fn the_configuration_limits_all_jobs_together() {
    let coracle = Coracle::new();
    let config = coracle.file("config.yaml", "jobs: { max_concurrent: 1, retention: { keep_last: 1 } }\n");
    let run = |arguments: &[&str]| {
        let mut command = coracle.command(arguments);
        command.env("CORACLE_CONFIG", &config);
        coracle.finish(command).expect_code(0).stdout().trim().to_owned()
    };
    let image = crate::common::fixture::toolbox();
    let first = run(&["run", "-d", "--image", &image, "--name", "one", "--", "echo", "one"]);
    coracle.run(["wait", &first]).expect_code(0);
    let holder = run(&["run", "-d", "--image", &image, "--name", "two", "--", "trap", "TERM"]);
    until_line(&coracle, &holder, "ready");
    let other = run(&["run", "-d", "--image", &image, "--name", "three", "--", "true"]);
    assert_eq!(coracle.inspect(&other)["queue"], serde_json::json!({"running": 1, "waiting": 0}));
    coracle.run(["cancel", "--grace", "0s", &holder]).expect_code(0);
    coracle.run(["wait", &other]).expect_code(0);
    coracle.run(["prune"]).expect_code(0);
    let left: Vec<_> = coracle.executions().iter().map(|record| record["id"].clone()).collect();
    assert_eq!(left, [other], "only the newest one is kept");
}
