//! Registered jobs from their registration to what they leave, and watching them.

use super::lifecycle::{until_line, until_running};
use super::queue::{register, trigger};
use super::retry::fifo;
use crate::common::cli::Coracle;
use crate::common::fixture;
use crate::common::host::{HANGS_AFTER, Process};
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};

#[test]
fn a_registered_job_is_triggered_with_what_differs() {
    let coracle = Coracle::new();
    register(&coracle, "", "command: [env]\nenv: { ONE: a, TWO: b }");
    let finished = coracle.run(["trigger", "job", "--env", "TWO=c", "-e", "THREE=d", "--wait"]).expect_code(0);
    let id = finished.stdout().trim().to_owned();
    let lines = coracle.run(["logs", &id]).expect_code(0).lines();
    for expected in ["ONE=a", "TWO=c", "THREE=d", "CORACLE_JOB_NAME=job", "CORACLE_ATTEMPT=1"] {
        assert!(lines.iter().any(|line| line == expected), "no {expected} in {lines:?}");
    }
    let coded = coracle.run(["trigger", "job", "--wait", "--", "exit", "7"]).expect_code(7);
    let record = coracle.inspect(coded.stdout().trim());
    assert_eq!((&record["job"], &record["trigger"]["kind"]), (&"job".into(), &"cli".into()), "{record:#}");
    let json = coracle.run(["trigger", "job", "--wait", "--json", "--", "exit", "9"]).expect_code(9);
    let document: serde_json::Value = serde_json::from_slice(&json.stdout).expect("one document");
    assert_eq!((&document["status"], &document["exit_code"]), (&"failed".into(), &9.into()));
    let job = coracle.run(["jobs", "ls"]).expect_code(0).stdout();
    assert!(job.contains("failed(9) "), "{job}");
}

#[test]
fn executions_outlive_their_job() {
    let coracle = Coracle::new();
    register(&coracle, "", "command: [trap, TERM, --exit, \"4\"]");
    let id = trigger(&coracle, &[]);
    until_line(&coracle, &id, "ready");
    let removed = coracle.run(["jobs", "rm", "job"]).expect_code(0).expect_stdout("removed: job\n");
    assert!(removed.stderr().contains("its executions stay (1)"), "{removed}");
    coracle.run(["cancel", &id]).expect_code(0);
    coracle.run(["wait", &id]).expect_code(4);
}

#[test]
fn ctrl_c_ends_the_waiting_and_not_the_job() {
    let coracle = Coracle::new();
    register(&coracle, "", "command: [sleep, \"1000\"]");
    let mut waiting = coracle.start(coracle.command(["trigger", "job", "--wait"]));
    let id = waiting.line().expect("an id");
    until_running(&coracle, &id);
    waiting.process.signal(Signal::SIGINT);
    let finished = waiting.finish().expect_code(130);
    assert!(finished.stderr().contains("the job goes on") && finished.stderr().contains(&id), "{finished}");
    assert_eq!(coracle.inspect(&id)["status"], "running");
    coracle.run(["cancel", &id]).expect_code(0);
    coracle.run(["wait", &id]).expect_code(143);
}

/// A running `events --json`.
struct Events {
    child: Child,
    lines: Receiver<Value>,
}

impl Events {
    /// Returns when it is heard.
    fn start(coracle: &Coracle, arguments: &[&str]) -> Events {
        let mut command = coracle.command([&["events", "--json"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let line = line.expect("lines of text");
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                // The test may have seen enough.
                let _ = sender.send(event);
            }
        });
        let events = Events { child, lines };
        // It says nothing before something changes.
        coracle.until("an event", || {
            coracle.toolbox(&["--name", "probe"], &["true"]).expect_code(0);
            events.lines.try_recv().is_ok()
        });
        events
    }

    /// The next one of this kind.
    #[track_caller]
    fn next(&self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.lines.recv_timeout(HANGS_AFTER).expect("another event");
            if is_wanted(&event) {
                return event;
            }
        }
    }

    /// Everything that is told of an execution, up to its end.
    fn of(&self, id: &str) -> Vec<Value> {
        let mut told = Vec::new();
        loop {
            let event = self.next(|event| event["id"] == id);
            let is_last = matches!(event["status"].as_str(), Some("completed" | "failed" | "cancelled"));
            told.push(event);
            if is_last {
                return told;
            }
        }
    }

    fn interrupt(mut self) {
        Process::open(self.child.id() as i32).expect("a child that was not waited for").signal(Signal::SIGINT);
        assert_eq!(self.child.wait().expect("a child").code(), Some(0));
    }
}

fn statuses(told: &[Value]) -> Vec<(u64, &str)> {
    // Steps that are too short to be seen are not told.
    let stages = told.iter().filter(|event| event["init_step"].is_null());
    stages
        .map(|event| (event["attempt"].as_u64().expect("a number"), event["status"].as_str().expect("text")))
        .collect()
}

