//! What can be wrong with one value, wherever it was written: in a spec or in a flag.

use super::http::AddressProblem;
use crate::naming::ReferenceError;
use crate::quote::{brief, quoted};
use std::time::Duration;

/// A value that coracle does not take. Messages stand for themselves and name the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("{} is not {what}; write {form}", quoted(text))]
    Malformed { what: &'static str, text: String, form: &'static str },

    #[error("{} is out of range: {what} is {range}", brief(text))]
    OutOfRange { what: &'static str, text: String, range: String },

    #[error("unknown {what} {}{}", quoted(name), hint(suggestion, known))]
    Unknown { what: &'static str, name: String, suggestion: Option<String>, known: &'static [&'static str] },

    #[error("{what} {} is not supported; use {supported}", quoted(name))]
    Unsupported { what: &'static str, name: String, supported: &'static str },

    #[error("{what} {} is given twice", quoted(name))]
    Duplicate { what: &'static str, name: String },

    #[error("{what} must not be empty")]
    Empty { what: &'static str },

    #[error("{what} must not hold a NUL byte")]
    Nul { what: &'static str },

    #[error("{what} is {length} bytes long; at most {most} can be passed to a program, and more in a file")]
    TooLong { what: &'static str, length: usize, most: usize },

    #[error("{what} lacks {field}")]
    Missing { what: &'static str, field: &'static str },

    #[error("{field} has no meaning for {what}")]
    Meaningless { what: &'static str, field: String },

    #[error("environment variable {} is not set", quoted(name))]
    EnvUnset { name: String },

    #[error("environment variable {} is not valid UTF-8", quoted(name))]
    EnvNotUtf8 { name: String },

    #[error("memory_swap of {swap} bytes is below memory of {memory} bytes; it counts memory and swap together")]
    SwapBelowMemory { swap: u64, memory: u64 },

    #[error("memory_swap needs memory to be set as well")]
    SwapWithoutMemory,

    #[error("memory_reservation of {reservation} bytes is above memory of {memory} bytes")]
    ReservationAboveMemory { reservation: u64, memory: u64 },

    #[error("the soft limit {soft} is above the hard limit {hard}")]
    SoftAboveHard { soft: u64, hard: u64 },

    #[error("{what} is made of {allowed} alone")]
    Characters { what: &'static str, allowed: &'static str },

    #[error(transparent)]
    Address(AddressProblem),

    #[error(transparent)]
    Image(ReferenceError),

    #[error("an address to send to goes with `post`; write {{post: URL}}")]
    AddressAlone,

    #[error("on_conflict allow means no limit, and max_concurrent is one; take out one of them")]
    AllowWithLimit,

    #[error(
        "an idempotency key lives as long as its execution, which delete_on_exit (--rm) has forgotten at its end; take \
         out one of them"
    )]
    KeyOfForgotten,

    #[error("exit code {code} is in on_exit_codes as well; take it out of one of them")]
    ExitCodeInBoth { code: u8 },

    #[error("the initial wait of {initial:?} is above max of {max:?}; write a larger max or a smaller initial")]
    InitialAboveMax { initial: Duration, max: Duration },

    #[error("the interval of {interval:?} is above the step's timeout of {timeout:?}")]
    IntervalAboveTimeout { interval: Duration, timeout: Duration },

    #[error("logs for {logs:?} and job.retention.ttl of {job:?} differ; a log is kept as long as its execution")]
    TwoRetentions { logs: Duration, job: Duration },

    #[error("sysctl {} is the host's own under network mode host; use network mode none", quoted(name))]
    SysctlOfHostNetwork { name: String },
}

fn hint(suggestion: &Option<String>, known: &[&str]) -> String {
    match suggestion {
        Some(name) => format!("; did you mean {}?", quoted(name)),
        None if known.is_empty() => String::new(),
        None => format!("; known are {}", known.join(", ")),
    }
}

impl ValueError {
    /// An unknown name, with the nearest of the known ones.
    pub(super) fn unknown(what: &'static str, name: &str, known: &'static [&'static str]) -> Self {
        let suggestion = nearest(name, known.iter().copied()).map(str::to_owned);
        // A list longer than a line helps nobody.
        let known = if known.len() <= 12 { known } else { &[] };
        ValueError::Unknown { what, name: name.to_owned(), suggestion, known }
    }
}

/// The known name that was probably meant: at most a third of it differs.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    if name.len() > 64 {
        return None;
    }
    let distance = |candidate: &&str| strsim::damerau_levenshtein(&name, &candidate.to_lowercase());
    let best = known.into_iter().min_by_key(distance)?;
    (distance(&best) <= best.len().max(name.len()).div_ceil(3).min(3)).then_some(best)
}
