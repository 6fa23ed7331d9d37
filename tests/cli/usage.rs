//! Arguments, specs, help: what is settled before there is a root.

use crate::harness::Host;

const ONE_JOB: &str = "version: v1
deployment: demo
services:
  hello:
    rtype: job
    image: {name: 'oci:image'}
    command: [echo, hi]
";

const TWO_JOBS: &str = "version: v1
deployment: demo
services:
  one:
    rtype: job
    image: {name: 'oci:image'}
  two:
    rtype: job
    image: {name: 'oci:image'}
    scale: {mode: fixed}
  web:
    rtype: service
    image: {name: nginx}
";

/// Nothing but what the test itself wrote.
#[track_caller]
fn assert_untouched(host: &Host) {
    assert!(!host.root().exists(), "{:?}", host.tree());
}

#[test]
fn wrong_usage_is_a_failure_of_coracle() {
    let host = Host::new();
    host.run(["frobnicate"]).exits(125).prints("").complains(&["coracle: error: unrecognized subcommand 'frobnicate'"]);
    host.run(["ps", "--limit", "many"]).exits(125).complains(&["coracle: error: invalid value 'many' for '--limit"]);
    host.run(["ps", "--status", "done"]).exits(125).complains(&["unknown status \"done\"", "pending"]);
    host.run(["inspect"]).exits(125).complains(&["coracle: error:", "<ID>"]);
    host.run([""; 0]).exits(125).complains(&["Usage: coracle"]);
    assert_untouched(&host);
}

#[test]
fn long_arguments_are_not_echoed_whole() {
    let host = Host::new();
    host.write("one.yaml", ONE_JOB);
    let long = "9".repeat(5000);
    let hours = format!("{long}h");
    for command in [
        &["run", "one.yaml", "--deadline", &hours][..],
        &["run", "--image", "oci:a", &long],
        &["run", "one.yaml", &long],
        &["run", "--image", "a", "--memory", &long],
        &["run", "one.yaml", &format!("--{long}")],
        &["ps", "--limit", &long],
        &["ps", "--status", &long],
        &["inspect", &long],
        &["jobs", "show", &long],
        &["trigger", &long],
        &["image", "inspect", &long],
        &[&long],
    ] {
        let ran = host.run(command);
        ran.exits(125).complains(&["99…"]);
        assert!(ran.stderr.chars().count() < 800, "{}", ran.stderr);
    }
}

#[test]
fn help_and_version_are_results() {
    let host = Host::new();
    let help = host.run(["--help"]);
    help.exits(0).is_quiet();
    for word in
        ["run", "ps", "logs", "inspect", "wait", "cancel", "rm", "pull", "images", "validate", "completions", "125"]
    {
        assert!(help.text().contains(word), "{word} is missing in {}", help.text());
    }
    let version = format!("coracle {}\n", env!("CARGO_PKG_VERSION"));
    host.run(["--version"]).exits(0).prints(&version).is_quiet();
    host.run(["version"]).exits(0).prints(&version).is_quiet();
    assert_untouched(&host);
}

#[test]
fn completions_are_printed_for_every_shell() {
    let host = Host::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = host.run(["completions", shell]);
        ran.exits(0).is_quiet();
        assert!(ran.text().contains("validate"), "{shell}");
    }
    host.run(["completions", "tcsh"]).exits(125).complains(&["invalid value 'tcsh'", "bash"]);
    assert_untouched(&host);
}

#[test]
fn run_says_what_is_missing_or_contradicts_itself() {
    let host = Host::new();
    host.write("one.yaml", ONE_JOB);
    host.write("two.yaml", TWO_JOBS);
    host.run(["run"]).exits(125).complains(&["error: nothing to run", "hint: name a SPEC"]);
    host.run(["run", "--image", "oci:x", "echo", "hi"]).exits(125).complains(&["\"echo\"", "behind two hyphens"]);
    host.run(["run", "one.yaml", "--name", "x"]).exits(125).complains(&["--name goes with --image"]);
    host.run(["run", "two.yaml"])
        .exits(125)
        .complains(&["two.yaml holds several jobs", "hint: name those to run: one, two"]);
    host.run(["run", "two.yaml", "one", "two", "--", "x"]).exits(125).complains(&["go with one job"]);
    host.run(["run", "one.yaml", "hallo"]).exits(125).complains(&["no service \"hallo\"", "its jobs are: hello"]);
    host.run(["run", "two.yaml", "web"]).exits(125).complains(&["services.web", "`rtype: service` is not run"]);
    host.run(["run", "-d", "-i", "one.yaml"]).exits(125).complains(&["cannot be used with"]);
    host.run(["run", "-i", "-"]).exits(125).complains(&["stdin cannot be both"]);
    host.run(["run", "nowhere.yaml"]).exits(125).complains(&[
        "nowhere.yaml",
        "No such file",
        "coracle: hint: ",
        "--image",
    ]);
    assert_untouched(&host);
}

