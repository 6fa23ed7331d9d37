//! `init.run` steps: in order, on the same root file system, before the main process.

use crate::common::cli::Coracle;
use crate::common::host::{Feature, needs};

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
    if !needs(Feature::ManyIds) {
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
fn a_step_has_its_own_directory_and_variables() {
    let coracle = Coracle::new();
    let image = crate::common::fixture::busybox();
    let spec = coracle.job(&format!(
        "image: {{ name: {image:?} }}\ncommand: {{ entrypoint: [sh, -c, \"pwd; echo $ONE $TWO\"], workdir: /bin }}\n\
         env: {{ ONE: job, TWO: both }}\ninit:\n  steps:\n  \
           - {{ uses: init.run, with: {{ command: \"pwd; echo $ONE $TWO\", workdir: /tmp, env: {{ ONE: step }} }} }}\n  \
           - {{ uses: init.run, with: {{ command: \"pwd; echo $ONE $TWO\" }} }}"
    ));
    let finished = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0);
    finished.expect_stdout("/tmp\nstep both\n/bin\njob both\n/bin\njob both\n");
}

#[test]
fn a_step_has_the_limits_of_the_job() {
    if !needs(Feature::Cgroups) {
        return;
    }
    let coracle = Coracle::new();
    let spec = coracle.job(
        "resources: { memory: 32Mi }\ninit:\n  steps:\n  \
           - { id: small, uses: init.run, with: { command: [allocate, \"16777216\"] } }\n  \
           - { id: large, uses: init.run, with: { command: [allocate, \"134217728\"] } }\n\
         command: [echo, main]",
    );
    let finished = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(137);
    let reason = "init step \"large\" was killed by the OOM killer: the memory limit was reached";
    assert!(finished.stderr().contains(reason) && !finished.stdout().contains("main"), "{finished}");
    let record = coracle.only_execution();
    assert!(record["reason"].as_str().unwrap_or_default().starts_with(reason), "{record:#}");
}

#[test]
fn a_process_that_a_step_leaves_behind_is_gone_when_the_next_one_runs() {
    let coracle = Coracle::new();
    let spec =
        coracle.job("init:\n  steps:\n  - { uses: init.run, with: { command: [orphan, \"1000\"] } }\ncommand: [ps]");
    let finished = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0);
    assert!(!finished.stdout().contains("orphan"), "{finished}");
}

#[test]
fn a_step_on_another_image_shares_the_volumes_and_nothing_else() {
    let coracle = Coracle::new();
    let image = crate::common::fixture::busybox();
    // The shell is not in the job's image, and what the step writes outside of the volume goes with it.
    let spec = coracle.job(&format!(
        "storage:\n  - {{ type: anonymous, target: /shared }}\n\
         init:\n  steps:\n  \
           - uses: init.run\n    with:\n      image: {image:?}\n      \
             command: \"test ! -e /bin/toolbox && echo $CORACLE_JOB_NAME > /shared/name && echo lost > /elsewhere\"\n  \
           - {{ uses: init.run, with: {{ command: [append, /shared/name, second] }} }}\n  \
           - uses: init.run\n    with:\n      image: {image:?}\n      \
             command: \"test ! -e /elsewhere && echo third >> /shared/name\"\n\
         command: [cat, /shared/name]"
    ));
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0).expect_stdout("job\nsecond\nthird\n");
    let spec = coracle.job(&format!(
        "init:\n  steps:\n  \
           - {{ uses: init.run, with: {{ image: {image:?}, command: \"echo lost > /elsewhere\" }} }}\n\
         command: [cat, /elsewhere]"
    ));
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_error(1, &["/elsewhere"]);
}

#[test]
fn each_try_of_a_step_on_another_image_begins_with_the_image() {
    let coracle = Coracle::new();
    let image = crate::common::fixture::busybox();
    let spec = coracle.job(&format!(
        "storage:\n  - {{ type: anonymous, target: /shared }}\n\
         init:\n  steps:\n  \
           - uses: init.run\n    retry: {{ count: 2, initial: 1ms }}\n    with:\n      image: {image:?}\n      \
             command: \"echo try >> /mine; cat /mine >> /shared/all; test $(wc -l < /shared/all) -eq 3\"\n\
         command: [cat, /shared/all]"
    ));
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0).expect_stdout("try\ntry\ntry\n");
}

#[test]
fn a_volume_is_filled_from_the_jobs_image_whatever_step_comes_first() {
    let coracle = Coracle::new();
    let image = crate::common::fixture::busybox();
    let spec = coracle.job(&format!(
        "storage:\n  - {{ type: anonymous, target: /bin }}\n\
         init:\n  steps:\n  \
           - {{ uses: init.run, with: {{ image: {image:?}, command: [/bin/toolbox, write, /bin/seen, toolbox] }} }}\n\
         command: [cat, /bin/seen]"
    ));
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0).expect_stdout("toolbox\n");
}

#[test]
fn steps_and_main_process_know_the_execution() {
    let coracle = Coracle::new();
    let spec = coracle.job(
        "env: { CORACLE_ATTEMPT: \"7\" }\ninit:\n  steps:\n  \
           - { uses: init.run, with: { command: [env], env: { CORACLE_ATTEMPT: \"8\" } } }\n\
         command: [env]",
    );
    let finished = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0);
    let id = coracle.only_execution()["id"].as_str().expect("an id").to_owned();
    for entry in [&format!("CORACLE_EXECUTION_ID={id}"), "CORACLE_JOB_NAME=job", "CORACLE_ATTEMPT=1"] {
        let count = finished.lines().iter().filter(|line| *line == entry).count();
        assert_eq!(count, 2, "{entry}: {finished}");
    }
}
