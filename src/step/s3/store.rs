//! A connection to the store, and the object there.

use super::super::names::Names;
use super::super::request::Direction;
use super::error::{Place, S3Error};
use super::{Access, Object, RETRIES};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(20);
/// A store that sends nothing for so long during a pull is asked anew for the rest; one that takes no byte for so
/// long is gone.
const STALL: Duration = Duration::from_secs(60);
/// The same for the answer to an upload. It counts from a request's start, so a part at 40 kB/s must fit in.
const ANSWER: Duration = Duration::from_secs(5 * 60);
/// The longest pause between two requests.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The number of retries ends them, not the time that a large object takes.
const RETRY_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The client with the object's name.
pub struct Store {
    pub client: AmazonS3,
    pub location: Path,
    pub place: Place,
    pub direction: Direction,
}

/// Hands out a client that has been built already.
#[derive(Debug)]
struct Ready(reqwest::Client);

impl HttpConnector for Ready {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

impl Store {
    /// Checks the names and prepares requests; sends none.
    ///
    /// # Errors
    /// [`S3Error::Bucket`], [`S3Error::Key`], [`S3Error::Client`], [`S3Error::Store`].
    pub fn open(direction: Direction, object: Object, access: Access, names: Names) -> Result<Store, S3Error> {
        let Object { bucket, key } = object;
        if !is_bucket(&bucket) {
            return Err(S3Error::Bucket { bucket });
        }
        // Parsing would leave out slashes at the ends, and so name another object.
        let location = Path::parse(&key).ok().filter(|path| path.as_ref() == key && !key.is_empty());
        let location = location.ok_or_else(|| S3Error::Key { key: key.clone() })?;
        let with_tls = access.endpoint.as_ref().is_none_or(|endpoint| endpoint.scheme() == "https");
        let http = http_client(direction, names, with_tls).map_err(|source| S3Error::Client { source })?;
        let store = access.endpoint.as_ref().map_or_else(
            || format!("AWS ({})", access.region),
            |endpoint| {
                let host = endpoint.host_str().unwrap_or_default();
                endpoint.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
            },
        );
        let backoff = BackoffConfig { max_backoff: LONGEST_PAUSE, ..BackoffConfig::default() };
        let mut builder = AmazonS3Builder::new()
            .with_http_connector(Ready(http))
            .with_retry(RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_TIME })
            .with_bucket_name(&bucket)
            .with_region(access.region)
            .with_access_key_id(access.keys.id)
            .with_secret_access_key(access.keys.secret)
            // A name with a dot matches none of AWS's certificates.
            .with_virtual_hosted_style_request(access.endpoint.is_none() && !bucket.contains('.'));
        if let Some(token) = access.keys.token {
            builder = builder.with_token(token);
        }
        if let Some(endpoint) = access.endpoint {
            builder = builder.with_allow_http(!with_tls).with_endpoint(endpoint.as_str());
        }
        let client = builder.build().map_err(|source| S3Error::Store { source })?;
        Ok(Store { client, location, place: Place { bucket, key, store }, direction })
    }

    pub fn failed(&self, error: object_store::Error) -> S3Error {
        S3Error::of_request(self.direction, &self.place, &error)
    }
}

fn http_client(direction: Direction, names: Names, with_tls: bool) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .user_agent(concat!("coracle/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .referer(false)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .dns_resolver(names)
        .connect_timeout(CONNECT)
        .tcp_user_timeout(STALL)
        .read_timeout(if direction == Direction::Pull { STALL } else { ANSWER })
        // Without TLS and redirects no certificate is met, and a host without CA certificates serves.
        .tls_danger_accept_invalid_certs(!with_tls)
        .build()
}

/// It becomes part of an address. Wider than AWS's own rules, whose older buckets and whose kin have other names.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>
fn is_bucket(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (3..=255).contains(&name.len()) && name.bytes().all(is_plain) && name.bytes().any(|byte| byte != b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_one_part_of_a_path() {
        for name in ["abc", "my.bucket", "Old_Bucket-1"] {
            assert!(is_bucket(name), "{name}");
        }
        for name in ["", "ab", "...", "a/b", "a?b", "a b", "bücket", "../..", "a#bc", "a%2fb"] {
            assert!(!is_bucket(name), "{name}");
        }
    }
}
