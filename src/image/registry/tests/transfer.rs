//! Content that does not come as it should.

use super::server::{Body, Content, Reply, Server};
use super::*;

/// A server of `content` that misbehaves while `misbehave` has something to say about the n-th request
/// (from 0) for the blob, which came with a range or not.
async fn blob_server(
    content: &Content,
    misbehave: impl Fn(usize, &server::Seen) -> Option<Reply> + Send + Sync + 'static,
) -> Server {
    let (content, count) = (content.clone(), AtomicUsize::new(0));
    Server::start(move |seen| {
        if !seen.path.contains("/blobs/") {
            return content.reply(seen);
        }
        misbehave(count.fetch_add(1, Ordering::Relaxed), seen).unwrap_or_else(|| content.reply(seen))
    })
    .await
}

fn ranges(server: &Server) -> Vec<String> {
    server.of("/blobs/").iter().map(|seen| seen.header("range").to_owned()).collect()
}

/// The rest of the blob from where it was asked for, cut after so many bytes.
fn cut_after(content: &Content, seen: &server::Seen, bytes: usize) -> Option<Reply> {
    let mut reply = content.reply(seen);
    let Body::Whole(rest) = reply.body else { panic!() };
    if rest.len() <= bytes {
        return None;
    }
    reply.body = Body::Cut(rest, bytes);
    Some(reply)
}

#[tokio::test]
async fn a_blob_that_is_cut_goes_on_where_it_broke() {
    let content = Content::new();
    // Seven times, more often than it would be tried without progress.
    let copy = content.clone();
    let server = blob_server(&content, move |_, seen| cut_after(&copy, seen, 300_000)).await;
    read_all(&registry(&server), &content).await;
    let expected: Vec<String> =
        (0..7).map(|cut| if cut == 0 { String::new() } else { format!("bytes={}-", cut * 300_000) }).collect();
    assert_eq!(ranges(&server), expected);
}

#[tokio::test]
async fn many_short_answers_are_no_progress() {
    let content = Content::new();
    let copy = content.clone();
    let server = blob_server(&content, move |_, seen| cut_after(&copy, seen, 1000)).await;
    let error = read(&registry(&server), &content.digest(), content.size()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Broken { .. }), "{error:?}");
    assert_eq!(ranges(&server).last().unwrap(), "bytes=4000-");
}

#[tokio::test]
async fn a_server_without_ranges_or_with_wrong_ones_is_read_from_the_start() {
    let content = Content::new();
    let whole = |content: &Content| Reply::new(200, content.blob.clone());
    let other_part = |content: &Content| {
        Reply::new(206, &content.blob[5..]).with("Content-Range", format!("bytes 5-1999999/{}", content.blob.len()))
    };
    let no_range = |content: &Content| Reply::new(206, &content.blob[700_000..]);
    let not_satisfiable = |_: &Content| Reply::new(416, "");
    for answer in [whole, other_part, no_range, not_satisfiable] {
        let copy = content.clone();
        let server = blob_server(&content, move |index, seen| match index {
            0 => cut_after(&copy, seen, 700_000),
            _ if seen.header("range").is_empty() => None,
            _ => Some(answer(&copy)),
        })
        .await;
        read_all(&registry(&server), &content).await;
        assert_eq!(ranges(&server)[1], "bytes=700000-");
    }
}

#[tokio::test]
async fn a_stall_is_a_broken_connection() {
    let content = Content::new();
    let copy = content.clone();
    let server =
        blob_server(&content, move |index, _| (index == 0).then(|| Reply::of(Body::Stall(copy.blob.clone(), 500_000))))
            .await;
    let registry = registry_at(vec![endpoint(server.host())], Arc::default(), &impatient());
    read_all(&registry, &content).await;
    assert!(ranges(&server).len() > 1);
}

#[tokio::test]
async fn a_server_that_drips_is_given_up() {
    let content = Content::new();
    let server = blob_server(&content, |_, _| Some(Reply::of(Body::Drip))).await;
    let network = NetworkPolicy { attempts: 2, ..impatient() };
    let registry = registry_at(vec![endpoint(server.host())], Arc::default(), &network);
    let error = read(&registry, &content.digest(), content.size()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Stalled { .. }) && error.is_unreachable(), "{error:?}");
}

#[tokio::test]
async fn what_is_endless_is_not_read_to_the_end() {
    let content = Content::new();
    let server = Server::start(|_| Reply::of(Body::Endless)).await;
    let registry = registry(&server);
    let error = read(&registry, &content.digest(), content.size()).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { limit: 2_000_000, .. }), "{error:?}");
    let error = registry.manifest(None).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error:?}");
    let error = registry.document(&content.digest(), 100).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { limit: 100, .. }), "{error:?}");
    // Beside the limits, what fits into the buffers of three connections.
    assert!(server.sent() < 3 * (16 << 20), "{}", server.sent());
}

#[tokio::test]
async fn a_refusal_without_end_is_cut_short() {
    let server = Server::start(|_| Reply { status: 418, headers: Vec::new(), body: Body::Endless }).await;
    let error = registry(&server).manifest(None).await.unwrap_err();
    assert!(matches!(&error, RegistryError::Status { source, .. } if source.status == 418), "{error:?}");
    assert!(error.with_sources().len() < 5000);
}

