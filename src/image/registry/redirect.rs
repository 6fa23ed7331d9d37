//! Where a redirect may lead.

use reqwest::Url;
use reqwest::header::HeaderValue;
use std::net::IpAddr;

/// As many as browsers and curl follow by default is 20 to 50; registries need one or two.
pub const MOST: u32 = 10;

/// A redirect that is not followed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    #[error("it redirects more than {MOST} times")]
    TooMany,
    #[error("it redirects to no place that is a URL")]
    Location,
    #[error("it redirects to {host} without TLS, so that anyone on the way could see and change what comes")]
    Downgrade { host: String },
}

/// The place that `location`, an answer from `from`, leads to.
///
/// # Errors
/// [`RedirectError::Location`].
pub fn next(from: &Url, location: Option<&HeaderValue>) -> Result<Url, RedirectError> {
    let location = location.and_then(|location| location.to_str().ok()).ok_or(RedirectError::Location)?;
    let mut next = from.join(location).map_err(|_| RedirectError::Location)?;
    if !matches!(next.scheme(), "http" | "https") || !next.has_host() {
        return Err(RedirectError::Location);
    }
    // Credentials in a URL would be sent. Both fail only for URLs without a host.
    let _ = next.set_username("");
    let _ = next.set_password(None);
    Ok(next)
}

/// True when going on from `from` to `next` gives up TLS.
pub fn loses_tls(from: &Url, next: &Url) -> bool {
    from.scheme() == "https" && next.scheme() == "http"
}

/// True when what one may see, the other may see as well (RFC 6454).
pub fn is_same_origin(one: &Url, other: &Url) -> bool {
    let origin = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
    origin(one) == origin(other)
}

/// Host and port, for messages.
pub fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// True for this machine.
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn follow(from: &str, to: &str) -> Result<String, RedirectError> {
        let to = HeaderValue::from_str(to).unwrap();
        next(&url(from), Some(&to)).map(String::from)
    }

    #[test]
    fn places_are_absolute_or_relative() {
        let from = "https://a.example/v2/x/blobs/1";
        assert_eq!(follow(from, "https://b.example/y?sig=1").unwrap(), "https://b.example/y?sig=1");
        assert_eq!(follow(from, "/y").unwrap(), "https://a.example/y");
        assert_eq!(follow(from, "//b.example/y").unwrap(), "https://b.example/y");
        assert_eq!(follow("http://a.example/", "http://b.example/").unwrap(), "http://b.example/");
        assert_eq!(follow(from, "https://user:secret@b.example/").unwrap(), "https://b.example/");
    }

    #[test]
    fn other_schemes_are_not_followed_and_the_loss_of_tls_is_seen() {
        let from = "https://a.example/";
        assert!(loses_tls(&url(from), &url("http://a.example/")));
        assert!(!loses_tls(&url(from), &url("https://b.example/")));
        assert!(!loses_tls(&url("http://a.example/"), &url("http://b.example/")));
        for place in ["file:///etc/passwd", "ftp://a.example/", "data:,x", "https://", "https://[::g]/"] {
            assert_eq!(follow(from, place), Err(RedirectError::Location), "{place}");
        }
        assert_eq!(next(&url(from), None), Err(RedirectError::Location));
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |one, other| is_same_origin(&url(one), &url(other));
        assert!(same("https://a.example/x", "https://a.example:443/y?z"));
        for other in ["http://a.example/", "https://a.example:444/", "https://b.example/", "https://a.example.b/"] {
            assert!(!same("https://a.example/", other), "{other}");
        }
    }

    #[test]
    fn this_machine_is_known_by_address_and_name() {
        for text in ["http://localhost:1/", "http://127.1.2.3/", "http://[::1]:5000/"] {
            assert!(is_loopback(&url(text)), "{text}");
        }
        for text in ["http://localhost.example/", "http://128.0.0.1/", "http://127.0.0.1.example/"] {
            assert!(!is_loopback(&url(text)), "{text}");
        }
    }
}
