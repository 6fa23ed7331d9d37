//! What a caller happens to hand on (ignored signals, a umask, broken streams, its own standstill)
//! is not the job's concern.

use crate::common::cli::Coracle;
use crate::common::host::{Feature, needs};
use crate::common::{fixture, leftovers};
use nix::sys::signal::Signal;
use std::process::{Command, Stdio};
use std::time::Duration;

/// `coracle run` of a script in the busybox image, started by a shell that does `first`.
fn after(coracle: &Coracle, first: &str, flags: &[&str], script: &str) -> Command {
    let run = coracle.image_command(&fixture::busybox(), flags, &["sh", "-c", script]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("{first}; exec \"$@\""), "sh"]).arg(run.get_program()).args(run.get_args());
    shell.env_clear().envs(run.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
    shell
}

#[test]
fn ignored_signals_are_not_inherited() {
    let coracle = Coracle::new();
    let command = after(&coracle, "trap '' CHLD TERM USR1", &[], "grep SigIgn /proc/self/status; exit 7");
    coracle.finish(command).expect_code(7).expect_stdout("SigIgn:\t0000000000000000\n");
}

#[test]
fn a_strict_umask_does_not_lock_the_job_out() {
    if needs(Feature::ManyIds) {
        let coracle = Coracle::new();
        let script = "cat /etc/hosts /etc/resolv.conf /etc/hostname > /dev/null && umask";
        let command = after(&coracle, "umask 077", &["--user", "1000"], script);
        coracle.finish(command).expect_code(0).expect_stdout("0022\n");
    }
}

#[test]
fn a_lax_umask_does_not_let_others_change_the_plan() {
    let coracle = Coracle::new();
    let mut command = after(&coracle, "umask 0", &[], "echo ready; exec sleep 1000");
    command.stdout(Stdio::piped());
    let mut running = coracle.start(command);
    running.wait_for_line("ready");
    let id = coracle.executions()[0]["id"].as_str().expect("an id").to_owned();
    let directory = coracle.container(&id);
    for name in ["plan.json", "state", "log.ring"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = directory.join(name).metadata().expect("a live execution has it").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
    coracle.run(["cancel", &id]).expect_code(0);
    running.finish().expect_code(143);
}

#[test]
fn output_that_the_caller_cannot_take_is_said_to_be_lost() {
    let coracle = Coracle::new();
    let mut command = coracle.toolbox_command(&[], &["echo", "hello"]);
    let full = std::fs::File::options().write(true).open("/dev/full").expect("every Linux has it");
    let output = command.stdout(full).output().expect("it starts");
    assert_eq!(output.status.code(), Some(125));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("stdout is incomplete") && stderr.contains("No space left"), "{stderr}");
    // A code of the job's own says more than that, and a reader that has gone has seen what it wanted.
    let full = std::fs::File::options().write(true).open("/dev/full").expect("every Linux has it");
    let mut command = coracle.image_command(&fixture::busybox(), &[], &["sh", "-c", "echo hello; exit 3"]);
    assert_eq!(command.stdout(full).output().expect("it starts").status.code(), Some(3));
    let (reader, writer) = nix::unistd::pipe().expect("a pipe");
    drop(reader);
    let mut command = coracle.toolbox_command(&[], &["echo", "hello"]);
    assert_eq!(command.stdout(writer).output().expect("it starts").status.code(), Some(0));
}

#[test]
fn a_stopped_front_keeps_nobody_waiting() {
    let coracle = Coracle::new();
    let mut front = coracle.start(coracle.toolbox_command(&[], &["trap", "TERM", "--exit", "6"]));
    front.wait_for_line("ready");
    let id = coracle.executions()[0]["id"].as_str().expect("an id").to_owned();
    front.process.signal(Signal::SIGSTOP);
    coracle.run(["cancel", &id]).expect_code(0);
    coracle.run(["wait", &id]).expect_code(6);
    for related in leftovers::processes(&coracle.root()) {
        let is_front = related.handle.pid == front.process.pid;
        assert!(is_front || related.handle.ends_within(Duration::from_secs(10)), "{} goes on", related.what);
    }
    front.process.signal(Signal::SIGCONT);
    front.finish().expect_code(6);
}