#[tokio::test]
async fn sizes_digests_and_encodings_must_be_right() {
    let content = Content::new();
    for (reply, reason) in [
        ((|| Reply::new(200, "short")) as fn() -> Reply, "5 bytes instead of the 2000000"),
        (|| Reply::new(200, vec![0; 2_000_001]), "2000001 bytes instead of the 2000000"),
        (|| Reply::new(200, vec![0; 2_000_000]).with("Content-Encoding", "gzip"), "\"gzip\""),
        (|| Reply::new(200, vec![0; 2_000_000]), "another digest"),
    ] {
        let server = blob_server(&content, move |_, _| Some(reply())).await;
        let error = registry(&server).document(&content.digest(), content.size()).await.unwrap_err();
        assert!(error.to_string().contains(reason) && !error.is_unreachable(), "{error}");
        assert_eq!(server.count("/blobs/"), 1, "not asked again: {error}");
    }
    let server = Server::start(|_| Reply::new(200, "{}")).await;
    let error = registry(&server).manifest(Some(&content.digest())).await.unwrap_err();
    assert!(matches!(error, RegistryError::Digest { .. }), "{error:?}");
}

#[tokio::test]
async fn passing_failures_are_retried_and_told() {
    let content = Content::new();
    for status in [408, 429, 500, 502, 503, 504] {
        let (copy, count) = (content.clone(), AtomicUsize::new(0));
        let server = Server::start(move |seen| {
            let fails = seen.path.contains("/manifests/") && count.fetch_add(1, Ordering::Relaxed) < 4;
            if fails { Reply::new(status, "busy").with("Retry-After", "0") } else { copy.reply(seen) }
        })
        .await;
        let (registry, events) = observed(&server, &quick());
        assert_eq!(registry.manifest(None).await.unwrap().1, content.manifest);
        let events = events.lock().unwrap();
        let attempts: Vec<u32> = events
            .iter()
            .map(|event| match event {
                PullEvent::Retrying { what, attempt, reason, .. } => {
                    assert!(what.contains("team/image:v1") && reason.contains("busy"), "{what} {reason}");
                    *attempt
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(attempts, [2, 3, 4, 5]);
    }
}

#[tokio::test]
async fn failures_that_stay_end_the_attempts() {
    for (status, requests) in [(500, 5), (429, 5), (418, 1), (404, 1), (403, 1), (401, 1)] {
        let server = Server::start(move |_| Reply::new(status, "no")).await;
        let error = registry(&server).manifest(None).await.unwrap_err();
        assert!(error.with_sources().ends_with("no"), "{}", error.with_sources());
        assert_eq!(server.count("/manifests/"), requests, "{error}");
        assert_eq!(error.is_unreachable(), matches!(status, 500 | 429), "{error}");
    }
}

#[tokio::test]
async fn a_registry_that_asks_for_a_long_wait_is_given_up_at_once() {
    for status in [429, 503] {
        let server = Server::start(move |_| Reply::new(status, "").with("Retry-After", "3600")).await;
        let error = registry(&server).manifest(None).await.unwrap_err();
        assert_eq!(server.count("/manifests/"), 1);
        if status == 429 {
            assert!(error.to_string().contains("in 3600 seconds"), "{error}");
        }
    }
}

#[tokio::test]
async fn nobody_there_is_found_out_soon() {
    let server = Server::start(|_| Reply::new(200, "")).await;
    let (registry, events) = observed(&server, &quick());
    let nowhere = server.host();
    drop(server);
    let error = registry.manifest(None).await.unwrap_err();
    assert!(matches!(&error, RegistryError::Unreachable { registry, .. } if *registry == nowhere), "{error:?}");
    assert!(error.is_unreachable());
    assert_eq!(events.lock().unwrap().len(), 1, "asked twice");
}

#[tokio::test]
async fn a_digest_is_asked_for_without_the_content() {
    let content = Content::new();
    let digest = Digest::of(&content.manifest);
    let server = {
        let content = content.clone();
        Server::start(move |seen| content.reply(seen)).await
    };
    assert_eq!(registry(&server).digest().await.unwrap(), digest);
    let asked = server.of("/manifests/");
    assert_eq!(asked.iter().map(|seen| seen.method.as_str()).collect::<Vec<_>>(), ["HEAD"]);
    assert!(asked[0].header("accept").contains("image.index.v1+json"));
    assert!(asked[0].header("user-agent").starts_with("coracle/"));
    assert_eq!(asked[0].header("accept-encoding"), "identity");
}

#[tokio::test]
async fn a_registry_that_tells_no_digest_is_asked_for_the_content() {
    let content = Content::new();
    let digest = Digest::of(&content.manifest);
    let other = |value: &'static str| move |reply: Reply| reply.with("Docker-Content-Digest", value);
    let answers: [Box<dyn Fn(Reply) -> Reply + Send + Sync>; 4] = [
        Box::new(|reply| reply),
        Box::new(other("sha512:00")),
        Box::new(|_| Reply::new(405, "")),
        Box::new(|_| Reply::new(501, "")),
    ];
    for answer in answers {
        let manifest = content.manifest.clone();
        let server = Server::start(move |seen| match seen.method.as_str() {
            "HEAD" => answer(Reply::new(200, "")),
            _ => Reply::new(200, manifest.clone()),
        })
        .await;
        assert_eq!(registry(&server).digest().await.unwrap(), digest);
    }
}

#[tokio::test]
async fn other_tags_are_there_or_not() {
    let content = Content::new();
    let copy = content.clone();
    let server =
        Server::start(move |seen| if seen.path.ends_with("/none") { Reply::new(404, "") } else { copy.reply(seen) })
            .await;
    let registry = registry(&server);
    assert_eq!(registry.manifest_of_tag("sha256-00.sig").await.unwrap(), Some(content.manifest));
    assert_eq!(registry.manifest_of_tag("none").await.unwrap(), None);
}
