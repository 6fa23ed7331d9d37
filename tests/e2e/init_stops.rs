//! Cancel, deadline and the supervisor's death during every kind of init step, and during waits between tries.

use super::init_checks::Closed;
use super::lifecycle::{until_line, with_deadline};
use crate::common::cli::Coracle;
use crate::common::host::Process;
use crate::common::leftovers;
use nix::sys::signal::Signal;
use std::time::Duration;

/// What DESIGN promises for the end of a container whose supervisor died.
const WITHIN_A_SECOND: Duration = Duration::from_secs(1);

/// Jobs that would take for ever in their first step, by name, and whether that is by a wait between tries. Whoever
/// waits for a process to go by itself, instead of telling it, waits for longer than any test.
fn endless(port: u16) -> Vec<(&'static str, String, bool)> {
    let job = |step: &str, more: &str| {
        format!("stop_grace_period: 1h\n{more}init:\n  steps:\n  - {step}\ncommand: [echo, main]")
    };
    let run = |fields: &str, command: &str| format!("{{ uses: init.run, {fields} with: {{ command: {command} }} }}");
    let image = crate::common::fixture::busybox();
    vec![
        ("run", job(&run("", "[sleep, \"1000\"]"), ""), false),
        (
            "image",
            job(&format!("{{ uses: init.run, with: {{ image: {image:?}, command: [sleep, \"1000\"] }} }}"), ""),
            false,
        ),
        ("tcp", job(&wait_tcp(port), ""), false),
        ("private", job(&wait_tcp(port), "network_mode: none\n"), false),
        (
            "http",
            job(
                &format!("{{ uses: init.wait_http, with: {{ url: \"http://127.0.0.1:{port}/\", interval: 10ms }} }}"),
                "",
            ),
            false,
        ),
        ("retry", job(&run("retry: { count: 1, initial: 1h, max: 1h },", "[exit, \"1\"]"), ""), true),
        (
            "sequence",
            job(&run("", "[exit, \"1\"]"), "errors: { on_init_failure: { action: backoff, initial: 1h, max: 1h } }\n"),
            true,
        ),
    ]
}

fn wait_tcp(port: u16) -> String {
    format!("{{ uses: init.wait_tcp, with: {{ host: 127.0.0.1, port: {port}, interval: 10ms }} }}")
}

/// Returns when the step has begun, or its wait.
pub fn until_step(coracle: &Coracle, id: &str, waiting: bool) {
    let path = coracle.container(id).join("state");
    coracle.until("its init step", || {
        let text = std::fs::read(&path).unwrap_or_default();
        let state: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let step = &state["stage"]["step"];
        if step["waiting"] == waiting && step["attempt"] == 1 {
            return true;
        }
        let status = coracle.inspect(id)["status"].to_string();
        assert!(["\"pending\"", "\"initializing\""].contains(&status.as_str()), "it is {status} already");
        false
    });
}

#[test]
fn cancel_acts_at_once() {
    for (name, body, waiting) in endless(Closed::new().1) {
        let coracle = Coracle::new();
        let spec = coracle.job(&body);
        let id = coracle.detach(&[spec.to_str().expect("a plain name")]);
        until_step(&coracle, &id, waiting);
        assert_eq!(coracle.inspect(&id)["init_step_waiting"], waiting, "{name}");
        let shown = coracle.run(["inspect", &id]).expect_code(0).stdout();
        assert_eq!(shown.contains("initializing step-1 (waiting for try 2)"), waiting, "{name}: {shown}");
        coracle.run(["cancel", &id]).expect_code(0);
        coracle.run(["wait", &id]).expect_code(143);
        let record = coracle.inspect(&id);
        assert_eq!(record["status"], "cancelled", "{name}: {record:#}");
        assert!(record["started_at"].is_null(), "{name}: the main process never ran: {record:#}");
        let reason = record["reason"].as_str().unwrap_or_default();
        assert!(reason.starts_with("cancelled in init step \"step-1\""), "{name}: {record:#}");
        assert_eq!(reason.contains("it exited with code 1"), waiting, "{name}: {record:#}");
    }
}

