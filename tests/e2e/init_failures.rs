//! What a failed init step means: tries, waits between them, `on_failure`, and the whole sequence again.

use crate::common::cli::Coracle;

/// An `init.run` that adds a line to `/tmp/log` and exits with `code`.
fn counting(id: &str, code: &str, fields: &str) -> String {
    let image = crate::common::fixture::busybox();
    format!(
        "  - {{ id: {id}, uses: init.run, {fields} with: {{ image: {image:?}, \
         command: \"echo {id} >> /shared/log; echo {id} says so >&2; exit {code}\" }} }}\n"
    )
}

/// The lines that the steps have written; the main process shows them.
fn job(coracle: &Coracle, steps: &str, more: &str) -> std::path::PathBuf {
    coracle.job(&format!(
        "storage:\n  - {{ type: named, name: tries, target: /shared }}\ninit:\n  steps:\n{steps}{more}\ncommand: [cat, /shared/log]"
    ))
}

fn lines(coracle: &Coracle) -> Vec<String> {
    let log = std::fs::read_to_string(coracle.root().join("volumes/tries/log")).expect("a step has run");
    log.lines().map(str::to_owned).collect()
}

#[test]
fn a_failing_step_is_tried_as_often_as_asked_and_its_last_words_are_the_reason() {
    let coracle = Coracle::new();
    let steps = counting("bad", "3", "retry: { count: 2, initial: 1ms },");
    let spec = job(&coracle, &steps, "");
    let finished = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_error(3, &["bad"]);
    assert_eq!(finished.stdout(), "", "{finished}");
    assert_eq!(lines(&coracle), ["bad"; 3]);
    let record = coracle.only_execution();
    let reason = record["reason"].as_str().unwrap_or_default();
    assert_eq!(reason, r#"init step "bad" exited with code 3 on try 3; its last line: "bad says so""#, "{record:#}");
    assert_eq!(record["status"], "failed");
}

#[test]
fn a_step_that_succeeds_at_a_later_try_is_a_success() {
    let coracle = Coracle::new();
    let steps = counting("late", "$(( $(wc -l < /shared/log) != 3 ))", "retry: { count: 5, initial: 1ms },");
    let spec = job(&coracle, &steps, "");
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0).expect_stdout("late\nlate\nlate\n");
    assert!(coracle.only_execution()["reason"].is_null());
}

#[test]
fn a_failure_may_be_a_warning_or_nothing() {
    let coracle = Coracle::new();
    let steps = counting("warned", "3", "on_failure: warn,")
        + &counting("ignored", "4", "on_failure: continue, retry: { count: 1, initial: 1ms },")
        + &counting("last", "0", "");
    let spec = job(&coracle, &steps, "");
    let finished = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0);
    assert_eq!(finished.stdout(), "warned\nignored\nignored\nlast\n", "{finished}");
    let record = coracle.only_execution();
    let notes = record["notes"].to_string();
    assert!(
        notes.contains("warned") && notes.contains("exited with code 3") && !notes.contains("ignored"),
        "{record:#}"
    );
}

#[test]
fn the_whole_sequence_runs_again_as_often_as_asked() {
    for (action, tries) in
        [("action: restart, retries: 2", 3), ("action: backoff, initial: 1ms, retries: 1", 2), ("action: fail", 1)]
    {
        let coracle = Coracle::new();
        let steps = counting("good", "0", "") + &counting("bad", "5", "");
        let spec = job(&coracle, &steps, &format!("errors: {{ on_init_failure: {{ {action} }} }}"));
        coracle.run(["run".as_ref(), spec.as_os_str()]).expect_error(5, &["bad"]);
        let expected: Vec<&str> = ["good", "bad"].into_iter().cycle().take(2 * tries).collect();
        assert_eq!(lines(&coracle), expected, "{action}");
    }
}

