//! `jobs`, `trigger`, `stats`, `prune` and `events`, as far as they need no container.

use crate::harness::Host;
use coracle::outcome::{End, Stopped};
use coracle::sys::process::ProcessIdentity;
use serde_json::{Value, json};

const A: &str = "0199aaaa-0000-7000-8000-000000000001";
const B: &str = "0199aaaa-0000-7000-8000-000000000002";
const C: &str = "0199bbbb-0000-7000-8000-000000000003";

const SPEC: &str = r#"
version: v1
deployment: demo
services:
  backup:
    rtype: job
    image: { name: "oci:/images/x:1" }
    command: [dump, "two words"]
    env: { TARGET: /srv, AWS_SECRET_ACCESS_KEY: hidden-1 }
    resources: { memory: 64Mi, cpu: 0.5 }
    job:
      deadline: 30s
      max_concurrent: 2
      retry: { max_attempts: 3, on_exit_codes: [75] }
      on_failure: [{ post: "https://hooks.example.org/hidden-2", headers: { Authorization: hidden-3 } }, cleanup]
  cleanup:
    rtype: job
    image: { name: "oci:/images/y:1" }
"#;

fn host() -> Host {
    let host = Host::new();
    host.write("spec.yaml", SPEC);
    host
}

#[test]
fn jobs_are_added_and_replaced() {
    let host = host();
    host.run(["jobs", "ls", "-q"]).exits(0).prints("").is_quiet();
    host.run(["jobs", "add", "spec.yaml"]).exits(0).prints("added: backup\nadded: cleanup\n").is_quiet();
    host.run(["jobs", "add", "spec.yaml", "backup"]).exits(0).prints("replaced: backup\n").is_quiet();
    host.run(["jobs", "add", "spec.yaml", "backup", "--name", "nightly"])
        .exits(0)
        .prints("added: nightly\n")
        .is_quiet();
    let stdin = host.finish(host.command(["jobs", "add", "-", "cleanup", "--name", "piped"]), SPEC.as_bytes());
    stdin.exits(0).prints("added: piped\n").is_quiet();
    host.run(["jobs", "ls", "-q"]).exits(0).prints("backup\ncleanup\nnightly\npiped\n");
    let text = host.run(["jobs", "ls"]).exits(0).is_quiet().text();
    let rows: Vec<Vec<&str>> =
        text.lines().map(|line| line.split("  ").map(str::trim).filter(|it| !it.is_empty()).collect()).collect();
    assert_eq!(rows[0], ["NAME", "IMAGE", "LIMITS", "RUNNING", "WAITING", "LAST"]);
    assert_eq!(rows[1], ["backup", "oci:/images/x:1", "64.0 MiB, 0.5 CPU, 30.0s, 2 at once", "0", "0", "-"]);
    assert_eq!(rows[2], ["cleanup", "oci:/images/y:1", "-", "0", "0", "-"]);
}

#[test]
fn a_job_is_added_once_and_what_it_runs_is_looked_for() {
    let host = host();
    let ran = host.run(["jobs", "add", "spec.yaml", "backup", "backup"]);
    ran.exits(0).prints("added: backup\n");
    ran.complains(&["warning: backup: on_failure runs the job cleanup, which is not registered yet"]);
    host.run(["jobs", "add", "spec.yaml", "cleanup"]).exits(0).is_quiet();
    host.run(["jobs", "add", "spec.yaml", "backup"]).exits(0).prints("replaced: backup\n").is_quiet();
}

