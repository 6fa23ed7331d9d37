//! One endpoint: how it is reached, one request at a time.

use super::auth::{Grant, GrantKind, Login};
use super::body::Body;
use super::clients::{Access, Clients};
use super::error::{Answer, RegistryError};
use super::redirect::{self, RedirectError, host_of, is_loopback, is_same_origin};
use super::retry::NetworkPolicy;
use crate::image::config::{Credentials, Endpoint};
use crate::image::manifest::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, LOCATION, RANGE, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

/// Where Docker Hub's images are, whose name is that of a web site.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// A place to read one repository from, with its connections and its login.
pub struct Connection {
    pub endpoint: Endpoint,
    host: String,
    network: NetworkPolicy,
    access: Arc<dyn Access>,
    clients: Clients,
    /// Of `/v2/`, once it is known whether TLS is spoken.
    base: OnceCell<Url>,
    login: Login,
}

/// What to ask for.
pub struct Request<'a> {
    /// For messages.
    pub what: &'a str,
    pub url: Url,
    pub method: Method,
    /// The types of a manifest, to choose from.
    pub wants_manifest: bool,
    /// The first byte that is wanted.
    pub from: u64,
    pub grant: Option<&'a Grant>,
    /// A form to send; the request is a POST then.
    pub form: Option<String>,
    /// Credentials are shown by the request, in whatever way.
    pub with_credentials: bool,
}

impl<'a> Request<'a> {
    pub fn get(what: &'a str, url: Url) -> Request<'a> {
        Request {
            what,
            url,
            method: Method::GET,
            wants_manifest: false,
            from: 0,
            grant: None,
            form: None,
            with_credentials: false,
        }
    }
}

impl Connection {
    /// No connection is made yet.
    ///
    /// # Errors
    /// [`RegistryError::Host`].
    pub fn new(
        endpoint: Endpoint,
        access: Arc<dyn Access>,
        network: &NetworkPolicy,
    ) -> Result<Connection, RegistryError> {
        let (name, host) = DOCKER_HUB;
        let host = if endpoint.registry == name { host } else { &endpoint.registry };
        let url = Url::parse(&format!("https://{host}/"));
        // Anything else than a host and a port would be found elsewhere in the URL.
        let is_host = |url: &Url| url.as_str() == format!("https://{}/", host_of(url));
        let url =
            url.ok().filter(is_host).ok_or_else(|| RegistryError::Host { registry: endpoint.registry.clone() })?;
        let clients = Clients::new(&endpoint, &url, access.clone(), network);
        let (host, network) = (host.to_owned(), network.clone());
        Ok(Connection { endpoint, host, network, access, clients, base: OnceCell::new(), login: Login::default() })
    }

    /// The answer to a request for `path` below the repository, after a login if the registry asks for one.
    ///
    /// # Errors
    /// See [`RegistryError`]; every answer that is no success is one.
    pub async fn get(
        &self,
        what: &str,
        path: &str,
        change: impl FnOnce(&mut Request<'_>) + Send,
    ) -> Result<Response, RegistryError> {
        let base = self.base.get_or_try_init(|| self.find_base(what)).await?;
        let url = base.join(&format!("{}/{path}", self.endpoint.repository));
        let mut request = Request::get(what, url.map_err(|_| self.redirect(what, RedirectError::Location))?);
        change(&mut request);
        let grant = self.login.grant(self).await?;
        request.grant = grant.as_ref();
        let mut response = self.follow(&request).await?;
        // Only the registry itself may ask for its credentials.
        let is_own = is_same_origin(response.url(), &request.url);
        let renewed;
        if response.status() == StatusCode::UNAUTHORIZED && is_own {
            renewed = self.login.challenged(self, response.headers(), grant.as_ref()).await?;
            if renewed.is_some() {
                request.grant = renewed.as_ref();
                response = self.follow(&request).await?;
            }
        }
        request.with_credentials = self.login.has_credentials();
        self.check(&request, response).await
    }

    /// The body of the answer to a request as it is, without a login.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn ask(&self, request: &Request<'_>) -> Result<Body, RegistryError> {
        let response = self.check(request, self.follow(request).await?).await?;
        Ok(self.body(request.what, response))
    }

    pub fn body(&self, what: &str, response: Response) -> Body {
        let registry = self.name_of(response.url());
        Body::new(response, self.network.stall, what, &registry)
    }

    /// # Errors
    /// Of the configuration.
    pub async fn credentials(&self) -> Result<Credentials, RegistryError> {
        let (access, endpoint) = (self.access.clone(), self.endpoint.clone());
        let found = tokio::task::spawn_blocking(move || access.credentials(&endpoint)).await;
        Ok(found.map_err(|_| RegistryError::Worker { registry: self.endpoint.registry.clone() })??)
    }

    /// True when credentials may go to a token server that is spoken to without TLS, because they would
    /// go to the registry itself in that way. What is safe within this machine is not so beyond.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn may_log_in_without_tls(&self, server_is_here: bool) -> Result<bool, RegistryError> {
        let base = self.base.get_or_try_init(|| self.find_base("a token")).await?;
        Ok(base.scheme() == "http" && (server_is_here || !is_loopback(base)))
    }

