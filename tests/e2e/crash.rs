//! Death of the front and of the supervisor: nothing is lost, nothing is left.

use super::lifecycle::{until_line, until_running};
use super::record::{of_each, statuses_in_the_end};
use crate::common::cli::Coracle;
use crate::common::fixture;
use crate::common::host::{Feature, Process, is_root, needs};
use crate::common::leftovers;
use nix::sys::signal::Signal;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What DESIGN promises for the end of a container whose supervisor died.
const WITHIN_A_SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_job_goes_on_when_its_front_is_killed() {
    let coracle = Coracle::new();
    let mut front = coracle.start(coracle.toolbox_command(&[], &["trap", "USR1", "--exit", "6"]));
    front.wait_for_line("ready");
    let id = coracle.executions()[0]["id"].as_str().expect("an id").to_owned();
    front.process.signal(Signal::SIGKILL);
    assert!(front.process.ends_within(WITHIN_A_SECOND));
    assert_eq!(coracle.inspect(&id)["status"], "running");
    job_processes(&coracle, &id).last().expect("the job").signal(Signal::SIGUSR1);
    coracle.run(["wait", &id]).expect_code(6);
    coracle.run(["logs", &id]).expect_code(0).expect_stdout("ready\ngot 10\n");
    // The pipe of the dead front stays open until the supervisor is gone.
    front.finish();
}

#[test]
fn the_container_dies_with_its_supervisor() {
    kill_supervisor(&["sleep", "1000"], &[]);
}

#[test]
fn many_processes_die_with_the_supervisor() {
    kill_supervisor(&["fork", "10", "--hold"], &[]);
}

#[test]
fn a_job_that_ignores_signals_dies_with_its_supervisor() {
    kill_supervisor(&["trap", "TERM", "INT", "HUP"], &[]);
}

#[test]
fn a_job_that_changed_its_user_dies_with_its_supervisor() {
    if needs(Feature::ManyIds) {
        kill_supervisor(&["setuid", "1000", "/bin/sleep", "1000"], &[]);
    }
}

#[test]
fn a_job_of_another_user_dies_with_its_supervisor() {
    if needs(Feature::ManyIds) {
        kill_supervisor(&["sleep", "1000"], &["--user", "1000"]);
    }
}

#[test]
fn a_job_that_is_pid_1_dies_with_its_supervisor() {
    kill_supervisor(&["sleep", "1000"], &["--init=false"]);
}

fn kill_supervisor(command: &[&str], flags: &[&str]) {
    let coracle = Coracle::new();
    let id = coracle.detach_toolbox(flags, command);
    until_running(&coracle, &id);
    let supervisor = coracle.supervisor(&id);
    let all = leftovers::processes(&coracle.root());
    assert!(all.len() > 1, "a supervisor and a container");
    supervisor.signal(Signal::SIGKILL);
    for related in &all {
        assert!(related.handle.ends_within(WITHIN_A_SECOND), "{} goes on: {}", related.handle.pid, related.what);
    }
    // The next touch of the store finds out.
    let record = coracle.inspect(&id);
    assert_eq!(record["status"], "failed", "{record:#}");
    assert!(record["reason"].as_str().unwrap_or_default().starts_with("supervisor lost"), "{record:#}");
    assert!(record["attempts"][0]["duration_seconds"].as_f64().is_some_and(|time| time > 0.0), "{record:#}");
    assert!(record["exit_code"].is_null(), "{record:#}");
    coracle.run(["wait", &id]).expect_code(125);
}

#[test]
fn a_front_that_waits_learns_that_its_supervisor_died() {
    let coracle = Coracle::new();
    let mut front = coracle.start(coracle.toolbox_command(&[], &["trap", "TERM"]));
    front.wait_for_line("ready");
    let id = coracle.executions()[0]["id"].as_str().expect("an id").to_owned();
    coracle.supervisor(&id).signal(Signal::SIGKILL);
    front.finish().expect_error(125, &["supervisor"]);
}

