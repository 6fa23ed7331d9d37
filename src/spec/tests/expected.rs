//! A spec with every field that is honoured, and what is expected of it.

use crate::spec::*;
use std::time::Duration;

pub(super) const FULL: &str = r#"
version: v1
deployment: nightly
services:
  report:
    rtype: job
    image:
      name: registry.example.org/report:v1.10
      pull_policy: newer
    platform: linux/arm64/v8
    command:
      entrypoint: [/bin/report, --verbose]
      args: [--year, 2024, --dry-run, true, ""]
      workdir: /work//./dir/
    env:
      REGION: region-$E:REGION!
      VERSION: 1.10
      MODE: 0755
      FLAG: true
      EMPTY: ""
      LITERAL: $$E:REGION
    resources:
      cpu: 1.5
      memory: 512Mi
      memory_swap: 1Gi
      memory_reservation: 256Mi
      pids_limit: 100
      cpuset: 0-3,5
      cpu_shares: 512
      oom_score_adj: -500
    storage:
      - {type: bind, source: /etc/report, target: /etc/report, readonly: true}
      - {type: named, name: cache, target: /var/cache}
      - {type: anonymous, target: /scratch}
      - {type: tmpfs, target: /tmp, size: 64m, mode: 01777}
      - {type: tmpfs, target: /run, mode: "0755"}
    user: 1000:staff
    extra_groups: [audio, 44]
    hostname: report-1.example
    init:
      enabled: false
      steps:
        - id: prepare
          uses: init.run
          with: {command: "mkdir /out && touch /out/x", env: {A: $E:REGION}, user: root, workdir: /}
          timeout: 1m30s
          on_failure: fail
          retry: 0
        - uses: init.run
          with: {command: [/bin/true, -x], image: registry.example.org/tools:v2}
          retry: 3
          on_failure: warn
        - id: database
          uses: init.wait_tcp
          with: {host: db.internal, port: 5432, interval: 500ms}
          timeout: 1m
          retry: {count: 2, initial: 3s, max: 10s, multiplier: 1.5}
        - id: api
          uses: init.wait_http
          with:
            url: https://api.$E:REGION.example/ready?deep=1
            expect_status: [200, 204]
            method: head
            headers: {Authorization: Bearer $E:REGION, X-Team: data}
            interval: 2s
            insecure_skip_verify: true
          on_failure: continue
    read_only_root_fs: true
    capabilities: [NET_ADMIN, cap_sys_ptrace, CAP_NET_ADMIN]
    cap_drop: [chown]
    privileged: false
    devices:
      - /dev/fuse
      - /dev/kvm:/dev/vm:rw
      - {path: /dev/null, target: /dev/zilch, write: false, mknod: true}
    ulimits:
      nofile: {soft: 1024, hard: unlimited}
      core: 0
      memlock: -1
      nproc: {soft: 10}
    sysctls:
      kernel.shm_rmid_forced: 1
      net.ipv4.ip_unprivileged_port_start: "0"
    security_opt: [seccomp=unconfined, "no-new-privileges:true"]
    stop_signal: SIGUSR1
    stop_grace_period: 1m
    labels: {team: data, "org.example/tier": 3}
    network_mode: {mode: none}
    dns: [192.0.2.1, "2001:db8::1"]
    extra_hosts: ["db:192.0.2.7", "v6=[2001:db8::2]"]
    logs: {destination: disk, max_size_bytes: 4194304, retention_secs: 604800}
    lifecycle: {delete_on_exit: true}
    errors: {on_init_failure: {action: backoff, retries: 5, initial: 2s, max: 30s, multiplier: 3}}
    job:
      deadline: 2h
      queue_deadline: 30m
      max_concurrent: 2
      on_conflict: replace
      retry:
        max_attempts: 4
        backoff: {initial: 5s, max: 5m, multiplier: 1.5, jitter: 0.25}
        on_exit_codes: [75, 111]
        never_on_exit_codes: [2]
      retention: {ttl: 7d, keep_last: 20}
      on_failure:
        - page
        - {job: tidy}
        - {post: "https://hooks.example.org/$E:REGION", headers: {X-Key: k-$E:REGION}}
      on_success: {post: "http://127.0.0.1:8080"}
"#;

pub(super) fn strings(strings: &[&str]) -> Vec<String> {
    strings.iter().map(|text| (*text).to_owned()).collect()
}

pub(super) fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