#[test]
fn values_of_flags_are_checked_before_anything_runs() {
    let host = Host::new();
    for (flag, value, words) in [
        ("--memory", "64Mx", "64Mx"),
        ("--memory", "1Ki", "memory"),
        ("--cpu", "fast", "fast"),
        ("--mount", "type=bind,dst=/x", "source"),
        ("--mount", "type=tmpfs,dst=relative", "relative"),
        ("--network", "bridge", "bridge"),
        ("--deadline", "soon", "soon"),
        ("--stop-signal", "SIGNOTHING", "SIGNOTHING"),
        ("--env", "CORACLE_TEST_NOT_SET", "is not set"),
        ("--pull", "often", "always, newer"),
        ("--pids-limit", "x", "a number"),
        ("--workdir", "relative", "relative"),
    ] {
        let flag = format!("{flag}={value}");
        host.run(["run", "--image", "oci:x", &flag, "--", "true"]).exits(125).prints("").complains(&[words]);
    }
    assert_untouched(&host);
}

#[test]
fn validate_names_the_jobs_of_a_valid_spec() {
    let host = Host::new();
    host.write("one.yaml", ONE_JOB);
    host.run(["validate", "one.yaml"]).exits(0).prints("one.yaml is valid: job hello\n").is_quiet();
    host.finish(host.command(["validate", "-"]), ONE_JOB.as_bytes())
        .exits(0)
        .prints("<stdin> is valid: job hello\n")
        .is_quiet();
    assert_untouched(&host);
}

#[test]
fn validate_shows_warnings_and_refused_services() {
    let host = Host::new();
    host.write("two.yaml", TWO_JOBS);
    host.run(["validate", "two.yaml"]).exits(0).prints("two.yaml is valid: jobs one, two\n").complains(&[
        "coracle: warning: two.yaml:10",
        "services.two.scale",
        "services.web",
    ]);
    let document = host.run(["validate", "two.yaml", "--json"]).exits(0).is_quiet().json();
    assert_eq!(document["valid"], true);
    assert_eq!(document["deployment"], "demo");
    assert_eq!(document["jobs"], serde_json::json!(["one", "two"]));
    assert_eq!(document["warnings"][0]["path"], "services.two.scale");
    assert_eq!((&document["warnings"][0]["line"], &document["errors"]), (&10.into(), &serde_json::json!([])));
    assert_eq!(document["refused"][0]["source"], "two.yaml");
}

#[test]
fn validate_prints_every_error_with_its_place() {
    let host = Host::new();
    let bad = ONE_JOB.replace("command:", "comand:") + "    resources: {memory: lots}\n";
    host.write("bad.yaml", &bad);
    let ran = host.run(["validate", "bad.yaml"]);
    ran.exits(125).prints("").complains(&[
        "coracle: error: bad.yaml:7:5: services.hello.comand: unknown field; did you mean \"command\"?",
        "coracle: error: bad.yaml:8:",
        "lots",
    ]);
    let document = host.run(["validate", "--json", "bad.yaml"]).exits(125).is_quiet().json();
    assert_eq!((&document["valid"], &document["jobs"]), (&false.into(), &serde_json::json!([])));
    let errors = document["errors"].as_array().expect("an array");
    assert_eq!(errors.len(), 2);
    assert_eq!((&errors[0]["line"], &errors[0]["column"]), (&7.into(), &5.into()));
    assert_eq!(errors[0]["path"], "services.hello.comand");
    // The same errors stop a run.
    host.run(["run", "bad.yaml"]).exits(125).complains(&["did you mean \"command\"?", "lots"]);
    assert_untouched(&host);
}

