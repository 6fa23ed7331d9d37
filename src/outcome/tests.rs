use super::*;

fn step(cause: StepCause, attempt: u32, last_line: Option<&str>) -> End {
    End::InitStep { step: "migrate".into(), cause, attempt, last_line: last_line.map(Into::into) }
}

#[test]
fn a_document_of_version_1_is_of_the_first_attempt() {
    let document = r#"{
        "version": 1,
        "end": {"kind": "init_step", "step": "migrate", "cause": {"kind": "exited", "code": 3}},
        "started_at": null,
        "completed_at": "2026-01-02T03:04:05Z",
        "elapsed": {"secs": 1, "nanos": 2},
        "usage": {"peak_memory": null, "peak_memory_source": null, "cpu_user": null, "cpu_system": null,
                  "oom_kills": null}
    }"#;
    let outcome: Outcome = serde_json::from_str(document).unwrap();
    assert_eq!((outcome.version, outcome.attempt), (1, FIRST_ATTEMPT));
    assert_eq!(outcome.end, step(StepCause::Exited { code: 3 }, 1, None));
    let again: Outcome = serde_json::from_str(&serde_json::to_string(&outcome).unwrap()).unwrap();
    assert_eq!(again, outcome);
}

#[test]
fn a_later_attempt_is_named() {
    let outcome = Outcome {
        version: OUTCOME_VERSION,
        attempt: 3,
        end: step(StepCause::Failed { message: "refused".into() }, 2, Some("x")),
        started_at: None,
        completed_at: jiff::Timestamp::UNIX_EPOCH,
        elapsed: Duration::ZERO,
        usage: Usage::default(),
        notes: Vec::new(),
    };
    let read: Outcome = serde_json::from_str(&serde_json::to_string(&outcome).unwrap()).unwrap();
    assert_eq!(read, outcome);
}

#[test]
fn what_the_engine_or_the_host_failed_at_exits_with_125_and_says_so() {
    let ends = [
        (
            End::Image { image: "debian:12".into(), message: "not found".into() },
            r#"failed to get image "debian:12": not found"#,
        ),
        (End::Host { message: "disk full".into() }, "the host failed: disk full"),
        (
            End::NotCreated { stage: "start the container".into(), message: "no mount".into() },
            "failed to start the container: no mount",
        ),
        (
            step(StepCause::Failed { message: "connection refused".into() }, 1, None),
            r#"init step "migrate" failed: connection refused"#,
        ),
    ];
    for (end, text) in ends {
        assert_eq!((end.exit_code(), end.job_exit_code()), (EXIT_ENGINE, None), "{end:?}");
        assert_eq!(end.to_string(), text);
        let read: End = serde_json::from_str(&serde_json::to_string(&end).unwrap()).unwrap();
        assert_eq!(read, end);
    }
}

#[test]
fn a_failed_step_says_its_try_and_its_last_line() {
    let end = step(StepCause::Exited { code: 3 }, 2, Some("no \u{1b}[31mtable"));
    assert_eq!(
        end.to_string(),
        "init step \"migrate\" exited with code 3 on try 2; its last line: \"no \\u{1b}[31mtable\""
    );
    assert_eq!(end.exit_code(), 3);
}