#[test]
fn the_log_of_a_killed_supervisor_can_be_read() {
    let coracle = Coracle::new();
    let id = coracle.detach_toolbox(&[], &["trap", "TERM"]);
    until_line(&coracle, &id, "ready");
    coracle.supervisor(&id).signal(Signal::SIGKILL);
    coracle.run(["wait", &id]).expect_code(125);
    coracle.run(["logs", &id]).expect_code(0).expect_stdout("ready\n");
    coracle.run(["logs", "-f", &id]).expect_code(0).expect_stdout("ready\n");
}

#[test]
fn a_killed_pid_1_ends_the_job() {
    let coracle = Coracle::new();
    let id = coracle.detach_toolbox(&[], &["sleep", "1000"]);
    until_running(&coracle, &id);
    job_processes(&coracle, &id).first().expect("pid 1").signal(Signal::SIGKILL);
    coracle.run(["wait", &id]).expect_code(137);
    assert_eq!(coracle.inspect(&id)["status"], "failed");
}

#[test]
fn any_number_of_commands_take_over_together_what_was_lost() {
    const LOST: usize = 3;
    let coracle = Coracle::new();
    let (toolbox, busybox) = (fixture::toolbox(), fixture::busybox());
    let again = "[ $CORACLE_ATTEMPT = 2 ] || sleep 1000; echo ran";
    let spec = format!(
        "version: v1\ndeployment: test\nservices:\n  \
           lost: {{ rtype: job, image: {{ name: {toolbox:?} }}, command: [sleep, \"1000\"], job: {{ on_failure: told }} }}\n  \
           again: {{ rtype: job, image: {{ name: {busybox:?} }}, command: [sh, -c, {again:?}], \
             job: {{ retry: {{ max_attempts: 3, backoff: {{ initial: 1ms }} }} }} }}\n  \
           alone: {{ rtype: job, image: {{ name: {toolbox:?} }}, command: [echo, ran], job: {{ max_concurrent: 1 }} }}\n  \
           told: {{ rtype: job, image: {{ name: {toolbox:?} }}, command: [echo, ran] }}\n",
    );
    let spec = coracle.file("jobs.yaml", spec);
    coracle.run(["jobs".as_ref(), "add".as_ref(), spec.as_os_str()]).expect_code(0);
    let trigger =
        |arguments: &[&str]| coracle.run([&["trigger"], arguments].concat()).expect_code(0).stdout().trim().to_owned();
    let running: Vec<String> = [&["lost"][..]; LOST]
        .into_iter()
        .chain([&["again"][..], &["alone", "--", "sleep", "1000"]])
        .map(trigger)
        .collect();
    running.iter().for_each(|id| until_running(&coracle, id));
    trigger(&["alone"]);
    coracle.kill_everything();

    let together: Vec<_> = (0..8).map(|_| coracle.start(coracle.command(["ps"]))).collect();
    together.into_iter().for_each(|command| drop(command.finish().expect_code(0)));
    statuses_in_the_end(&coracle);
    let attempts = "(SELECT count(*) FROM attempts WHERE execution_id = id)";
    let ends = of_each::<String>(&coracle, &format!("job_name || ' ' || status || ' ' || {attempts}"));
    let mut expected = vec!["lost failed 1"; LOST];
    expected.extend(["again completed 2", "alone failed 1", "alone completed 1"]);
    expected.extend(["told completed 1"; LOST]);
    assert_eq!(ends, expected);
    for id in &of_each::<String>(&coracle, "id") {
        let log = coracle.run(["logs", id]).expect_code(0);
        let has_run = coracle.inspect(id)["status"] == "completed";
        log.expect_stdout(if has_run { "ran\n" } else { "" });
    }
    let told = of_each::<String>(&coracle, "spec").split_off(LOST + 3);
    for id in &running[..LOST] {
        assert_eq!(told.iter().filter(|spec| spec.contains(id)).count(), 1, "{id}: {told:?}");
    }
}

