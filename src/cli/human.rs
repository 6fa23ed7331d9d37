//! Values in words, for people.

use jiff::Timestamp;
use std::fmt::Write;
use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A length of time in at most five characters: `850ms`, `12.3s`, `4m05s`, `3h07m`, `12d`.
pub(super) fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{}ms", duration.as_millis()),
        1..MINUTE => format!("{}.{}s", duration.as_secs(), duration.subsec_millis() / 100),
        seconds @ MINUTE..HOUR => format!("{}m{:02}s", seconds / MINUTE, seconds % MINUTE),
        seconds @ HOUR..DAY => format!("{}h{:02}m", seconds / HOUR, seconds % HOUR / MINUTE),
        seconds => format!("{}d", seconds / DAY),
    }
}

/// How long ago `then` was, in one unit. A time in the future, by a clock set back, is `0s`.
pub(super) fn age(then: Timestamp, now: Timestamp) -> String {
    match since(then, now).as_secs() {
        seconds @ 0..MINUTE => format!("{seconds}s"),
        seconds @ MINUTE..HOUR => format!("{}m", seconds / MINUTE),
        seconds @ HOUR..DAY => format!("{}h", seconds / HOUR),
        seconds => format!("{}d", seconds / DAY),
    }
}

/// From `then` to `now`, by the wall clock; zero when it was set back.
pub(super) fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

/// `4096 bytes`, `2.1 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.into_iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(size);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}

/// Columns padded to their widest cell, two spaces apart; the last one is not padded.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &[&str]| {
        for (index, cell) in cells.iter().enumerate() {
            let width = if index + 1 == cells.len() { 0 } else { widths[index] + 2 };
            write!(text, "{cell:width$}").expect("writing to a string cannot fail");
        }
        text.push('\n');
    };
    line(header);
    for row in rows {
        line(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (milliseconds, expected) in [
            (0, "0ms"),
            (850, "850ms"),
            (1_000, "1.0s"),
            (12_345, "12.3s"),
            (59_999, "59.9s"),
            (245_000, "4m05s"),
            (3_600_000, "1h00m"),
            (11_220_000, "3h07m"),
            (86_400_000 * 12, "12d"),
        ] {
            assert_eq!(duration(Duration::from_millis(milliseconds)), expected);
        }
    }

    #[test]
    fn ages_have_one_unit_and_never_lie_in_the_future() {
        let at = |seconds| Timestamp::from_second(seconds).expect("in range");
        for (seconds, expected) in [(0, "0s"), (59, "59s"), (61, "1m"), (7_200, "2h"), (172_801, "2d"), (-5, "0s")] {
            assert_eq!(age(at(1_000_000), at(1_000_000 + seconds)), expected);
        }
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(2_202_009), "2.0 MiB");
        assert_eq!(bytes(u64::MAX), "17179869183.9 GiB");
    }

    #[test]
    fn tables_are_aligned() {
        let rows = vec![vec!["a".into(), "ü".into(), "x".into()], vec!["bbb".into(), "c".into(), "yy".into()]];
        assert_eq!(table(&["ID", "N", "LAST"], &rows), "ID   N  LAST\na    ü  x\nbbb  c  yy\n");
        assert_eq!(table(&["ID", "N"], &[]), "ID  N\n");
    }
}
