//! Lengths of time.

use super::value_error::ValueError;
use std::time::Duration;

/// The units, longest first, in nanoseconds.
const UNITS: &[(&str, u128)] = &[
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Ten years: longer than any job, and far from the ends of every clock and timer.
const MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

/// A length of time: `90` (seconds), `1m30s`, `1.5h`, `500ms`. Units are `d`, `h`, `m`, `s`, `ms`,
/// `us` and `ns`, each at most once and the longest first.
///
/// # Errors
/// [`ValueError::Malformed`]; [`ValueError::OutOfRange`] above ten years.
pub fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    let malformed = || ValueError::Malformed {
        what: "a length of time",
        text: text.to_owned(),
        form: "it as 10s, 1m30s, 500ms or a number of seconds",
    };
    let too_long = || ValueError::OutOfRange {
        what: "a length of time",
        text: text.to_owned(),
        range: "at most ten years".into(),
    };
    let mut units = UNITS;
    let mut total: u128 = 0;
    let mut rest = text;
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        // Only a number on its own may leave out its unit.
        let unit = if unit.is_empty() && rest.len() == text.len() { "s" } else { unit };
        let index = units.iter().position(|(name, _)| *name == unit).ok_or_else(malformed)?;
        let nanos = scaled(number, units[index].1).ok_or_else(malformed)?;
        total = total.saturating_add(nanos);
        units = &units[index + 1..];
        rest = next;
        if rest.is_empty() {
            break;
        }
    }
    u64::try_from(total).ok().map(Duration::from_nanos).filter(|length| *length <= MAX).ok_or_else(too_long)
}

/// Like [`parse_duration`], but nothing of no length.
pub(super) fn positive_duration(text: &str) -> Result<Duration, ValueError> {
    match parse_duration(text)? {
        Duration::ZERO => Err(ValueError::OutOfRange {
            what: "this length of time",
            text: text.to_owned(),
            range: "more than zero".into(),
        }),
        length => Ok(length),
    }
}

/// `number` (digits, perhaps with a fraction) times `unit`; saturates, `None` if malformed.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    const MAX_FRACTION: usize = 9;
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    if number.is_empty() || fraction.contains('.') || fraction.len() > MAX_FRACTION {
        return None;
    }
    // More digits than a u128 has: the caller refuses the length anyway.
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().unwrap_or(u128::MAX) };
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    Some(whole.saturating_mul(unit).saturating_add(part * unit / scale))
}
