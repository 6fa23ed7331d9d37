//! Amounts: bytes, CPUs, CPU lists.

use super::value_error::ValueError;

/// Exact decimal: `digits / 10^scale`.
struct Decimal {
    digits: u128,
    scale: u32,
}

/// Splits `12.5Mi` into the number and what follows it; `None` without a leading plain number.
fn decimal(text: &str) -> Option<(Decimal, &str)> {
    // 19 + 9 digits times 2^60 stay below 2^128.
    const MAX_WHOLE: usize = 19;
    const MAX_FRACTION: usize = 9;
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    let fraction = fraction.trim_end_matches('0');
    if number.is_empty() || fraction.contains('.') || fraction.len() > MAX_FRACTION {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() > MAX_WHOLE {
        return Some((Decimal { digits: u128::from(u64::MAX), scale: 0 }, rest));
    }
    let digits = format!("0{whole}{fraction}").parse().ok()?;
    let scale = u32::try_from(fraction.len()).ok()?;
    Some((Decimal { digits, scale }, rest))
}

/// Bytes, as Kubernetes and Docker write them.
///
/// - a bare number or `b`: bytes
/// - `Ki`, `Mi`, `Gi`, `Ti`, `Pi`, `Ei`, also with `B`: powers of 1024
/// - `M`, `G`, `T`, `P`, `E`: powers of 1000, as in Kubernetes
///   (<https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>)
/// - lower-case `k`, `m`, `g`, `t`, `p`, also with `b`: powers of 1024, as `docker run --memory`
///   (<https://docs.docker.com/engine/containers/resource_constraints/>)
///
/// `K`, `KB`, `MB` and the like are refused: the two disagree about them. Fractions such as `1.5Gi`
/// are rounded down to whole bytes.
///
/// # Errors
/// [`ValueError::Malformed`], and [`ValueError::OutOfRange`] above 2^63 - 1, the most that the
/// kernel counts.
pub fn parse_bytes(text: &str) -> Result<u64, ValueError> {
    let malformed = || ValueError::Malformed {
        what: "an amount of bytes",
        text: text.to_owned(),
        form: "it as 512Mi, 1Gi, 64m or a number of bytes",
    };
    let (number, suffix) = decimal(text).ok_or_else(malformed)?;
    let unit: u128 = match suffix {
        "" | "b" => 1,
        "Ki" | "KiB" | "k" | "kb" => 1 << 10,
        "Mi" | "MiB" | "m" | "mb" => 1 << 20,
        "Gi" | "GiB" | "g" | "gb" => 1 << 30,
        "Ti" | "TiB" | "t" | "tb" => 1 << 40,
        "Pi" | "PiB" | "p" | "pb" => 1 << 50,
        "Ei" | "EiB" => 1 << 60,
        "M" => 10u128.pow(6),
        "G" => 10u128.pow(9),
        "T" => 10u128.pow(12),
        "P" => 10u128.pow(15),
        "E" => 10u128.pow(18),
        _ => return Err(malformed()),
    };
    let bytes = number.digits.checked_mul(unit).map(|scaled| scaled / 10u128.pow(number.scale));
    match bytes.and_then(|bytes| i64::try_from(bytes).ok()) {
        Some(bytes) => Ok(bytes.unsigned_abs()),
        None => {
            Err(ValueError::OutOfRange { what: "an amount of bytes", text: text.to_owned(), range: "below 8Ei".into() })
        }
    }
}

/// The kernel's bandwidth control does not go below 1 ms in 100, and Docker neither
/// (<https://docs.kernel.org/scheduler/sched-bwc.html>).
const MIN_CPU_MILLIS: u64 = 10;
/// CONFIG_NR_CPUS is at most 8192 (<https://docs.kernel.org/admin-guide/cputopology.html>).
const MAX_CPUS: u64 = 8192;

/// CPUs in thousandths of one: `2`, `0.5` or `500m`.
///
/// # Errors
/// [`ValueError::Malformed`], also for parts finer than a thousandth, and
/// [`ValueError::OutOfRange`] below a hundredth of a CPU or above 8192 CPUs.
pub fn parse_cpu_millis(text: &str) -> Result<u64, ValueError> {
    let malformed = || ValueError::Malformed {
        what: "an amount of CPU",
        text: text.to_owned(),
        form: "it as 2, 0.5 or 500m, in steps of 0.001",
    };
    let (number, suffix) = decimal(text).ok_or_else(malformed)?;
    let unit: u128 = match suffix {
        "" => 1000,
        "m" => 1,
        _ => return Err(malformed()),
    };
    let scaled = number.digits * unit;
    let divisor = 10u128.pow(number.scale);
    if !scaled.is_multiple_of(divisor) {
        return Err(malformed());
    }
    let millis = u64::try_from(scaled / divisor).unwrap_or(u64::MAX);
    check_cpu_millis(millis, text)?;
    Ok(millis)
}

pub(super) fn check_cpu_millis(millis: u64, text: &str) -> Result<(), ValueError> {
    if (MIN_CPU_MILLIS..=MAX_CPUS * 1000).contains(&millis) {
        return Ok(());
    }
    let range = format!("0.01 to {MAX_CPUS} CPUs");
    Err(ValueError::OutOfRange { what: "cpu", text: text.to_owned(), range })
}

/// A list of CPUs in the list format of cpuset(7), as `0-3,5`
/// (<https://man7.org/linux/man-pages/man7/cpuset.7.html>).
pub(super) fn cpuset(text: &str) -> Result<String, ValueError> {
    let number = |part: &str| {
        let digits = !part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse::<u64>().ok()).flatten().filter(|cpu| *cpu < MAX_CPUS)
    };
    let part = |part: &str| match part.split_once('-') {
        Some((first, last)) => Some(number(first)? <= number(last)?),
        None => number(part).map(|_| true),
    };
    if text.split(',').all(|range| part(range) == Some(true)) {
        Ok(text.to_owned())
    } else {
        Err(ValueError::Malformed { what: "a list of CPUs", text: text.to_owned(), form: "it as 0-3,5" })
    }
}

/// File mode bits, always octal: `0755`, `755` and `0o755` are the same.
pub(super) fn mode(text: &str) -> Result<u32, ValueError> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = !digits.is_empty() && digits.len() <= 5 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten().filter(|mode| *mode <= 0o7777).ok_or_else(|| {
        ValueError::Malformed { what: "a file mode", text: text.to_owned(), form: "it in octal, as 1777 or 0755" }
    })
}
