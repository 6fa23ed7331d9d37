//! `init.run` steps: in order, on the same root file system, before the main process.

use crate::common::cli::Coracle;

#[test]
fn steps_run_in_order_on_the_jobs_file_system() {
    let coracle = Coracle::new();
    let spec = coracle.job(
        "init:\n  steps:\n  \
           - { uses: init.run, with: { command: [write, /tmp/steps, one] } }\n  \
           - { uses: init.run, with: { command: [append, /tmp/steps, two] } }\n\
         command: [cat, /tmp/steps]",
    );
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0).expect_stdout("one\ntwo\n");
}

#[test]
fn a_failing_step_ends_the_job_before_its_main_process() {
    let coracle = Coracle::new();
    let spec = coracle.job(
        "init:\n  steps:\n  \
           - { id: first, uses: init.run, with: { command: [echo, ran] } }\n  \
           - { id: broken, uses: init.run, with: { command: [exit, \"9\"] } }\n  \
           - { id: never, uses: init.run, with: { command: [echo, never] } }\n\
         command: [echo, main]",
    );
    let finished = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_error(9, &["broken"]);
    assert!(!finished.stdout().contains("never") && !finished.stdout().contains("main"), "{finished}");
    let record = coracle.only_execution();
    assert_eq!(record["status"], "failed", "{record:#}");
    assert!(record["exit_code"].is_null(), "the main process never ran: {record:#}");
    assert!(record["started_at"].is_null(), "the main process never started: {record:#}");
    assert!(record["reason"].as_str().unwrap_or_default().contains("broken"), "{record:#}");
}

#[test]
fn a_step_whose_command_is_missing_is_named() {
    let coracle = Coracle::new();
    let spec = coracle
        .job("init:\n  steps:\n  - { uses: init.run, with: { command: [/no/such/step] } }\ncommand: [echo, main]");
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_error(127, &["/no/such/step"]);
}

#[test]
fn the_output_of_steps_is_in_the_log_before_that_of_the_main_process() {
    let coracle = Coracle::new();
    let spec =
        coracle.job("init:\n  steps:\n  - { uses: init.run, with: { command: [echo, step] } }\ncommand: [echo, main]");
    let id = coracle.detach(&[spec.to_str().expect("a plain name")]);
    coracle.run(["wait", &id]).expect_code(0);
    coracle.run(["logs", &id]).expect_code(0).expect_stdout("step\nmain\n");
}

#[test]
fn a_string_is_a_shell_command() {
    let coracle = Coracle::new();
    let image = crate::common::fixture::busybox();
    let spec = coracle.job(&format!(
        "image: {{ name: {image:?} }}\ninit:\n  steps:\n  - {{ uses: init.run, with: {{ command: \"echo $((6 * 7)) > /answer\" }} }}\n\
         command: [cat, /answer]"
    ));
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0).expect_stdout("42\n");
}

#[test]
fn a_step_may_create_the_user_of_the_main_process() {
    if !crate::common::host::needs(crate::common::host::Feature::ManyIds) {
        return;
    }
    let coracle = Coracle::new();
    let spec = coracle.job(
        "user: newcomer\ninit:\n  steps:\n  \
           - { uses: init.run, with: { command: [append, /etc/passwd, \"newcomer:x:1234:1234::/:/bin/sh\"], user: root } }\n\
         command: [id]",
    );
    let finished = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0);
    assert!(finished.stdout().starts_with("uid=1234 euid=1234 gid=1234"), "{finished}");
}

#[test]
fn a_process_that_a_step_leaves_behind_is_gone_when_the_next_one_runs() {
    let coracle = Coracle::new();
    let spec =
        coracle.job("init:\n  steps:\n  - { uses: init.run, with: { command: [orphan, \"1000\"] } }\ncommand: [ps]");
    let finished = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0);
    assert!(!finished.stdout().contains("orphan"), "{finished}");
}
