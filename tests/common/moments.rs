//! When executions ran.

use jiff::Timestamp;

/// How many ran at once at most, of these with their beginnings and ends.
pub fn most_at_once(ran: impl IntoIterator<Item = (Timestamp, Timestamp)>) -> usize {
    let moments = ran.into_iter().flat_map(|(began, ended)| [(began, 1), (ended, -1)]);
    let mut moments: Vec<(Timestamp, isize)> = moments.collect();
    // At the same moment, an end comes first.
    moments.sort_unstable();
    let running = moments.iter().scan(0, |running, (_, change)| {
        *running += change;
        Some(*running)
    });
    running.max().unwrap_or_default().unsigned_abs()
}
