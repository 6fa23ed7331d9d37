//! What every [`Runtime`] promises, asked of each of them in the same words.

mod mock;
mod oci;

use crate::harness::{SECOND, soon};
use coracle::engine::{
    Activity, ContainerState, CreateRequest, Created, LogEvent, LogQuery, LogStream, Removal, Stdio,
};
use coracle::outcome::{End, Outcome, Stopped};
use coracle::spec::ServiceSpec;
use coracle::{ContainerId, JobExecutionId, Runtime, RuntimeError};
use futures_util::StreamExt;
use std::fmt::Write as _;

/// A runtime, and jobs that it can run.
trait Subject {
    fn runtime(&self) -> &dyn Runtime;

    /// Its main process writes [`READY`] and goes on until it is stopped.
    fn holds(&self) -> ServiceSpec;

    /// Its main process writes so many [`numbered`] lines and ends.
    fn floods(&self, lines: usize) -> ServiceSpec;

    /// To make its container, the runtime waits for what does not come.
    fn never_made(&self) -> ServiceSpec;

    /// Returns when it waits for that, with what keeps it waiting.
    async fn being_made(&self) -> impl Sized;

    /// Everything that is there of containers but their logs.
    fn left(&self) -> Vec<String>;
}

const READY: &str = "ready\n";

/// Lines of 16 bytes, counted from 0.
fn numbered(lines: usize) -> String {
    (0..lines).fold(String::new(), |mut text, number| {
        writeln!(text, "{number:015}").expect("a string");
        text
    })
}

/// Bytes of output that are kept, where that does not matter.
const LOG: u64 = 1 << 20;

fn container() -> ContainerId {
    ContainerId::new(&JobExecutionId::new(), 1)
}

async fn create(
    runtime: &dyn Runtime,
    container: &ContainerId,
    job: &ServiceSpec,
    max_log_size: u64,
) -> Result<Created, RuntimeError> {
    let request = CreateRequest {
        execution: &JobExecutionId(container.execution().to_owned()),
        container,
        attempt: 1,
        job,
        env: Vec::new(),
        image: runtime.pull(&job.image, None).await?,
        settings: None,
        deadline: None,
        max_log_size,
        stdio: Stdio::Detached,
    };
    runtime.create(request).await
}

async fn state(runtime: &dyn Runtime, container: &ContainerId) -> ContainerState {
    runtime.state(container).await.expect("a state")
}

