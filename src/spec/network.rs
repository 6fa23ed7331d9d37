//! The network the job sees.

use super::job::{Network, NetworkMode};
use super::names::host_alias;
use super::node::Value;
use super::reader::{At, Fields};
use super::value_error::ValueError;
use std::net::IpAddr;

/// `host` and `default`, which is the same, or `none`.
///
/// # Errors
/// [`ValueError::Unsupported`] for every other mode.
pub fn parse_network(text: &str) -> Result<NetworkMode, ValueError> {
    match text {
        "host" | "default" => Ok(NetworkMode::Host),
        "none" => Ok(NetworkMode::None),
        other => {
            Err(ValueError::Unsupported { what: "network mode", name: other.to_owned(), supported: "host or none" })
        }
    }
}

pub(super) fn read_network(fields: &mut Fields) -> Network {
    Network {
        mode: fields.take("network_mode").and_then(|at| read_mode(&at)).unwrap_or_default(),
        dns: fields
            .take("dns")
            .and_then(|at| at.each("write addresses", |item| item.parse(address)))
            .unwrap_or_default(),
        extra_hosts: fields.take("extra_hosts").map(|at| read_hosts(&at)).unwrap_or_default(),
    }
}

/// A name, or a mapping that gives it as `mode` or `type`.
fn read_mode(at: &At) -> Option<NetworkMode> {
    if !matches!(at.node.value, Value::Map(_)) {
        return at.parse(parse_network);
    }
    let mut fields = at.fields("")?;
    let by_type = fields.take("type");
    let mode = match fields.take("mode").or(by_type) {
        Some(at) => at.parse(parse_network),
        None => fields.require("mode", "host or none").and_then(|at| at.parse(parse_network)),
    };
    fields.finish();
    mode
}

fn address(text: &str) -> Result<IpAddr, ValueError> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| ValueError::Malformed {
        what: "an IP address",
        text: text.to_owned(),
        form: "it as 192.0.2.1 or 2001:db8::1",
    })
}

/// A list of `NAME:ADDRESS` or `NAME=ADDRESS`, or a mapping, as in compose.
fn read_hosts(at: &At) -> Vec<(String, IpAddr)> {
    const HINT: &str = "write NAME:ADDRESS items";
    if let Value::Map(_) = at.node.value {
        let host = |(name, at): (&str, At)| at.check_name(host_alias(name)).zip(at.parse(address));
        return at.entries(HINT).unwrap_or_default().into_iter().filter_map(host).collect();
    }
    let host = |text: &str| {
        let (name, ip) = text.split_once(['=', ':']).ok_or_else(|| ValueError::Malformed {
            what: "a line for /etc/hosts",
            text: text.to_owned(),
            form: "NAME:ADDRESS",
        })?;
        Ok((host_alias(name)?, address(ip)?))
    };
    at.each(HINT, |item| item.parse(host)).unwrap_or_default()
}
