//! The runtime in memory keeps the contract of the trait.

use crate::harness::{IMAGE, SECOND, job, soon};
use coracle::engine::{ContainerState, CreateRequest, LogEvent, LogQuery, Removal, Stdio};
use coracle::log::LogStream;
use coracle::outcome::{End, Stopped};
use coracle::testing::{MockMethod, MockRuntime, Script};
use coracle::{ContainerId, JobExecutionId, Runtime};
use futures_util::StreamExt;

async fn create(runtime: &MockRuntime, container: &ContainerId, max_log_size: u64) {
    let job = job("");
    let request = CreateRequest {
        execution: &JobExecutionId(container.execution().to_owned()),
        container,
        attempt: 1,
        job: &job,
        env: Vec::new(),
        image: runtime.pull(&job.image, None).await.expect("an image"),
        settings: None,
        deadline: None,
        max_log_size,
        stdio: Stdio::Detached,
    };
    runtime.create(request).await.expect("a container");
}

fn container() -> ContainerId {
    ContainerId::new(&JobExecutionId::new(), 1)
}

#[tokio::test(start_paused = true)]
async fn a_container_goes_through_its_states() {
    let runtime = MockRuntime::new();
    runtime.on(IMAGE, Script::runs().prints("hello"));
    let container = container();
    assert_eq!(runtime.state(&container).await.expect("a state"), ContainerState::Absent);
    assert!(runtime.logs(&container, LogQuery::default()).await.is_err());
    assert!(runtime.start(&container).await.is_err());
    assert!(!runtime.stop(&container, None).await.expect("an answer"));

    create(&runtime, &container, 100).await;
    assert_eq!(runtime.state(&container).await.expect("a state"), ContainerState::Created);
    runtime.start(&container).await.expect("a start");
    let running = runtime.container(&container).expect("a container");
    soon(running.main_runs()).await;
    assert!(matches!(runtime.state(&container).await.expect("a state"), ContainerState::Running(_)));
    assert!(runtime.remove(&container, Removal::Everything).await.is_err(), "it runs");
    running.signal(11);
    let outcome = soon(runtime.wait(&container)).await.expect("an outcome");
    assert_eq!((&outcome.end, outcome.attempt), (&End::Signalled { signal: 11 }, 1));
    assert_eq!(runtime.wait(&container).await.expect("an outcome"), outcome);
    assert!(!runtime.stop(&container, None).await.expect("an answer"));

    for _ in 0..2 {
        runtime.remove(&container, Removal::Leftovers).await.expect("a removal");
        assert_eq!(runtime.state(&container).await.expect("a state"), ContainerState::Ended(outcome.clone()));
    }
    for _ in 0..2 {
        runtime.remove(&container, Removal::Outcome).await.expect("a removal");
        assert_eq!(runtime.state(&container).await.expect("a state"), ContainerState::Absent);
        assert!(runtime.logs(&container, LogQuery::default()).await.is_ok());
    }
    for _ in 0..2 {
        runtime.remove(&container, Removal::Everything).await.expect("a removal");
        assert!(runtime.logs(&container, LogQuery::default()).await.is_err());
    }
    assert!(matches!(runtime.wait(&container).await.expect("one that is lost").end, End::SupervisorLost { .. }));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_stopped_before_its_start_never_runs() {
    let runtime = MockRuntime::new();
    runtime.on(IMAGE, Script::runs().prints("hello").ignores_stop());
    let container = container();
    create(&runtime, &container, 100).await;
    assert!(runtime.stop(&container, Some(3600 * SECOND)).await.expect("an answer"));
    runtime.start(&container).await.expect("a start");
    let outcome = soon(runtime.wait(&container)).await.expect("an outcome");
    assert_eq!((outcome.end, outcome.started_at), (End::Cancelled { how: Stopped::BeforeStart }, None));
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_half_way_can_be_removed() {
    let runtime = MockRuntime::new();
    runtime.on(IMAGE, Script::default().create_hangs());
    let container = container();
    let never = tokio::time::timeout(SECOND, create(&runtime, &container, 100)).await;
    assert!(never.is_err());
    assert_eq!(runtime.leftovers(), std::slice::from_ref(&container));
    runtime.remove(&container, Removal::Leftovers).await.expect("a removal");
    assert_eq!(runtime.leftovers(), []);
    let methods: Vec<_> = runtime.calls().iter().map(|call| call.method()).collect();
    assert_eq!(methods, [MockMethod::Pull, MockMethod::Create, MockMethod::Remove]);
}

#[tokio::test(start_paused = true)]
async fn a_log_is_bounded_and_says_what_it_dropped() {
    let runtime = MockRuntime::new();
    runtime.on(IMAGE, Script::runs());
    let container = container();
    create(&runtime, &container, 10).await;
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
