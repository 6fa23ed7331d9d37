//! Tokens as token servers hand them out.
//! <https://distribution.github.io/distribution/spec/auth/token/#token-response-fields>

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use std::fmt;
use std::time::{Duration, Instant};

/// How long a token is good for when the server does not say.
const LIFETIME: Duration = Duration::from_secs(60);

/// A token is renewed so long before its end, or in the last quarter of its life: it must still be
/// good when the request that it goes with arrives.
const MARGIN: Duration = Duration::from_secs(15);

/// A bearer token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    renewed_at: Instant,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    pub fn is_old(&self, now: Instant) -> bool {
        now >= self.renewed_at
    }
}

/// Reads a token server's answer to a request that was made at `asked`; `now` is the wall clock.
/// `None` when there is no token in it that fits into a header.
pub fn parse_token(body: &[u8], asked: Instant, now: Timestamp) -> Option<Token> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<Value>,
        issued_at: Option<Value>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let text = answer.token.filter(|text| !text.is_empty()).or(answer.access_token)?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    // More than a day is as good as a day.
    let seconds = answer.expires_in.and_then(|seconds| seconds.as_f64()).map(|seconds| seconds.clamp(0.0, 86_400.0));
    let expires_in = seconds.map_or(LIFETIME, Duration::from_secs_f64);
    let issued_at = answer.issued_at.and_then(|time| time.as_str()?.parse().ok());
    let lifetime = lifetime(expires_in, issued_at, now);
    let renewed_at = asked + lifetime.saturating_sub(MARGIN.min(lifetime / 4));
    Some(Token { text, renewed_at })
}

/// What is left of a token's life. Clocks differ: an age that cannot be is that of a fresh token.
fn lifetime(expires_in: Duration, issued_at: Option<Timestamp>, now: Timestamp) -> Duration {
    let age = issued_at.and_then(|issued_at| Duration::try_from(now.duration_since(issued_at)).ok());
    age.and_then(|age| expires_in.checked_sub(age)).unwrap_or(expires_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Option<(String, Duration)> {
        let asked = Instant::now();
        let now = "2024-05-01T12:00:00Z".parse().unwrap();
        let token = parse_token(body.as_bytes(), asked, now)?;
        let good_for = token.renewed_at - asked;
        assert!(good_for.is_zero() || !token.is_old(asked));
        assert!(token.is_old(asked + good_for));
        Some((token.text, good_for))
    }

    #[test]
    fn tokens_are_renewed_before_they_expire() {
        let seconds = |body: &str| parse(body).unwrap().1.as_secs_f64();
        assert_eq!(seconds(r#"{"token":"t"}"#), 45.0);
        assert_eq!(seconds(r#"{"token":"t","expires_in":"soon","issued_at":7}"#), 45.0);
        assert_eq!(seconds(r#"{"token":"t","expires_in":300}"#), 285.0);
        assert_eq!(seconds(r#"{"token":"t","expires_in":20}"#), 15.0);
        assert_eq!(seconds(r#"{"token":"t","expires_in":0}"#), 0.0);
        assert_eq!(seconds(r#"{"token":"t","expires_in":-5}"#), 0.0);
        assert_eq!(seconds(r#"{"token":"t","expires_in":1e300}"#), 86_385.0);
        assert_eq!(seconds(r#"{"token":"t","expires_in":300,"issued_at":"2024-05-01T11:59:00Z"}"#), 225.0);
    }

    #[test]
    fn a_clock_that_differs_does_no_harm() {
        for issued_at in ["2031-01-01T00:00:00Z", "1999-01-01T00:00:00Z", "yesterday"] {
            let body = format!(r#"{{"token":"t","expires_in":300,"issued_at":"{issued_at}"}}"#);
            assert_eq!(parse(&body).unwrap().1, Duration::from_secs(285), "{issued_at}");
        }
    }

    #[test]
    fn both_names_of_a_token_are_read() {
        assert_eq!(parse(r#"{"access_token":"a"}"#).unwrap().0, "a");
        assert_eq!(parse(r#"{"token":"","access_token":"a"}"#).unwrap().0, "a");
        for body in
            ["", "{}", "[]", r#"{"token":""}"#, r#"{"token":"a\r\nX: y"}"#, r#"{"token":"a b"}"#, r#"{"token":1}"#]
        {
            assert_eq!(parse(body), None, "{body}");
        }
        assert!(
            !format!("{:?}", parse_token(br#"{"token":"hush"}"#, Instant::now(), Timestamp::UNIX_EPOCH))
                .contains("hush")
        );
    }
}
