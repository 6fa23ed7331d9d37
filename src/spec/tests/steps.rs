//! Init steps of every kind, and what follows when they fail.

use super::*;
use crate::spec::*;
use std::time::Duration;

/// The one step with these fields.
#[track_caller]
fn step(fields: &str) -> InitStep {
    job(&format!("init: {{steps: [{{{fields}}}]}}")).init_steps.remove(0)
}

#[track_caller]
fn wait_http(with: &str) -> WaitHttp {
    match step(&format!("uses: init.wait_http, with: {{{with}}}")).action {
        InitAction::WaitHttp(wait) => wait,
        other => panic!("{other:?}"),
    }
}

#[test]
fn waits_have_defaults() {
    let wait = |text: &str| step(&format!("uses: init.wait_tcp, with: {{host: db, port: 1}}{text}")).action;
    let tcp = |interval| InitAction::WaitTcp { host: "db".into(), port: 1, interval };
    assert_eq!(wait(""), tcp(Duration::from_secs(1)));
    assert_eq!(wait(", timeout: 200ms"), tcp(Duration::from_millis(200)), "the default gives way to a short timeout");
    let expected = WaitHttp {
        url: "http://db:8080/".into(),
        method: "GET".into(),
        headers: vec![],
        expect_status: vec![],
        interval: Duration::from_secs(1),
        insecure_skip_verify: false,
    };
    assert_eq!(wait_http("url: http://db:8080"), expected);
    assert_eq!(wait_http("url: http://db, expect_status: 404").expect_status, [404]);
    assert_eq!(wait_http("url: http://db, method: Post").method, "POST");
}

#[test]
fn hosts_are_names_and_addresses() {
    let host = |host: &str| match step(&format!("uses: init.wait_tcp, with: {{host: \"{host}\", port: 1}}")).action {
        InitAction::WaitTcp { host, .. } => host,
        other => panic!("{other:?}"),
    };
    for (text, expected) in [
        ("my_db.internal", "my_db.internal"),
        ("db.example.", "db.example."),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
    ] {
        assert_eq!(host(text), expected);
    }
}

#[test]
fn a_failed_sequence_fails_or_is_run_again() {
    let failure = |text: &str| job(&format!("errors: {{on_init_failure: {{{text}}}}}")).on_init_failure;
    assert_eq!(failure("action: fail"), InitFailure::default());
    assert_eq!(failure("action: restart"), InitFailure { retries: 3, backoff: Backoff::NONE });
    assert_eq!(failure("action: restart, retries: 7"), InitFailure { retries: 7, backoff: Backoff::NONE });
    let failure = failure("action: backoff");
    assert_eq!(failure.retries, 3);
    let waits: Vec<u64> = (0..8).map(|retries| failure.backoff.delay(retries, 0.5).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    let steps = step("uses: init.run, with: {command: x}, retry: 4").retry;
    assert_eq!(steps, StepRetry { count: 4, backoff: failure.backoff });
}

#[cfg(feature = "s3")]
#[test]
fn transfers_name_an_object_and_a_file() {
    let pull = "bucket: reports, key: in/2024 data.csv, destination: /out//in.csv, endpoint: http://127.0.0.1:9000/, \
                region: eu-central-1, env: {AWS_SECRET_ACCESS_KEY: secret-$E:REGION}, credentials_file: /etc/aws, \
                ca_bundle: /etc/ca.pem, addressing_style: virtual";
    let expected = S3Transfer {
        direction: S3Direction::Pull,
        bucket: "reports".into(),
        key: "in/2024 data.csv".into(),
        path: "/out/in.csv".into(),
        endpoint: Some("http://127.0.0.1:9000".into()),
        region: Some("eu-central-1".into()),
        env: vec![("AWS_SECRET_ACCESS_KEY".into(), "secret-eu-1".into())],
        credentials_file: Some("/etc/aws".into()),
        anonymous: false,
        ca_bundle: Some("/etc/ca.pem".into()),
        addressing_style: S3Addressing::Virtual,
    };
    assert_eq!(step(&format!("uses: init.s3_pull, with: {{{pull}}}")).action, InitAction::S3(expected));
    let expected = S3Transfer {
        direction: S3Direction::Push,
        bucket: "reports".into(),
        key: "marks/started".into(),
        path: "/out/x".into(),
        endpoint: None,
        region: None,
        env: vec![],
        credentials_file: None,
        anonymous: true,
        ca_bundle: None,
        addressing_style: S3Addressing::Auto,
    };
    let push = "bucket: reports, key: marks/started, source: /out/x, anonymous: true";
    assert_eq!(step(&format!("uses: init.s3_push, with: {{{push}}}")).action, InitAction::S3(expected));
}

#[cfg(feature = "s3")]
#[test]
fn credentials_may_lie_beside_the_spec() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("job.yaml");
    let with = "{bucket: abc, key: k, destination: /x, credentials_file: aws/credentials}";
    std::fs::write(&path, with_fields(&format!("init: {{steps: [{{uses: init.s3_pull, with: {with}}}]}}"))).unwrap();
    let deployment = DeploymentSpec::from_path_with(&path, &env).unwrap();
    let InitAction::S3(transfer) = &deployment.services["hello"].init_steps[0].action else { panic!() };
    assert_eq!(transfer.credentials_file, Some(directory.path().join("aws/credentials")));
}