#[test]
fn a_whole_life_is_told_as_it_happens() {
    let coracle = Coracle::new();
    let events = Events::start(&coracle, &[]);
    let image = fixture::busybox();
    let body = format!(
        "image: {{ name: {image:?} }}\ninit: {{ steps: [{{ uses: init.run, with: {{ command: [\"true\"] }} }}] }}\n\
         command: [sh, -c, \"exit $((CORACLE_ATTEMPT + 4))\"]"
    );
    register(&coracle, "retry: { max_attempts: 2, backoff: { initial: 1ms } }", &body);
    let id = trigger(&coracle, &[]);
    let told = events.of(&id);
    let attempt = |number| [(number, "pending"), (number, "initializing"), (number, "running")];
    let expected = [&attempt(1)[..], &attempt(2), &[(2, "failed")]].concat();
    assert_eq!(statuses(&told), expected, "{told:#?}");
    let last = told.last().expect("an end");
    assert_eq!(
        (&last["exit_code"], &last["job"], &last["reason"]),
        (&6.into(), &"job".into(), &"exited with code 6".into())
    );
    assert_eq!(last["trigger"]["kind"], "cli");
    events.interrupt();
}

#[test]
fn events_of_other_processes_are_told_of_one_job_alone() {
    let coracle = Coracle::new();
    let events = Events::start(&coracle, &["--job", "probe"]);
    coracle.toolbox(&["--name", "other"], &["true"]).expect_code(0);
    let id = coracle.detach_toolbox(&["--name", "probe"], &["trap", "TERM", "--exit", "4"]);
    until_line(&coracle, &id, "ready");
    coracle.run(["cancel", &id]).expect_code(0);
    coracle.run(["wait", &id]).expect_code(4);
    let told = events.of(&id);
    assert_eq!(statuses(&told), [(1, "pending"), (1, "initializing"), (1, "running"), (1, "cancelled")]);
    assert!(told.iter().all(|event| event["job"] == "probe"), "{told:#?}");
    events.interrupt();
}

/// What a step leaves behind makes the end take a moment.
#[test]
fn a_job_whose_main_process_never_ran_is_told_as_running_by_nobody() {
    let coracle = Coracle::new();
    let events = Events::start(&coracle, &[]);
    let files = "i=0; while [ $i -lt 3000 ]; do : > /tmp/$i; i=$((i + 1)); done";
    let image = fixture::busybox();
    for (end, more) in [("exit 3", ""), ("sleep 1000", "job: { deadline: 2s }")] {
        let spec = coracle.job(&format!(
            "image: {{ name: {image:?} }}\nstop_grace_period: 0s\n{more}\n\
             init: {{ steps: [{{ id: late, uses: init.run, with: {{ command: {:?} }} }}] }}\ncommand: [\"true\"]",
            format!("{files}; {end}")
        ));
        let id = coracle.detach(&[spec.to_str().expect("a plain name")]);
        let told = events.of(&id);
        let mut statuses: Vec<&str> = told.iter().filter_map(|event| event["status"].as_str()).collect();
        statuses.dedup();
        assert_eq!(statuses, ["pending", "initializing", "failed"], "{told:#?}");
    }
    events.interrupt();
}

#[test]
fn logs_of_one_step_are_told_apart() {
    let coracle = Coracle::new();
    let spec = coracle.job(
        "init: { steps: [{ id: one, uses: init.run, with: { command: [echo, first] } }, \
         { id: two, uses: init.run, with: { command: [echo, second] } }] }\ncommand: [echo, main]",
    );
    let id = coracle.detach(&[spec.to_str().expect("a plain name")]);
    coracle.run(["wait", &id]).expect_code(0);
    coracle.run(["logs", &id, "--step", "two"]).expect_code(0).expect_stdout("second\n");
    coracle.run(["logs", &id, "--step", "three"]).expect_error(125, &["no init step \"three\"", "one, two"]);
}

#[test]
fn each_try_of_an_init_step_is_told_with_its_number_and_time() {
    let coracle = Coracle::new();
    let (fifo, mount) = fifo(&coracle);
    let image = fixture::busybox();
    let body = format!(
        "image: {{ name: {image:?} }}\n{mount}\n\
         errors: {{ on_init_failure: {{ action: restart, retries: 2 }} }}\n\
         init: {{ steps: [{{ id: asks, uses: init.run, retry: 1, with: {{ command: \"read code < /io/fifo; exit $code\" }} }}] }}\n\
         command: [\"true\"]"
    );
    register(&coracle, "", &body);
    let events = Events::start(&coracle, &[]);
    let id = trigger(&coracle, &[]);
    let mut told = Vec::new();
    // The third try is in the second run of the steps.
    for code in ["1", "1", "0"] {
        let event = events.next(|event| !event["init_step"].is_null());
        let record = coracle.inspect(&id);
        assert!(
            record["init_step_elapsed_seconds"].as_f64() >= event["init_step_elapsed_seconds"].as_f64(),
            "{record:#}"
        );
        for field in ["init_step", "init_step_attempt", "init_step_max_attempts"] {
            assert_eq!(record[field], event[field], "{record:#}");
        }
        told.push(event);
        let mut options = File::options();
        // Opens when the step has.
        options.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let mut fifo = coracle.found("the step that reads", || options.open(&fifo).ok());
        writeln!(fifo, "{code}").expect("a FIFO");
    }
    coracle.run(["wait", &id]).expect_code(0);
    for (event, number) in told.iter().zip(1..) {
        assert_eq!((&event["init_step"], &event["status"]), (&"asks".into(), &"initializing".into()), "{event:#}");
        assert_eq!(
            (&event["init_step_attempt"], &event["init_step_max_attempts"]),
            (&number.into(), &6.into()),
            "{event:#}"
        );
    }
    let elapsed = |index: usize| told[index]["init_step_elapsed_seconds"].as_f64().expect("seconds");
    assert!(elapsed(1) > elapsed(0) && elapsed(1) > elapsed(2), "{told:#?}");
    events.interrupt();
}
