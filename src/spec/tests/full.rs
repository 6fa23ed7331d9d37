//! Every honoured field, and the job it makes.

use super::*;
use crate::spec::*;
use std::time::Duration;

const FULL: &str = r#"
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
        - uses: init.s3_pull
          with:
            bucket: reports
            key: in/2024 data.csv
            destination: /out//in.csv
            endpoint: http://127.0.0.1:9000/
            region: eu-central-1
            env: {AWS_SECRET_ACCESS_KEY: secret-$E:REGION}
            credentials_file: /etc/report/aws
        - uses: init.s3_push
          with: {bucket: reports, key: marks/started, source: /out/x}
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

fn strings(strings: &[&str]) -> Vec<String> {
    strings.iter().map(|text| (*text).to_owned()).collect()
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn expected() -> ServiceSpec {
    let ulimit = |name: &str, soft, hard| Ulimit { name: name.into(), soft, hard };
    ServiceSpec {
        name: "report".into(),
        deployment: Some("nightly".into()),
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
    let pull = InitAction::S3(S3Transfer {
        direction: S3Direction::Pull,
        bucket: "reports".into(),
        key: "in/2024 data.csv".into(),
        path: "/out/in.csv".into(),
        endpoint: Some("http://127.0.0.1:9000".into()),
        region: Some("eu-central-1".into()),
        env: vec![pair("AWS_SECRET_ACCESS_KEY", "secret-eu-1")],
        credentials_file: Some("/etc/report/aws".into()),
    });
    let push = InitAction::S3(S3Transfer {
        direction: S3Direction::Push,
        bucket: "reports".into(),
        key: "marks/started".into(),
        path: "/out/x".into(),
        endpoint: None,
        region: None,
        env: vec![],
        credentials_file: None,
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
        step("step-5", pull),
        step("step-6", push),
    ]
}

fn device(source: &str, target: &str, read: bool, write: bool, mknod: bool) -> Device {
    Device { source: source.into(), target: target.into(), read, write, mknod }
}

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
