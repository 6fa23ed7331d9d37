//! Whether an execution gets another attempt: a pure function.

use crate::outcome::End;
use crate::spec::{JobPolicy, Retry};
use std::time::Duration;

/// What is known when an attempt has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended<'a> {
    pub policy: &'a JobPolicy,
    pub end: &'a End,
    /// The attempt that ended, from 1.
    pub attempt: u32,
    /// By all attempts and the waits between them, this one included.
    pub spent: Duration,
    /// From 0 to 1, for the jitter.
    pub random: f64,
}

/// How long to wait before the next attempt; `None`: there is none, the end is the execution's.
pub(super) fn next_attempt(ended: Ended<'_>) -> Option<Duration> {
    let Ended { policy, end, attempt, spent, random } = ended;
    if attempt >= policy.retry.max_attempts || !may_retry(&policy.retry, end) {
        return None;
    }
    let delay = policy.retry.backoff.delay(attempt - 1, random);
    let in_time = policy.deadline.is_none_or(|deadline| spent.saturating_add(delay) < deadline);
    in_time.then_some(delay)
}

fn may_retry(retry: &Retry, end: &End) -> bool {
    match end {
        End::Exited { code: 0 } | End::Cancelled { .. } | End::Deadline { .. } => false,
        End::Exited { code } => {
            let listed = retry.on_exit_codes.is_empty() || retry.on_exit_codes.contains(code);
            listed && !retry.never_on_exit_codes.contains(code)
        }
        _ => retry.on_exit_codes.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Stopped;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy(max_attempts: u32) -> JobPolicy {
        let mut policy = JobPolicy::default();
        policy.retry.max_attempts = max_attempts;
        policy
    }

    fn next(policy: &JobPolicy, end: &End, attempt: u32, spent: Duration) -> Option<Duration> {
        next_attempt(Ended { policy, end, attempt, spent, random: 0.0 })
    }

    #[test]
    fn there_are_as_many_attempts_as_asked_for_with_growing_waits() {
        let policy = policy(3);
        let end = End::Exited { code: 1 };
        assert_eq!(next(&policy, &end, 1, SECOND), Some(SECOND));
        assert_eq!(next(&policy, &end, 2, SECOND), Some(2 * SECOND));
        assert_eq!(next(&policy, &end, 3, SECOND), None);
    }

    #[test]
    fn success_cancel_and_deadline_are_final() {
        let how = Stopped::Signalled { signal: 15 };
        for end in [End::Exited { code: 0 }, End::Cancelled { how: how.clone() }, End::Deadline { after: SECOND, how }]
        {
            assert_eq!(next(&policy(9), &end, 1, SECOND), None, "{end}");
        }
    }

    #[test]
    fn exit_codes_choose() {
        let mut policy = policy(2);
        policy.retry.never_on_exit_codes = vec![2];
        let retried = |policy: &JobPolicy, end: End| next(policy, &end, 1, SECOND).is_some();
        assert!(retried(&policy, End::Exited { code: 1 }));
        assert!(!retried(&policy, End::Exited { code: 2 }));
        assert!(retried(&policy, End::OomKilled));
        policy.retry.on_exit_codes = vec![75];
        assert!(retried(&policy, End::Exited { code: 75 }));
        assert!(!retried(&policy, End::Exited { code: 1 }));
        assert!(!retried(&policy, End::OomKilled));
    }

    #[test]
    fn no_attempt_begins_after_the_deadline() {
        let mut policy = policy(9);
        policy.deadline = Some(10 * SECOND);
        let end = End::Exited { code: 1 };
        assert_eq!(next(&policy, &end, 1, 8 * SECOND), Some(SECOND));
        assert_eq!(next(&policy, &end, 1, 9 * SECOND), None);
        assert_eq!(next(&policy, &end, 1, Duration::MAX), None);
    }
}
