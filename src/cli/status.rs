//! How far an execution is, in words for a table or a line.

use super::human;
use crate::exec::{JobExecution, JobStatus, QueuePosition, StepProgress};
use jiff::Timestamp;

/// The status, with what a waiting execution waits for and the step that runs.
pub(super) fn status(execution: &JobExecution, now: Timestamp) -> String {
    let status = &execution.status;
    match (status, execution.retry_at, &execution.step) {
        (JobStatus::Pending, Some(at), _) => {
            let which = format!("{}/{}", execution.attempt, execution.max_attempts());
            match human::since(now, at) {
                left if left.is_zero() => format!("{status} (retry {which})"),
                left => format!("{status} (retry {which} in {})", human::duration(left)),
            }
        }
        (JobStatus::Pending, None, _) if execution.is_waiting => format!("{status} (waiting)"),
        (JobStatus::Initializing, _, Some(step)) => format!("{status} {}{}", step.id, try_of(step)),
        _ => status.to_string(),
    }
}

/// Which try of its init step it is, from the second one on.
pub(super) fn try_of(step: &StepProgress) -> String {
    match (step.attempt, step.max_attempts) {
        (..=1, _) => String::new(),
        (attempt, Some(most)) => format!(" (try {attempt} of {most})"),
        (attempt, None) => format!(" (try {attempt})"),
    }
}

/// What a waiting execution waits for.
pub(super) fn turn(position: QueuePosition) -> String {
    let QueuePosition { running, waiting } = position;
    let before = match (running, waiting) {
        (running, 0) => format!("{running} running"),
        (0, waiting) => format!("{waiting} waiting"),
        (running, waiting) => format!("{running} running and {waiting} waiting"),
    };
    format!("waiting for its turn: {before} before it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_told_in_words() {
        let text = |running, waiting| turn(QueuePosition { running, waiting });
        assert_eq!(text(1, 0), "waiting for its turn: 1 running before it");
        assert_eq!(text(0, 2), "waiting for its turn: 2 waiting before it");
        assert_eq!(text(4, 3), "waiting for its turn: 4 running and 3 waiting before it");
    }
}
