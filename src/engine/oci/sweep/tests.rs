use super::*;
use crate::engine::{ImageConfig, OWN_BINARY};
use crate::id::JobExecutionId;
use crate::outcome::{End, FIRST_ATTEMPT, OUTCOME_VERSION, Outcome, Usage};
use crate::record::{AfterAttempt, JobTrigger, NewExecution};
use crate::runtime::state::{LiveState, Stage};
use crate::state_dir::StateDir;
use crate::sys::process::ProcessIdentity;
use jiff::Timestamp;
use std::path::Path;
use std::time::Duration;

/// An execution with a container on disk, whose supervisor is this one.
fn container(runtime: &OciRuntime, supervisor: &ProcessIdentity) -> ContainerId {
    let (id, now) = (JobExecutionId::new(), Timestamp::UNIX_EPOCH);
    let container = ContainerId::new(&id, FIRST_ATTEMPT);
    let new = NewExecution::new(id.as_str(), "job", JobTrigger::Cli, "oci:image", serde_json::json!({}), now);
    runtime.record().insert(&new, Some(supervisor), now).unwrap();
    runtime.mark(&container).unwrap();
    let directory = runtime.directory(&container);
    std::fs::create_dir_all(directory.upper()).unwrap();
    for path in [directory.log(), directory.plan(), directory.outcome(), directory.upper().join("file")] {
        std::fs::write(path, "").unwrap();
    }
    let state = LiveState {
        supervisor: supervisor.clone(),
        stage: Stage::Ending { started_at: None },
        since: now,
        init_pid: None,
        cgroups: Vec::new(),
    };
    state.write(&directory.state()).unwrap();
    container
}

fn end(runtime: &OciRuntime, container: &ContainerId) {
    let outcome = Outcome {
        version: OUTCOME_VERSION,
        attempt: FIRST_ATTEMPT,
        end: End::Exited { code: 0 },
        started_at: None,
        completed_at: Timestamp::UNIX_EPOCH,
        elapsed: Duration::ZERO,
        usage: Usage::default(),
        notes: Vec::new(),
    };
    runtime.record().end_attempt(container.execution(), FIRST_ATTEMPT, &outcome, AfterAttempt::Final).unwrap();
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn open(root: &Path) -> OciRuntime {
    OciRuntime::on(StateDir::open(Some(root)).unwrap(), OWN_BINARY.into(), ImageConfig::default()).unwrap()
}

/// One that has had this pid before.
fn dead() -> ProcessIdentity {
    let me = ProcessIdentity::current().unwrap();
    ProcessIdentity { start_time: me.start_time + 1, ..me }
}

#[test]
fn what_a_process_left_that_died_after_it_recorded_the_end_goes_but_for_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = open(&directory.path().join("root"));
    let container = container(&runtime, &dead());
    end(&runtime, &container);
    runtime.sweep_containers();
    assert_eq!(names(runtime.directory(&container).path()), ["log.ring"]);
    assert!(names(&runtime.state_dir().busy()).is_empty());
}

#[test]
fn what_has_not_ended_or_is_ending_stays() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = open(&directory.path().join("root"));
    let unsettled = container(&runtime, &dead());
    let ending = container(&runtime, &ProcessIdentity::current().unwrap());
    end(&runtime, &ending);
    runtime.sweep_containers();
    for container in [&unsettled, &ending] {
        assert_eq!(names(runtime.directory(container).path()).len(), 5, "{container}");
    }
    assert_eq!(names(&runtime.state_dir().busy()).len(), 2);
}

#[test]
fn what_tells_of_cgroups_stays_until_they_are_gone() {
    let scratch = tempfile::tempdir().unwrap();
    let runtime = open(&scratch.path().join("root"));
    let container = container(&runtime, &dead());
    end(&runtime, &container);
    // Nothing that can be removed as a cgroup is.
    let (directory, busy) = (runtime.directory(&container), scratch.path().join("cgroup"));
    std::fs::create_dir(&busy).unwrap();
    std::fs::write(busy.join("member"), "").unwrap();
    let mut state = LiveState::read(&directory.state()).unwrap().unwrap();
    state.cgroups = vec![busy.clone()];
    state.write(&directory.state()).unwrap();
    runtime.remove_files(&container, Removal::Everything).unwrap_err();
    assert_eq!(LiveState::read(&directory.state()).unwrap(), Some(state));
    std::fs::remove_file(busy.join("member")).unwrap();
    runtime.remove_files(&container, Removal::Everything).unwrap();
    assert!(!busy.exists() && !directory.path().exists());
}
