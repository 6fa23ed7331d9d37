//! Ends and triggers as JSON, in the one form that the command line prints and notifications carry. The
//! documentation of `src/cli/json.rs` promises it.

use super::model::JobTrigger;
use crate::outcome::{End, StepCause, Stopped};
use serde_json::{Value, json};
use std::time::Duration;

/// `{"kind": …}` with what belongs to that kind.
pub(crate) fn end_document(end: &End) -> Value {
    match end {
        End::Exited { code } => json!({"kind": "exited", "code": code}),
        End::Signalled { signal } => json!({"kind": "signalled", "signal": signal}),
        End::OomKilled => json!({"kind": "oom_killed"}),
        End::Deadline { after, how } => {
            json!({"kind": "deadline", "after_seconds": seconds(*after), "stopped": stopped(how)})
        }
        End::Cancelled { how } => json!({"kind": "cancelled", "stopped": stopped(how)}),
        End::InitStep { step, cause, attempt, last_line } => json!({
            "kind": "init_step", "step": step, "cause": step_cause(cause), "attempt": attempt, "last_line": last_line,
        }),
        End::NotExecutable { command, errno } => json!({"kind": "not_executable", "command": command, "errno": errno}),
        End::Image { image, message } => json!({"kind": "image", "image": image, "message": message}),
        End::Host { message } => json!({"kind": "host", "message": message}),
        End::NotCreated { stage, message } => json!({"kind": "not_created", "stage": stage, "message": message}),
        End::SupervisorLost { message } => json!({"kind": "supervisor_lost", "message": message}),
    }
}

/// `{"kind": …}`, with `remote_addr` or `reason`.
pub(crate) fn trigger_document(trigger: &JobTrigger) -> Value {
    let kind = trigger.kind().as_str();
    match trigger {
        JobTrigger::Endpoint { remote_addr } => json!({"kind": kind, "remote_addr": remote_addr}),
        JobTrigger::Cli | JobTrigger::Scheduler => json!({"kind": kind}),
        JobTrigger::Internal { reason } => json!({"kind": kind, "reason": reason}),
    }
}

fn stopped(how: &Stopped) -> Value {
    match how {
        Stopped::BeforeStart => json!({"kind": "before_start"}),
        Stopped::InQueue => json!({"kind": "in_queue"}),
        Stopped::InStep { step, attempt, detail } => {
            json!({"kind": "in_step", "step": step, "attempt": attempt, "detail": detail})
        }
        Stopped::BetweenAttempts { next } => json!({"kind": "between_attempts", "next": next}),
        Stopped::Exited { code } => json!({"kind": "exited", "code": code}),
        Stopped::Signalled { signal } => json!({"kind": "signalled", "signal": signal}),
    }
}

fn step_cause(cause: &StepCause) -> Value {
    match cause {
        StepCause::Exited { code } => json!({"kind": "exited", "code": code}),
        StepCause::Signalled { signal } => json!({"kind": "signalled", "signal": signal}),
        StepCause::OomKilled => json!({"kind": "oom_killed"}),
        StepCause::NotExecutable { command, errno } => {
            json!({"kind": "not_executable", "command": command, "errno": errno})
        }
        StepCause::TimedOut { after } => json!({"kind": "timed_out", "after_seconds": seconds(*after)}),
        StepCause::Failed { message } => json!({"kind": "failed", "message": message}),
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