#[test]
fn what_is_triggered_is_waited_for_even_where_its_id_cannot_be_told() {
    let host = host();
    host.run(["jobs", "add", "spec.yaml", "cleanup"]).exits(0);
    let mut command = host.command(["trigger", "cleanup", "--wait"]);
    command.stdout(std::fs::File::options().write(true).open("/dev/full").expect("a device"));
    let output = command.stderr(std::process::Stdio::piped()).output().expect("an executable");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let id = host.run(["ps", "-aq"]).exits(0).text();
    for expected in
        ["failed to write to standard output", &format!("triggered as execution {}", id.trim()), "/images/y"]
    {
        assert!(stderr.contains(expected), "no {expected} in {stderr}");
    }
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn what_is_asked_for_is_done_even_where_it_cannot_be_told() {
    let host = host();
    // Both wait for their turns, so that nothing is started here. Not every user may limit resources.
    let spec = SPEC.replace("    resources: { memory: 64Mi, cpu: 0.5 }\n", "");
    let spec =
        spec.replace("y:1\" }", "y:1\" }\n    job: { max_concurrent: 1 }").replace("concurrent: 2", "concurrent: 1");
    host.write("spec.yaml", &spec);
    let me = ProcessIdentity::current().expect("a mounted /proc");
    host.active(A, "backup", &me);
    host.active(B, "cleanup", &me);
    let full = |arguments: &[&str]| {
        let mut command = host.command(arguments);
        command.stdout(std::fs::File::options().write(true).open("/dev/full").expect("a device"));
        let output = command.stderr(std::process::Stdio::piped()).output().expect("an executable");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, stderr) = full(&["run", "-q", "-d", "spec.yaml", "backup", "cleanup"]);
    let ids = host.run(["ps", "-q", "--status", "pending"]).exits(0).text();
    assert_eq!(ids.lines().count(), 2, "{stderr}");
    for (id, job) in ids.lines().zip(["cleanup", "backup"]) {
        assert!(stderr.contains(&format!("note: {job}: triggered as execution {id}")), "{stderr}");
    }
    assert_eq!((code, stderr.matches("failed to write to standard output").count()), (Some(125), 1), "{stderr}");
    let ids: Vec<&str> = ids.lines().collect();
    host.run(["cancel", ids[0], ids[1]]).exits(0);
    let (reader, writer) = nix::unistd::pipe().expect("a pipe");
    drop(reader);
    let waited = host.command(["wait", ids[0], ids[1]]).stdout(writer).output().expect("an executable");
    assert_eq!((waited.status.code(), &*waited.stderr), (Some(143), &b""[..]));
    assert_eq!(full(&["jobs", "add", "spec.yaml"]).0, Some(125));
    assert_eq!(host.run(["jobs", "ls", "-q"]).exits(0).text(), "backup\ncleanup\n");
    let (code, stderr) = full(&["jobs", "rm", "backup", "cleanup"]);
    assert_eq!(code, Some(125), "{stderr}");
    host.run(["jobs", "ls", "-q"]).exits(0).prints("");
}

#[test]
fn what_cannot_be_added_is_refused_before_anything_is_made() {
    let host = host();
    host.run(["jobs", "add", "spec.yaml", "bakup"]).exits(125).complains(&["no service \"bakup\"", "backup, cleanup"]);
    host.run(["jobs", "add", "spec.yaml", "--name", "x"]).exits(125).complains(&["--name goes with one job", "backup"]);
    host.run(["jobs", "add", "spec.yaml", "backup", "--name", "a b"]).exits(125).complains(&["a b"]);
    let absent = host.run(["jobs", "add", "absent.yaml"]);
    absent.exits(125).complains(&["absent.yaml"]);
    assert!(!absent.stderr.contains("hint"), "{}", absent.stderr);
    assert_eq!(host.tree(), ["spec.yaml"]);
}

#[test]
fn an_image_below_a_directory_that_no_name_can_hold_is_refused() {
    let host = Host::new();
    std::fs::create_dir(host.path("a:b")).expect("a writable directory");
    host.write("a:b/spec.yaml", &SPEC.replace("oci:/images/x:1", "oci:images/x:1"));
    let mut command = host.command(["jobs", "add", "spec.yaml", "backup"]);
    command.current_dir(host.path("a:b"));
    host.finish(command, b"").exits(125).prints("").complains(&["oci:images/x:1", "colon", "another directory"]);
    host.run(["jobs", "ls", "-q"]).exits(0).prints("");
}

#[test]
fn a_job_is_shown_without_its_secrets() {
    let host = host();
    host.run(["jobs", "add", "spec.yaml"]).exits(0);
    let ran = host.run(["jobs", "show", "backup"]);
    let text = ran.exits(0).is_quiet().text();
    for line in [
        "job:          backup (of demo)",
        "image:        oci:/images/x:1 (pull: if_not_present)",
        "arguments:    dump 'two words'",
        "env:          TARGET=/srv",
        "env:          AWS_SECRET_ACCESS_KEY=…",
        "memory:       64.0 MiB",
        "deadline:     30.0s",
        "at once:      2; further ones wait",
        "attempts:     3, after 1.0s to 1m00s, on exit codes 75",
        "on failure:   POST to https://hooks.example.org",
        "on failure:   run job cleanup",
        "executions:   0: 0 running, 0 waiting",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is missing in\n{text}");
    }
    let document = host.run(["jobs", "show", "backup", "--json"]);
    let shown = document.exits(0).is_quiet().json();
    assert_eq!(
        (&shown["name"], &shown["deployment"], &shown["last"]),
        (&json!("backup"), &json!("demo"), &Value::Null)
    );
    assert_eq!(shown["spec"]["policy"]["max_concurrent"], 2);
    assert!(!text.contains("hidden-") && !document.text().contains("hidden-"), "{text}{}", document.text());
    let list = host.run(["jobs", "ls", "--json"]).exits(0).json();
    assert_eq!((list[0]["name"].as_str(), list[1]["name"].as_str()), (Some("backup"), Some("cleanup")));
    assert_eq!(list[0].get("spec"), None);
}

#[test]
fn the_last_execution_of_a_job_is_listed() {
    let host = host();
    host.run(["jobs", "add", "spec.yaml"]).exits(0);
    host.ended(A, "backup", End::Exited { code: 0 });
    host.ended(B, "backup", End::Exited { code: 7 });
    host.pending(C, "cleanup");
    let list = host.run(["jobs", "ls", "--json"]).exits(0).json();
    assert_eq!((&list[0]["last"]["id"], &list[0]["last"]["exit_code"]), (&json!(B), &json!(7)));
    assert_eq!(
        (&list[1]["running"], &list[1]["waiting"], &list[1]["last"]["status"]),
        (&json!(1), &json!(0), &json!("pending"))
    );
    assert!(host.run(["jobs", "ls"]).exits(0).text().contains("failed(7) "));
}

#[test]
fn removing_a_job_leaves_its_executions() {
    let host = host();
    host.run(["jobs", "add", "spec.yaml"]).exits(0);
    host.ended(A, "backup", End::Exited { code: 0 });
    let ran = host.run(["jobs", "rm", "backup", "clean", "cleanup"]);
    ran.exits(125).prints("removed: backup\nremoved: cleanup\n");
    ran.complains(&[
        "backup: its executions stay (1)",
        "no job clean is registered",
        "did you mean cleanup?",
        "1 of 3 failed",
    ]);
    host.run(["jobs", "ls", "-q"]).exits(0).prints("");
    host.run(["ps", "-aq", "--job", "backup"]).exits(0).prints(&format!("{A}\n"));
}

#[test]
fn unknown_jobs_are_named_with_what_was_meant() {
    let host = host();
    host.run(["jobs", "add", "spec.yaml"]).exits(0);
    for arguments in [&["trigger", "bakup"][..], &["jobs", "show", "bakup"], &["jobs", "rm", "bakup"]] {
        let ran = host.run(arguments);
        ran.exits(125).prints("").complains(&["no job bakup is registered", "did you mean backup?", "coracle jobs ls"]);
    }
    host.run(["trigger", "xyz"]).exits(125).complains(&["no job xyz", "coracle jobs add SPEC"]);
    host.run(["trigger"]).exits(125).complains(&["<NAME>"]);
    host.run(["trigger", "backup", "--env", "=1"]).exits(125).complains(&["--env"]);
    host.run(["ps", "-aq"]).exits(0).prints("");
}

#[test]
fn a_key_is_text_that_can_be_seen() {
    let host = host();
    host.run(["jobs", "add", "spec.yaml", "cleanup"]).exits(0);
    for key in ["", "a\tb", &"x".repeat(256)] {
        host.run(["trigger", "cleanup", "--idempotency-key", key])
            .exits(125)
            .prints("")
            .complains(&["--idempotency-key", "1 to 255 printable characters"]);
    }
    host.run(["run", "--image", "oci:x", "--idempotency-key", ""]).exits(125).complains(&["--idempotency-key"]);
    host.run(["ps", "-aq"]).exits(0).prints("");
}

#[test]
fn a_key_does_not_go_with_an_execution_that_is_forgotten() {
    let host = host();
    let delete = "x:1\" }\n    lifecycle: { delete_on_exit: true }";
    host.write("delete.yaml", &SPEC.replace("x:1\" }", delete));
    let why = ["an idempotency key lives as long as its execution", "delete_on_exit (--rm)"];
    host.run(["run", "--image", "oci:x", "--rm", "--idempotency-key", "k"]).exits(125).complains(&why);
    // Nothing of the others is started either.
    host.run(["run", "-d", "delete.yaml", "cleanup", "backup", "--idempotency-key", "k"]).exits(125).complains(&why);
    assert!(!host.root().exists());
    host.run(["jobs", "add", "delete.yaml"]).exits(0);
    host.run(["trigger", "backup", "--idempotency-key", "k"]).exits(125).prints("").complains(&why);
    host.run(["ps", "-aq"]).exits(0).prints("");
}

#[test]
fn paths_of_images_do_not_depend_on_who_starts_the_job() {
    let host = host();
    let spec = "version: v1\ndeployment: demo\nservices:\n  job:\n    rtype: job\n    image: { name: \"oci:images/x:1\" }\n    \
                init: { steps: [{ uses: init.run, with: { command: [\"true\"], image: \"oci-archive:y.tar\" } }] }\n";
    host.write("relative.yaml", spec);
    host.run(["jobs", "add", "relative.yaml"]).exits(0);
    let here = host.path("").canonicalize().expect("a directory");
    let here = here.display();
    let job = host.run(["jobs", "show", "job", "--json"]).exits(0).json();
    assert_eq!(job["image"], format!("oci:{here}/images/x:1"));
    assert_eq!(job["spec"]["init_steps"][0]["action"]["run"]["image"], format!("oci-archive:{here}/y.tar"), "{job:#}");
    let ran = host.run(["run", "-d", "relative.yaml"]);
    ran.exits(125).complains(&[&format!("{here}/images/x")]);
    let listed = host.run(["ps", "-a", "--json"]).exits(0).json();
    assert_eq!(listed[0]["image"], format!("oci:{here}/images/x:1"));
}

#[test]
fn prune_applies_the_configuration_of_now() {
    let host = host();
    host.ended(A, "good", End::Exited { code: 0 });
    host.ended(B, "good", End::Exited { code: 7 });
    let config = |text: &str| host.write("config.yaml", text).into_os_string();
    let prune = |config: std::ffi::OsString| {
        let arguments: [std::ffi::OsString; 3] = ["prune".into(), "--config".into(), config];
        host.run(arguments)
    };
    prune(config("jobs: { retention: { keep_last: 1 } }\n"))
        .exits(0)
        .prints(&format!("removed: {A}\nfreed: 0 bytes of 1 executions\n"));
    host.run(["prune"]).exits(0).prints("freed: 0 bytes of 0 executions\n");
    prune(config("jobs: { retention: { ttl: 1d } }\n"))
        .exits(0)
        .prints(&format!("removed: {B}\nfreed: 0 bytes of 1 executions\n"));
}

#[test]
fn a_broken_configuration_that_was_asked_for_fails_every_command() {
    let host = host();
    host.write("config.yaml", "jobs: [");
    for command in [&["ps"][..], &["prune"], &["stats"], &["cancel", "--all"], &["validate", "spec.yaml"], &["version"]]
    {
        host.run([command, &["--config", "config.yaml"]].concat()).exits(125).prints("").complains(&["config.yaml"]);
    }
    assert_eq!(host.tree(), ["config.yaml", "spec.yaml"]);
}

#[test]
fn variables_of_the_caller_are_not_shown() {
    let host = host();
    host.write(
        "secret.yaml",
        "version: v1\ndeployment: demo\nservices:\n  job:\n    rtype: job\n    image: { name: \"oci:/x\" }\n    \
         env: { TOKEN: \"Bearer $E:CORACLE_TEST\", PLAIN: seen, TEXT: $$E:seen }\n    \
         init: { steps: [{ uses: init.run, with: { command: [a], env: [CORACLE_TEST, OTHER=seen] } }] }\n  \
         other: { rtype: job, image: { name: \"oci:/x\" }, env: { TOKEN: seen } }\n",
    );
    let mut add = host.command(["jobs", "add", "secret.yaml"]);
    add.env("CORACLE_TEST", "hidden-1");
    host.finish(add, b"").exits(0);
    let (text, json) = (host.run(["jobs", "show", "job"]), host.run(["jobs", "show", "job", "--json"]));
    for shown in [text.exits(0).text(), json.exits(0).text()] {
        assert!(!shown.contains("hidden-1") && shown.contains("seen"), "{shown}");
    }
    assert_eq!(json.json()["spec"]["env"], json!([["TOKEN", "…"], ["PLAIN", "seen"], ["TEXT", "$E:seen"]]));
    let steps = &json.json()["spec"]["init_steps"][0]["action"]["run"]["env"];
    assert_eq!(steps, &json!([["CORACLE_TEST", "…"], ["OTHER", "seen"]]));
    assert!(host.run(["jobs", "show", "other"]).exits(0).text().contains("TOKEN=seen"));
    // The job itself is to see it.
    let recorded = host.record().job("job").expect("a record").expect("a job");
    assert_eq!(recorded.spec["env"][0][1], "Bearer hidden-1");
    let mut trigger = host.command(["trigger", "job", "--env", "CORACLE_HERE", "--env", "THERE=seen"]);
    trigger.env("CORACLE_HERE", "hidden-2");
    let id = host.finish(trigger, b"").exits(125).text();
    let inspected = host.run(["inspect", "--json", id.trim()]).exits(0).text();
    assert!(!inspected.contains("hidden-") && inspected.contains("CORACLE_HERE"), "{inspected}");
    assert!(inspected.contains("THERE"), "{inspected}");
}

#[test]
fn an_image_that_is_not_there_fails_the_trigger() {
    let host = host();
    host.run(["jobs", "add", "spec.yaml", "cleanup"]).exits(0);
    let ran = host.run(["trigger", "cleanup"]);
    ran.exits(125).complains(&["coracle: error: cleanup: ", "/images/y"]);
    let id = ran.text();
    host.run(["wait", id.trim()]).exits(125);
    let ran = host.run(["trigger", "cleanup", "--json", "--idempotency-key", "k"]);
    let document = ran.exits(125).json();
    assert_eq!((&document["status"], &document["idempotency_key"]), (&json!("failed"), &json!("k")));
    let again = host.run(["trigger", "cleanup", "--idempotency-key", "k"]);
    again.exits(0).prints(&format!("{}\n", document["id"].as_str().expect("an id")));
    again.complains(&["has this idempotency key already"]);
    host.run(["trigger", "cleanup", "--idempotency-key", "k", "--wait"]).exits(125).complains(&["/images/y"]);
}

#[test]
fn numbers_are_of_what_is_on_record() {
    let host = host();
    let empty = host.run(["stats", "--json"]).exits(0).is_quiet().json();
    assert_eq!(
        (&empty["executions"]["all"], &empty["jobs"], &empty["oldest_waiting"]),
        (&json!(0), &json!([]), &Value::Null)
    );
    host.ended(A, "good", End::Exited { code: 0 });
    host.ended(B, "good", End::Exited { code: 7 });
    let cancelled = "0199aaaa-0000-7000-8000-000000000004";
    host.ended(cancelled, "good", End::Cancelled { how: Stopped::BeforeStart });
    host.pending(C, "other");
    let stats = host.run(["stats", "--json"]).exits(0).is_quiet().json();
    let expected = json!({
        "all": 4, "pending": 1, "active": 0, "completed": 1, "failed": 1, "cancelled": 1, "waiting": 0,
    });
    assert_eq!((&stats["executions"], &stats["attempts"]), (&expected, &json!(4)));
    assert!(stats["database_bytes"].as_u64().is_some_and(|bytes| bytes > 4096), "{stats:#}");
    let recent = json!({
        "completed": 1, "failed": 1, "cancelled": 1, "success_rate": 0.5, "median_seconds": 1.5,
        "percentile_95_seconds": 1.5,
    });
    let job = json!({"job": "good", "executions": 3, "running": 0, "waiting": 0, "recent": recent});
    assert_eq!((&stats["jobs"][0]["job"], &stats["jobs"][0]["running"]), (&json!("other"), &json!(1)));
    assert_eq!(stats["jobs"][1], job);
    assert_eq!(host.run(["stats", "--json", "--job", "good"]).exits(0).json()["jobs"], json!([job]));
    let text = host.run(["stats"]).exits(0).is_quiet().text();
    assert!(text.contains("50% of 2") && text.contains("1 completed, 1 failed, 1 cancelled"), "{text}");
}

#[test]
fn prune_forgets_what_has_ended() {
    let host = host();
    host.ended(A, "good", End::Exited { code: 0 });
    host.ended(B, "good", End::Exited { code: 7 });
    host.pending(C, "good");
    host.run(["prune"]).exits(0).prints("freed: 0 bytes of 0 executions\n").is_quiet();
    let dry = host.run(["prune", "--dry-run", "--ttl", "1h", "--json"]).exits(0).is_quiet().json();
    assert_eq!((&dry["dry_run"], &dry["problems"], &dry["orphans"]), (&json!(true), &json!([]), &json!([])));
    assert_eq!(dry["removed"].as_array().map(Vec::len), Some(2), "{dry:#}");
    host.run(["prune", "--keep-last", "1", "--job", "other"]).exits(0);
    host.run(["ps", "-aq"]).exits(0).prints(&format!("{C}\n{B}\n{A}\n"));
    host.run(["prune", "--keep-last", "1"]).exits(0).prints(&format!("removed: {A}\nfreed: 0 bytes of 1 executions\n"));
    host.run(["prune", "--all"]).exits(0).prints(&format!("removed: {B}\nfreed: 0 bytes of 1 executions\n"));
    host.run(["ps", "-aq"]).exits(0).prints(&format!("{C}\n"));
    host.run(["prune", "--all", "--ttl", "1h"]).exits(125).complains(&["--all", "--ttl"]);
}

#[test]
fn events_end_when_nobody_reads_them() {
    let host = host();
    let mut events = host.command(["events"]);
    let (reader, writer) = nix::unistd::pipe().expect("a pipe");
    drop(reader);
    let status = events.stdout(writer).status().expect("a child");
    assert_eq!(status.code(), Some(0));
    host.run(["events", "--id", "feed"]).exits(125).complains(&["no execution feed"]);
}
