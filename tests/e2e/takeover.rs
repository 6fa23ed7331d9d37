//! What the death or the end of a front leaves to others: nobody opens the store after it.

use super::lifecycle::until_running;
use super::queue::{register, trigger};
use super::record::{statuses_in_the_end, until_count};
use super::retry::{speaking, with_fifo};
use crate::common::cli::Coracle;
use crate::common::fixture;
use crate::common::host::{Feature, HANGS_AFTER, accept, needs, readable_within};
use crate::common::registry::Registry;
use nix::sys::signal::Signal;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

/// The job runs that has the FIFO.
#[track_caller]
pub fn assert_speaks(fifo: File) {
    assert!(readable_within(fifo.as_fd(), HANGS_AFTER), "the job does not run");
}

/// Kills a front as soon as it says that its first attempt has failed.
fn kill_in_backoff(mut front: Command) {
    let mut child = front.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a front");
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut said = String::new();
    while !said.contains("attempt 1 failed") {
        let is_silent = stderr.buffer().is_empty() && !readable_within(stderr.get_ref().as_fd(), HANGS_AFTER);
        assert!(!is_silent && stderr.read_line(&mut said).expect("a pipe") > 0, "{said}");
    }
    child.kill().expect("a front that runs");
    child.wait().expect("a child");
}

#[test]
fn the_next_attempt_comes_after_a_trigger_was_killed_that_waited() {
    let coracle = Coracle::new();
    let fifo = speaking(&coracle);
    kill_in_backoff(coracle.command(["trigger", "job", "--wait"]));
    assert_speaks(fifo);
    let id = coracle.only_execution()["id"].as_str().expect("an id").to_owned();
    coracle.run(["wait", &id]);
    assert_eq!(coracle.inspect(&id)["attempt"], 2);
}

#[test]
fn the_next_attempt_comes_after_a_foreground_run_was_killed() {
    let coracle = Coracle::new();
    let fifo = speaking(&coracle);
    let spec = coracle.scratch().join("job.yaml");
    kill_in_backoff(coracle.command(["run".as_ref(), spec.as_os_str()]));
    assert_speaks(fifo);
    let id = coracle.only_execution()["id"].as_str().expect("an id").to_owned();
    coracle.run(["wait", &id]);
    assert_eq!(coracle.inspect(&id)["attempt"], 2);
}

#[test]
fn what_waits_begins_when_a_front_is_killed_while_it_pulls() {
    let coracle = Coracle::new();
    let fifo = with_fifo(&coracle, "max_concurrent: 1", "echo mine > /io/fifo");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let image = format!("{}/never:v1", silent.local_addr().expect("an address"));
    let pulling = coracle.start(coracle.image_command(&image, &["--name", "job", "--max-concurrent", "1"], &["true"]));
    let _connection = accept(&silent);
    let waiting = trigger(&coracle, &[]);
    pulling.process.signal(Signal::SIGKILL);
    assert_speaks(fifo);
    pulling.finish();
    coracle.run(["wait", &waiting]);
    let records = coracle.executions();
    assert_eq!((&records[1]["status"], &records[1]["started_at"]), (&"failed".into(), &serde_json::Value::Null));
}