/// As when everybody who could have removed it dies between the record of the end and that.
#[test]
fn what_nobody_came_to_remove_goes_with_the_next_command() {
    let coracle = Coracle::new();
    let id = coracle.detach_toolbox(&[], &["sleep", "1000"]);
    until_running(&coracle, &id);
    let (container, busy) = (coracle.container(&id), coracle.root().join("busy"));
    let marks = names(&busy);
    assert_eq!(marks, [format!("{id}-{}", container.file_name().expect("a name").display())]);
    let state = std::fs::read(container.join("state")).expect("a live state");
    coracle.run(["cancel", "--grace", "0s", &id]).expect_code(0);
    coracle.run(["wait", &id]).expect_code(137);
    assert!(coracle.leftovers().is_empty());
    assert!(names(&busy).is_empty());

    std::fs::write(busy.join(&marks[0]), "").expect("a mark");
    std::fs::write(container.join("state"), state).expect("a state");
    std::fs::create_dir_all(container.join("upper/directory")).expect("what the job wrote");
    std::fs::write(container.join("outcome"), "{}").expect("an outcome");
    coracle.run(["ps"]).expect_code(0);
    assert_eq!(names(&container), ["log.ring"]);
    assert!(names(&busy).is_empty());
}

#[test]
fn files_of_the_jobs_users_go_though_that_failed_before() {
    if !needs(Feature::ManyIds) {
        return;
    }
    for is_plan_lost in [false, true] {
        let coracle = Coracle::new();
        let script = "mkdir /d && touch /d/file && chown -R 1000 /d && chmod 700 /d && echo ready; sleep 1000";
        let id = coracle.detach(&["--image", &fixture::busybox(), "--", "sh", "-c", script]);
        until_line(&coracle, &id, "ready");
        let (supervisor, container) = (coracle.supervisor(&id), coracle.container(&id));
        supervisor.signal(Signal::SIGKILL);
        assert!(supervisor.ends_within(WITHIN_A_SECOND));
        if is_plan_lost {
            // As after a loss of power.
            std::fs::write(container.join("plan.json"), "").expect("a plan");
        }
        // A user's helper cannot map the ids of others then.
        let mut command = Command::new("setpriv");
        command.arg("--no-new-privs").arg(Coracle::binary()).args(["wait", &id]).env("CORACLE_ROOT", coracle.root());
        coracle.finish(command).expect_code(125);
        assert_eq!(container.join("upper").exists(), !is_root(), "what it could not remove");
        coracle.run(["ps"]).expect_code(0);
        assert_eq!(names(&container), ["log.ring"], "{is_plan_lost}");
        assert!(names(&coracle.root().join("busy")).is_empty());
    }
}

/// As when the supervisor dies after it has made them and before it has written that down.
#[test]
fn cgroups_that_are_written_down_nowhere_go_too() {
    if !needs(Feature::Cgroups) {
        return;
    }
    let coracle = Coracle::new();
    let id = coracle.detach_toolbox(&[], &["sleep", "1000"]);
    until_running(&coracle, &id);
    let path = coracle.container(&id).join("state");
    let mut state: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).expect("a live state")).expect("JSON");
    let cgroups = std::mem::replace(&mut state["cgroups"], serde_json::json!([]));
    let cgroups: Vec<&Path> =
        cgroups.as_array().expect("a list").iter().filter_map(|it| it.as_str().map(Path::new)).collect();
    assert!(!cgroups.is_empty() && cgroups.iter().all(|path| path.is_dir()), "{cgroups:?}");
    let supervisor = coracle.supervisor(&id);
    std::fs::write(&path, state.to_string()).expect("the state takes it");
    supervisor.signal(Signal::SIGKILL);
    assert!(supervisor.ends_within(WITHIN_A_SECOND));
    coracle.run(["wait", &id]).expect_code(125);
    assert!(!cgroups.iter().any(|path| path.exists()), "{cgroups:?}");
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// The processes in the container of an execution, in the order of their pids there: pid 1 first.
pub fn job_processes(coracle: &Coracle, id: &str) -> Vec<Process> {
    // A process's pid in each pid namespace from ours inwards.
    let pids = |pid: i32| -> Vec<i32> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        line.split_whitespace().map(|pid| pid.parse().expect("a number")).collect()
    };
    let depth = pids(coracle.supervisor(id).pid).len();
    let mut inside: Vec<(i32, Process)> = leftovers::processes(&coracle.root())
        .into_iter()
        .filter_map(|related| Some((*pids(related.handle.pid).get(depth)?, related.handle)))
        .collect();
    inside.sort_by_key(|(pid, _)| *pid);
    inside.into_iter().map(|(_, process)| process).collect()
}
