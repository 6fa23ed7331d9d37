//! What runs and in which process state: command, signals, ulimits, sysctls.

use super::job::{CommandSpec, StopPolicy, Ulimit};
use super::names::{c_string, container_path};
use super::node::Value;
use super::reader::At;
use super::value_error::ValueError;
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

/// From the stop signal to SIGKILL, as `docker stop`
/// (<https://docs.docker.com/reference/cli/docker/container/stop/>).
pub const DEFAULT_GRACE_PERIOD: Duration = Duration::from_secs(10);

impl Default for StopPolicy {
    fn default() -> Self {
        StopPolicy { signal: None, grace_period: DEFAULT_GRACE_PERIOD }
    }
}

const LIST_HINT: &str = r#"write a list, as ["/bin/sh", "-c", "…"]"#;

/// A mapping of `entrypoint`, `args` and `workdir`, or a list, which is the args.
pub(super) fn read_command(at: &At) -> CommandSpec {
    let mut command = CommandSpec::default();
    match at.node.value {
        Value::List(_) => command.args = Some(read_args(at)),
        Value::Map(_) => {
            let Some(mut fields) = at.fields("") else { return command };
            command.entrypoint = fields.take("entrypoint").map(|at| {
                let words = read_args(&at);
                if words.first().is_some_and(String::is_empty) {
                    at.error(ValueError::Empty { what: "the program of an entrypoint" });
                }
                words
            });
            command.args = fields.take("args").map(|at| read_args(&at));
            command.workdir = fields.take("workdir").and_then(|at| at.parse(container_path));
            fields.finish();
        }
        _ => {
            at.wrong_type::<()>("a list of arguments, or a mapping with entrypoint, args and workdir", LIST_HINT);
        }
    }
    command
}

pub(super) fn read_args(at: &At) -> Vec<String> {
    at.each(LIST_HINT, |item| item.parse(|text| c_string("an argument", text))).unwrap_or_default()
}

/// The first and the last real-time signal that glibc leaves to programs
/// (<https://man7.org/linux/man-pages/man7/signal.7.html>).
const SIGRTMIN: i32 = 34;
const SIGRTMAX: i32 = 64;

/// A signal's number from its name with or without `SIG` (`TERM`, `SIGTERM`, `RTMIN+3`), or from a
/// number (1 to 64).
///
/// # Errors
/// [`ValueError::Unknown`] with the nearest name; [`ValueError::OutOfRange`].
pub fn parse_signal(text: &str) -> Result<i32, ValueError> {
    const WHAT: &str = "a signal";
    let out_of_range =
        || ValueError::OutOfRange { what: WHAT, text: text.to_owned(), range: format!("1 to {SIGRTMAX}") };
    if text.is_empty() {
        return Err(ValueError::Empty { what: WHAT });
    }
    if text.strip_prefix('-').unwrap_or(text).bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|number| (1..=SIGRTMAX).contains(number)).ok_or_else(out_of_range);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |offset: &str| {
        if offset.is_empty() { Some(0) } else { offset[1..].parse::<u8>().ok().map(i32::from) }
    };
    let real_time = |start: &str, sign: char| {
        name.strip_prefix(start).filter(|rest| rest.is_empty() || rest.starts_with(sign)).map(offset)
    };
    if let Some(offset) = real_time("RTMIN", '+') {
        return offset.map(|offset| SIGRTMIN + offset).filter(|n| *n <= SIGRTMAX).ok_or_else(out_of_range);
    }
    if let Some(offset) = real_time("RTMAX", '-') {
        return offset.map(|offset| SIGRTMAX - offset).filter(|n| *n >= SIGRTMIN).ok_or_else(out_of_range);
    }
    let full = format!("SIG{name}");
    Signal::from_str(&full).map(|signal| signal as i32).map_err(|_| {
        let known = Signal::iterator().map(Signal::as_str);
        let suggestion = super::value_error::nearest(&full, known).map(str::to_owned);
        ValueError::Unknown { what: "signal", name: text.to_owned(), suggestion, known: &[] }
    })
}

/// The names of `docker run --ulimit`
/// (<https://docs.docker.com/reference/cli/docker/container/run/#ulimit>).
const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Name → a number for both limits, or `soft` and perhaps `hard`.
pub(super) fn read_ulimits(at: &At) -> Vec<Ulimit> {
    let ulimit = |(name, at): (&str, At)| {
        if !ULIMITS.contains(&name) {
            return at.check_name(Err(ValueError::unknown("ulimit", name, ULIMITS)));
        }
        let name = name.to_owned();
        if !matches!(at.node.value, Value::Map(_)) {
            let both = at.parse(limit)?;
            return Some(Ulimit { name, soft: both, hard: both });
        }
        let mut fields = at.fields("")?;
        let soft = fields.require("soft", "a number or unlimited").and_then(|at| at.parse(limit));
        let hard = match fields.take("hard") {
            Some(at) => at.parse(limit),
            None => soft,
        };
        fields.finish();
        let (soft, hard) = soft.zip(hard)?;
        if soft > hard {
            at.error(ValueError::SoftAboveHard { soft, hard });
        }
        Some(Ulimit { name, soft, hard })
    };
    at.entries("write `nofile: 1024` or `nofile: {soft: 1024, hard: 2048}`")
        .unwrap_or_default()
        .into_iter()
        .filter_map(ulimit)
        .collect()
}

/// `u64::MAX` is RLIM_INFINITY.
fn limit(text: &str) -> Result<u64, ValueError> {
    match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        digits => digits.parse().map_err(|_| ValueError::Malformed {
            what: "a limit",
            text: text.to_owned(),
            form: "a number, -1 or unlimited",
        }),
    }
}

/// The sysctls of a container's own ipc namespace, as `docker run --sysctl` takes them
/// (<https://docs.docker.com/reference/cli/docker/container/run/#sysctl>); `net.*` belongs to the
/// network namespace.
const SYSCTLS: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

pub(super) fn sysctl(name: &str) -> Result<String, ValueError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let of_namespace = ["net.", "fs.mqueue."].iter().any(|prefix| {
        let rest = name.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.split('.').all(|part| !part.is_empty() && part.bytes().all(plain)))
    });
    if of_namespace || SYSCTLS.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(ValueError::Unsupported {
        what: "sysctl",
        name: name.to_owned(),
        supported: "one of the job's own: kernel.msg*, kernel.sem, kernel.shm*, fs.mqueue.* or net.*",
    })
}

/// The host's network settings are not the job's to change.
pub(super) fn check_sysctl_network(name: &str, host_network: bool) -> Result<(), ValueError> {
    if host_network && name.starts_with("net.") {
        return Err(ValueError::SysctlOfHostNetwork { name: name.to_owned() });
    }
    Ok(())
}

pub(super) fn read_sysctls(at: &At, host_network: bool) -> BTreeMap<String, String> {
    let setting = |(name, at): (&str, At)| {
        let name = at.check_name(sysctl(name))?;
        at.check_name(check_sysctl_network(&name, host_network))?;
        let value = at.parse(|text| c_string("the value of a sysctl", text))?;
        Some((name, value))
    };
    at.entries("write `kernel.sem: \"250 32000 32 128\"` lines")
        .unwrap_or_default()
        .into_iter()
        .filter_map(setting)
        .collect()
}
