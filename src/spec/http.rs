//! Addresses and headers of HTTP requests. Either may hold a secret, so no message shows them.

use super::environment::expanded;
use super::error::{Problem, name_alone};
use super::node::Value;
use super::reader::At;
use super::value_error::ValueError;
use http::header::{CONNECTION, CONTENT_LENGTH, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue};
use url::Url;

/// Why an address cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressProblem {
    #[error("an address starts with http:// or https://")]
    Scheme,

    #[error("an address that cannot be read: {0}; write it as http://HOST:PORT/PATH")]
    Unreadable(url::ParseError),

    #[error("an address must not hold a user or a password, which are shown where the address is; use {instead}")]
    Credentials { instead: &'static str },

    #[error("an endpoint has no query and no fragment")]
    EndpointWithQuery,
}

/// An address with `http` or `https` and a host; `$E:NAME` is the caller's variable.
pub(super) fn read_url(at: &At) -> Option<String> {
    let text = expanded(at, "an address", at.text()?)?;
    at.check(address(&text, "`headers: {Authorization: …}`")).map(String::from)
}

/// The address of an S3 server, without a closing slash.
pub(super) fn read_endpoint(at: &At) -> Option<String> {
    let text = expanded(at, "an address", at.text()?)?;
    let url = at.check(address(&text, "`env: {AWS_ACCESS_KEY_ID: …, AWS_SECRET_ACCESS_KEY: …}`"))?;
    if url.query().is_some() || url.fragment().is_some() {
        at.error(ValueError::Address(AddressProblem::EndpointWithQuery));
    }
    Some(url.as_str().trim_end_matches('/').to_owned())
}

fn address(text: &str, instead: &'static str) -> Result<Url, ValueError> {
    let text = text.trim();
    let starts_with = |scheme: &str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    if !starts_with("http://") && !starts_with("https://") {
        return Err(ValueError::Address(AddressProblem::Scheme));
    }
    let url = Url::parse(text).map_err(|error| ValueError::Address(AddressProblem::Unreadable(error)))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ValueError::Address(AddressProblem::Credentials { instead }));
    }
    Ok(url)
}

/// Scheme, host and port: what may be shown of an address. The path of a webhook is often all that it asks for.
pub(crate) fn origin(address: &str) -> String {
    Url::parse(address).map_or_else(|_| "an address".to_owned(), |url| url.origin().ascii_serialization())
}

/// A mapping of headers; `$E:NAME` in a value is the caller's variable.
pub(super) fn read_headers(at: &At) -> Vec<(String, String)> {
    const HINT: &str = "write NAME: value lines";
    if !matches!(at.node.value, Value::Map(_)) {
        // A header as one text would show its value.
        at.error(Problem::WrongType { expected: "a mapping", found: "something else".to_owned(), hint: HINT });
        return Vec::new();
    }
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, at) in at.entries(HINT).unwrap_or_default() {
        let name = at.check_name(header_name(name));
        let value = at.text().and_then(|text| expanded(&at, "the value of a header", text));
        let value = value.and_then(|text| at.check(header_value(&text)));
        let (Some(name), Some(value)) = (name, value) else { continue };
        if headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
            at.check_name::<()>(Err(ValueError::Duplicate { what: "header", name }));
        } else {
            headers.push((name, value));
        }
    }
    headers
}

fn header_name(text: &str) -> Result<String, ValueError> {
    /// What frames a message is for the client to say
    /// (<https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1>).
    const FRAMING: &[HeaderName] = &[CONNECTION, CONTENT_LENGTH, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| ValueError::Malformed {
        what: "the name of a header",
        text: name_alone(text),
        form: "letters, digits and hyphens, as X-Api-Key",
    })?;
    if FRAMING.contains(&name) {
        let supported = "headers about the request, not about the connection";
        return Err(ValueError::Unsupported { what: "header", name: text.to_owned(), supported });
    }
    Ok(text.to_owned())
}

fn header_value(text: &str) -> Result<String, ValueError> {
    // The error would say no more than this.
    HeaderValue::from_str(text).map_err(|_| ValueError::Characters {
        what: "the value of a header",
        allowed: "visible ASCII characters, spaces and tabs",
    })?;
    Ok(text.to_owned())
}
