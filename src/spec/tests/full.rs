//! Every honoured field, and the job it makes.

use super::expected::{FULL, expected, pair, strings};
use super::*;
use crate::spec::*;
use std::time::Duration;

#[test]
fn every_honoured_field_reaches_the_job() {
    let deployment = parse(FULL).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(deployment.name, "nightly");
    assert_eq!(deployment.warnings, []);
    assert_eq!(deployment.services["report"], expected());
    assert!(deployment.refused.is_empty());
}

#[test]
fn a_job_survives_its_record() {
    let job = expected();
    let json = serde_json::to_string(&job).unwrap();
    assert_eq!(serde_json::from_str::<ServiceSpec>(&json).unwrap(), job);
}

#[test]
fn an_omitted_field_has_its_default() {
    let job = job("");
    assert_eq!(job.image.pull_policy, PullPolicy::IfNotPresent);
    assert_eq!(job.command, CommandSpec::default());
    assert_eq!(job.resources, Resources::default());
    assert!(job.process.init);
    assert_eq!(job.network.mode, NetworkMode::Host);
    assert_eq!(job.security.seccomp, Seccomp::Default);
    assert_eq!(job.policy, JobPolicy::default());
    assert_eq!(job.policy.retry.max_attempts, 1);
    assert_eq!(job.policy.max_concurrent, None);
    assert_eq!(job.on_init_failure.retries, 0);
}

#[test]
fn a_text_is_a_deployment_with_the_variables_of_this_process() {
    let deployment: DeploymentSpec = with_fields("env: {P: $E:PATH}").parse().unwrap();
    assert_eq!(deployment.services["hello"].env, [pair("P", &std::env::var("PATH").unwrap())]);
    let error = "services: {}".parse::<DeploymentSpec>().unwrap_err().to_string();
    assert!(error.starts_with("<text>:1:1: version: missing"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("job.yaml");
    std::fs::write(&path, with_fields("env: {P: $E:PATH}")).unwrap();
    assert_eq!(DeploymentSpec::from_path(&path).unwrap().services, deployment.services);
}

#[test]
fn other_spellings_mean_the_same() {
    assert_eq!(job("command: [echo, hi]").command.args, Some(strings(&["echo", "hi"])));
    assert_eq!(job("command: []").command.args, Some(vec![]));
    assert_eq!(job("env: [A=1, REGION, B=$E:REGION]").env, [pair("A", "1"), pair("REGION", "eu-1"), pair("B", "eu-1")]);
    assert!(!job("init: false").process.init);
    assert!(job("init: true").process.init);
    assert!(job("init: {steps: []}").process.init);
    assert_eq!(job("network_mode: default").network.mode, NetworkMode::Host);
    assert_eq!(job("network_mode: {type: none}").network.mode, NetworkMode::None);
    assert_eq!(job("user: 0").process.user.as_deref(), Some("0"));
    assert_eq!(job("cap_drop: [ALL]").security.cap_drop.len(), 41);
    assert_eq!(
        job("resources: {cpu: 500m, pids_limit: -1, cpuset: 0}").resources,
        Resources { cpu_millis: Some(500), pids_limit: Some(0), cpuset: Some("0".into()), ..Resources::default() }
    );
    let swap = job("resources: {memory: 64m, memory_swap: -1}").resources.memory_swap;
    assert_eq!(swap, Some(UNLIMITED));
    assert_eq!(job("stop_grace_period: 0").stop.grace_period, Duration::ZERO);
    assert_eq!(job("stop_signal: 9").stop.signal, Some(9));
    assert_eq!(job("extra_hosts: {db: 192.0.2.7}").network.extra_hosts[0].0, "db");
    assert_eq!(job("platform: linux/x86_64").image.platform.unwrap().architecture, "amd64");
    let access = &job("devices: [\"/dev/fuse:r\"]").security.devices[0];
    assert!(access.read && !access.write && !access.mknod);
}

#[test]
fn anchors_and_merge_keys_work() {
    let text = "
version: v1
deployment: test
services:
  a: &base
    rtype: job
    image: &image {name: busybox}
    env: &env {A: 1, B: 2}
  b:
    <<: *base
    env: {<<: *env, B: 3}
";
    let deployment = parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    let b = &deployment.services["b"];
    assert_eq!(b.image.name, "busybox");
    let mut env = b.env.clone();
    env.sort();
    assert_eq!(env, [pair("A", "1"), pair("B", "3")]);
}

#[test]
fn bind_sources_of_a_file_start_from_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("job.yaml");
    std::fs::write(&path, with_fields("storage: [{type: bind, source: ./data/../x, target: /d}]")).unwrap();
    let deployment = DeploymentSpec::from_path_with(&path, &env).unwrap_or_else(|errors| panic!("{errors}"));
    let source = directory.path().join("data/../x");
    assert_eq!(deployment.services["hello"].storage, [Storage::Bind { source, target: "/d".into(), readonly: false }]);
}

#[test]
fn the_documented_example_is_valid() {
    let example: String = include_str!("../mod.rs")
        .lines()
        .skip_while(|line| *line != "//! ```yaml")
        .skip(1)
        .take_while(|line| *line != "//! ```")
        .map(|line| format!("{}\n", line.trim_start_matches("//!").strip_prefix(' ').unwrap_or_default()))
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("example.yaml");
    std::fs::write(&path, &example).unwrap();
    let lookup = |_: &str| Some("x".into());
    let deployment =
        DeploymentSpec::from_path_with(&path, &lookup).unwrap_or_else(|errors| panic!("{example}{errors}"));
    assert_eq!(deployment.warnings, []);
    assert!(deployment.services.contains_key("report"));
}

#[test]
fn the_fixture_jobs_are_valid() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/jobs");
    let mut count = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let lookup = |name: &str| (name == "USER").then(|| "someone".into());
        let deployment = DeploymentSpec::from_path_with(&path, &lookup).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(!deployment.services.is_empty(), "{path:?}");
        count += 1;
    }
    assert!(count >= 5, "{directory:?} has {count} jobs");
}
