//! Challenges, credentials and tokens.

use super::server::{Content, Reply, Seen, Server};
use super::*;

/// `ada:lovelace` in a header.
const BASIC: &str = "Basic YWRhOmxvdmVsYWNl";

/// What a registry with a token server at `/token` does: it hands out the tokens `token1`, `token2` …
/// and takes those that `accepts` does.
struct Guarded {
    content: Content,
    tokens: AtomicUsize,
    /// The answer to a request for a token, without the token.
    answer: &'static str,
    accepts: fn(&str) -> bool,
}

impl Guarded {
    fn new(answer: &'static str, accepts: fn(&str) -> bool) -> Guarded {
        Guarded { content: Content::new(), tokens: AtomicUsize::new(0), answer, accepts }
    }

    async fn start(self) -> Server {
        Server::start(move |seen| self.reply(seen)).await
    }

    fn reply(&self, seen: &Seen) -> Reply {
        if seen.path.starts_with("/token") {
            let number = self.tokens.fetch_add(1, Ordering::Relaxed) + 1;
            return Reply::new(200, format!(r#"{{"token":"token{number}"{}}}"#, self.answer));
        }
        match seen.header("authorization").strip_prefix("Bearer ") {
            Some(token) if (self.accepts)(token) => self.content.reply(seen),
            _ => Reply::new(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}"#)
                .with("WWW-Authenticate", challenge(seen)),
        }
    }
}

fn challenge(seen: &Seen) -> String {
    let realm = format!("http://{}/token?x=1", seen.header("host"));
    format!(r#"Bearer realm="{realm}",service="a registry",scope="repository:team/image:pull,push""#)
}

#[tokio::test]
async fn one_token_serves_all_requests() {
    let server = Guarded::new(r#","expires_in":3600"#, |token| token == "token1").start().await;
    let (host, content) = (Arc::<Host>::default(), Content::new());
    let registry = registry_at(vec![endpoint(server.host())], host.clone(), &quick());
    let digest = registry.digest().await.unwrap();
    assert_eq!(registry.manifest(None).await.unwrap().0, digest);
    let clones: Vec<_> = (0..6).map(|_| registry.clone()).collect();
    futures_util::future::join_all(clones.iter().map(|registry| read_all(registry, &content))).await;
    let tokens = server.of("/token");
    assert_eq!(tokens.len(), 1);
    let expected = "/token?x=1&client_id=coracle&service=a+registry&scope=repository%3Ateam%2Fimage%3Apull";
    assert_eq!((tokens[0].path.as_str(), tokens[0].header("authorization")), (expected, ""));
    assert_eq!(host.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn many_requests_that_are_refused_at_once_get_one_token() {
    let server = Guarded::new("", |token| token == "token1").start().await;
    let (registry, content) = (registry(&server), Content::new());
    futures_util::future::join_all((0..6).map(|_| read_all(&registry, &content))).await;
    assert_eq!(server.count("/token"), 1);
}

#[tokio::test]
async fn a_token_that_has_expired_is_renewed_before_it_is_refused() {
    let server = Guarded::new(r#","expires_in":0"#, |_| true).start().await;
    let registry = registry(&server);
    for _ in 0..3 {
        registry.manifest(None).await.unwrap();
    }
    let refused = server.of("/manifests/").iter().filter(|seen| seen.header("authorization").is_empty()).count();
    assert_eq!((refused, server.count("/token")), (1, 3), "only the first request was refused");
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once() {
    // Good for the manifest, no longer for the blob.
    let content = Content::new();
    let guarded = Guarded::new(r#","expires_in":3600"#, |_| true);
    let server = Server::start(move |seen| {
        let is_stale = seen.path.contains("/blobs/") && seen.header("authorization") == "Bearer token1";
        if is_stale { Reply::new(401, "").with("WWW-Authenticate", challenge(seen)) } else { guarded.reply(seen) }
    })
    .await;
    let registry = registry(&server);
    registry.manifest(None).await.unwrap();
    read_all(&registry, &content).await;
    assert_eq!(server.count("/token"), 2);

    let server = Guarded::new(r#","expires_in":3600"#, |_| false).start().await;
    let error = super::registry(&server).manifest(None).await.unwrap_err();
    assert!(matches!(error, RegistryError::LogIn { .. }), "{error:?}");
    assert_eq!((server.count("/token"), server.count("/manifests/")), (1, 2));
}

#[tokio::test]
async fn a_password_goes_to_the_token_server_only() {
    let server = Guarded::new("", |_| true).start().await;
    let registry = registry_at(vec![endpoint(server.host())], Arc::new(Host::with_login()), &quick());
    registry.manifest(None).await.unwrap();
    let token = &server.of("/token")[0];
    assert_eq!(token.header("authorization"), BASIC);
    assert!(token.path.ends_with("&account=ada"), "{}", token.path);
    let others = server.seen().into_iter().filter(|seen| !seen.path.starts_with("/token"));
    let shown: Vec<String> = others.map(|seen| seen.header("authorization").to_owned()).collect();
    assert_eq!(shown, ["", "", "Bearer token1"], "the first asks whether TLS is spoken");
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let server = Guarded::new(r#","access_token":"","refresh_token":"another""#, |_| true).start().await;
    let host = Host { credentials: Credentials::IdentityToken("very&secret".into()), ..Host::default() };
    let registry = registry_at(vec![endpoint(server.host())], Arc::new(host), &quick());
    registry.manifest(None).await.unwrap();
    let token = &server.of("/token")[0];
    assert_eq!((token.method.as_str(), token.path.as_str()), ("POST", "/token?x=1"));
    assert_eq!(token.header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(
        token.body,
        "client_id=coracle&service=a+registry&grant_type=refresh_token&refresh_token=very%26secret\
         &scope=repository%3Ateam%2Fimage%3Apull"
    );
}

#[tokio::test]
async fn a_registry_without_tokens_gets_the_password_when_it_asks() {
    let content = Content::new();
    let server = Server::start(move |seen| {
        let is_in = seen.header("authorization") == BASIC;
        if is_in { content.reply(seen) } else { Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\"") }
    })
    .await;
    let host = Arc::new(Host::with_login());
    let registry = registry_at(vec![endpoint(server.host())], host.clone(), &quick());
    assert_eq!(host.asked.load(Ordering::Relaxed), 0);
    registry.manifest(None).await.unwrap();
    read_all(&registry, &Content::new()).await;
    let refused = server.seen().iter().filter(|seen| seen.header("authorization").is_empty()).count();
    assert_eq!((refused, host.asked.load(Ordering::Relaxed)), (2, 1));
}

#[tokio::test]
async fn credentials_are_not_looked_up_unasked() {
    let content = Content::new();
    let copy = content.clone();
    let server = Server::start(move |seen| copy.reply(seen)).await;
    let host = Arc::new(Host::with_login());
    let registry = registry_at(vec![endpoint(server.host())], host.clone(), &quick());
    registry.manifest(None).await.unwrap();
    read_all(&registry, &content).await;
    assert_eq!(host.asked.load(Ordering::Relaxed), 0);
    assert!(server.seen().iter().all(|seen| seen.header("authorization").is_empty()));
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let said = r#"{"errors":[{"code":"DENIED","message":"access to the \u001b[31mresource\u0007 denied"}]}"#;
    let refuse = |status: u16, host: Host| async move {
        let server = Server::start(move |seen| match seen.header("authorization") {
            "" => Reply::new(401, said).with("WWW-Authenticate", "Basic realm=\"x\""),
            _ => Reply::new(status, said),
        })
        .await;
        let registry = registry_at(vec![endpoint(server.host())], Arc::new(host), &quick());
        registry.manifest(None).await.unwrap_err()
    };
    let error = refuse(401, Host::default()).await;
    assert!(matches!(error, RegistryError::LogIn { .. }) && error.to_string().contains("podman login"), "{error}");
    let error = refuse(401, Host::with_login()).await;
    assert!(matches!(error, RegistryError::BadCredentials { .. }) && error.to_string().contains("again"), "{error}");
    let error = refuse(403, Host::with_login()).await;
    assert!(matches!(error, RegistryError::Forbidden { .. }) && error.to_string().contains("allowed"), "{error}");
    let told = error.with_sources();
    assert!(told.ends_with(r"status 403: access to the \u{1b}[31mresource\u{7} denied"), "{told}");
    assert!(!format!("{error:?} {told}").contains("lovelace"));
    assert!(!error.is_unreachable());
}

#[tokio::test]
async fn a_token_server_that_fails_is_named() {
    for (answer, reason) in [
        ((|| Reply::new(401, "bad password")) as fn() -> Reply, "refused access with the credentials"),
        (|| Reply::new(500, "oops"), "failed to get a token for team/image"),
        (|| Reply::new(200, "{}"), "sent no token"),
        (|| Reply::new(200, vec![b' '; 1 << 20]), "may have"),
    ] {
        let server = Server::start(move |seen| {
            if seen.path.starts_with("/token") {
                return answer();
            }
            Reply::new(401, "").with("WWW-Authenticate", challenge(seen))
        })
        .await;
        let registry = registry_at(vec![endpoint(server.host())], Arc::new(Host::with_login()), &quick());
        let error = registry.manifest(None).await.unwrap_err();
        let told = error.with_sources();
        assert!(told.contains(reason) && !format!("{error:?}").contains("lovelace"), "{told}");
    }
}

#[tokio::test]
async fn a_password_does_not_leave_this_machine_without_tls() {
    for (realm, reason) in [
        ("http://auth.example/token", "auth.example"),
        ("file:///etc/passwd", "no URL"),
        ("nowhere", "no URL"),
        ("", "no URL"),
    ] {
        let server =
            Server::start(move |_| Reply::new(401, "").with("WWW-Authenticate", format!("Bearer realm=\"{realm}\"")))
                .await;
        let registry = registry_at(vec![endpoint(server.host())], Arc::new(Host::with_login()), &quick());
        let error = registry.manifest(None).await.unwrap_err();
        assert!(matches!(error, RegistryError::Challenge { .. }), "{error:?}");
        assert!(error.with_sources().contains(reason), "{}", error.with_sources());
    }
}
