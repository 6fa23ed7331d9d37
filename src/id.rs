//! Names of executions and of their containers.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

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

    /// A new id that sorts after `newest`, also when the clock was set back since.
    pub(crate) fn after(newest: Option<&str>) -> JobExecutionId {
        let new = JobExecutionId::new();
        let Some(newest) = newest.filter(|newest| *newest >= new.as_str()) else { return new };
        // One that is no UUID v7 is none of ours.
        let Some((seconds, nanoseconds)) =
            uuid::Uuid::parse_str(newest).ok().and_then(|id| id.get_timestamp()).map(|time| time.to_unix())
        else {
            return new;
        };
        let next = Duration::new(seconds, nanoseconds) + Duration::from_millis(1);
        let time = uuid::Timestamp::from_unix(uuid::NoContext, next.as_secs(), next.subsec_nanos());
        JobExecutionId(uuid::Uuid::new_v7(time).to_string())
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

/// Name of a container: `EXECUTION-ATTEMPT-NONCE`. Every preparation of an attempt makes another one, so that what a
/// process that was given up still does never touches what its successor made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerId(pub String);

/// Digits of a nonce.
const NONCE: usize = 8;

impl ContainerId {
    /// A new one for an attempt, which are counted from 1.
    pub fn new(execution: &JobExecutionId, attempt: u32) -> ContainerId {
        ContainerId(format!("{execution}-{attempt}-{:08x}", fastrand::u32(..)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The execution that it belongs to.
    pub fn execution(&self) -> &str {
        match self.own_part() {
            Some(own) => &self.0[..self.0.len() - own.len() - 1],
            None => self.0.rsplit_once('-').map_or(&self.0, |(execution, _)| execution),
        }
    }

    /// The attempt that it was made for.
    pub fn attempt(&self) -> u32 {
        let number = self.own_part().and_then(|own| own.split_once('-')?.0.parse().ok());
        // Those of versions without attempts made the first one.
        number.unwrap_or(1)
    }

    /// `ATTEMPT-NONCE`; `None` for a name from a version without attempts, `EXECUTION-NUMBER`.
    pub fn own_part(&self) -> Option<&str> {
        let (rest, nonce) = self.0.rsplit_once('-')?;
        let is_nonce = nonce.len() == NONCE && nonce.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (execution, _) = rest.rsplit_once('-').filter(|_| is_nonce)?;
        Some(&self.0[execution.len() + 1..])
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
    fn ids_sort_by_creation_when_the_clock_was_set_back() {
        let old = JobExecutionId::new();
        assert!(JobExecutionId::after(Some(old.as_str())) > old);
        // A thousand years from now.
        let mut ids = vec![JobExecutionId("1e000000-0000-7fff-bfff-ffffffffffff".to_owned())];
        for _ in 0..1000 {
            ids.push(JobExecutionId::after(ids.last().map(JobExecutionId::as_str)));
        }
        assert!(ids.is_sorted());
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 1001);
        assert!(ids.iter().all(|id| id.as_str().len() == 36 && id.as_str().as_bytes()[14] == b'7'));
        assert!(JobExecutionId::after(Some("zzz")) > old, "a name that is none of ours is left alone");
    }

    #[test]
    fn a_container_is_named_after_execution_and_attempt() {
        let id = JobExecutionId::new();
        let container = ContainerId::new(&id, 12);
        assert_eq!((container.execution(), container.attempt()), (id.as_str(), 12));
        assert_eq!(container.own_part().map(str::len), Some("12-01234567".len()));
        assert_ne!(container, ContainerId::new(&id, 12));
    }

    #[test]
    fn names_of_older_versions_are_understood() {
        let id = JobExecutionId::new();
        let container = ContainerId(format!("{id}-2"));
        assert_eq!((container.execution(), container.attempt(), container.own_part()), (id.as_str(), 1, None));
    }
}
