//! `ps`, `inspect`, `wait`, `cancel` and `rm`, on executions recorded by the test.

use crate::harness::Host;
use coracle::outcome::{End, Stopped};
use std::fs::File;
use std::os::fd::OwnedFd;

const A: &str = "0199aaaa-0000-7000-8000-000000000001";
const B: &str = "0199aaaa-0000-7000-8000-000000000002";
const C: &str = "0199bbbb-0000-7000-8000-000000000003";

fn host() -> Host {
    let host = Host::new();
    host.ended(A, "good", End::Exited { code: 0 });
    host.ended(B, "bad", End::Exited { code: 7 });
    host.pending(C, "waiting");
    host
}

#[test]
fn ps_of_nothing_is_empty() {
    let host = Host::new();
    host.run(["ps", "--json"]).exits(0).prints("[]\n").is_quiet();
    host.run(["ps"]).exits(0).prints("ID  JOB  STATUS  AGE  TIME  IMAGE\n").is_quiet();
    host.run(["ps", "-q"]).exits(0).prints("").is_quiet();
}

#[test]
fn looking_makes_nothing() {
    let host = Host::new();
    for quiet in [&["ps"][..], &["images"], &["jobs", "ls"], &["stats"], &["cancel", "--all"], &["prune", "--json"]] {
        host.run(quiet).exits(0).is_quiet();
    }
    host.run(["images", "--json"]).exits(0).prints("[]\n");
    for command in ["inspect", "logs", "wait", "cancel", "rm"] {
        host.run([command, "feed"]).exits(125).prints("").complains(&["no execution feed"]);
    }
    host.run(["jobs", "show", "x"]).exits(125).complains(&["no job x is registered"]);
    host.run(["trigger", "x"]).exits(125).complains(&["no job x is registered"]);
    host.run(["events", "--id", "feed"]).exits(125).complains(&["no execution feed"]);
    host.run(["image", "inspect", "x"]).exits(125).complains(&["no image x here"]);
    host.run(["rmi", "x"]).exits(125).complains(&["no image x here"]);
    host.run(["image", "gc"]).exits(0).prints("freed 0 bytes; 0 bytes remain\n").is_quiet();
    assert!(host.tree().is_empty(), "{:?}", host.tree());
}

#[test]
fn a_name_that_nothing_has_is_noted() {
    let host = host();
    for command in [&["ps"][..], &["stats"], &["prune"], &["cancel"]] {
        let ran = host.run([command, &["--job", "god"]].concat());
        ran.exits(0).complains(&["coracle: note: no execution and no registered job is named god"]);
        host.run([command, &["--job", "good"]].concat()).exits(0).is_quiet();
    }
}

#[test]
fn ps_lists_newest_first() {
    let host = host();
    let table = host.run(["ps", "-a"]);
    table.exits(0).is_quiet();
    let text = table.text();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "JOB", "STATUS", "AGE", "TIME", "IMAGE"]);
    assert_eq!((&rows[1][..3], rows[1][4]), (&[C, "waiting", "pending"][..], "-"));
    assert_eq!((&rows[2][..3], rows[2][4], rows[2][5]), (&[B, "bad", "failed(7)"][..], "1.5s", "oci:image:v1"));
    assert_eq!(&rows[3][..3], [A, "good", "completed(0)"]);
    let columns: Vec<_> = text.lines().map(|line| line.rfind(' ')).collect();
    assert!(columns.windows(2).all(|pair| pair[0] == pair[1]), "the last column is aligned:\n{text}");
}

#[test]
fn ps_filters() {
    let host = host();
    let ids = |arguments: &[&str]| host.run(["ps", "-q"].iter().chain(arguments)).exits(0).text();
    assert_eq!(ids(&[]), format!("{C}\n"));
    assert_eq!(ids(&["-a"]), format!("{C}\n{B}\n{A}\n"));
    assert_eq!(ids(&["-a", "--limit", "2"]), format!("{C}\n{B}\n"));
    assert_eq!(ids(&["-a", "--job", "good"]), format!("{A}\n"));
    assert_eq!(ids(&["--job", "good"]), "");
    assert_eq!(ids(&["--status", "failed"]), format!("{B}\n"), "a status that is terminal needs no -a");
    assert_eq!(ids(&["--status", "failed", "--status", "pending"]), format!("{C}\n{B}\n"));
    assert_eq!(ids(&["--status", "running"]), "");
}

