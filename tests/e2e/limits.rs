//! Memory, CPU and process limits: enforced, or refused before the start.

use crate::common::cli::Coracle;
use crate::common::host::{Feature, is_root, needs};

#[test]
fn memory_above_the_limit_is_an_oom_kill() {
    if !needs(Feature::Cgroups) {
        return;
    }
    let coracle = Coracle::new();
    coracle.toolbox(&["--memory", "32Mi"], &["allocate", "16777216"]).expect_code(0);
    let finished = coracle.toolbox(&["--memory", "32Mi"], &["allocate", "134217728"]).expect_code(137);
    assert!(finished.stderr().contains("memory limit"), "{finished}");
    let record = coracle.executions().remove(0);
    let record = coracle.inspect(record["id"].as_str().expect("an id"));
    assert_eq!(record["status"], "failed", "{record:#}");
    assert!(record["reason"].as_str().unwrap_or_default().contains("OOM"), "{record:#}");
    assert!(record.pointer("/usage/oom_kills").and_then(serde_json::Value::as_u64).unwrap_or(0) > 0, "{record:#}");
}

#[test]
fn a_child_that_meets_the_memory_limit_does_not_end_the_job() {
    if !needs(Feature::Cgroups) {
        return;
    }
    let coracle = Coracle::new();
    // The shell goes on; its own code is the job's.
    let image = crate::common::fixture::busybox();
    let script = "dd if=/dev/zero of=/dev/null bs=128M count=1 2>/dev/null; echo child ended with $?; exit 3";
    let command = coracle.image_command(&image, &["--memory", "32Mi"], &["sh", "-c", script]);
    coracle.finish(command).expect_code(3).expect_stdout("child ended with 137\n");
    let record = coracle.only_execution();
    assert_eq!(record["exit_code"], 3, "{record:#}");
    assert!(record.pointer("/usage/oom_kills").and_then(serde_json::Value::as_u64).unwrap_or(0) > 0, "{record:#}");
}

#[test]
fn the_number_of_processes_is_limited() {
    if !needs(Feature::Cgroups) {
        return;
    }
    let coracle = Coracle::new();
    let spec = coracle.job("resources: { pids_limit: 20 }\ncommand: [fork, \"100\"]");
    let finished = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0);
    let made: u32 = finished.stdout().split(' ').next().and_then(|text| text.parse().ok()).expect("a number");
    assert!((10..20).contains(&made) && finished.stdout().contains("temporarily unavailable"), "{finished}");
}

#[test]
fn cpu_time_is_limited() {
    if !needs(Feature::Cgroups) {
        return;
    }
    let coracle = Coracle::new();
    // Half a second of CPU time, of which each period of 100 ms allows 25 ms: twenty periods, however
    // busy the host is.
    coracle.toolbox(&["--cpu", "0.25"], &["spin", "0.5"]).expect_code(0);
    let record = coracle.only_execution();
    let took = seconds(&record, "/duration_seconds");
    assert!(took > 1.5, "{took} s: {record:#}");
}

#[test]
fn peak_memory_is_recorded() {
    let coracle = Coracle::new();
    coracle.toolbox(&[], &["allocate", "50000000"]).expect_code(0);
    let record = coracle.only_execution();
    let peak = record.pointer("/usage/peak_memory_bytes").and_then(serde_json::Value::as_u64).unwrap_or(0);
    assert!((50_000_000..100_000_000).contains(&peak), "{peak}: {record:#}");
}

#[test]
fn a_limit_that_cannot_be_enforced_is_an_error_before_the_start() {
    if is_root() {
        return;
    }
    let coracle = Coracle::new();
    let finished = coracle.toolbox(&["--memory", "32Mi"], &["echo", "ran"]);
    // Where a session manager delegates a cgroup the limit holds; else the job must not have run.
    if finished.status.code() != Some(0) {
        let finished = finished.expect_error(125, &["memory"]);
        assert_eq!(finished.stdout(), "", "{finished}");
    }
}

#[test]
fn a_bad_quantity_is_refused_by_name() {
    let coracle = Coracle::new();
    coracle.toolbox(&["--memory", "32Quux"], &["true"]).expect_error(125, &["32Quux"]);
    coracle.toolbox(&["--cpu", "-1"], &["true"]).expect_code(125);
    coracle.toolbox(&["--deadline", "soon"], &["true"]).expect_error(125, &["soon"]);
}

/// A duration of the JSON: a number of seconds.
fn seconds(record: &serde_json::Value, pointer: &str) -> f64 {
    let value = record.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}: {record:#}"));
    value.as_f64().unwrap_or_else(|| panic!("{pointer} is no number: {record:#}"))
}