/// The step would have failed, and the job gone on without it.
#[test]
fn cancel_counts_while_a_step_ends_whose_time_is_over() {
    for policy in ["on_failure: continue", "retry: { count: 1, initial: 1ms }"] {
        let coracle = Coracle::new();
        let step = format!("{{ uses: init.run, timeout: 2s, {policy}, with: {{ command: [trap, TERM] }} }}");
        let spec = coracle.job(&format!("stop_grace_period: 1h\ninit:\n  steps:\n  - {step}\ncommand: [echo, main]"));
        let id = coracle.detach(&[spec.to_str().expect("a plain name")]);
        until_line(&coracle, &id, "got 15");
        coracle.run(["cancel", "--grace", "0s", &id]).expect_code(0);
        coracle.run(["wait", &id]).expect_code(143);
        let record = coracle.inspect(&id);
        assert_eq!(record["status"], "cancelled", "{policy}: {record:#}");
        assert!(record["reason"].as_str().unwrap_or_default().contains("in init step \"step-1\""), "{record:#}");
        let log = coracle.run(["logs", &id]).expect_code(0);
        assert!(!log.lines().iter().any(|line| line == "main"), "{log}");
    }
}

#[test]
fn an_interrupted_run_ends_with_its_signal() {
    for (name, body, waiting) in endless(Closed::new().1) {
        let coracle = Coracle::new();
        let spec = coracle.job(&body);
        let running = coracle.start(coracle.command(["run".as_ref(), spec.as_os_str()]));
        let id = coracle.found("an execution in its init steps", || {
            let all = coracle.executions();
            let record = all.first().filter(|record| record["status"] == "initializing")?;
            Some(record["id"].as_str().expect("an id").to_owned())
        });
        until_step(&coracle, &id, waiting);
        running.process.signal(Signal::SIGINT);
        let finished = running.finish().expect_code(130);
        assert!(finished.stderr().contains("cancelled"), "{name}: {finished}");
    }
}

#[test]
fn the_deadline_acts_at_once() {
    for (name, body, _) in endless(Closed::new().1) {
        with_deadline(|deadline| {
            let coracle = Coracle::new();
            let spec = coracle.job(&format!("job: {{ deadline: {deadline} }}\n{body}"));
            coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(125);
            let record = coracle.only_execution();
            assert_eq!((&record["status"], &record["end"]["kind"]), (&"failed".into(), &"deadline".into()), "{name}");
            if record["end"]["stopped"]["kind"] == "before_start" {
                return false;
            }
            let reason = record["reason"].as_str().unwrap_or_default();
            let said = format!("deadline of {deadline} passed in init step \"step-1\"");
            assert!(reason.starts_with(&said), "{name}: {record:#}");
            true
        });
    }
}

#[test]
fn everything_dies_with_the_supervisor() {
    for (name, body, waiting) in endless(Closed::new().1) {
        let coracle = Coracle::new();
        let spec = coracle.job(&body);
        let id = coracle.detach(&[spec.to_str().expect("a plain name")]);
        until_step(&coracle, &id, waiting);
        let supervisor = coracle.supervisor(&id);
        // Nothing of a step role's tells which root it is for.
        let children = format!("/proc/{0}/task/{0}/children", supervisor.pid);
        let children = std::fs::read_to_string(children).expect("it lives");
        let children = children.split_whitespace().filter_map(|pid| Process::open(pid.parse().expect("a number")));
        let all: Vec<Process> =
            leftovers::processes(&coracle.root()).into_iter().map(|related| related.handle).chain(children).collect();
        supervisor.signal(Signal::SIGKILL);
        for process in &all {
            assert!(process.ends_within(WITHIN_A_SECOND), "{name}: {} goes on", process.pid);
        }
        coracle.run(["wait", &id]).expect_code(125);
        let record = coracle.inspect(&id);
        assert!(record["reason"].as_str().unwrap_or_default().starts_with("supervisor lost"), "{name}: {record:#}");
    }
}