/// Triggers a job that waits for its turn, pulls what the registry has and would run; says how it ended.
fn pulled_by_a_settler(coracle: &Coracle, image: &str, change: impl FnOnce(&mut Command)) -> (i32, String) {
    let flags = ["--name", "job", "--max-concurrent", "1"];
    let holder = coracle.detach_toolbox(&flags, &["sleep", "1000"]);
    until_running(coracle, &holder);
    let mut command = coracle.command(["run", "-d"]);
    change(&mut command);
    command.args(["--image", image, "--pull", "always"]).args(flags).args(["--", "true"]);
    let id = coracle.finish(command).expect_code(0).stdout().trim().to_owned();
    coracle.run(["cancel", "--grace", "0s", &holder]).expect_code(0);
    // Nobody who would do it in the settler's place looks before.
    assert_ne!(statuses_in_the_end(coracle).last().expect("an execution"), "pending");
    let code = coracle.run(["wait", &id]).status.code().expect("a code");
    (code, coracle.inspect(&id)["reason"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn whoever_pulls_keeps_to_the_signature_policy_of_the_trigger() {
    if !needs(Feature::Registry) {
        return;
    }
    let registry = Registry::start();
    let image = registry.push(&format!("oci:{}:latest", fixture::layout("toolbox").display()), "team/toolbox:v1");
    let coracle = Coracle::new();
    const REJECT: &str = r#"{"default": [{"type": "reject"}]}"#;
    coracle.file("strict.json", REJECT);
    let home = coracle.scratch().join("home");
    let personal = home.join(".config/containers/policy.json");
    std::fs::create_dir_all(personal.parent().expect("a directory")).expect("a directory");
    std::fs::write(&personal, REJECT).expect("a file");

    let directory = coracle.scratch().to_owned();
    let by_flag = |command: &mut Command| {
        command.current_dir(&directory).args(["--signature-policy", "strict.json"]);
    };
    let (code, reason) = pulled_by_a_settler(&coracle, &image, by_flag);
    assert!(code == 125 && reason.contains("strict.json"), "{code} {reason}");
    let by_home = |command: &mut Command| {
        command.env("HOME", &home);
    };
    let (code, reason) = pulled_by_a_settler(&coracle, &image, by_home);
    assert!(code == 125 && reason.contains(&personal.display().to_string()), "{code} {reason}");
    let (code, reason) = pulled_by_a_settler(&coracle, &image, |_| ());
    assert_eq!((code, reason.as_str()), (0, ""));
}

#[test]
fn whoever_pulls_goes_by_the_proxy_of_the_trigger() {
    let coracle = Coracle::new();
    let proxy = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = proxy.local_addr().expect("an address");
    let asked = std::thread::spawn(move || {
        let mut line = String::new();
        BufReader::new(accept(&proxy)).read_line(&mut line).expect("a request");
        line
    });
    let through = |command: &mut Command| {
        command.env("HTTPS_PROXY", format!("http://user:pass@{address}"));
    };
    let (code, reason) = pulled_by_a_settler(&coracle, "registry.example/team/image:v1", through);
    assert_eq!(code, 125, "{reason}");
    assert!(asked.join().expect("no panic").starts_with("CONNECT registry.example:443 "));
    let database = std::fs::read(coracle.root().join("coracle.db")).expect("a record");
    let log = std::fs::read(coracle.root().join("coracle.db-wal")).unwrap_or_default();
    let holds = |bytes: &[u8]| bytes.windows(9).any(|text| text == b"user:pass");
    assert!(!holds(&database) && !holds(&log), "a password is on record");
}

#[test]
fn what_is_to_be_removed_at_its_end_is_seen_by_who_triggered_it() {
    let coracle = Coracle::new();
    let flags = ["--name", "job", "--max-concurrent", "1"];
    register(&coracle, "max_concurrent: 1", "command: [exit, \"4\"]\nlifecycle: { delete_on_exit: true }");
    for front in [&["run", "--rm"][..], &["trigger", "job", "--wait"]] {
        let holder = coracle.detach_toolbox(&flags, &["sleep", "1000"]);
        until_running(&coracle, &holder);
        let command = match front[0] {
            "run" => coracle.toolbox_command(&[&flags[..], &["--rm"]].concat(), &["exit", "4"]),
            _ => coracle.command(front),
        };
        let waiting = coracle.start(command);
        until_count(&coracle, 2);
        coracle.run(["cancel", "--grace", "0s", &holder]).expect_code(0);
        waiting.finish().expect_code(4);
        coracle.run(["wait", &holder]);
        assert_eq!(coracle.only_execution()["id"], *holder);
        coracle.run(["rm", &holder]).expect_code(0);
    }
}
