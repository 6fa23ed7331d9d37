//! Mirrors, and places that redirects lead to.

use super::server::{Content, Reply, Server};
use super::*;

/// Answers everything as it should.
async fn good(content: &Content) -> Server {
    let content = content.clone();
    Server::start(move |seen| content.reply(seen)).await
}

/// Answers nothing else than this.
async fn bad(status: u16) -> Server {
    Server::start(move |_| Reply::new(status, "bad day")).await
}

async fn nobody() -> String {
    bad(500).await.host()
}

fn at(places: &[String]) -> Registry {
    registry_at(places.iter().map(endpoint).collect(), Arc::default(), &quick())
}

#[tokio::test]
async fn a_mirror_that_does_not_serve_is_passed_over() {
    let content = Content::new();
    let last = good(&content).await;
    for status in [401, 403, 404, 418, 500] {
        let mirror = bad(status).await;
        let registry = at(&[mirror.host(), nobody().await, last.host()]);
        assert_eq!(registry.manifest(None).await.unwrap().1, content.manifest);
        assert_eq!(registry.digest().await.unwrap(), Digest::of(&content.manifest));
        let asked = mirror.count("");
        read_all(&registry, &content).await;
        registry.document(&content.digest(), content.size()).await.unwrap();
        assert_eq!(mirror.count(""), asked, "what gave the manifest is asked first for the rest");
    }
}