#[test]
fn a_sequence_that_succeeds_the_second_time_leads_to_the_main_process() {
    let coracle = Coracle::new();
    let steps = counting("first", "0", "") + &counting("flaky", "$(( $(grep -c flaky /shared/log) < 2 ))", "");
    let spec = job(&coracle, &steps, "errors: { on_init_failure: { action: restart } }");
    let finished = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0);
    assert_eq!(finished.stdout(), "first\nflaky\nfirst\nflaky\n", "{finished}");
}

#[test]
fn a_step_that_takes_too_long_is_ended_and_tried_again() {
    let coracle = Coracle::new();
    let spec = coracle.job(
        "stop_grace_period: 0s\ninit:\n  steps:\n  \
           - { id: slow, uses: init.run, timeout: 200ms, retry: { count: 1, initial: 1ms }, with: { command: [sleep, \"1000\"] } }\n\
         command: [echo, main]",
    );
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_error(125, &["slow", "did not end within 200ms on try 2"]);
}

#[test]
fn waits_between_tries_are_told_in_the_log() {
    let coracle = Coracle::new();
    let spec = job(&coracle, &counting("bad", "3", "retry: { count: 1, initial: 1ms },"), "");
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(3);
    let id = coracle.only_execution()["id"].as_str().expect("an id").to_owned();
    let path = coracle.container(&id).join("log.ring");
    let log = std::fs::read(path).expect("a log");
    let log = String::from_utf8_lossy(&log).into_owned();
    assert!(log.contains("it is tried again in 1ms, try 2 of 2"), "{log}");
}

#[test]
fn whoever_waits_is_told_of_tries_and_runs() {
    let coracle = Coracle::new();
    let steps = counting("bad", "3", "retry: { count: 1, initial: 1ms },");
    let spec = job(&coracle, &steps, "errors: { on_init_failure: { action: restart, retries: 1 } }");
    let finished = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(3);
    let said = r#"coracle: note: init step "bad" exited with code 3"#;
    let notes: Vec<String> =
        finished.stderr().lines().filter(|line| line.starts_with(said)).map(str::to_owned).collect();
    assert_eq!(notes.len(), 3, "{finished}");
    assert!(notes[0].ends_with("it is tried again in 1ms, try 2 of 4"), "{finished}");
    assert!(notes[1].ends_with("the init steps run again from the first at once, run 2 of 2"), "{finished}");
    // Counted as `inspect` and events do: over all runs.
    assert!(notes[2].contains(" on try 3; ") && notes[2].ends_with("try 4 of 4"), "{finished}");
}

#[test]
fn a_user_or_an_image_that_is_not_there_is_a_failure_of_the_step() {
    for (fields, cause) in [
        ("user: nosuch", "failed to prepare the process: user \"nosuch\""),
        ("image: \"oci:/no/such/image\"", "failed to get the image \"oci:/no/such/image\""),
    ] {
        let job = |policy: &str| {
            let coracle = Coracle::new();
            let step = format!("{{ id: odd, uses: init.run, {policy} with: {{ command: [id], {fields} }} }}");
            let spec = coracle.job(&format!("init:\n  steps:\n  - {step}\ncommand: [echo, main]"));
            (coracle.run(["run".as_ref(), spec.as_os_str()]), coracle)
        };
        let (finished, coracle) = job("on_failure: warn,");
        finished.expect_code(0).expect_stdout("main\n");
        let notes = coracle.only_execution()["notes"].clone();
        let is_told = |note: &serde_json::Value| {
            note.as_str().is_some_and(|note| note.starts_with("init step \"odd\" ") && note.contains(cause))
        };
        assert!(notes.as_array().expect("notes").iter().any(is_told), "{notes:#}");
        job("").0.expect_error(125, &["init step \"odd\""]);
    }
    // Each try looks again.
    let coracle = Coracle::new();
    let spec = coracle.job(
        "init:\n  steps:\n  \
           - { uses: init.run, retry: { count: 1, initial: 1ms }, with: { command: [id], user: nosuch } }\n\
         command: [echo, main]",
    );
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_error(125, &["nosuch", "on try 2"]);
}