#[test]
fn ps_looks_for_labels_and_times_and_pages() {
    let host = host();
    let ids = |arguments: &[&str]| host.run(["ps", "-aq"].iter().chain(arguments)).exits(0).is_quiet().text();
    let all = format!("{C}\n{B}\n{A}\n");
    assert_eq!(ids(&["--label", "team"]), all);
    assert_eq!(ids(&["--label", "team=a"]), all);
    assert_eq!(ids(&["--label", "team=b"]), "");
    assert_eq!(ids(&["--label", "team=a", "--label", "other"]), "");
    assert_eq!(ids(&["--since", "1h"]), all);
    assert_eq!(ids(&["--until", "1h"]), "");
    assert_eq!(ids(&["--since", "2000-01-01T00:00:00Z", "--until", "2100-01-01T00:00:00Z"]), all);
    assert_eq!(ids(&["--limit", "2"]), format!("{C}\n{B}\n"));
    assert_eq!(ids(&["--limit", "2", "--before", B]), format!("{A}\n"));
    assert_eq!(ids(&["--before", "0199aaaa-0000-7000-8000-000000000001"]), "");
    host.run(["ps", "--before", "feed"]).exits(125).complains(&["no execution feed"]);
    host.run(["ps", "--since", "yesterday"]).exits(125).complains(&["--since", "how long ago"]);
}

#[test]
fn cancel_takes_all_or_those_of_a_job() {
    let host = host();
    let other = "0199cccc-0000-7000-8000-000000000004";
    host.pending(other, "other");
    host.run(["cancel", "--job", "waiting"]).exits(0).prints(&format!("{C}\n")).is_quiet();
    host.run(["cancel", "--all"]).exits(0).prints(&format!("{other}\n")).is_quiet();
    host.run(["cancel", "--all"]).exits(0).prints("").is_quiet();
    host.run(["cancel", "--all", C]).exits(125).complains(&["--all"]);
    host.run(["cancel"]).exits(125).complains(&["<ID>"]);
    host.run(["ps", "-q", "--status", "cancelled"]).prints(&format!("{other}\n{C}\n"));
}

#[test]
fn json_is_as_documented() {
    let host = host();
    let list = host.run(["ps", "-a", "--json"]).exits(0).is_quiet().json();
    assert_eq!(list.as_array().expect("an array").len(), 3);
    let bad = &list[1];
    assert_eq!((&bad["id"], &bad["job"], &bad["status"]), (&B.into(), &"bad".into(), &"failed".into()));
    assert_eq!((&bad["exit_code"], &bad["reason"]), (&7.into(), &"exited with code 7".into()));
    assert_eq!(bad["completed_at"], "1970-01-01T00:00:00Z");
    assert_eq!(bad["duration_seconds"], 1.5);
    assert_eq!(bad["usage"]["peak_memory_bytes"], 3 << 20);
    assert_eq!(bad["end"], serde_json::json!({"kind": "exited", "code": 7}));
    assert_eq!(bad["trigger"], serde_json::json!({"kind": "cli"}));
    assert_eq!(bad.get("spec"), None);
    assert_eq!((&list[0]["exit_code"], &list[0]["end"]), (&serde_json::Value::Null, &serde_json::Value::Null));

    let mut one = host.run(["inspect", "--json", B]).exits(0).is_quiet().json();
    assert_eq!(one["spec"]["name"], "bad");
    assert_eq!((&one["attempts"][0]["number"], &one["attempts"][0]["exit_code"]), (&1.into(), &7.into()));
    assert_eq!((&one["queue"], &one["undelivered"]), (&serde_json::Value::Null, &serde_json::json!([])));
    for detail in ["attempts", "queue", "undelivered", "spec"] {
        one.as_object_mut().expect("an object").remove(detail);
    }
    assert_eq!(&one, bad);

    let line = host.run(["wait", "--json", B]);
    line.exits(7);
    assert_eq!(&line.json(), bad);
    assert_eq!(line.text().lines().count(), 1);
}

