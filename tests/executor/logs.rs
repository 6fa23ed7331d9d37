//! What a job wrote.

use crate::harness::{JOB, World, job, job_with, soon};
use coracle::ExecError;
use coracle::exec::{LogEvent, LogQuery, PruneRequest};
use coracle::log::LogStream;
use coracle::testing::Script;
use futures_util::StreamExt;

/// The logs of an execution that wrote this, with an executor that shows so many bytes.
async fn tail(limit: u64, pieces: &[&[u8]]) -> String {
    let world = World::with(|config| config.max_log_size = limit).await;
    world.runtime.on(JOB, pieces.iter().fold(Script::default(), |script, piece| script.prints(*piece)));
    let id = world.trigger(&job("")).await;
    world.end(&id).await;
    world.get(&id).await.logs.expect("a log")
}

#[tokio::test(start_paused = true)]
async fn an_execution_shows_the_end_of_its_log() {
    assert_eq!(tail(100, &[b"one\n", b"two\n"]).await, "one\ntwo\n");
    assert_eq!(tail(8, &[b"one\n", b"two\n"]).await, "one\ntwo\n");
    assert_eq!(tail(5, &[b"one\n", b"two\n"]).await, "\ntwo\n");
    assert_eq!(tail(0, &[b"one\n", b"two\n"]).await, "");
    assert_eq!(tail(100, &[]).await, "");
}

#[tokio::test(start_paused = true)]
async fn no_character_is_cut_and_the_bound_holds() {
    let text = "aé€𝄞";
    assert_eq!(text.len(), 10);
    for (limit, expected) in [(10, text), (9, "é€𝄞"), (8, "€𝄞"), (7, "€𝄞"), (6, "𝄞"), (4, "𝄞"), (3, ""), (1, "")]
    {
        assert_eq!(tail(limit, &[text.as_bytes()]).await, expected, "{limit}");
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(tail(limit, &bytes).await, expected, "{limit}, byte by byte");
    }
    // What is no UTF-8 takes three bytes where it took one.
    assert_eq!(tail(7, &[&[0xff; 7]]).await, "\u{fffd}\u{fffd}");
    assert_eq!(tail(5, &["abcé".as_bytes(), &[0xe2, 0x82]]).await, "é\u{fffd}");
    // Whole from its beginning: nothing is cut off.
    assert_eq!(tail(4, &[&[0x80, b'a']]).await, "\u{fffd}a");
}

#[tokio::test(start_paused = true)]
async fn a_log_is_followed_from_before_it_begins_to_its_end() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::runs().prints("one"));
    let spec = job("max_concurrent: 1");
    let first = world.trigger(&spec).await;
    let waiting = world.trigger(&spec).await;
    let error = world.executor.logs(&waiting, LogQuery::default()).await.err().expect("it has not begun");
    assert!(matches!(error, ExecError::NoLog { .. }), "{error}");
    let (executor, id) = (world.executor.clone(), waiting.clone());
    let following = tokio::spawn(async move {
        let mut log = executor.logs(&id, LogQuery { follow: true, ..LogQuery::default() }).await.expect("a log");
        let mut text = Vec::new();
        while let Some(event) = log.next().await {
            if let LogEvent::Entry(entry) = event.expect("a sound log") {
                text.extend(entry.bytes);
            }
        }
        String::from_utf8(text).expect("text")
    });
    world.running(&first).await.exit(0);
    let container = world.running(&waiting).await;
    for number in 0..500 {
        container.print(LogStream::Stdout, format!(" {number}").as_bytes());
        if number % 7 == 0 {
            tokio::task::yield_now().await;
        }
    }
    container.exit(0);
    let expected = (0..500).fold("one".to_owned(), |text, number| format!("{text} {number}"));
    assert_eq!(soon(following).await.expect("no panic"), expected);
}

async fn text_of(mut log: coracle::exec::LogStream) -> String {
    let mut text = Vec::new();
    while let Some(event) = log.next().await {
        if let LogEvent::Entry(entry) = event.expect("a sound log") {
            text.extend(entry.bytes);
        }
    }
    String::from_utf8(text).expect("text")
}

/// Nobody but the follower keeps it, neither from its own executor nor from another one.
#[tokio::test]
async fn what_is_followed_is_not_forgotten_before_its_end_was_read() {
    let all = PruneRequest { all: true, ..PruneRequest::default() };
    for rest in ["lifecycle: {delete_on_exit: true}", "job: {retention: {ttl: 0s}}", "job: {retention: {keep_last: 0}}"]
    {
        let world = World::on_disk().await;
        world.runtime.on(JOB, Script::runs().prints("begin"));
        let other = world.another().await;
        let id = world.trigger(&job_with(rest)).await;
        let container = world.running(&id).await;
        let log = other.logs(&id, LogQuery { follow: true, ..LogQuery::default() }).await.expect("a log");
        container.print(LogStream::Stdout, b" end");
        container.exit(0);
        soon(async {
            while world.executor.is_live(&id).await.expect("it is kept") {
                tokio::task::yield_now().await;
            }
        })
        .await;
        for executor in [&world.executor, &other] {
            assert_eq!(executor.prune(&all).await.expect("a record").removed, []);
        }
        // Those that go by themselves have had their turn.
        world.executor.leave().await.expect("a record");
        assert!(world.executor.get_execution(&id).await.expect("a record").is_some(), "{rest}");
        assert_eq!(soon(text_of(log)).await, "begin end", "{rest}");
        if rest.contains("delete_on_exit") {
            assert_eq!(world.executor.get_execution(&id).await.expect("a record"), None, "{rest}");
        } else {
            assert_eq!(other.prune(&all).await.expect("a record").removed, [id], "{rest}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_followed_from_before_it_begins() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::exits_in_turn(&[1, 0]).prints("text"));
    let id = world.trigger(&job("retry: {max_attempts: 2, backoff: {initial: 10s}}")).await;
    let follow = LogQuery { follow: true, ..LogQuery::default() };
    for attempt in [1, 2] {
        let log = soon(world.executor.logs_of_attempt(&id, attempt, follow)).await.expect("a log");
        assert_eq!(soon(text_of(log)).await, "text", "{attempt}");
    }
    world.end(&id).await;
    let error = world.executor.logs_of_attempt(&id, 3, follow).await.err().expect("there is none");
    assert!(matches!(error, ExecError::NoLog { .. }), "{error}");
}
