//! What happens when an execution has ended: notifications, and forgetting it.

use super::record::{of_each, statuses_in_the_end};
use crate::common::cli::Coracle;
use crate::common::fixture;
use crate::pages::{Pages, answer};
use std::os::unix::fs::MetadataExt;

#[test]
fn rm_leaves_nothing_of_an_execution() {
    let coracle = Coracle::new();
    coracle.toolbox(&["--rm"], &["echo", "seen"]).expect_code(0).expect_stdout("seen\n");
    coracle.toolbox(&["--rm"], &["exit", "3"]).expect_code(3);
    assert_eq!(coracle.run(["ps", "-aq"]).expect_code(0).stdout(), "");
    let left = std::fs::read_dir(coracle.root().join("executions")).expect("a root").count();
    assert_eq!(left, 0);
}

#[test]
fn a_detached_execution_that_is_not_kept_is_forgotten_at_its_end() {
    let coracle = Coracle::new();
    let id = coracle.detach_toolbox(&["--rm"], &["trap", "TERM", "--exit", "0"]);
    let mut waiting = coracle.start(coracle.command(["wait", &id]));
    coracle.run(["cancel", &id]).expect_code(0);
    // Whoever waited has seen it.
    assert!(waiting.line().is_some(), "an exit code");
    waiting.finish();
    coracle.run(["inspect", &id]).expect_error(125, &["no execution"]);
}

#[test]
fn whoever_waits_sees_the_end_of_what_is_removed() {
    let coracle = Coracle::new();
    let id = coracle.detach_toolbox(&[], &["trap", "TERM", "--exit", "4"]);
    super::lifecycle::until_line(&coracle, &id, "ready");
    let waiting: Vec<_> = (0..3).map(|_| coracle.start(coracle.command(["wait", &id]))).collect();
    // Each has a lock on a byte of the file, which /proc/locks shows by its inode.
    let waiters = || {
        let Ok(lock) = std::fs::metadata(coracle.root().join("waiters.lock")) else { return 0 };
        let inode = format!(":{} ", lock.ino());
        let locks = std::fs::read_to_string("/proc/locks").expect("a mounted /proc");
        locks.lines().filter(|line| line.contains(&inode)).count()
    };
    coracle.until("three who wait", || waiters() == 3);
    coracle.run(["rm", "-f", &id]).expect_code(0);
    waiting.into_iter().for_each(|waiting| drop(waiting.finish().expect_code(4).expect_stdout("4\n")));
    coracle.run(["inspect", &id]).expect_error(125, &["no execution"]);
}

#[test]
fn a_failure_runs_a_registered_job() {
    let coracle = Coracle::new();
    let spec = format!(
        "version: v1\ndeployment: test\nservices:\n  \
           work: {{ rtype: job, image: {{ name: {image:?} }}, command: [exit, \"5\"], job: {{ on_failure: told }} }}\n  \
           told: {{ rtype: job, image: {{ name: {image:?} }}, command: [env] }}\n",
        image = fixture::toolbox(),
    );
    let spec = coracle.file("two.yaml", spec);
    coracle.run(["jobs".as_ref(), "add".as_ref(), spec.as_os_str()]).expect_code(0);
    let parent = coracle.run(["trigger", "work", "--wait"]).expect_code(5).stdout().trim().to_owned();
    assert_eq!(statuses_in_the_end(&coracle), ["failed", "completed"]);
    let id = of_each::<String>(&coracle, "id").remove(1);
    let log = coracle.run(["logs", &id]).expect_code(0).lines();
    for expected in [
        format!("CORACLE_PARENT_EXECUTION_ID={parent}"),
        "CORACLE_PARENT_EXIT_CODE=5".into(),
        "CORACLE_PARENT_JOB_NAME=work".into(),
    ] {
        assert!(log.contains(&expected), "no {expected} in {log:?}");
    }
    assert_eq!(coracle.inspect(&id)["trigger"]["kind"], "internal");
}

#[test]
fn a_success_is_posted_until_it_is_taken() {
    let coracle = Coracle::new();
    let pages = Pages::start(|number, _| answer(if number == 0 { 503 } else { 204 }, &[], b""));
    let spec = coracle.job(&format!(
        "command: [echo, done]\njob: {{ on_success: {{ post: {:?}, headers: {{ X-Team: data }} }} }}",
        pages.url("/hook")
    ));
    let id = coracle.detach(&[spec.to_str().expect("a plain name")]);
    // Somebody is there until it is taken.
    assert_eq!(statuses_in_the_end(&coracle), ["completed"]);
    let seen = pages.seen();
    assert_eq!(seen.len(), 2, "{seen:?}");
    for request in seen {
        assert!(request.first.starts_with("POST /hook ") && request.header("x-team") == "data", "{request:?}");
        let document: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!((&document["id"], &document["status"]), (&id.as_str().into(), &"completed".into()), "{document:#}");
    }
}
