//! Whole bundles. After a wanted change: `INSTA_UPDATE=always cargo test --lib bundle`, then read the
//! difference.

use super::*;
use serde_json::{Value, json};

const IMAGE: &str = r#"{
    "User": "app:staff",
    "Env": ["PATH=/opt/app/bin:/usr/bin", "LANG=C.UTF-8", "MODE=image"],
    "Entrypoint": ["/opt/app/bin/app"],
    "Cmd": ["--serve"],
    "WorkingDir": "/opt/app",
    "StopSignal": "SIGINT"
}"#;

const EVERYTHING: &str = r#"
command: {entrypoint: [/bin/report], args: [--all, "two words"], workdir: /work}
env: {MODE: job, EMPTY: ""}
resources: {cpu: 1.5, memory: 512Mi, memory_swap: 1Gi, memory_reservation: 256Mi, pids_limit: 64,
            cpuset: "0-1", cpu_shares: 512, oom_score_adj: 200}
storage:
  - {type: bind, source: /srv/data, target: /data/in, readonly: true}
  - {type: named, name: cache, target: /cache}
  - {type: anonymous, target: /data}
  - {type: tmpfs, target: /tmp, size: 64Mi, mode: 755}
user: "1000:1000"
extra_groups: [audio, "44"]
hostname: reporter
init: false
read_only_root_fs: true
capabilities: [SYS_PTRACE]
cap_drop: [CHOWN, SETUID]
devices: ["/dev/fuse:/dev/fuse:rw", "/dev/loop7:/dev/disk", "/dev/fuse:/srv/fuse:rw"]
ulimits: {nofile: {soft: 100, hard: 200}, core: 0}
sysctls: {kernel.msgmax: 4096, net.ipv4.ip_forward: 1}
security_opt: [seccomp=unconfined]
stop_signal: SIGUSR1
network_mode: none
dns: [192.0.2.1, "2001:db8::1"]
extra_hosts: ["db:192.0.2.7"]
"#;

const STEPS: &str = r#"
env: {LEVEL: job}
init:
  steps:
    - {id: migrate, uses: init.run, with: {command: [/bin/migrate, up], env: {LEVEL: step}, user: "0", workdir: /db}, timeout: 30s}
    - {uses: init.run, with: {command: "echo $LEVEL > /ready"}}
user: "1000"
command: [--once]
"#;

/// Sets of capabilities come in any order.
fn sorted(mut value: Value) -> Value {
    match &mut value {
        Value::Array(items) => {
            items.iter_mut().for_each(|item| *item = sorted(item.take()));
            if items.iter().all(|item| item.as_str().is_some_and(|text| text.starts_with("CAP_"))) {
                items.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            }
        }
        Value::Object(fields) => fields.values_mut().for_each(|field| *field = sorted(field.take())),
        _ => {}
    }
    value
}

#[track_caller]
fn check(name: &str, fields: &str, config: &str, host: &HostFacts) {
    let bundle = make(fields, config, host).unwrap_or_else(|error| panic!("{name}: {error}"));
    let files: serde_json::Map<_, _> = bundle
        .files
        .iter()
        .map(|file| (file.target.to_owned(), json!({"source": file.source, "content": file.content})))
        .collect();
    let document = sorted(json!({
        "steps": bundle.steps,
        "main": bundle.main,
        "limits": bundle.limits,
        "volumes": bundle.volumes,
        "private_network": bundle.private_network,
        "network_sysctls": bundle.network_sysctls,
        "files": files,
        "stop_signal": bundle.stop_signal,
        "notes": bundle.notes,
    }));
    insta::with_settings!({snapshot_path => "golden", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_json_snapshot!(name, document);
    });
}

#[test]
fn defaults_of_root() {
    check("root", "", IMAGE, &root());
}

#[test]
fn defaults_of_a_user_with_subordinate_ids() {
    check("user", "", IMAGE, &user(65_537));
}

#[test]
fn defaults_of_a_user_with_a_single_id() {
    check("user-single-id", "", r#"{"Cmd": ["/app"]}"#, &user(1));
}

#[test]
fn a_user_without_network() {
    check("user-no-network", "network_mode: none", r#"{"Cmd": ["/app"]}"#, &user(65_537));
}

#[test]
fn everything_set_by_root() {
    check("root-everything", EVERYTHING, IMAGE, &root());
}

#[test]
fn everything_set_by_a_user() {
    check("user-everything", EVERYTHING, IMAGE, &user(65_537));
}

#[test]
fn init_steps() {
    check("init-steps", STEPS, IMAGE, &root());
}
