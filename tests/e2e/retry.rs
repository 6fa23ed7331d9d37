//! Attempts after failures, deadlines over all of them, and triggers that start nothing new.

use super::queue::{register, trigger};
use super::record::{of_each, statuses_in_the_end, until_backoff};
use crate::common::cli::Coracle;
use crate::common::fixture;
use crate::common::host::{HANGS_AFTER, readable_within};
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Registers a shell script as `job`.
pub fn script(coracle: &Coracle, policy: &str, script: &str, more: &str) {
    let image = fixture::busybox();
    let body = format!("image: {{ name: {image:?} }}\ncommand: [sh, -c, {script:?}]\n{more}");
    register(coracle, policy, &body);
}

const QUICK: &str = "retry: { max_attempts: 3, backoff: { initial: 1ms } }";

#[test]
fn every_attempt_keeps_its_end_and_its_log() {
    let coracle = Coracle::new();
    script(&coracle, QUICK, "echo attempt $CORACLE_ATTEMPT; exit $((CORACLE_ATTEMPT + 4))", "");
    let finished = coracle.run(["trigger", "job", "--wait"]).expect_error(
        7,
        &[
            "note: attempt 1 failed: exited with code 5; next in 1ms (2 of 3)",
            "note: attempt 2 failed: exited with code 6; next in 2ms (3 of 3)",
        ],
    );
    let id = finished.stdout().trim().to_owned();
    for attempt in 1..=3 {
        let log = coracle.run(["logs", &id, "--attempt", &attempt.to_string()]);
        log.expect_code(0).expect_stdout(&format!("attempt {attempt}\n"));
    }
    coracle.run(["logs", &id]).expect_code(0).expect_stdout("attempt 3\n");
    coracle.run(["logs", &id, "--attempt", "4"]).expect_error(125, &["no attempt 4", "newest one is 3"]);
    let record = coracle.inspect(&id);
    assert_eq!((&record["attempt"], &record["max_attempts"]), (&3.into(), &3.into()), "{record:#}");
    let codes: Vec<_> =
        record["attempts"].as_array().expect("a list").iter().map(|it| it["exit_code"].clone()).collect();
    assert_eq!(codes, [5, 6, 7]);
    let shown = coracle.run(["inspect", &id]).stdout();
    assert!(shown.contains("attempts:     3 of 3") && shown.contains("attempt:      1: exited with code 5"), "{shown}");
    let stats: serde_json::Value = serde_json::from_slice(&coracle.run(["stats", "--json"]).stdout).expect("JSON");
    assert_eq!((&stats["executions"]["all"], &stats["attempts"]), (&1.into(), &3.into()), "{stats:#}");
}

#[test]
fn a_foreground_run_shows_every_attempt() {
    let coracle = Coracle::new();
    let image = fixture::busybox();
    let body = format!(
        "image: {{ name: {image:?} }}\njob: {{ {QUICK} }}\n\
         command: [sh, -c, \"echo attempt $CORACLE_ATTEMPT; [ $CORACLE_ATTEMPT = 2 ]\"]"
    );
    let spec = coracle.job(&body);
    let finished = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0);
    assert_eq!(finished.stdout(), "attempt 1\nattempt 2\n", "{finished}");
    assert!(finished.stderr().contains("attempt 1 failed: exited with code 1; next in 1ms (2 of 3)"), "{finished}");
    assert_eq!(coracle.only_execution()["status"], "completed");
}

#[test]
fn a_flag_asks_for_further_attempts() {
    let coracle = Coracle::new();
    let finished = coracle.toolbox(&["--retry", "1"], &["exit", "3"]).expect_code(3);
    assert!(finished.stderr().contains("attempt 1 failed: exited with code 3; next in 1s (2 of 2)"), "{finished}");
    assert_eq!(coracle.only_execution()["attempts"].as_array().map(Vec::len), Some(2));
}

#[test]
fn exit_codes_decide() {
    let coracle = Coracle::new();
    let policy = "retry: { max_attempts: 3, backoff: { initial: 1ms }, never_on_exit_codes: [2] }";
    script(&coracle, policy, "exit $((CORACLE_ATTEMPT))", "");
    let finished = coracle.run(["trigger", "job", "--wait"]).expect_code(2);
    assert_eq!(coracle.inspect(finished.stdout().trim())["attempt"], 2, "{finished}");
}

#[test]
fn a_wait_for_the_next_attempt_is_shown_and_can_be_cancelled() {
    let coracle = Coracle::new();
    script(&coracle, "retry: { max_attempts: 2, backoff: { initial: 1h, max: 1h } }", "exit 1", "");
    let id = trigger(&coracle, &[]);
    until_backoff(&coracle, &id);
    let listed = coracle.run(["ps"]).stdout();
    assert!(listed.contains("pending (retry 2/2 in 59m"), "{listed}");
    coracle.run(["cancel", &id]).expect_code(0);
    coracle.run(["wait", &id]).expect_code(143);
    let record = coracle.inspect(&id);
    assert_eq!(record["reason"], "cancelled while it waited for attempt 2");
    assert_eq!((&record["status"], &record["retry_at"]), (&"cancelled".into(), &serde_json::Value::Null), "{record:#}");
    assert_eq!(record["attempts"][0]["exit_code"], 1, "{record:#}");
}