#[test]
fn bad_steps() {
    const FILE: &str = "is not a path of a file; write the path of the file itself";
    const KEY: &str =
        "is not an object's key; write up to 1024 bytes in parts separated by `/`, none of them empty, `.` or `..`";
    const OWN: &str = "is not supported; use a path outside of /dev, /proc and /sys, which each process has anew, or \
                       one in /dev/shm";
    const CREDENTIALS: &str =
        "an address must not hold a user or a password, which are shown where the address is; use";
    // The place is that within the step, which begins at column 16.
    for (fields, expected) in [
        ("uses: init.run, with: {command: x}, retry: -1", "44: retry: -1 is out of range: the number of retries is 0 to 1000".to_owned()),
        ("uses: init.run, with: {command: x}, retry: yes", "44: retry: expected a number of retries, or a mapping, found the text \"yes\"; write `retry: 3`, or `retry: {count: 3, initial: 2s}`".into()),
        ("uses: init.run, with: {command: x}, retry: {}", "37: retry.count: missing; how many tries after the first".into()),
        ("uses: init.run, with: {command: x}, retry: {count: 1, initial: 9s, max: 3s}", "64: retry.initial: the initial wait of 9s is above max of 3s; write a larger max or a smaller initial".into()),
        ("uses: init.run, with: {command: x}, retry: {count: 1, inital: 9s}", "55: retry.inital: unknown field; did you mean \"initial\"?".into()),
        ("uses: init.run, with: {command: x}, on_failure: wran", "49: on_failure: unknown action \"wran\"; did you mean \"warn\"?".into()),
        ("uses: init.run, with: {command: x, image: \"a b\"}", "43: with.image: \"a b\" is not the name of an image; write [REGISTRY/]NAME[:TAG], oci:PATH[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REFERENCE]".into()),
        ("uses: init.run, with: {comand: x, command: y}", "24: with.comand: unknown field; did you mean \"command\"?".into()),
        ("uses: init.run, command: y, with: {command: x}", "17: command: unknown field; did you mean \"with.command\"?".into()),
        ("uses: init.wait_tcp, with: {port: 1}", "22: with.host: missing; a name or an address".into()),
        ("uses: init.wait_tcp, with: {host: db}", "22: with.port: missing; a port".into()),
        ("uses: init.wait_tcp, with: {host: db, port: 0}", "45: with.port: 0 is out of range: port is 1 to 65535".into()),
        ("uses: init.wait_tcp, with: {host: db, port: \"80\"}", "45: with.port: expected a whole number, found the text \"80\"".into()),
        ("uses: init.wait_tcp, with: {host: \"db:80\", port: 80}", "35: with.host: \"db:80\" is not a host name; write letters, digits, `-` and `_`, in parts separated by dots".into()),
        ("uses: init.wait_tcp, with: {host: db, port: 1, interval: 0}", "58: with.interval: 0 is out of range: this length of time is more than zero".into()),
        ("uses: init.wait_tcp, with: {host: db, port: 1, interval: 9ms}", "58: with.interval: 9ms is out of range: interval is at least 10ms".into()),
        ("uses: init.wait_http, with: {url: http://db, headers: {\"A: hunter2\": x}}", "56: with.headers.A…: \"A…\" is not the name of a header; write letters, digits and hyphens, as X-Api-Key".into()),
        ("uses: init.run, with: {command: x, env: \"A=hunter2\"}", "41: with.env: expected a mapping, found something else; write NAME: value lines, or a list of NAME=value".into()),
        ("uses: init.run, with: {command: x, env: [\"A:hunter2\"]}", "42: with.env[0]: environment variable \"A…\" is not set".into()),
        ("uses: init.run, with: {command: x, env: [\"A hunter2\"]}", "42: with.env[0]: environment variable \"A…\" is not set".into()),
        ("uses: init.run, with: {command: x, env: {\"A=hunter2\": y}}", "42: with.env.A…: \"A…\" is not the name of an environment variable; write the name without `=`".into()),
        ("uses: init.wait_tcp, with: {host: db, port: 1, interval: 10s}, timeout: 5s", "58: with.interval: the interval of 10s is above the step's timeout of 5s".into()),
        ("uses: init.wait_tcp, with: {host: db, port: 1, interval: 6m}", "58: with.interval: the interval of 360s is above the step's timeout of 300s".into()),
        ("uses: init.wait_tcp, with: {host: db, port: 1, intervall: 1s}", "48: with.intervall: unknown field; did you mean \"interval\"?".into()),
        ("uses: init.wait_http, with: {}", "23: with.url: missing; an address starting with http:// or https://".into()),
        ("uses: init.wait_http, with: {url: \"db:80\"}", "35: with.url: an address starts with http:// or https://".into()),
        ("uses: init.wait_http, with: {url: \"http://u:hunter2@db/\"}", format!("35: with.url: {CREDENTIALS} `headers: {{Authorization: …}}`")),
        ("uses: init.wait_http, with: {url: http://db, interval: 6m}", "56: with.interval: the interval of 360s is above the step's timeout of 300s".into()),
        ("uses: init.wait_http, with: {url: http://db, method: GTE}", "54: with.method: unknown method \"GTE\"; did you mean \"GET\"?".into()),
        ("uses: init.wait_http, with: {url: http://db, expect_status: 99}", "61: with.expect_status: 99 is out of range: a status of HTTP is 100 to 599".into()),
        ("uses: init.wait_http, with: {url: http://db, expect_status: [200, 2xx]}", "67: with.expect_status[1]: expected a whole number, found the text \"2xx\"".into()),
        ("uses: init.wait_http, with: {url: http://db, expect_status: []}", "61: with.expect_status: expect_status must not be empty".into()),
        ("uses: init.wait_http, with: {url: http://db, headers: [\"A: hunter2\"]}", "55: with.headers: expected a mapping, found something else; write NAME: value lines".into()),
        ("uses: init.wait_http, with: {url: http://db, headers: \"A: hunter2\"}", "55: with.headers: expected a mapping, found something else; write NAME: value lines".into()),
        ("uses: init.wait_http, with: {url: http://db, headers: {A: \"hunter2\\nB: x\"}}", "59: with.headers.A: the value of a header is made of visible ASCII characters, spaces and tabs alone".into()),
        ("uses: init.wait_http, with: {url: http://db, headers: {A: \"hunter2 $E:\"}}", "59: with.headers.A: \"$E:\" is not a reference to an environment variable; write $E:NAME, or $$E: for a literal $E:".into()),
        ("uses: init.wait_http, with: {url: http://db, insecure_skip_verify: 1}", "68: with.insecure_skip_verify: expected true or false, found the number 1".into()),
        ("uses: init.wait_http, with: {url: http://db, insecure: true}", "46: with.insecure: unknown field; did you mean \"insecure_skip_verify\"?".into()),
    ] {
        check(fields, &expected);
    }
    if !cfg!(feature = "s3") {
        return;
    }
    for (fields, expected) in [
        ("uses: init.s3_pull, with: {key: k, destination: /x}", "21: with.bucket: missing; the bucket's name".to_owned()),
        ("uses: init.s3_pull, with: {bucket: abc, destination: /x}", "21: with.key: missing; the object's key".into()),
        ("uses: init.s3_pull, with: {bucket: abc, key: k}", "21: with.destination: missing; the file of the job to write".into()),
        ("uses: init.s3_push, with: {bucket: abc, key: k}", "21: with.source: missing; the file of the job to read".into()),
        ("uses: init.s3_pull, with: {bucket: abc, key: k, destination: /x, source: /y}", "66: with.source: unknown field; did you mean \"destination\"?".into()),
        ("uses: init.s3_push, with: {bucket: abc, key: k, source: /x, path: /y}", "61: with.path: unknown field; did you mean \"source\"?".into()),
        ("uses: init.s3_pull, with: {bucket: \"s3://abc\", key: k, destination: /x}", "36: with.bucket: \"s3://abc\" is not a bucket; write the name alone: 3 to 255 letters, digits, `.`, `-` and `_`, a letter or digit first".into()),
        ("uses: init.s3_pull, with: {bucket: abc, key: /k, destination: /x}", format!("46: with.key: \"/k\" {KEY}")),
        ("uses: init.s3_pull, with: {bucket: abc, key: a/../k, destination: /x}", format!("46: with.key: \"a/../k\" {KEY}")),
        ("uses: init.s3_pull, with: {bucket: abc, key: k, destination: x}", "62: with.destination: \"x\" is not a path in the container; write an absolute path without `..`".into()),
        ("uses: init.s3_pull, with: {bucket: abc, key: k, destination: /x/}", format!("62: with.destination: \"/x/\" {FILE}")),
        ("uses: init.s3_push, with: {bucket: abc, key: k, source: /}", format!("57: with.source: \"/\" {FILE}")),
        ("uses: init.s3_push, with: {bucket: abc, key: k, source: /x, endpoint: minio}", "71: with.endpoint: an address starts with http:// or https://".into()),
        ("uses: init.s3_push, with: {bucket: abc, key: k, source: /x, endpoint: \"http://m/?hunter2\"}", "71: with.endpoint: an endpoint has no query and no fragment".into()),
        ("uses: init.s3_push, with: {bucket: abc, key: k, source: /x, endpoint: \"http://AKIA:hunter2@m/\"}", format!("71: with.endpoint: {CREDENTIALS} `env: {{AWS_ACCESS_KEY_ID: …, AWS_SECRET_ACCESS_KEY: …}}`")),
        ("uses: init.s3_push, with: {bucket: abc, key: k, source: /x, region: \"\"}", "69: with.region: \"\" is not a region; write letters, digits and `-`, as eu-central-1".into()),
        ("uses: init.s3_push, with: {bucket: abc, key: k, source: /x, region: a.b_c}", "69: with.region: \"a.b_c\" is not a region; write letters, digits and `-`, as eu-central-1".into()),
        ("uses: init.s3_pull, with: {bucket: abc, key: k, destination: /dev/x}", format!("62: with.destination: destination \"/dev/x\" {OWN}")),
        ("uses: init.s3_pull, with: {bucket: abc, key: k, destination: //proc/./x}", format!("62: with.destination: destination \"/proc/x\" {OWN}")),
        ("uses: init.s3_pull, with: {bucket: abc, key: k, destination: /sys}", format!("62: with.destination: destination \"/sys\" {OWN}")),
        ("uses: init.s3_push, with: {bucket: abc, key: k, source: /x, credentials_file: a}", "79: with.credentials_file: \"a\" is not a path of the host; write an absolute path".into()),
        ("uses: init.s3_push, with: {bucket: abc, key: k, source: /x, ca_bundle: a}", "72: with.ca_bundle: \"a\" is not a path of the host; write an absolute path".into()),
        ("uses: init.s3_push, with: {bucket: abc, key: k, source: /x, ca_file: /a}", "61: with.ca_file: unknown field; did you mean \"ca_bundle\"?".into()),
        ("uses: init.s3_push, with: {bucket: abc, key: k, source: /x, anonymous: 1}", "72: with.anonymous: expected true or false, found the number 1".into()),
        ("uses: init.s3_push, with: {bucket: abc, key: k, source: /x, addressing_style: host}", "79: with.addressing_style: unknown addressing style \"host\"; known are auto, path, virtual".into()),
        ("uses: init.s3_push, with: {bucket: abc, key: k, source: /x, anonymous: true, credentials_file: /a}", "96: with.credentials_file: credentials_file has no meaning for anonymous requests".into()),
        ("uses: init.s3_push, with: {bucket: abc, key: k, source: /x, env: {A: $E:NOPE}}", "70: with.env.A: environment variable \"NOPE\" is not set".into()),
    ] {
        check(fields, &expected);
    }
}

