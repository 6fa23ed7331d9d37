//! Jobs that run for the end of another execution, and how many of those may follow each other: the reason in
//! their trigger says it.

use crate::exec::model::{JobExecutionId, JobTrigger};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Executions in a row that each run for the end of the one before.
pub const LONGEST: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    OnFailure,
    OnSuccess,
}

impl Event {
    pub fn as_str(self) -> &'static str {
        match self {
            Event::OnFailure => "on_failure",
            Event::OnSuccess => "on_success",
        }
    }
}

/// Why a job runs: `on_failure of ID`, from the second in a row on `on_failure of ID (2 in a row)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    event: Event,
    of: JobExecutionId,
    /// From 1.
    depth: u32,
}

impl Cause {
    /// That of a job which runs because the execution `of`, which had this trigger, has ended.
    pub fn after(trigger: &JobTrigger, event: Event, of: &JobExecutionId) -> Cause {
        let before = match trigger {
            JobTrigger::Internal { reason } => depth(reason).unwrap_or(0),
            _ => 0,
        };
        Cause { event, of: of.clone(), depth: before.saturating_add(1) }
    }

    pub fn is_too_long(&self) -> bool {
        self.depth > LONGEST
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.event.as_str(), self.of)?;
        if self.depth > 1 { write!(f, " ({} in a row)", self.depth) } else { Ok(()) }
    }
}

/// The depth in a reason that a [`Cause`] was displayed as.
fn depth(reason: &str) -> Option<u32> {
    let rest = reason.strip_prefix("on_failure of ").or_else(|| reason.strip_prefix("on_success of "))?;
    match rest.split_once(" (") {
        None => Some(1),
        Some((_, count)) => count.strip_suffix(" in a row)")?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_counted_and_ends() {
        let id = JobExecutionId("x".into());
        let mut trigger = JobTrigger::Internal { reason: "of my own".into() };
        let mut reasons = Vec::new();
        for _ in 0..=LONGEST {
            let cause = Cause::after(&trigger, Event::OnFailure, &id);
            trigger = JobTrigger::Internal { reason: cause.to_string() };
            reasons.push((cause.to_string(), cause.is_too_long()));
        }
        assert_eq!(reasons[0], ("on_failure of x".to_owned(), false));
        assert_eq!(reasons[1], ("on_failure of x (2 in a row)".to_owned(), false));
        assert_eq!(reasons[7], ("on_failure of x (8 in a row)".to_owned(), false));
        assert_eq!(reasons[8], ("on_failure of x (9 in a row)".to_owned(), true));
        assert_eq!(Cause::after(&JobTrigger::Cli, Event::OnSuccess, &id).to_string(), "on_success of x");
    }
}