#[test]
fn names_that_no_image_can_have_are_refused_before_there_is_an_execution() {
    let host = Host::new();
    for image in ["a@sha256:123", "http://foo/bar", "docker://", "-x", "x:y:z"] {
        host.write("bad.yaml", &ONE_JOB.replace("oci:image", image));
        for command in [&["validate", "bad.yaml"][..], &["jobs", "add", "bad.yaml"], &["run", "bad.yaml"]] {
            let place = "coracle: error: bad.yaml:6:19: services.hello.image.name: failed to read";
            host.run(command).exits(125).prints("").complains(&[place]);
        }
        host.run(["run", &format!("--image={image}"), "--", "true"]).exits(125).complains(&["failed to read"]);
    }
    assert_untouched(&host);
}

#[test]
fn variables_that_other_services_take_may_be_missing() {
    let host = Host::new();
    let other = "    env: {S: $E:NOPE}\n    init: {steps: [{uses: init.wait_http, with: {url: $E:NOPE}}]}\n";
    host.write("two.yaml", &TWO_JOBS.replace("    scale: {mode: fixed}\n", other));
    host.run(["jobs", "add", "two.yaml", "one"]).exits(0).prints("added: one\n");
    // It gets as far as its image, which is not there.
    host.run(["run", "two.yaml", "one"]).exits(125).complains(&["one: failed to get image"]);
    for command in [&["validate", "two.yaml"][..], &["jobs", "add", "two.yaml"], &["run", "two.yaml", "one", "two"]] {
        let ran = host.run(command);
        ran.exits(125)
            .complains(&["services.two.env.S: environment variable \"NOPE\" is not set", "steps[0].with.url"]);
    }
    host.run(["run", "two.yaml", "three"])
        .exits(125)
        .complains(&["two.yaml holds no service \"three\"", "its jobs are: one, two"]);
    let ran = host.finish(
        host.command(["jobs", "add", "-", "one", "--name", "piped"]),
        &std::fs::read(host.path("two.yaml")).expect("a file"),
    );
    ran.exits(0).prints("added: piped\n");
}

#[test]
fn a_spec_may_come_out_of_a_pipe() {
    let host = Host::new();
    let pipe = |arguments: &[&str], text: &str| host.finish(host.command(arguments), text.as_bytes());
    pipe(&["validate", "/dev/stdin"], ONE_JOB).exits(0).prints("/dev/stdin is valid: job hello\n").is_quiet();
    nix::unistd::mkfifo(&host.path("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("a file system with FIFOs");
    std::thread::scope(|threads| {
        threads.spawn(|| std::fs::write(host.path("fifo"), ONE_JOB).expect("a reader"));
        host.run(["validate", "fifo"]).exits(0).prints("fifo is valid: job hello\n").is_quiet();
    });
    let relative = format!("{ONE_JOB}    storage: [{{type: bind, source: ./data, target: /data}}]\n");
    pipe(&["validate", "/dev/stdin"], &relative).exits(125).complains(&["storage[0].source", "./data"]);
    pipe(&["validate", "/dev/stdin"], &"#".repeat(2 << 20)).exits(125).complains(&["larger than 1048576 bytes"]);
    host.run(["validate", "."]).exits(125).complains(&["coracle: error: .: a directory or a block device, not a file"]);
    pipe(&["--config", "/dev/stdin", "prune", "--dry-run"], "jobs: {retention: {ttl: 1d}}\n").exits(0).is_quiet();
    assert_untouched(&host);
}

#[test]
fn validate_refuses_what_is_no_spec() {
    let host = Host::new();
    host.write("service.yaml", "version: v1\ndeployment: d\nservices:\n  web: {rtype: service, image: {name: x}}\n");
    host.run(["validate", "service.yaml"])
        .exits(125)
        .prints("")
        .complains(&["services.web", "service.yaml holds no job"]);
    host.write("empty.yaml", "");
    host.run(["validate", "empty.yaml"]).exits(125).complains(&["empty.yaml", "empty"]);
    host.finish(host.command(["validate", "-"]), b"\xff\xfe").exits(125).complains(&["<stdin>", "UTF-8"]);
    host.finish(host.command(["validate", "-"]), b"a: [").exits(125).complains(&["<stdin>:", "YAML"]);
    host.run(["validate", "nowhere.yaml"]).exits(125).complains(&["nowhere.yaml", "No such file"]);
    let huge = vec![b'#'; 3 << 20];
    host.finish(host.command(["validate", "-"]), &huge).exits(125).complains(&["larger than"]);
    assert_untouched(&host);
}
