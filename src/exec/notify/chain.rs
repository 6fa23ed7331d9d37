//! Jobs that run for the end of another execution, and how many of those one execution may lead to: the reason in
//! their trigger says how far it has come.

use crate::exec::model::{JobExecutionId, JobTrigger};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Executions in a row that each run for the end of the one before.
pub const LONGEST: u32 = 8;

/// Executions that may run equally many steps after the same one. Without it, jobs that each run three others would
/// make three to the power of [`LONGEST`] of one.
pub const WIDEST: u32 = 256;

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

/// Why a job runs: `on_failure of ID`, from the second in a row on `on_failure of ID (2 in a row)`, and where
/// others run as well, `on_failure of ID (2 in a row, one of 6)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    event: Event,
    of: JobExecutionId,
    /// From 1.
    depth: u32,
    /// How many run as many steps after the first one, if each before runs as many as the one that led here.
    #[serde(default = "alone")]
    width: u32,
}

fn alone() -> u32 {
    1
}

impl Cause {
    /// That of the `count` jobs which run because the execution `of`, which had this trigger, has ended.
    pub fn after(trigger: &JobTrigger, event: Event, of: &JobExecutionId, count: usize) -> Cause {
        let (depth, width) = match trigger {
            JobTrigger::Internal { reason } => depth_and_width(reason).unwrap_or((0, 1)),
            _ => (0, 1),
        };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Cause { event, of: of.clone(), depth: depth.saturating_add(1), width: width.saturating_mul(count) }
    }

    /// Why no job runs for it; `None`: one may.
    pub fn excess(&self) -> Option<String> {
        if self.depth > LONGEST {
            return Some(format!("{LONGEST} executions in a row have run for the end of another one"));
        }
        let is_too_wide = self.width > WIDEST;
        is_too_wide.then(|| format!("more than {WIDEST} executions would run for the end of the same one"))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.event.as_str(), self.of)?;
        match (self.depth, self.width) {
            (..=1, ..=1) => Ok(()),
            (depth, ..=1) => write!(f, " ({depth} in a row)"),
            (..=1, width) => write!(f, " (one of {width})"),
            (depth, width) => write!(f, " ({depth} in a row, one of {width})"),
        }
    }
}

/// What a reason that a [`Cause`] was displayed as says of it.
fn depth_and_width(reason: &str) -> Option<(u32, u32)> {
    let rest = reason.strip_prefix("on_failure of ").or_else(|| reason.strip_prefix("on_success of "))?;
    let Some((_, counts)) = rest.split_once(" (") else { return Some((1, 1)) };
    let (mut depth, mut width) = (1, 1);
    for count in counts.strip_suffix(')')?.split(", ") {
        match (count.strip_suffix(" in a row"), count.strip_prefix("one of ")) {
            (Some(count), _) => depth = count.parse().ok()?,
            (None, Some(count)) => width = count.parse().ok()?,
            (None, None) => return None,
        }
    }
    Some((depth, width))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The causes of a chain in which each execution is followed by `count`.
    fn chain(count: usize) -> Vec<Cause> {
        let id = JobExecutionId("x".into());
        let mut trigger = JobTrigger::Internal { reason: "of my own".into() };
        let mut causes = Vec::new();
        for _ in 0..=LONGEST {
            let cause = Cause::after(&trigger, Event::OnFailure, &id, count);
            trigger = JobTrigger::Internal { reason: cause.to_string() };
            causes.push(cause);
        }
        causes
    }

    #[test]
    fn a_chain_is_counted_and_ends() {
        let causes = chain(1);
        let shown: Vec<_> = causes.iter().map(Cause::to_string).collect();
        assert_eq!(shown[..2], ["on_failure of x", "on_failure of x (2 in a row)"]);
        assert_eq!(shown[8], "on_failure of x (9 in a row)");
        assert_eq!(causes.iter().position(|cause| cause.excess().is_some()), Some(8));
        let id = JobExecutionId("x".into());
        assert_eq!(Cause::after(&JobTrigger::Cli, Event::OnSuccess, &id, 1).to_string(), "on_success of x");
    }

    #[test]
    fn what_one_leads_to_does_not_grow_as_a_power() {
        let causes = chain(3);
        let shown: Vec<_> = causes.iter().map(Cause::to_string).collect();
        assert_eq!(shown[..2], ["on_failure of x (one of 3)", "on_failure of x (2 in a row, one of 9)"]);
        let widths: Vec<_> =
            causes.iter().take_while(|cause| cause.excess().is_none()).map(|cause| cause.width).collect();
        assert_eq!(widths, [3, 9, 27, 81, 243]);
        assert_eq!(
            chain(257)[0].excess().as_deref(),
            Some("more than 256 executions would run for the end of the same one")
        );
    }
}
