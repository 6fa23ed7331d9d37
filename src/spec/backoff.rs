//! Waits before retries: how they are written, and how long they are.

use super::duration::parse_duration;
use super::job::Backoff;
use super::node::Value;
use super::reader::{At, Fields};
use super::value_error::ValueError;
use std::time::Duration;

/// `jitter: true`: half of the wait is left to chance, "equal jitter" in
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.
const JITTER: f64 = 0.5;

/// One second, doubling, up to a minute: what the format says of init steps
/// (`errors.on_init_failure.action: backoff`), taken for every retry.
impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(60), multiplier: 2.0, jitter: 0.0 }
    }
}

impl Backoff {
    /// No wait at all.
    pub const NONE: Backoff = Backoff { initial: Duration::ZERO, max: Duration::ZERO, multiplier: 1.0, jitter: 0.0 };

    /// The wait before the retry after `retries` earlier ones; `random` is from 0 (inclusive) to 1. Without
    /// jitter it never shrinks from one retry to the next, and it is never above `max`.
    pub fn delay(&self, retries: u32, random: f64) -> Duration {
        if self.initial.is_zero() {
            return Duration::ZERO;
        }
        let exponent = i32::try_from(retries).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.multiplier.powi(exponent);
        // Infinite or beyond what a duration holds: the cap.
        let capped = Duration::try_from_secs_f64(seconds).unwrap_or(self.max).min(self.max);
        let share = 1.0 - self.jitter * random;
        if share >= 1.0 {
            return capped;
        }
        // What is no number at all leaves the whole wait.
        Duration::try_from_secs_f64(capped.as_secs_f64() * share.max(0.0)).unwrap_or(capped).min(capped)
    }
}

/// Takes `initial`, `max` and `multiplier`.
pub(super) fn read_backoff(fields: &mut Fields) -> Backoff {
    let default = Backoff::default();
    let (initial_at, max_at) = (fields.take("initial"), fields.take("max"));
    let length = |at: &Option<At>, default| at.as_ref().map_or(Some(default), |at| at.parse(parse_duration));
    let initial = length(&initial_at, default.initial);
    let max = length(&max_at, default.max);
    if let (Some(initial), Some(max), Some(at)) = (initial, max, initial_at.or(max_at))
        && initial > max
    {
        at.error(ValueError::InitialAboveMax { initial, max });
    }
    let multiplier = fields.take("multiplier").and_then(|at| at.parse(|text| factor("multiplier", text, 1.0, 100.0)));
    Backoff {
        initial: initial.unwrap_or(default.initial),
        max: max.unwrap_or(default.max),
        multiplier: multiplier.unwrap_or(default.multiplier),
        jitter: default.jitter,
    }
}

/// A share of the wait, or whether there is any.
pub(super) fn read_jitter(at: &At) -> Option<f64> {
    match at.node.value {
        Value::Bool(true) => Some(JITTER),
        Value::Bool(false) => Some(0.0),
        _ => at.parse(|text| factor("jitter", text, 0.0, 1.0)),
    }
}

fn factor(what: &'static str, text: &str, least: f64, most: f64) -> Result<f64, ValueError> {
    text.parse().ok().filter(|factor| (least..=most).contains(factor)).ok_or_else(|| ValueError::OutOfRange {
        what,
        text: text.to_owned(),
        range: format!("{least} to {most}"),
    })
}
