//! When to ask again, and after how long a pause.

use super::error::RegistryError;
use crate::image::progress::{Observer, PullEvent};
use std::time::Duration;

/// How long to wait for a registry and how often to ask again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Requests made for one thing before it is given up. A blob that made progress starts anew.
    pub attempts: u32,
    /// The longest pause after the first failure; it doubles with every further one.
    pub first_pause: Duration,
    /// Where doubling ends.
    pub longest_pause: Duration,
    /// The longest pause taken because a registry asks for it (`Retry-After`).
    pub longest_wait: Duration,
    /// A registry that does not take a connection for so long is not there.
    pub connect: Duration,
    /// A registry that sends nothing, or next to nothing, for so long has stalled.
    pub stall: Duration,
}

impl Default for NetworkPolicy {
    fn default() -> NetworkPolicy {
        NetworkPolicy {
            attempts: 5,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            longest_wait: Duration::from_secs(300),
            connect: Duration::from_secs(20),
            stall: Duration::from_secs(60),
        }
    }
}

/// Whether a failure may be gone when the same is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    No,
    /// It hardly will: a host that is not known or takes no connections. People who mistyped a name
    /// are not to wait long.
    Once,
    Often,
    /// The registry said when.
    After(Duration),
}

impl NetworkPolicy {
    /// The pause after the `failures`-th failure in a row; `None` when it is time to give up. `random`
    /// is in 0..1: the pauses of many clients spread over the whole range ("full jitter",
    /// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
    fn pause(&self, retry: Retry, failures: u32, random: f64) -> Option<Duration> {
        let attempts = match retry {
            Retry::No => return None,
            Retry::After(wait) if wait > self.longest_wait => return None,
            Retry::Once => self.attempts.min(2),
            Retry::Often | Retry::After(_) => self.attempts,
        };
        if failures >= attempts {
            return None;
        }
        let doubled = self.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(16));
        match retry {
            Retry::After(wait) => Some(wait + self.first_pause.mul_f64(random)),
            _ => Some(doubled.min(self.longest_pause).mul_f64(random)),
        }
    }
}

/// Counts the failures of one thing in a row and pauses between them.
pub struct Attempts<'a> {
    network: &'a NetworkPolicy,
    observer: Option<&'a Observer>,
    failures: u32,
}

impl<'a> Attempts<'a> {
    pub fn new(network: &'a NetworkPolicy, observer: Option<&'a Observer>) -> Attempts<'a> {
        Attempts { network, observer, failures: 0 }
    }

    /// As [`Attempts::new`] after so many failures.
    pub fn after(self, failures: u32) -> Attempts<'a> {
        Attempts { failures, ..self }
    }

    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns after a pause when it is to be tried again.
    ///
    /// # Errors
    /// `error`, when it is not.
    pub async fn failed(&mut self, what: &str, error: RegistryError) -> Result<(), RegistryError> {
        self.failures += 1;
        let Some(pause) = self.network.pause(error.retry(), self.failures, fastrand::f64()) else { return Err(error) };
        let reason = error.with_sources();
        tracing::debug!(what, ?pause, reason, "asking again");
        if let Some(observer) = self.observer {
            let (what, attempt) = (what.to_owned(), self.failures + 1);
            observer(&PullEvent::Retrying { what, attempt, pause, reason });
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_end() {
        let network = NetworkPolicy { attempts: 10, ..NetworkPolicy::default() };
        let pauses: Vec<u128> =
            (1..10).map(|failures| network.pause(Retry::Often, failures, 1.0).unwrap().as_millis()).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
        assert_eq!(network.pause(Retry::Often, 10, 1.0), None);
        assert_eq!(network.pause(Retry::Often, 3, 0.0), Some(Duration::ZERO));
        assert_eq!(network.pause(Retry::Often, u32::MAX, 1.0), None);
    }

    #[test]
    fn what_will_not_change_is_not_asked_for_long() {
        let network = NetworkPolicy::default();
        assert_eq!(network.pause(Retry::No, 1, 1.0), None);
        assert_eq!(network.pause(Retry::Once, 1, 1.0), Some(Duration::from_millis(500)));
        assert_eq!(network.pause(Retry::Once, 2, 1.0), None);
    }

    #[test]
    fn a_registry_says_when_within_limits() {
        let network = NetworkPolicy::default();
        let wait = Duration::from_secs(120);
        assert_eq!(network.pause(Retry::After(wait), 1, 0.0), Some(wait));
        assert!(network.pause(Retry::After(wait), 4, 1.0).unwrap() > wait);
        assert_eq!(network.pause(Retry::After(wait), 5, 1.0), None);
        assert_eq!(network.pause(Retry::After(Duration::from_secs(301)), 1, 0.0), None);
    }
}
