//! A connection to the store, and the object there.

use super::super::names::Names;
use super::super::request::{Addressing, Direction};
use super::access::Keys;
use super::error::{Place, S3Error};
use super::{Access, Object, RETRIES};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use reqwest::{Certificate, Url};
use std::path::PathBuf;
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(20);
/// A store that sends nothing for so long during a pull is asked anew for the rest.
const STALL: Duration = Duration::from_secs(60);
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
    /// [`S3Error::Bucket`], [`S3Error::Key`], [`S3Error::BucketInHost`], [`S3Error::NoHostName`],
    /// [`S3Error::Authorities`], [`S3Error::Client`], [`S3Error::Store`].
    pub fn open(direction: Direction, object: Object, access: Access, names: Names) -> Result<Store, S3Error> {
        let Object { bucket, key } = object;
        if !is_bucket(&bucket) {
            return Err(S3Error::Bucket { bucket });
        }
        // Parsing would leave out slashes at the ends, and so name another object.
        let location = Path::parse(&key).ok().filter(|path| path.as_ref() == key && !key.is_empty());
        let location = location.ok_or_else(|| S3Error::Key { key: key.clone() })?;
        let with_tls = access.endpoint.as_ref().is_none_or(|endpoint| endpoint.scheme() == "https");
        let authorities = access.authorities.map(certificates).transpose()?;
        let http = http_client(direction, names, with_tls, authorities).map_err(|source| S3Error::Client { source })?;
        let is_virtual = match access.addressing {
            Addressing::Path => false,
            Addressing::Virtual => true,
            // A name with a dot matches none of AWS's certificates.
            Addressing::Auto => access.endpoint.is_none() && !bucket.contains('.'),
        };
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
            .with_virtual_hosted_style_request(is_virtual);
        builder = match access.keys {
            Some(Keys { id, secret, token }) => {
                let signed = builder.with_access_key_id(id).with_secret_access_key(secret);
                token.into_iter().fold(signed, AmazonS3Builder::with_token)
            }
            None => builder.with_skip_signature(true),
        };
        if let Some(mut endpoint) = access.endpoint {
            if is_virtual {
                prepend(&bucket, &mut endpoint)?;
            }
            // With the bucket in the host's name, what is left is put together by lines of text.
            let endpoint = endpoint.as_str().trim_end_matches('/');
            builder = builder.with_allow_http(!with_tls).with_endpoint(endpoint);
        }
        let client = builder.build().map_err(|source| S3Error::Store { source })?;
        Ok(Store { client, location, place: Place { bucket, key, store }, direction })
    }

    pub fn failed(&self, error: object_store::Error) -> S3Error {
        S3Error::of_request(self.direction, &self.place, &error)
    }
}

/// Makes `http://HOST` `http://BUCKET.HOST`.
fn prepend(bucket: &str, endpoint: &mut Url) -> Result<(), S3Error> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    if !bucket.bytes().all(is_plain) {
        return Err(S3Error::BucketInHost { bucket: bucket.to_owned() });
    }
    let name = endpoint.domain().ok_or(S3Error::NoHostName)?;
    let host = format!("{bucket}.{name}");
    endpoint.set_host(Some(&host)).map_err(|_| S3Error::BucketInHost { bucket: bucket.to_owned() })
}

fn certificates((path, pem): (PathBuf, Vec<u8>)) -> Result<Vec<Certificate>, S3Error> {
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if certificates.is_empty() => Err(S3Error::Authorities { path, source: None }),
        Ok(certificates) => Ok(certificates),
        Err(source) => Err(S3Error::Authorities { path, source: Some(source) }),
    }
}

/// `authorities`: the only ones. `None`: those of the host.
fn http_client(
    direction: Direction,
    names: Names,
    with_tls: bool,
    authorities: Option<Vec<Certificate>>,
) -> reqwest::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("coracle/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .referer(false)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .dns_resolver(names)
        .connect_timeout(CONNECT)
        // Without TLS and redirects no certificate is met, and a host without CA certificates serves.
        .tls_danger_accept_invalid_certs(!with_tls);
    if let Some(authorities) = authorities {
        builder = builder.tls_certs_only(authorities);
    }
    // It counts from a request's start, so it would end a part that takes long to send.
    if direction == Direction::Pull {
        builder = builder.read_timeout(STALL);
    }
    builder.build()
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
    fn a_bucket_goes_before_a_name_and_not_before_an_address() {
        let with = |bucket: &str, endpoint: &str| {
            let mut endpoint = Url::parse(endpoint).unwrap();
            prepend(bucket, &mut endpoint).map(|()| endpoint.to_string())
        };
        assert_eq!(with("abc", "https://s3.example:9000/a").unwrap(), "https://abc.s3.example:9000/a");
        assert!(matches!(with("abc", "https://127.0.0.1"), Err(S3Error::NoHostName)));
        assert!(matches!(with("abc", "https://[::1]"), Err(S3Error::NoHostName)));
        for bucket in ["Abc", "a_b", "a..b/"] {
            assert!(matches!(with(bucket, "https://s3.example"), Err(S3Error::BucketInHost { .. })), "{bucket}");
        }
    }

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
