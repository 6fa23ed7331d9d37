use super::*;
use crate::exec::{JobExecutionId, JobStatus, JobTrigger};
use crate::outcome::{StepCause, Stopped};
use serde_json::json;

fn execution() -> JobExecution {
    JobExecution {
        id: JobExecutionId("0199aaaa-0000-7000-8000-000000000001".into()),
        job_name: "hello".into(),
        deployment: Some("demo".into()),
        status: JobStatus::Failed { reason: "x".into(), exit_code: None },
        trigger: JobTrigger::Endpoint { remote_addr: None },
        created_at: "2026-01-02T03:04:05.000000006Z".parse().expect("a time"),
        started_at: Some("2026-01-02T03:04:06Z".parse().expect("a time")),
        completed_at: Some("2026-01-02T03:04:07.5Z".parse().expect("a time")),
        duration: Some(Duration::new(2, 1)),
        image: "oci:x".into(),
        image_digest: None,
        container_id: None,
        logs: None,
        attempt: 1,
        attempts: Vec::new(),
        is_waiting: false,
        retry_at: None,
        idempotency_key: None,
        undelivered: Vec::new(),
        end: Some(End::Deadline { after: Duration::from_millis(1500), how: Stopped::Signalled { signal: 9 } }),
        usage: Usage { peak_memory: Some(1), oom_kills: Some(0), ..Usage::default() },
        notes: vec!["a note".into()],
        labels: [("team".into(), "a".into())].into(),
        step: None,
        step_since: None,
        supervisor: None,
        spec: json!({"name": "hello"}),
    }
}

/// The promise of this module, literally.
#[test]
fn the_form_of_an_execution_is_stable() {
    let execution = execution();
    insta::assert_snapshot!(
        serde_json::to_string_pretty(&ExecutionDocument::in_full(&execution, None)).expect("serializable"),
        @r#"
    {
      "id": "0199aaaa-0000-7000-8000-000000000001",
      "job": "hello",
      "deployment": "demo",
      "status": "failed",
      "exit_code": null,
      "reason": "deadline of 1.5s passed; it was killed by SIGKILL",
      "trigger": {
        "kind": "endpoint",
        "remote_addr": null
      },
      "created_at": "2026-01-02T03:04:05.000000006Z",
      "started_at": "2026-01-02T03:04:06Z",
      "completed_at": "2026-01-02T03:04:07.5Z",
      "duration_seconds": 2.000000001,
      "image": "oci:x",
      "image_digest": null,
      "container_id": null,
      "end": {
        "after_seconds": 1.5,
        "kind": "deadline",
        "stopped": {
          "kind": "signalled",
          "signal": 9
        }
      },
      "usage": {
        "peak_memory_bytes": 1,
        "peak_memory_source": null,
        "cpu_user_seconds": null,
        "cpu_system_seconds": null,
        "oom_kills": 0
      },
      "labels": {
        "team": "a"
      },
      "notes": [
        "a note"
      ],
      "init_step": null,
      "supervisor_pid": null,
      "init_step_attempt": null,
      "init_step_since": null,
      "init_step_max_attempts": null,
      "init_step_waiting": null,
      "init_step_elapsed_seconds": null,
      "attempt": 1,
      "max_attempts": 1,
      "waiting": false,
      "retry_at": null,
      "idempotency_key": null,
      "attempts": [],
      "queue": null,
      "undelivered": [],
      "spec": {
        "name": "hello"
      }
    }
    "#
    );
}

#[test]
fn lists_leave_out_details_only() {
    let execution = execution();
    let mut full = serde_json::to_value(ExecutionDocument::in_full(&execution, None)).expect("serializable");
    let short = serde_json::to_value(ExecutionDocument::new(&execution)).expect("serializable");
    for detail in ["attempts", "queue", "undelivered", "spec"] {
        full.as_object_mut().expect("an object").remove(detail).expect(detail);
    }
    assert_eq!(full, short);
}

#[test]
fn every_end_has_its_kind() {
    let command = || "x".to_owned();
    let how = Stopped::BeforeStart;
    let kinds: Vec<Value> = [
        End::Exited { code: 3 },
        End::Signalled { signal: 15 },
        End::OomKilled,
        End::Deadline { after: Duration::ZERO, how: how.clone() },
        End::Cancelled { how },
        End::InitStep {
            step: "s".into(),
            cause: StepCause::TimedOut { after: Duration::from_secs(1) },
            attempt: 2,
            last_line: None,
        },
        End::Image { image: "i".into(), message: "m".into() },
        End::Host { message: "m".into() },
        End::NotExecutable { command: command(), errno: 2 },
        End::NotCreated { stage: "s".into(), message: "m".into() },
        End::SupervisorLost { message: "m".into() },
    ]
    .iter()
    .map(|end| end_document(end)["kind"].clone())
    .collect();
    assert_eq!(
        kinds,
        [
            "exited",
            "signalled",
            "oom_killed",
            "deadline",
            "cancelled",
            "init_step",
            "image",
            "host",
            "not_executable",
            "not_created",
            "supervisor_lost"
        ]
    );
}
