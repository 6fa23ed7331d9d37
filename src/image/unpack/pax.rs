//! PAX extended headers, as far as layers use them.
//! <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_03>
//!
//! The `tar` crate's own iterator splits records at newlines and so cannot carry binary values, which
//! file capabilities are.

use std::collections::BTreeMap;

/// What the records of one header say. A later record of a name wins, as in Go's archive/tar, which
/// made most layers there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pax {
    pub path: Option<Vec<u8>>,
    pub link_path: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    /// Seconds and nanoseconds.
    pub mtime: Option<(i64, i64)>,
    /// Names without the `SCHILY.xattr.` prefix.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub sparse: SparseRecords,
}

/// The `GNU.sparse.*` records of all three versions.
/// <https://www.gnu.org/software/tar/manual/html_node/PAX-0.html>
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SparseRecords {
    pub major: Option<u64>,
    pub minor: Option<u64>,
    pub name: Option<Vec<u8>>,
    /// `GNU.sparse.size` (0.x) or `GNU.sparse.realsize` (1.0).
    pub real_size: Option<u64>,
    /// Offsets and lengths in turn (0.0 and 0.1).
    pub numbers: Vec<u64>,
}

/// The records do not follow the format.
#[derive(Debug, PartialEq, Eq)]
pub struct Invalid;

/// Parses the content of an `x` header.
///
/// # Errors
/// [`Invalid`] for a record of the wrong form or with a value that does not parse.
pub fn parse(mut content: &[u8]) -> Result<Pax, Invalid> {
    let mut pax = Pax::default();
    while !content.is_empty() {
        let (key, value, rest) = record(content).ok_or(Invalid)?;
        content = rest;
        // An empty value takes a record back: the header's own field counts.
        let text = (!value.is_empty()).then(|| value.to_owned());
        match key {
            b"path" => pax.path = text,
            b"linkpath" => pax.link_path = text,
            b"size" => pax.size = number_or_none(value)?,
            b"uid" => pax.uid = number_or_none(value)?,
            b"gid" => pax.gid = number_or_none(value)?,
            b"mtime" => pax.mtime = if value.is_empty() { None } else { Some(time(value).ok_or(Invalid)?) },
            b"GNU.sparse.major" => pax.sparse.major = number_or_none(value)?,
            b"GNU.sparse.minor" => pax.sparse.minor = number_or_none(value)?,
            b"GNU.sparse.name" => pax.sparse.name = text,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => pax.sparse.real_size = number_or_none(value)?,
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => pax.sparse.numbers.push(number(value).ok_or(Invalid)?),
            b"GNU.sparse.map" => {
                let numbers: Option<Vec<u64>> = value.split(|byte| *byte == b',').map(number).collect();
                pax.sparse.numbers = numbers.ok_or(Invalid)?;
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    pax.xattrs.insert(name.to_owned(), value.to_owned());
                }
            }
        }
    }
    Ok(pax)
}

/// `LENGTH KEY=VALUE\n`, where the length counts the whole record.
fn record(content: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = content.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(&content[..space])?).ok()?;
    if length <= space + 1 || length > content.len() {
        return None;
    }
    let (record, rest) = content.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}

fn number_or_none(value: &[u8]) -> Result<Option<u64>, Invalid> {
    if value.is_empty() { Ok(None) } else { number(value).map(Some).ok_or(Invalid) }
}

/// Decimal digits only.
pub fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// `[-]SECONDS[.FRACTION]` as seconds and nanoseconds, the latter never negative.
fn time(value: &[u8]) -> Option<(i64, i64)> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(number(parts.next()?)?).ok()?;
    let mut nanoseconds = 0;
    if let Some(fraction) = parts.next() {
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        for position in 0..9 {
            nanoseconds = nanoseconds * 10 + i64::from(fraction.get(position).map_or(0, |digit| digit - b'0'));
        }
    }
    match (negative, nanoseconds) {
        (false, _) => Some((seconds, nanoseconds)),
        (true, 0) => Some((-seconds, 0)),
        (true, _) => Some((-seconds - 1, 1_000_000_000 - nanoseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(key: &[u8], value: &[u8]) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length != body + length.to_string().len() {
            length = body + length.to_string().len();
        }
        [format!("{length} ").as_bytes(), key, b"=", value, b"\n"].concat()
    }

    #[test]
    fn records_carry_binary_values_and_the_last_one_wins() {
        let content = [
            encode(b"path", b"first"),
            encode(b"SCHILY.xattr.security.capability", b"\x01\x00\n=\n"),
            encode(b"path", b"second"),
            encode(b"size", b"12"),
            encode(b"uid", b""),
            encode(b"comment", b"ignored"),
        ]
        .concat();
        let pax = parse(&content).unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"second"[..]));
        assert_eq!((pax.size, pax.uid), (Some(12), None));
        assert_eq!(pax.xattrs, [(b"security.capability".to_vec(), b"\x01\x00\n=\n".to_vec())].into());
    }

    #[test]
    fn times_before_and_after_the_epoch() {
        assert_eq!(time(b"1700000000.25"), Some((1_700_000_000, 250_000_000)));
        assert_eq!(time(b"-1"), Some((-1, 0)));
        assert_eq!(time(b"-1.5"), Some((-2, 500_000_000)));
        assert_eq!(time(b"0.123456789123"), Some((0, 123_456_789)));
        assert_eq!([time(b""), time(b"1.x"), time(b"+1"), time(b"99999999999999999999")], [None; 4]);
    }

    #[test]
    fn broken_records_are_refused() {
        for content in ["5 a=b", "99 path=x\n", "x path=y\n", "0 =\n", "3 \n", "9 noequal\n", "10 size=x1\n", "1"] {
            assert_eq!(parse(content.as_bytes()), Err(Invalid), "{content:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            // No panic is the property; what is accepted must be accepted again.
            prop_assert_eq!(parse(&content), parse(&content));
        }
    }
}
