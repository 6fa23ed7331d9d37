//! In memory.

use super::{LOG, READY, Subject, container, create, ended, numbered};
use crate::harness::{IMAGE, job, soon};
use coracle::engine::{LogEvent, LogQuery, Removal};
use coracle::log::LogStream;
use coracle::outcome::End;
use coracle::spec::ServiceSpec;
use coracle::testing::{MockMethod, MockRuntime, Script};
use coracle::{ContainerId, Runtime};
use futures_util::StreamExt;

impl Subject for MockRuntime {
    fn runtime(&self) -> &dyn Runtime {
        self
    }

    fn holds(&self) -> ServiceSpec {
        self.on(IMAGE, Script::runs().prints(READY));
        job("")
    }

    fn floods(&self, lines: usize) -> ServiceSpec {
        let text = numbered(lines);
        let script = text.as_bytes().chunks(4096).fold(Script::default(), |script, part| script.prints(part));
        self.on(IMAGE, script);
        job("")
    }

    fn never_made(&self) -> ServiceSpec {
        self.on(IMAGE, Script::default().create_hangs());
        job("")
    }

    async fn being_made(&self) -> impl Sized {
        let call = self.called(|call| call.method() == MockMethod::Create).await;
        assert_eq!(self.leftovers(), Vec::from_iter(call.container().cloned()));
    }

    fn left(&self) -> Vec<String> {
        self.leftovers().iter().map(ContainerId::to_string).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_goes_through_its_states() {
    super::a_container_goes_through_its_states(&MockRuntime::new()).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_stopped_before_its_start_never_runs() {
    super::one_that_is_stopped_before_its_start_never_runs(&MockRuntime::new()).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_never_was_can_be_removed() {
    super::one_that_never_was_can_be_removed(&MockRuntime::new()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_half_way_can_be_removed() {
    super::what_is_dropped_half_way_can_be_removed(&MockRuntime::new()).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_is_bounded_and_says_what_it_dropped() {
    super::a_log_is_bounded_and_says_what_it_dropped(&MockRuntime::new()).await;
}

/// What only a container in memory can be told, and only a runtime in memory tells.
#[tokio::test(start_paused = true)]
async fn one_that_runs_is_not_removed_and_one_that_has_ended_not_stopped() {
    let (runtime, container) = (MockRuntime::new(), container());
    create(&runtime, &container, &runtime.holds(), LOG).await.expect("a container");
    runtime.start(&container).await.expect("a start");
    let running = runtime.container(&container).expect("a container");
    soon(running.main_runs()).await;
    assert!(runtime.remove(&container, Removal::Everything).await.is_err(), "it runs");
    running.signal(11);
    assert_eq!(ended(&runtime, &container).await.end, End::Signalled { signal: 11 });
    assert!(!runtime.stop(&container, None).await.expect("an answer"));
}

/// To the entry.
#[tokio::test(start_paused = true)]
async fn who_follows_a_log_is_told_what_was_dropped_before_it_could_be_read() {
    let (runtime, container, job) = (MockRuntime::new(), container(), job(""));
    runtime.on(IMAGE, Script::runs());
    create(&runtime, &container, &job, 10).await.expect("a container");
    let mut log = runtime.logs(&container, LogQuery { follow: true, ..LogQuery::default() }).await.expect("a log");
    runtime.start(&container).await.expect("a start");
    let running = runtime.container(&container).expect("a container");
    assert_eq!(soon(log.next()).await.expect("more").expect("sound"), LogEvent::CaughtUp { missed: 0 });
    for text in ["12345", "67890", "abcde", "f"] {
        running.print(LogStream::Stderr, text.as_bytes());
    }
    running.exit(0);
    let mut read = Vec::new();
    while let Some(event) = soon(log.next()).await {
        read.push(match event.expect("a sound log") {
            LogEvent::Entry(entry) => format!("{}+{}", entry.missed_before, String::from_utf8_lossy(&entry.bytes)),
            LogEvent::CaughtUp { missed } => format!("{missed}"),
        });
    }
    read.retain(|event| event != "0");
    assert_eq!(read, ["10+abcde", "0+f"]);
}
