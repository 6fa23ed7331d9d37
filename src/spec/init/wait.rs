//! `init.wait_tcp` and `init.wait_http`: until something answers.

use super::super::duration::positive_duration;
use super::super::http::{read_headers, read_url};
use super::super::job::{InitAction, WaitHttp};
use super::super::names::host_alias;
use super::super::node::Value;
use super::super::reader::{At, Fields};
use super::super::value_error::ValueError;
use super::steps::required;
use std::net::IpAddr;
use std::time::Duration;

/// Between two tries, for a step that names none.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

/// What asks more often keeps a processor busy, and whatever it asks.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// Methods that ask a server for something; `CONNECT` and `TRACE` are about the way to it
/// (<https://www.rfc-editor.org/rfc/rfc9110#section-9>).
const METHODS: &[&str] = &["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];

/// `timeout`: that of the step, if it is valid.
pub(super) fn read_tcp(at: &At, timeout: Option<Duration>) -> Option<InitAction> {
    let mut fields = at.fields("write `host:` and `port:` below it")?;
    fields.elsewhere(&[("address", "host"), ("addr", "host")]);
    let host = required(&mut fields, "host", "a name or an address", host);
    let port = fields.require("port", "a port").and_then(|at| at.integer("port", 1..=65_535));
    let interval = read_interval(&mut fields, timeout);
    fields.finish();
    Some(InitAction::WaitTcp { host: host?, port: u16::try_from(port?).ok()?, interval: interval? })
}

pub(super) fn read_http(at: &At, timeout: Option<Duration>) -> Option<InitAction> {
    let mut fields = at.fields("write `url:` below it")?;
    fields.elsewhere(&[("expect", "expect_status"), ("insecure", "insecure_skip_verify"), ("status", "expect_status")]);
    let url = fields.require("url", "an address starting with http:// or https://").and_then(|at| read_url(&at));
    let expect_status = fields.take("expect_status").map_or_else(|| Some(Vec::new()), |at| read_statuses(&at));
    let method = fields.take("method").map_or_else(|| Some("GET".to_owned()), |at| at.parse(method));
    let headers = fields.take("headers").map(|at| read_headers(&at)).unwrap_or_default();
    let interval = read_interval(&mut fields, timeout);
    let insecure_skip_verify = fields.take("insecure_skip_verify").and_then(|at| at.bool()).unwrap_or(false);
    fields.finish();
    Some(InitAction::WaitHttp(WaitHttp {
        url: url?,
        method: method?,
        headers,
        expect_status: expect_status?,
        interval: interval?,
        insecure_skip_verify,
    }))
}

/// What is written may not be longer than a try of the step; the default gives way.
fn read_interval(fields: &mut Fields, timeout: Option<Duration>) -> Option<Duration> {
    let Some(at) = fields.take("interval") else {
        return Some(timeout.map_or(DEFAULT_INTERVAL, |timeout| timeout.min(DEFAULT_INTERVAL)));
    };
    let interval = at.parse(|text| match positive_duration(text)? {
        short if short < SHORTEST_INTERVAL => {
            let range = format!("at least {SHORTEST_INTERVAL:?}");
            Err(ValueError::OutOfRange { what: "interval", text: text.to_owned(), range })
        }
        interval => Ok(interval),
    })?;
    if let Some(timeout) = timeout.filter(|timeout| interval > *timeout) {
        at.error(ValueError::IntervalAboveTimeout { interval, timeout });
    }
    Some(interval)
}

/// One status or several.
fn read_statuses(at: &At) -> Option<Vec<u16>> {
    let status = |at: &At| at.integer("a status of HTTP", 100..=599).and_then(|status| u16::try_from(status).ok());
    match &at.node.value {
        Value::Number(_) => Some(vec![status(at)?]),
        Value::List(items) if items.is_empty() => at.check(Err(ValueError::Empty { what: "expect_status" })),
        Value::List(_) => at.each("", status),
        _ => at.wrong_type("a status or a list of them", "write `expect_status: 200`; without it, any 2xx will do"),
    }
}

fn method(text: &str) -> Result<String, ValueError> {
    let upper = text.to_ascii_uppercase();
    if METHODS.contains(&upper.as_str()) { Ok(upper) } else { Err(ValueError::unknown("method", text, METHODS)) }
}

/// An address of IP, an IPv6 one perhaps in brackets, or a name for a resolver.
fn host(text: &str) -> Result<String, ValueError> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        return Ok(bare.to_owned());
    }
    // A closing dot keeps a resolver from trying search domains.
    host_alias(text.strip_suffix('.').unwrap_or(text))?;
    Ok(text.to_owned())
}
