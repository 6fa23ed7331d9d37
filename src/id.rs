//! Names of executions and of their containers.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Name of one execution: a UUID v7, lower case with hyphens. Ids sort by creation, to the
/// millisecond.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobExecutionId(pub String);

impl JobExecutionId {
    /// A new id, unlike any other.
    pub fn new() -> JobExecutionId {
        JobExecutionId(uuid::Uuid::now_v7().to_string())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for JobExecutionId {
    fn default() -> JobExecutionId {
        JobExecutionId::new()
    }
}

impl fmt::Display for JobExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of the container of one attempt: `EXECUTION-ATTEMPT`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerId(pub String);

impl ContainerId {
    /// That of an attempt, counted from 1.
    pub fn of(execution: &JobExecutionId, attempt: u32) -> ContainerId {
        ContainerId(format!("{execution}-{attempt}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The execution and the attempt; the name as a whole and 1 for one that was not made by [`ContainerId::of`].
    pub fn parts(&self) -> (&str, u32) {
        let parts = self.0.rsplit_once('-').and_then(|(id, attempt)| Some((id, attempt.parse().ok()?)));
        parts.unwrap_or((&self.0, 1))
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_differ_and_sort_by_creation() {
        let ids: Vec<JobExecutionId> = (0..1000).map(|_| JobExecutionId::new()).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 1000);
        assert!(ids.is_sorted());
        assert_eq!(ids[0].to_string().len(), 36);
    }

    #[test]
    fn a_container_is_named_after_execution_and_attempt() {
        let id = JobExecutionId::new();
        let container = ContainerId::of(&id, 12);
        assert_eq!(container.parts(), (id.as_str(), 12));
        assert_eq!(ContainerId("other".into()).parts(), ("other", 1));
    }
}