/// Compares the one error of the step with `COLUMN: PATH: MESSAGE`.
#[track_caller]
fn check(fields: &str, expected: &str) {
    let found = error(&format!("init: {{steps: [{{{fields}}}]}}"));
    let (column, rest) = found.strip_prefix("1:").unwrap().split_once(": init.steps[0].").unwrap();
    let column: usize = column.parse().unwrap();
    assert_eq!(format!("{}: {rest}", column - 16), expected, "{fields}");
    assert!(!found.contains("hunter2"), "{found}");
}

#[test]
fn bad_failures() {
    for (fields, expected) in [
        (
            "errors: {on_init_failure: {action: retry}}",
            "1:36: errors.on_init_failure.action: unknown action \"retry\"; did you mean \"restart\"?",
        ),
        (
            "errors: {on_init_failure: {retries: 2}}",
            "1:10: errors.on_init_failure.action: missing; one of fail, restart and backoff",
        ),
        (
            "errors: {on_init_failure: {action: fail, retries: 2}}",
            "1:51: errors.on_init_failure.retries: retries has no meaning for action fail",
        ),
        (
            "errors: {on_init_failure: {action: fail, initial: 2}}",
            "1:51: errors.on_init_failure.initial: initial has no meaning for action fail",
        ),
        (
            "errors: {on_init_failure: {action: restart, max: 2}}",
            "1:50: errors.on_init_failure.max: max has no meaning for action restart, which does not wait",
        ),
        (
            "errors: {on_init_failure: {action: restart, retries: 0}}",
            "1:54: errors.on_init_failure.retries: 0 is out of range: retries is 1 to 1000",
        ),
        (
            "errors: {on_init_failure: {action: backoff, multiplier: x}}",
            "1:57: errors.on_init_failure.multiplier: x is out of range: multiplier is 1 to 100",
        ),
        (
            "errors: {on_init_failure: {action: backoff, retry: 2}}",
            "1:45: errors.on_init_failure.retry: unknown field; did you mean \"retries\"?",
        ),
        ("errors: {on_panic: fail}", "1:10: errors.on_panic: unknown field"),
    ] {
        assert_eq!(error(fields), expected, "{fields}");
    }
}
