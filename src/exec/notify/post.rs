//! One POST request.

use super::Delivery;
use crate::causes::with_causes;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use std::time::Duration;

/// The same for every try of one notification, and for no other:
/// <https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header>.
pub const KEY_HEADER: &str = "Idempotency-Key";

/// For a whole request.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends the document. What it answers is not read, redirects are not followed, and neither the headers' values
/// nor the address, which may hold secrets, are in a problem.
pub async fn deliver(url: &str, headers: &[(String, String)], key: &str, body: String, now: Timestamp) -> Delivery {
    let never = |problem: &str| Delivery::Never { problem: problem.to_owned() };
    let Ok(url) = Url::parse(url) else { return never("its url is none") };
    let Some(headers) = header_map(headers, key) else { return never("one of its headers cannot be sent") };
    let client = match client(&url) {
        Ok(client) => client,
        Err(error) => return again(&error, "; TLS needs the host's CA certificates (ca-certificates)"),
    };
    match client.post(url).headers(headers).body(body).send().await {
        Ok(answer) => judge(answer.status(), answer.headers(), now),
        Err(error) => again(&error.without_url(), ""),
    }
}

fn again(error: &reqwest::Error, advice: &str) -> Delivery {
    Delivery::Again { problem: format!("{}{advice}", with_causes(error)), after: Duration::ZERO }
}

/// The user's own come last but for the key, which is ours.
fn header_map(headers: &[(String, String)], key: &str) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    map.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in headers {
        let mut value = HeaderValue::from_str(value).ok()?;
        value.set_sensitive(true);
        map.insert(HeaderName::from_bytes(name.as_bytes()).ok()?, value);
    }
    map.insert(HeaderName::from_bytes(KEY_HEADER.as_bytes()).ok()?, HeaderValue::from_str(key).ok()?);
    Some(map)
}

fn client(url: &Url) -> reqwest::Result<Client> {
    // Fails when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let build = |verify: bool| {
        Client::builder()
            .user_agent(concat!("coracle/", env!("CARGO_PKG_VERSION")))
            // A settler has no environment that could name one.
            .no_proxy()
            .referer(false)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .tls_danger_accept_invalid_certs(!verify)
            .build()
    };
    // A host without CA certificates may still be told without TLS.
    if url.scheme() == "http" { build(false) } else { build(true) }
}

/// A receiver that is busy or broken may take it later; one that does not want it never will.
fn judge(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Delivery {
    let problem = format!("it answered with status {}", status.as_u16());
    if status.is_success() {
        Delivery::Done
    } else if status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY)
    {
        Delivery::Again { problem, after: retry_after(headers, now).unwrap_or_default() }
    } else {
        Delivery::Never { problem }
    }
}

/// <https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let at = rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
            at.duration_since(now).try_into().ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_say_whether_to_try_again() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let judged = |status: u16, retry_after: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(retry_after))]);
            match judge(StatusCode::from_u16(status).unwrap(), &headers, now) {
                Delivery::Again { after, .. } => Some(after.as_secs()),
                Delivery::Never { problem } => {
                    assert!(problem.contains(&status.to_string()), "{problem}");
                    None
                }
                delivery => panic!("{delivery:?}"),
            }
        };
        assert_eq!(judged(503, "7"), Some(7));
        assert_eq!(judged(429, "Fri, 02 Jan 2026 03:05:05 GMT"), Some(60));
        assert_eq!(judged(429, "Fri, 02 Jan 2026 03:00:00 GMT"), Some(0));
        assert_eq!(judged(500, "soon"), Some(0));
        assert_eq!([judged(404, "7"), judged(400, "7"), judged(302, "7")], [None; 3]);
        assert_eq!(judge(StatusCode::NO_CONTENT, &HeaderMap::new(), now), Delivery::Done);
    }
}