#[tokio::test]
async fn nobody_waits_long_for_a_mirror_that_says_nothing() {
    let content = Content::new();
    let last = good(&content).await;
    // Connections are made, and nobody takes them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let network = NetworkPolicy { connect: Duration::from_millis(100), ..impatient() };
    let endpoints = [silent.local_addr().unwrap().to_string(), last.host()];
    let retries = Arc::new(AtomicUsize::new(0));
    let counted = retries.clone();
    let observer: Observer = Arc::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let name = name("registry.example/team/image:v1");
    let endpoints = endpoints.iter().map(endpoint).collect();
    let registry = Registry::at(&name, endpoints, Arc::<Host>::default(), &network, Some(observer)).unwrap();
    assert_eq!(registry.manifest(None).await.unwrap().1, content.manifest);
    assert_eq!(retries.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_mirror_that_serves_spares_the_registry() {
    let content = Content::new();
    let (mirror, last) = (good(&content).await, good(&content).await);
    let registry = at(&[mirror.host(), last.host()]);
    registry.manifest(None).await.unwrap();
    read_all(&registry, &content).await;
    assert_eq!(last.count(""), 0);
}

#[tokio::test]
async fn a_mirror_that_sends_something_else_is_passed_over() {
    let content = Content::new();
    let last = good(&content).await;
    let wrong = Content { manifest: b"{}".to_vec(), blob: vec![0; content.blob.len()] };
    let mirror = {
        let digest = content.digest().to_string();
        Server::start(move |seen| {
            if seen.path.ends_with(&digest) { Reply::new(200, wrong.blob.clone()) } else { Reply::new(200, "{}") }
        })
        .await
    };
    let registry = at(&[mirror.host(), last.host()]);
    let digest = Digest::of(&content.manifest);
    let bytes = registry.document(&content.digest(), content.size()).await.unwrap();
    assert!(bytes == content.blob);
    assert_eq!(registry.manifest(Some(&digest)).await.unwrap(), (digest, content.manifest));
}

#[tokio::test]
async fn a_blob_goes_on_at_the_next_place() {
    let content = Content::new();
    let last = good(&content).await;
    let copy = content.clone();
    let mirror = Server::start(move |seen| match seen.header("range") {
        "" if seen.path.contains("/blobs/") => Reply::of(server::Body::Cut(copy.blob.clone(), 1_000_000)),
        "" => copy.reply(seen),
        _ => Reply::new(404, "gone"),
    })
    .await;
    let registry = at(&[mirror.host(), last.host()]);
    registry.manifest(None).await.unwrap();
    read_all(&registry, &content).await;
    assert_eq!(last.of("/blobs/")[0].header("range"), "bytes=1000000-");
}

#[tokio::test]
async fn when_all_fail_all_are_named() {
    let (mirror, gone, last) = (bad(403).await, nobody().await, bad(404).await);
    let registry = at(&[mirror.host(), gone.clone(), last.host()]);
    let digest = Digest::of(b"");
    let errors = [
        registry.manifest(None).await.unwrap_err(),
        registry.digest().await.unwrap_err(),
        registry.document(&digest, 1).await.unwrap_err(),
        read(&registry, &digest, 1).await.unwrap_err(),
    ];
    for error in errors {
        let told = error.with_sources();
        for part in [&mirror.host(), "status 403", &gone, "failed to reach", &last.host(), "status 404"] {
            assert!(told.contains(part), "no {part:?} in {told}");
        }
        assert!(!error.is_unreachable(), "the registry itself has answered");
    }
    assert_eq!(registry.manifest_of_tag("x").await.unwrap(), None, "the registry itself says so");
}

#[tokio::test]
async fn mirrors_for_digests_or_tags_are_asked_for_those_only() {
    let content = Content::new();
    for (serves, by_tag, by_digest) in [(Serves::All, 1, 1), (Serves::DigestOnly, 0, 1), (Serves::TagOnly, 1, 0)] {
        for (reference, expected) in [
            ("registry.example/team/image:v1".to_owned(), by_tag),
            (format!("registry.example/team/image@{}", Digest::of(&content.manifest)), by_digest),
        ] {
            let (mirror, last) = (good(&content).await, good(&content).await);
            let endpoints = vec![Endpoint { serves, ..endpoint(mirror.host()) }, endpoint(last.host())];
            let registry = Registry::at(&name(&reference), endpoints, Arc::<Host>::default(), &quick(), None).unwrap();
            registry.manifest(None).await.unwrap();
            assert_eq!((mirror.count("/manifests/"), last.count("/manifests/")), (expected, 1 - expected));
        }
    }
}

#[tokio::test]
async fn names_that_are_no_hosts_are_refused() {
    for host in ["a b", "host/path", "user@host?", "[::g]", "", "host:port"] {
        let made = Registry::at(&name("x"), vec![endpoint(host)], Arc::<Host>::default(), &quick(), None);
        assert!(matches!(made, Err(RegistryError::Host { .. })), "{host}");
    }
}

/// A registry that wants a password and keeps its blobs at `storage`.
async fn redirecting(storage: String) -> Server {
    let content = Content::new();
    Server::start(move |seen| {
        if seen.header("authorization").is_empty() {
            return Reply::new(401, "").with("WWW-Authenticate", "Basic realm=x");
        }
        let blob = seen.path.rsplit('/').next().unwrap_or_default();
        match seen.path.contains("/blobs/") {
            true if storage.is_empty() => Reply::new(302, "").with("Location", format!("/v2/stored/{blob}")),
            true => Reply::new(307, "").with("Location", format!("{storage}/v2/x/blobs/{blob}?signature=hush")),
            false if seen.path.contains("/stored/") => Reply::new(200, content.blob.clone()),
            false => content.reply(seen),
        }
    })
    .await
}

fn logged_in(server: &Server) -> Registry {
    registry_at(vec![endpoint(server.host())], Arc::new(Host::with_login()), &quick())
}

#[tokio::test]
async fn a_redirect_to_another_host_takes_no_credentials_along() {
    let content = Content::new();
    let storage = good(&content).await;
    let server = redirecting(format!("http://{}", storage.host())).await;
    read_all(&logged_in(&server), &content).await;
    assert!(storage.seen().iter().all(|seen| seen.header("authorization").is_empty()));
    assert_eq!((storage.count("signature=hush"), storage.count("")), (1, 1));
}

#[tokio::test]
async fn a_redirect_within_the_registry_keeps_them() {
    let content = Content::new();
    let server = redirecting(String::new()).await;
    read_all(&logged_in(&server), &content).await;
    assert!(!server.of("/stored/")[0].header("authorization").is_empty());
}

#[tokio::test]
async fn another_host_gets_no_answer_to_its_challenge() {
    let content = Content::new();
    let thief = Server::start(|_| Reply::new(401, "tell me").with("WWW-Authenticate", "Basic realm=x")).await;
    let server = redirecting(format!("http://{}", thief.host())).await;
    let error = read(&logged_in(&server), &content.digest(), content.size()).await.unwrap_err();
    assert!(matches!(&error, RegistryError::Status { registry, .. } if *registry == thief.host()), "{error:?}");
    assert!(thief.seen().iter().all(|seen| seen.header("authorization").is_empty()));
    assert!(!format!("{error:?}").contains("hush"), "signed URLs are secrets: {error:?}");
}

#[tokio::test]
async fn a_resumed_blob_begins_at_the_registry_again() {
    // The place may be good for one request or for some minutes only.
    let content = Content::new();
    let (copy, count) = (content.clone(), AtomicUsize::new(0));
    let storage = Server::start(move |seen| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::of(server::Body::Cut(copy.blob.clone(), 600_000)),
        _ => copy.reply(seen),
    })
    .await;
    let server = redirecting(format!("http://{}", storage.host())).await;
    read_all(&logged_in(&server), &content).await;
    assert_eq!(server.count("/blobs/"), 3, "one of them was refused");
    assert_eq!(storage.of("/blobs/")[1].header("range"), "bytes=600000-");
}

#[tokio::test]
async fn redirects_end() {
    let server = Server::start(|seen| Reply::new(302, "").with("Location", seen.path.clone())).await;
    let error = registry(&server).manifest(None).await.unwrap_err();
    assert!(error.with_sources().contains("more than 10 times"), "{}", error.with_sources());
    assert_eq!(server.count("/manifests/"), 0, "looking for TLS has ended the same way");

    let server = Server::start(|seen| match seen.path.as_str() {
        "/v2/" => Reply::new(200, ""),
        path => Reply::new(301, "").with("Location", path.to_owned()),
    })
    .await;
    let error = registry(&server).manifest(None).await.unwrap_err();
    assert!(matches!(error, RegistryError::Redirect { .. }), "{error:?}");
    assert_eq!(server.count("/manifests/"), 11);
    assert!(!error.is_unreachable());
}
