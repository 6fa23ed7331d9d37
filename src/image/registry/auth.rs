//! Challenges of registries and what answers them.
//! <https://distribution.github.io/distribution/spec/auth/token/>,
//! <https://distribution.github.io/distribution/spec/auth/oauth/>

use super::connection::{Connection, Request};
use super::error::RegistryError;
use super::redirect::{host_of, is_loopback};
use super::token::{Token, parse_token};
use crate::image::config::Credentials;
use http_auth::parser::ChallengeParser;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Method, Url};
use std::time::Instant;
use tokio::sync::{Mutex, OnceCell};

/// How this program names itself to token servers (`client_id`).
const CLIENT: &str = "coracle";

/// Longer answers of token servers are refused; tokens have a few kilobytes.
const LONGEST_TOKEN: u64 = 256 << 10;

/// A registry asks for a login in a way that cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum ChallengeError {
    #[error("it names {0:?} as the place to get a token, which is no URL")]
    Realm(String),
    #[error("it sends to {host} for a token without TLS, where anyone on the way could read it")]
    PlainRealm { host: String },
    #[error("{host} sent no token that can be used")]
    NoToken { host: String },
}

/// What a request shows. Clones of one grant have its number.
#[derive(Clone)]
pub struct Grant {
    number: u64,
    pub kind: GrantKind,
}

#[derive(Clone)]
pub enum GrantKind {
    Basic { user: String, password: String },
    Bearer(Token),
}

/// `WWW-Authenticate` as far as it is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scopes: Vec<String> },
}

/// Credentials and the token of one repository at one endpoint, shared by all its requests.
#[derive(Default)]
pub struct Login {
    credentials: OnceCell<Credentials>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    grant: Option<Grant>,
    /// The challenge that led to the grant, to renew it before it expires.
    challenge: Option<Challenge>,
    count: u64,
}

impl Login {
    /// What to send with a request: nothing before the first challenge; a token that is about to expire
    /// is renewed first.
    ///
    /// # Errors
    /// Of the token server.
    pub async fn grant(&self, connection: &Connection) -> Result<Option<Grant>, RegistryError> {
        let mut state = self.state.lock().await;
        let is_old = |grant: &Grant| match &grant.kind {
            GrantKind::Bearer(token) => token.is_old(Instant::now()),
            GrantKind::Basic { .. } => false,
        };
        match (&state.grant, &state.challenge) {
            (Some(grant), Some(challenge)) if is_old(grant) => {
                let challenge = challenge.clone();
                self.answer(&mut state, connection, challenge).await
            }
            (grant, _) => Ok(grant.clone()),
        }
    }

    /// What to send after a refusal with `headers` of a request that showed `used`; `None` when there is
    /// nothing better.
    ///
    /// # Errors
    /// Of the token server, of the configuration, [`ChallengeError`].
    pub async fn challenged(
        &self,
        connection: &Connection,
        headers: &HeaderMap,
        used: Option<&Grant>,
    ) -> Result<Option<Grant>, RegistryError> {
        // Held during the exchange: of many requests that are refused at once, one gets a token for all.
        let mut state = self.state.lock().await;
        let newer = state.grant.as_ref().filter(|grant| used.is_none_or(|used| used.number < grant.number));
        if let Some(grant) = newer {
            return Ok(Some(grant.clone()));
        }
        match challenge(headers) {
            Some(Challenge::Basic) if used.is_some() => Ok(None),
            Some(challenge) => self.answer(&mut state, connection, challenge).await,
            None => Ok(None),
        }
    }

    /// True when credentials have been configured and were asked for.
    pub fn has_credentials(&self) -> bool {
        self.credentials.get().is_some_and(|credentials| *credentials != Credentials::Anonymous)
    }

    async fn answer(
        &self,
        state: &mut State,
        connection: &Connection,
        challenge: Challenge,
    ) -> Result<Option<Grant>, RegistryError> {
        let credentials = self.credentials.get_or_try_init(async || connection.credentials().await).await?;
        let kind = match (&challenge, credentials) {
            (Challenge::Basic, Credentials::Basic { user, password }) => {
                GrantKind::Basic { user: user.clone(), password: password.clone() }
            }
            (Challenge::Basic, Credentials::Anonymous | Credentials::IdentityToken(_)) => return Ok(None),
            (Challenge::Bearer { realm, service, scopes }, credentials) => {
                let scopes = pull_scopes(scopes, &connection.endpoint.repository);
                let token = fetch(connection, realm, service.as_deref(), &scopes, credentials).await?;
                GrantKind::Bearer(token)
            }
        };
        state.count += 1;
        state.grant = Some(Grant { number: state.count, kind });
        state.challenge = Some(challenge);
        Ok(state.grant.clone())
    }
}

