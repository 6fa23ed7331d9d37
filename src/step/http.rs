//! `init.wait_http`: until a request is answered as expected.
//!
//! Redirects are followed as by the probes of Kubernetes: to the same host, [`MOST_REDIRECTS`] in a row; with headers
//! of the spec's, which may be credentials, only to the very server that they are meant for. One that
//! leads elsewhere or out of TLS is the answer itself, as is one whose status is expected. Nothing is read of an
//! answer's body.
//! <https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/#http-probes>

use super::error::{StepError, one_line};
use super::names::Names;
use super::wait;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, Method, Url};
use std::time::Duration;

const MOST_REDIRECTS: usize = 10;

/// What to ask, and what to expect.
pub struct Check {
    url: Url,
    method: Method,
    headers: HeaderMap,
    expected: Vec<u16>,
    interval: Duration,
    verify: bool,
}

impl Check {
    /// # Errors
    /// [`StepError::Url`], [`StepError::Method`], [`StepError::Header`].
    pub fn new(
        url: &str,
        method: &str,
        headers: &[(String, String)],
        expected: Vec<u16>,
        interval: Duration,
        verify: bool,
    ) -> Result<Check, StepError> {
        let url = Url::parse(url).ok().filter(is_plain).ok_or(StepError::Url)?;
        let method =
            Method::from_bytes(method.as_bytes()).map_err(|_| StepError::Method { method: method.to_owned() })?;
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let wrong = || StepError::Header { name: name.clone() };
            let known = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            map.append(known, value);
        }
        Ok(Check { url, method, headers: map, expected, interval, verify })
    }

    /// Returns when it has succeeded.
    ///
    /// # Errors
    /// [`StepError::Client`].
    pub async fn wait(&self, names: &Names) -> Result<(), StepError> {
        let client = self.client(names)?;
        // Its path and query may hold secrets.
        let what = self.url.origin().ascii_serialization();
        wait::until(&what, self.interval, async || {
            let request = client.request(self.method.clone(), self.url.clone()).headers(self.headers.clone());
            let answer = request.send().await.map_err(|error| one_line(&error.without_url()))?;
            let status = answer.status().as_u16();
            if is_expected(&self.expected, status) { Ok(()) } else { Err(format!("it answered with status {status}")) }
        })
        .await;
        Ok(())
    }

    fn client(&self, names: &Names) -> Result<Client, StepError> {
        let built = self.build(names, self.verify, true);
        // A host without CA certificates may still be asked without TLS.
        let built =
            if self.url.scheme() == "http" { built.or_else(|_| self.build(names, false, false)) } else { built };
        built.map_err(|source| StepError::Client { source })
    }

    fn build(&self, names: &Names, verify: bool, with_tls: bool) -> reqwest::Result<Client> {
        let (expected, with_headers) = (self.expected.clone(), !self.headers.is_empty());
        Client::builder()
            .user_agent(concat!("coracle/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .referer(false)
            .http1_only()
            .dns_resolver(names.clone())
            .connect_timeout(wait::connect_timeout(self.interval))
            .timeout(wait::answer_timeout(self.interval))
            .pool_max_idle_per_host(0)
            .tls_danger_accept_invalid_certs(!verify)
            .redirect(Policy::custom(move |attempt| follow(attempt, &expected, with_headers, with_tls)))
            .build()
    }
}

/// True for an address that can be asked: credentials in it would be shown, they belong into a header.
fn is_plain(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty() && url.password().is_none()
}

fn is_expected(expected: &[u16], status: u16) -> bool {
    if expected.is_empty() { (200..300).contains(&status) } else { expected.contains(&status) }
}

fn follow(attempt: Attempt<'_>, expected: &[u16], with_headers: bool, with_tls: bool) -> Action {
    let is_same_place = attempt.previous().first().is_some_and(|first| {
        let next = attempt.url();
        if with_headers { first.origin() == next.origin() } else { first.host_str() == next.host_str() }
    });
    let was_tls = attempt.previous().last().is_some_and(|last| last.scheme() == "https");
    // Headers that went through TLS go no other way.
    let may_be_asked = if attempt.url().scheme() == "https" { with_tls } else { !was_tls };
    if is_expected(expected, attempt.status().as_u16()) || !is_same_place || !may_be_asked {
        attempt.stop()
    } else if attempt.previous().len() > MOST_REDIRECTS {
        attempt.error("it redirects without end")
    } else {
        attempt.follow()
    }
}