    /// Finds out whether the registry speaks TLS, where it need not.
    async fn find_base(&self, what: &str) -> Result<Url, RegistryError> {
        let url = |scheme: &str| {
            let url = Url::parse(&format!("{scheme}://{}/v2/", self.host));
            url.map_err(|_| self.redirect(what, RedirectError::Location))
        };
        let (tls, plain) = (url("https")?, url("http")?);
        if self.clients.verifies(&tls).await? {
            return Ok(tls);
        }
        // As containers/image does it, but for this machine: servers notice at once that a plain request
        // is no TLS, while a plain one may wait for the end of the first line of a TLS handshake.
        let order = if is_loopback(&plain) { [&plain, &tls] } else { [&tls, &plain] };
        let (mut failure, mut is_doubtful) = (None, false);
        for url in order {
            match self.follow(&Request::get(what, url.clone())).await {
                // What servers say to a plain request on their TLS port.
                Ok(answer) if url.scheme() == "http" && answer.status() == StatusCode::BAD_REQUEST => {
                    is_doubtful = true
                }
                Ok(_) => return Ok(url.clone()),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.filter(|error| !is_doubtful || error.is_from_tls()).map_or(Ok(plain), Err)
    }

    /// The answer at the end of all redirects, whatever its status.
    async fn follow(&self, request: &Request<'_>) -> Result<Response, RegistryError> {
        let mut url = request.url.clone();
        let mut grant = request.grant;
        for _ in 0..=redirect::MOST {
            let builder = self.clients.of(&url).await?.request(request.method.clone(), url.clone());
            let response = self.perform(request.what, &url, dressed(builder, request, grant)).await?;
            let status = response.status();
            let redirects = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
            if !redirects || request.form.is_some() {
                return Ok(response);
            }
            let next = redirect::next(&url, response.headers().get(LOCATION));
            let next = next.map_err(|source| self.redirect(request.what, source))?;
            if redirect::loses_tls(&url, &next) && self.clients.verifies(&next).await? {
                return Err(self.redirect(request.what, RedirectError::Downgrade { host: host_of(&next) }));
            }
            if !is_same_origin(&url, &next) {
                grant = None;
            }
            url = next;
        }
        Err(self.redirect(request.what, RedirectError::TooMany))
    }

    async fn perform(&self, what: &str, url: &Url, builder: RequestBuilder) -> Result<Response, RegistryError> {
        let waited = self.network.connect + self.network.stall;
        match tokio::time::timeout(waited, builder.send()).await {
            Ok(Ok(response)) => {
                tracing::debug!(what, host = host_of(url), status = response.status().as_u16(), "answered");
                Ok(response)
            }
            Ok(Err(error)) => Err(RegistryError::of_request(what, self.name_of(url), error)),
            Err(_) => Err(RegistryError::NoAnswer { what: what.to_owned(), registry: self.name_of(url), waited }),
        }
    }

    /// Turns every answer that is no success into an error.
    async fn check(&self, request: &Request<'_>, response: Response) -> Result<Response, RegistryError> {
        let (what, registry) = (request.what.to_owned(), self.name_of(response.url()));
        if response.status().is_success() {
            let encoding = response.headers().get(CONTENT_ENCODING).and_then(|encoding| encoding.to_str().ok());
            return match encoding.filter(|encoding| !matches!(*encoding, "" | "identity")) {
                Some(encoding) if request.method == Method::GET => {
                    Err(RegistryError::Encoding { what, registry, encoding: encoding.to_owned() })
                }
                _ => Ok(response),
            };
        }
        let wait = retry_after(response.headers(), Timestamp::now());
        // Another place that refuses says nothing about the login here.
        let is_own = is_same_origin(response.url(), &request.url);
        let source = Answer::read(response, self.network.stall).await;
        Err(match (source.status, request.with_credentials) {
            (401 | 403, false) if is_own => RegistryError::LogIn { what, registry, source },
            (401, true) if is_own => RegistryError::BadCredentials { what, registry, source },
            (403, true) if is_own => RegistryError::Forbidden { what, registry, source },
            (404, _) => RegistryError::NotFound { what, registry, source },
            (429, _) => RegistryError::RateLimited { what, registry, wait, source },
            _ => RegistryError::Status { what, registry, wait, source },
        })
    }

    fn redirect(&self, what: &str, source: RedirectError) -> RegistryError {
        RegistryError::Redirect { what: what.to_owned(), registry: self.endpoint.registry.clone(), source }
    }

    /// How to call a host in messages: the registry by the name that the user knows.
    fn name_of(&self, url: &Url) -> String {
        let host = host_of(url);
        let own = Url::parse(&format!("{}://{}/", url.scheme(), self.host));
        if own.is_ok_and(|own| host_of(&own) == host) { self.endpoint.registry.clone() } else { host }
    }
}

fn dressed(mut builder: RequestBuilder, request: &Request<'_>, grant: Option<&Grant>) -> RequestBuilder {
    if request.wants_manifest {
        for media_type in [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST] {
            builder = builder.header(ACCEPT, media_type);
        }
    }
    if request.from > 0 {
        builder = builder.header(RANGE, format!("bytes={}-", request.from));
    }
    if let Some(form) = &request.form {
        builder = builder.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.clone());
    }
    match grant.map(|grant| &grant.kind) {
        None => builder,
        Some(GrantKind::Basic { user, password }) => builder.basic_auth(user, Some(password)),
        Some(GrantKind::Bearer(token)) => builder.bearer_auth(&token.text),
    }
}

/// How long the registry asks to wait: a number of seconds or a date.
/// <https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTimeParser::new().parse_timestamp(text).ok()?;
    // A date that has passed asks for no pause.
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn a_wait_is_in_seconds_or_until_a_date() {
        let now = "1994-11-06T08:49:00Z".parse().unwrap();
        let wait = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            retry_after(&headers, now)
        };
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait("0"), Some(Duration::ZERO));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(37)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        for text in ["", "soon", "-1", "1.5", "99999999999999999999999"] {
            assert_eq!(wait(text), None, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