/// Gets a token: an identity token is exchanged by POST, all else is asked for by GET.
async fn fetch(
    connection: &Connection,
    realm: &str,
    service: Option<&str>,
    scopes: &[String],
    credentials: &Credentials,
) -> Result<Token, RegistryError> {
    let registry = connection.endpoint.registry.clone();
    let failed = |source| RegistryError::Challenge { registry: registry.clone(), source };
    let mut url = Url::parse(realm).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.as_mut().ok_or_else(|| failed(ChallengeError::Realm(realm.chars().take(200).collect())))?;
    let host = host_of(url);
    if url.scheme() == "http" && !connection.may_log_in_without_tls(is_loopback(url)).await? {
        return Err(failed(ChallengeError::PlainRealm { host }));
    }
    let what = format!("a token for {}", connection.endpoint.repository);
    let mut request = Request::get(&what, url.clone());
    request.with_credentials = *credentials != Credentials::Anonymous;
    let scope = scopes.join(" ");
    let mut fields = vec![("client_id", CLIENT)];
    fields.extend(service.map(|service| ("service", service)));
    let basic;
    if let Credentials::IdentityToken(token) = credentials {
        fields.extend([("grant_type", "refresh_token"), ("refresh_token", token), ("scope", &scope)]);
        request.method = Method::POST;
        request.form = Some(encoded(fields));
    } else {
        fields.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
        if let Credentials::Basic { user, password } = credentials {
            fields.push(("account", user));
            basic = Grant { number: 0, kind: GrantKind::Basic { user: user.clone(), password: password.clone() } };
            request.grant = Some(&basic);
        }
        request.url.query_pairs_mut().extend_pairs(fields);
    }
    let answered = Instant::now();
    let body = connection.ask(&request).await?.whole(LONGEST_TOKEN).await?;
    parse_token(&body, answered, jiff::Timestamp::now()).ok_or_else(|| failed(ChallengeError::NoToken { host }))
}

/// Fields as a form has them, which is how a query has them.
fn encoded(fields: Vec<(&str, &str)>) -> String {
    let mut url = Url::parse("form:").expect("a URL without anything");
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}

/// The challenge to answer: for a token if there is a choice.
fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let all = texts.flat_map(|text| ChallengeParser::new(text).map_while(Result::ok));
    let mut found = None;
    for challenge in all {
        let parameter = |name: &str| {
            let of_name = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            of_name.map(|(_, value)| value.to_unescaped())
        };
        if challenge.scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = parameter("realm")
        {
            let scopes = parameter("scope").unwrap_or_default();
            let scopes = scopes.split_ascii_whitespace().map(str::to_owned).collect();
            return Some(Challenge::Bearer { realm, service: parameter("service"), scopes });
        }
        if challenge.scheme.eq_ignore_ascii_case("basic") {
            found = Some(Challenge::Basic);
        }
    }
    found
}

/// The scopes to ask for: those that the registry names, for pulling only. Whatever it would have more,
/// a token is never good for more than that.
/// <https://distribution.github.io/distribution/spec/auth/scope/>
fn pull_scopes(named: &[String], repository: &str) -> Vec<String> {
    let pulls = named.iter().filter_map(|scope| {
        let (resource, actions) = scope.rsplit_once(':')?;
        let pulls =
            resource.starts_with("repository:") && actions.split(',').any(|action| matches!(action, "pull" | "*"));
        pulls.then(|| format!("{resource}:pull"))
    });
    let pulls: Vec<String> = pulls.collect();
    if pulls.is_empty() { vec![format!("repository:{repository}:pull")] } else { pulls }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn of(values: &[&str]) -> Option<Challenge> {
        let values = values.iter().map(|value| (WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap()));
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(name, value);
        }
        challenge(&headers)
    }

    #[test]
    fn a_token_is_preferred_among_challenges() {
        let bearer = |service: Option<&str>, scopes: &[&str]| Challenge::Bearer {
            realm: "https://auth.example/token".into(),
            service: service.map(str::to_owned),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        };
        let full = r#"Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull x:y:z""#;
        assert_eq!(of(&[full]), Some(bearer(Some("registry"), &["repository:a/b:pull", "x:y:z"])));
        assert_eq!(of(&["Basic realm=\"x\"", full]), of(&[full]));
        assert_eq!(of(&[r#"basic realm=x, bEARER rEALM="https://auth.example/token""#]), Some(bearer(None, &[])));
        assert_eq!(of(&["Negotiate", "Basic realm=\"x\""]), Some(Challenge::Basic));
        for none in [&[][..], &["Negotiate"], &["Bearer service=\"x\""], &["\"", "=,=", "Bearer"]] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_token_is_for_pulling_only() {
        let scopes = |named: &[&str]| {
            let named: Vec<String> = named.iter().map(|scope| (*scope).to_owned()).collect();
            pull_scopes(&named, "a/b")
        };
        assert_eq!(scopes(&[]), ["repository:a/b:pull"]);
        assert_eq!(scopes(&["repository:library/b:pull"]), ["repository:library/b:pull"]);
        assert_eq!(scopes(&["repository:a/b:pull,push", "registry:catalog:*"]), ["repository:a/b:pull"]);
        assert_eq!(scopes(&["repository:a/b:delete"]), ["repository:a/b:pull"]);
    }
}