async fn has_log(runtime: &dyn Runtime, container: &ContainerId) -> bool {
    match runtime.logs(container, LogQuery::default()).await {
        Ok(_) => true,
        Err(RuntimeError::NoLog { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

/// As soon as it has begun.
async fn followed(runtime: &dyn Runtime, container: &ContainerId) -> LogStream {
    soon(async {
        while !has_log(runtime, container).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    runtime.logs(container, LogQuery { follow: true, ..LogQuery::default() }).await.expect("a log")
}

async fn ended(runtime: &dyn Runtime, container: &ContainerId) -> Outcome {
    soon(runtime.wait(container)).await.expect("an outcome")
}

async fn removed(runtime: &dyn Runtime, container: &ContainerId, extent: Removal) {
    soon(runtime.remove(container, extent)).await.expect("a removal");
}

/// From its creation until nothing is left of it.
async fn a_container_goes_through_its_states(subject: &impl Subject) {
    let (runtime, container) = (subject.runtime(), container());
    assert_eq!(state(runtime, &container).await, ContainerState::Absent);
    assert!(!has_log(runtime, &container).await);
    let error = runtime.start(&container).await.expect_err("there is none");
    assert!(matches!(&error, RuntimeError::NotCreatedHere { container: told } if *told == container), "{error}");
    assert!(!runtime.stop(&container, None).await.expect("an answer"));

    create(runtime, &container, &subject.holds(), LOG).await.expect("a container");
    assert_eq!(state(runtime, &container).await, ContainerState::Created);
    runtime.start(&container).await.expect("a start");
    let (mut log, mut text) = (followed(runtime, &container).await, Vec::new());
    while text != READY.as_bytes() {
        if let LogEvent::Entry(entry) = soon(log.next()).await.expect("more").expect("a sound log") {
            text.extend(entry.bytes);
        }
    }
    assert!(matches!(state(runtime, &container).await, ContainerState::Running(Activity::Main { .. })));
    assert!(runtime.stop(&container, None).await.expect("an answer"));
    let outcome = ended(runtime, &container).await;
    let how = Stopped::Signalled { signal: 15 };
    assert_eq!((&outcome.end, outcome.attempt), (&End::Cancelled { how }, 1));
    assert_eq!(ended(runtime, &container).await, outcome);
    while let Some(event) = soon(log.next()).await {
        assert!(matches!(event.expect("a sound log"), LogEvent::CaughtUp { missed: 0 }));
    }

    for _ in 0..2 {
        removed(runtime, &container, Removal::Leftovers).await;
        assert_eq!(state(runtime, &container).await, ContainerState::Ended(outcome.clone()));
        assert_eq!(ended(runtime, &container).await, outcome);
    }
    for extent in [Removal::Outcome, Removal::AllButLogs] {
        for _ in 0..2 {
            removed(runtime, &container, extent).await;
            assert_eq!(state(runtime, &container).await, ContainerState::Absent);
            assert!(has_log(runtime, &container).await);
        }
    }
    assert!(!runtime.stop(&container, None).await.expect("an answer"));
    assert_eq!(subject.left(), [""; 0]);
    for _ in 0..2 {
        removed(runtime, &container, Removal::Everything).await;
        assert!(!has_log(runtime, &container).await);
    }
    assert!(matches!(ended(runtime, &container).await.end, End::SupervisorLost { .. }));
}

async fn one_that_is_stopped_before_its_start_never_runs(subject: &impl Subject) {
    let (runtime, container) = (subject.runtime(), container());
    create(runtime, &container, &subject.holds(), LOG).await.expect("a container");
    assert!(runtime.stop(&container, Some(3600 * SECOND)).await.expect("an answer"));
    runtime.start(&container).await.expect("a start");
    let outcome = ended(runtime, &container).await;
    assert_eq!((outcome.end, outcome.started_at), (End::Cancelled { how: Stopped::BeforeStart }, None));
    removed(runtime, &container, Removal::Everything).await;
    assert_eq!(subject.left(), [""; 0]);
}

async fn one_that_never_was_can_be_removed(subject: &impl Subject) {
    for extent in [Removal::Leftovers, Removal::Outcome, Removal::AllButLogs, Removal::Everything] {
        let container = container();
        removed(subject.runtime(), &container, extent).await;
        assert_eq!(state(subject.runtime(), &container).await, ContainerState::Absent);
    }
}

async fn what_is_dropped_half_way_can_be_removed(subject: &impl Subject) {
    let (runtime, container) = (subject.runtime(), container());
    let job = subject.never_made();
    let _hung = tokio::select! {
        made = create(runtime, &container, &job, LOG) => panic!("{made:?}"),
        hung = soon(subject.being_made()) => hung,
    };
    for extent in [Removal::Leftovers, Removal::Outcome, Removal::Everything] {
        removed(runtime, &container, extent).await;
        assert_eq!(state(runtime, &container).await, ContainerState::Absent);
        assert_eq!(subject.left(), [""; 0]);
    }
}

async fn a_log_is_bounded_and_says_what_it_dropped(subject: &impl Subject) {
    const KEPT: u64 = 64 << 10;
    const LINES: usize = 64 << 10;
    let (runtime, container) = (subject.runtime(), container());
    create(runtime, &container, &subject.floods(LINES), KEPT).await.expect("a container");
    runtime.start(&container).await.expect("a start");
    assert_eq!(ended(runtime, &container).await.end, End::Exited { code: 0 });
    let mut log = runtime.logs(&container, LogQuery::default()).await.expect("a log");
    let (mut text, mut missed) = (Vec::new(), 0);
    while let Some(event) = soon(log.next()).await {
        match event.expect("a sound log") {
            LogEvent::Entry(entry) => {
                missed += entry.missed_before;
                text.extend(entry.bytes);
            }
            LogEvent::CaughtUp { missed: more } => missed += more,
        }
    }
    let written = numbered(LINES);
    assert!(!text.is_empty() && text.len() as u64 <= KEPT, "{} bytes", text.len());
    assert_eq!(text.len() as u64 + missed, written.len() as u64);
    assert!(written.as_bytes().ends_with(&text), "it is not the end of what was written");
    removed(runtime, &container, Removal::Everything).await;
}