pub(super) fn expected() -> ServiceSpec {
    let ulimit = |name: &str, soft, hard| Ulimit { name: name.into(), soft, hard };
    ServiceSpec {
        name: "report".into(),
        deployment: Some("nightly".into()),
        hidden_env: ["A".to_owned(), "REGION".to_owned()].into(),
        image: ImageSpec {
            name: "registry.example.org/report:v1.10".into(),
            pull_policy: PullPolicy::Newer,
            platform: Some(Platform { os: "linux".into(), architecture: "arm64".into(), variant: Some("v8".into()) }),
        },
        command: CommandSpec {
            entrypoint: Some(strings(&["/bin/report", "--verbose"])),
            args: Some(strings(&["--year", "2024", "--dry-run", "true", ""])),
            workdir: Some("/work/dir".into()),
        },
        env: vec![
            pair("REGION", "region-eu-1!"),
            pair("VERSION", "1.10"),
            pair("MODE", "0755"),
            pair("FLAG", "true"),
            pair("EMPTY", ""),
            pair("LITERAL", "$E:REGION"),
        ],
        resources: Resources {
            cpu_millis: Some(1500),
            memory: Some(512 << 20),
            memory_swap: Some(1 << 30),
            memory_reservation: Some(256 << 20),
            pids_limit: Some(100),
            cpuset: Some("0-3,5".into()),
            cpu_shares: Some(512),
            oom_score_adj: Some(-500),
        },
        storage: vec![
            Storage::Bind { source: "/etc/report".into(), target: "/etc/report".into(), readonly: true },
            Storage::Named { name: "cache".into(), target: "/var/cache".into(), readonly: false },
            Storage::Anonymous { target: "/scratch".into() },
            Storage::Tmpfs { target: "/tmp".into(), size: Some(64 << 20), mode: Some(0o1777) },
            Storage::Tmpfs { target: "/run".into(), size: None, mode: Some(0o755) },
        ],
        process: ProcessOptions {
            user: Some("1000:staff".into()),
            extra_groups: strings(&["audio", "44"]),
            hostname: Some("report-1.example".into()),
            init: false,
            ulimits: vec![
                ulimit("nofile", 1024, u64::MAX),
                ulimit("core", 0, 0),
                ulimit("memlock", u64::MAX, u64::MAX),
                ulimit("nproc", 10, 10),
            ],
            sysctls: [pair("kernel.shm_rmid_forced", "1"), pair("net.ipv4.ip_unprivileged_port_start", "0")].into(),
        },
        security: Security {
            read_only_root_fs: true,
            cap_add: strings(&["CAP_NET_ADMIN", "CAP_SYS_PTRACE"]),
            cap_drop: strings(&["CAP_CHOWN"]),
            seccomp: Seccomp::Unconfined,
            devices: vec![
                device("/dev/fuse", "/dev/fuse", true, true, true),
                device("/dev/kvm", "/dev/vm", true, true, false),
                device("/dev/null", "/dev/zilch", true, false, true),
            ],
        },
        network: Network {
            mode: NetworkMode::None,
            dns: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            extra_hosts: vec![
                ("db".into(), "192.0.2.7".parse().unwrap()),
                ("v6".into(), "2001:db8::2".parse().unwrap()),
            ],
        },
        init_steps: init_steps(),
        stop: StopPolicy { signal: Some(10), grace_period: Duration::from_secs(60) },
        labels: [pair("team", "data"), pair("org.example/tier", "3")].into(),
        logs: Logs { max_size: 4 << 20 },
        on_init_failure: InitFailure { retries: 5, backoff: backoff(2, 30, 3.0, 0.0) },
        policy: policy(),
    }
}

fn backoff(initial: u64, max: u64, multiplier: f64, jitter: f64) -> Backoff {
    Backoff { initial: Duration::from_secs(initial), max: Duration::from_secs(max), multiplier, jitter }
}

fn policy() -> JobPolicy {
    JobPolicy {
        deadline: Some(Duration::from_secs(7200)),
        queue_deadline: Some(Duration::from_secs(1800)),
        max_concurrent: Some(2),
        on_conflict: OnConflict::Replace,
        retry: Retry {
            max_attempts: 4,
            backoff: backoff(5, 300, 1.5, 0.25),
            on_exit_codes: vec![75, 111],
            never_on_exit_codes: vec![2],
        },
        retention: Retention { ttl: Some(Duration::from_secs(604_800)), keep_last: Some(20) },
        on_failure: vec![
            Notification::Job { name: "page".into() },
            Notification::Job { name: "tidy".into() },
            Notification::Post { url: "https://hooks.example.org/eu-1".into(), headers: vec![pair("X-Key", "k-eu-1")] },
        ],
        on_success: vec![Notification::Post { url: "http://127.0.0.1:8080/".into(), headers: vec![] }],
        delete_on_exit: true,
    }
}

fn init_steps() -> Vec<InitStep> {
    let step = |id: &str, action| InitStep {
        id: id.into(),
        action,
        timeout: DEFAULT_STEP_TIMEOUT,
        retry: StepRetry::default(),
        on_failure: OnStepFailure::Fail,
    };
    let prepare = InitAction::Run {
        command: strings(&["/bin/sh", "-c", "mkdir /out && touch /out/x"]),
        env: vec![pair("A", "eu-1")],
        user: Some("root".into()),
        workdir: Some("/".into()),
        image: None,
    };
    let tools = InitAction::Run {
        command: strings(&["/bin/true", "-x"]),
        env: vec![],
        user: None,
        workdir: None,
        image: Some("registry.example.org/tools:v2".into()),
    };
    let database = InitAction::WaitTcp { host: "db.internal".into(), port: 5432, interval: Duration::from_millis(500) };
    let api = InitAction::WaitHttp(WaitHttp {
        url: "https://api.eu-1.example/ready?deep=1".into(),
        method: "HEAD".into(),
        headers: vec![pair("Authorization", "Bearer eu-1"), pair("X-Team", "data")],
        expect_status: vec![200, 204],
        interval: Duration::from_secs(2),
        insecure_skip_verify: true,
    });
    vec![
        InitStep { timeout: Duration::from_secs(90), ..step("prepare", prepare) },
        InitStep {
            retry: StepRetry { count: 3, backoff: Backoff::default() },
            on_failure: OnStepFailure::Warn,
            ..step("step-2", tools)
        },
        InitStep {
            timeout: Duration::from_secs(60),
            retry: StepRetry { count: 2, backoff: backoff(3, 10, 1.5, 0.0) },
            ..step("database", database)
        },
        InitStep { on_failure: OnStepFailure::Continue, ..step("api", api) },
    ]
}

fn device(source: &str, target: &str, read: bool, write: bool, mknod: bool) -> Device {
    Device { source: source.into(), target: target.into(), read, write, mknod }
}