#[test]
fn ctrl_c_ends_a_run_that_waits_for_its_next_attempt() {
    let coracle = Coracle::new();
    let retry = "job: { retry: { max_attempts: 2, backoff: { initial: 1h, max: 1h } } }";
    let spec = coracle.job(&format!("{retry}\ncommand: [exit, \"1\"]"));
    let running = coracle.start(coracle.command(["run".as_ref(), spec.as_os_str()]));
    let id: String = coracle.found("an execution", || of_each(&coracle, "id").pop());
    until_backoff(&coracle, &id);
    running.process.signal(Signal::SIGINT);
    let finished = running.finish().expect_error(130, &["job: cancelled before attempt 2"]);
    assert!(!finished.stderr().contains("not started"), "{finished}");
    assert_eq!(coracle.inspect(&id)["status"], "cancelled", "{finished}");
}

#[test]
fn no_attempt_begins_beyond_the_deadline() {
    let coracle = Coracle::new();
    script(&coracle, "deadline: 30s, retry: { max_attempts: 2, backoff: { initial: 1h, max: 1h } }", "exit 4", "");
    let id = trigger(&coracle, &[]);
    coracle.run(["wait", &id]).expect_code(4);
    assert_eq!(coracle.inspect(&id)["attempts"].as_array().map(Vec::len), Some(1));
}

/// The second attempt of the job writes into a FIFO of the test.
pub fn speaking(coracle: &Coracle) -> File {
    speaking_after(coracle, "1s")
}

/// As [`speaking`], with this time between the attempts.
fn speaking_after(coracle: &Coracle, wait: &str) -> File {
    let text = "[ $CORACLE_ATTEMPT = 1 ] && exit 1; echo second > /io/fifo";
    with_fifo(coracle, &format!("retry: {{ max_attempts: 2, backoff: {{ initial: {wait} }} }}"), text)
}

/// Makes a FIFO; a job with this `storage:` has it as `/io/fifo`.
pub fn fifo(coracle: &Coracle) -> (PathBuf, String) {
    let directory = coracle.scratch().join("io");
    std::fs::create_dir(&directory).expect("a scratch directory");
    let fifo = directory.join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::from_bits_truncate(0o666)).expect("a FIFO");
    let mount = format!("storage: [{{ type: bind, source: {:?}, target: /io }}]", directory.display().to_string());
    (fifo, mount)
}

/// Registers a shell script as `job` that has a FIFO of the test as `/io/fifo`.
pub fn with_fifo(coracle: &Coracle, policy: &str, text: &str) -> File {
    let (fifo, mount) = fifo(coracle);
    script(coracle, policy, text, &mount);
    File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(fifo).expect("a FIFO")
}

#[test]
fn the_next_attempt_comes_when_no_command_is_left() {
    let coracle = Coracle::new();
    let fifo = speaking(&coracle);
    let id = trigger(&coracle, &[]);
    // Nothing but the job's own processes and what they become is there now.
    assert!(readable_within(fifo.as_fd(), HANGS_AFTER), "no second attempt");
    drop(fifo);
    coracle.run(["wait", &id]);
    assert_eq!(coracle.inspect(&id)["attempt"], 2);
}

#[test]
fn the_next_attempt_comes_after_the_front_was_killed() {
    let coracle = Coracle::new();
    let fifo = speaking(&coracle);
    let mut front = coracle.start(coracle.command(["trigger", "job", "--wait"]));
    let id = front.line().expect("an id");
    until_backoff(&coracle, &id);
    front.process.signal(Signal::SIGKILL);
    front.finish();
    // Whoever comes next sees to it.
    coracle.run(["ps"]).expect_code(0);
    assert!(readable_within(fifo.as_fd(), HANGS_AFTER), "no second attempt");
    drop(fifo);
    coracle.run(["wait", &id]);
    assert_eq!(coracle.inspect(&id)["attempt"], 2);
}

#[test]
fn a_wait_for_the_next_attempt_outlives_every_process() {
    let coracle = Coracle::new();
    let fifo = speaking_after(&coracle, "2s");
    let id = trigger(&coracle, &[]);
    until_backoff(&coracle, &id);
    let retry_at = of_each::<i64>(&coracle, "retry_at");
    coracle.kill_everything();
    assert_eq!(of_each::<i64>(&coracle, "retry_at"), retry_at, "nobody is there who could change it");
    coracle.run(["ps"]).expect_code(0);
    assert!(readable_within(fifo.as_fd(), HANGS_AFTER), "no second attempt");
    drop(fifo);
    let _ = statuses_in_the_end(&coracle);
    let began = of_each::<i64>(&coracle, "(SELECT started_at FROM attempts WHERE execution_id = id AND number = 2)");
    assert!(began[0] >= retry_at[0], "it began at {began:?}, and not at {retry_at:?}");
}

#[test]
fn the_same_key_starts_nothing_new() {
    let coracle = Coracle::new();
    script(&coracle, "", "echo $CORACLE_EXECUTION_ID; exit 3", "");
    let key = ["--idempotency-key", "order-17"];
    let first = trigger(&coracle, &key);
    coracle.run(["wait", &first]).expect_code(3);
    let again = coracle.run([&["trigger", "job"][..], &key].concat()).expect_code(0);
    assert_eq!(again.stdout().trim(), first);
    assert!(again.stderr().contains("has this idempotency key already"), "{again}");
    coracle.run([&["trigger", "job", "--wait"][..], &key].concat()).expect_code(3);
    let image = fixture::toolbox();
    let run = [&["run", "--image", &image, "--name", "job"][..], &key, &["--", "true"]].concat();
    coracle.run(run).expect_error(3, &[&first, "has this idempotency key already"]).expect_stdout("");
    assert_eq!(coracle.only_execution()["idempotency_key"], "order-17");
}