#[test]
fn inspect_is_readable() {
    let host = host();
    let ran = host.run(["inspect", B]);
    ran.exits(0).is_quiet();
    for line in [
        "id:           0199aaaa-0000-7000-8000-000000000002",
        "status:       failed(7)",
        "reason:       exited with code 7",
        "duration:     1.5s",
        "peak memory:  3.0 MiB",
        "label:        team=a",
        "note:         a note",
    ] {
        assert!(ran.text().lines().any(|found| found == line), "{line:?} is missing in\n{}", ran.text());
    }
}

#[test]
fn ids_may_be_shortened_while_they_are_unique() {
    let host = host();
    host.run(["inspect", "0199b"]).exits(0);
    host.run(["inspect", "0199B"]).exits(0);
    host.run(["inspect", "0199aaaa-0000-7000-8000-000000000001"]).exits(0);
    let ran = host.run(["inspect", "0199a"]);
    ran.exits(125).prints("").complains(&["coracle: error: 0199a", A, B, "coracle: hint: give more of the id"]);
}

#[test]
fn unknown_ids_are_named() {
    let host = host();
    let before = host.tree();
    for command in ["inspect", "logs", "wait", "cancel", "rm"] {
        host.run([command, "feed"])
            .exits(125)
            .prints("")
            .complains(&["coracle: error: no execution feed", "coracle ps -a"]);
    }
    assert_eq!(host.tree(), before);
}

#[test]
fn a_number_below_zero_is_told_as_what_it_is() {
    let host = Host::new();
    for arguments in [&["ps", "-n", "-1"][..], &["logs", "x", "-n", "-1"], &["prune", "--keep-last", "-1"]] {
        let ran = host.run(arguments);
        ran.exits(125).complains(&["invalid value '-1'"]);
    }
}

#[test]
fn an_empty_id_is_that_of_nothing() {
    let host = Host::new();
    host.pending(C, "only");
    for command in ["inspect", "logs", "wait", "cancel", "rm"] {
        host.run([command, ""]).exits(125).prints("").complains(&["the id of an execution must not be empty"]);
    }
    host.run(["rm", "-f", ""]).exits(125);
    host.run(["ps", "--before", ""]).exits(125).prints("");
    host.run(["events", "--id", ""]).exits(125).prints("");
    host.run(["ps", "-q", "--status", "pending"]).exits(0).prints(&format!("{C}\n"));
}

#[test]
fn what_was_cancelled_before_its_start_has_the_code_of_sigterm() {
    let host = host();
    let (cancelled, step) = ("0199cccc-0000-7000-8000-000000000004", "0199cccc-0000-7000-8000-000000000005");
    host.ended(cancelled, "early", End::Cancelled { how: Stopped::BeforeStart });
    host.ended(step, "between", End::Cancelled { how: Stopped::BetweenAttempts { next: 2 } });
    host.run(["wait", cancelled, step]).exits(143).prints("143\n143\n");
    let shown = host.run(["inspect", "--json", step]).exits(0).json();
    assert_eq!(shown["reason"], "cancelled while it waited for attempt 2");
    assert_eq!(shown["end"]["stopped"], serde_json::json!({"kind": "between_attempts", "next": 2}));
}

#[test]
fn wait_gives_the_exit_codes() {
    let host = host();
    let signalled = "0199cccc-0000-7000-8000-000000000004";
    host.ended(signalled, "killed", End::Signalled { signal: 15 });
    host.run(["wait", A]).exits(0).prints("0\n").is_quiet();
    host.run(["wait", A, B, signalled]).exits(7).prints("0\n7\n143\n").is_quiet();
    host.run(["wait", A, "feed"]).exits(125).prints("").complains(&["no execution feed"]);
}

#[test]
fn cancel_ends_what_has_not_ended() {
    let host = host();
    host.run(["cancel", A]).exits(125).complains(&[A, "has ended already"]);
    host.run(["cancel", "--grace", "1s", C]).exits(0).prints("").is_quiet();
    host.run(["ps", "-q", "--status", "cancelled"]).prints(&format!("{C}\n"));
    host.run(["cancel", C]).exits(125).complains(&["has ended already"]);
    // What was cancelled before its start has no exit code of its own.
    host.run(["wait", C]).exits(143).prints("143\n");
    host.run(["cancel", "--grace", "x", C]).exits(125).complains(&["--grace"]);
}

#[test]
fn rm_removes_what_has_ended() {
    let host = host();
    std::fs::create_dir_all(host.state().execution(A)).expect("a writable root");
    host.run(["rm", C]).exits(125).prints("").complains(&[C, "cancel it first"]);
    host.run(["rm", A]).exits(0).prints("").is_quiet();
    host.run(["inspect", A]).exits(125);
    assert!(!host.state().execution(A).exists(), "{:?}", host.tree());
    // Those that can be removed are, whatever becomes of the others.
    host.run(["rm", "feed", B, C]).exits(125).complains(&["no execution feed", C, "2 of 3 failed"]);
    host.run(["rm", "-f", C]).exits(0).is_quiet();
    host.run(["ps", "-aq"]).exits(0).prints("");
}

#[test]
fn names_cannot_command_a_terminal() {
    let host = Host::new();
    host.ended(A, "bad\u{1b}[31m\nname", End::Exited { code: 0 });
    let ran = host.run(["ps", "-a"]);
    assert_eq!(ran.exits(0).text().lines().count(), 2);
    assert!(!ran.text().contains('\u{1b}'));
    assert!(!host.run(["inspect", A]).exits(0).text().contains('\u{1b}'));
}

#[test]
fn cancelled_with_its_end_is_told_apart() {
    let host = Host::new();
    host.ended(A, "job", End::Cancelled { how: Stopped::Signalled { signal: 9 } });
    host.run(["wait", A]).exits(137).prints("137\n");
    let document = host.run(["inspect", A, "--json"]).exits(0).json();
    assert_eq!((&document["status"], &document["exit_code"]), (&"cancelled".into(), &serde_json::Value::Null));
    assert_eq!(document["reason"], "cancelled; it was killed by SIGKILL");
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let host = host();
    let (reader, writer) = nix::unistd::pipe().expect("a pipe");
    drop(reader);
    for arguments in [&["ps", "-a"][..], &["inspect", A], &["completions", "bash"], &["--help"]] {
        let output =
            host.command(arguments).stdout(writer.try_clone().expect("a descriptor")).output().expect("a child");
        assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{arguments:?}");
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let host = host();
    let full: OwnedFd = File::options().write(true).open("/dev/full").expect("/dev/full").into();
    let output = host.command(["ps", "-a"]).stdout(full).output().expect("a child");
    assert_eq!(output.status.code(), Some(125));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("coracle: error: failed to write to standard output: No space left"), "{stderr}");
}

#[test]
fn a_prefix_of_many_ids_names_the_first_of_them() {
    let host = Host::new();
    let id = |number: u32| format!("0199aaaa-0000-7000-8000-00000000000{number}");
    (0..5).for_each(|number| host.ended(&id(number), "job", End::Exited { code: 0 }));
    let expected = format!("0199 is the start of several ids: {}, {}, {} and at least 2 more\n", id(0), id(1), id(2));
    host.run(["inspect", "0199"]).exits(125).complains(&[&expected, "hint: give more of the id"]);
}

#[test]
fn what_is_started_at_once_does_not_depend_on_each_other() {
    let host = Host::new();
    let service = |name: &str| format!("  {name}: {{rtype: job, image: {{name: \"oci:/nowhere/{name}\"}}}}\n");
    host.write("two.yaml", &format!("version: v1\ndeployment: demo\nservices:\n{}{}", service("one"), service("two")));
    let detached = host.run(["run", "-d", "two.yaml", "one", "two"]);
    detached.exits(125).prints("").complains(&["error: one: ", "/nowhere/one", "error: two: ", "/nowhere/two"]);
    assert_eq!(host.run(["ps", "-aq"]).text().lines().count(), 2);
    // In the foreground the first that fails is the last.
    host.run(["run", "two.yaml", "one", "two"]).exits(125).complains(&["/nowhere/one"]);
    assert_eq!(host.run(["ps", "-aq"]).text().lines().count(), 3);
}
