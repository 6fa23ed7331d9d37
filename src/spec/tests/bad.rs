//! Bad input, word for word as the user sees it.

use super::*;

#[test]
fn files_that_are_no_spec() {
    for (text, expected) in [
        ("", "job.yaml: the document is empty; it needs `version: v1`, `deployment: NAME` and `services:`"),
        (
            "# only a comment\n",
            "job.yaml: the document is empty; it needs `version: v1`, `deployment: NAME` and `services:`",
        ),
        (
            "hello",
            "job.yaml:1:1: expected a mapping, found the text \"hello\"; write `version: v1`, `deployment: NAME` and `services:`",
        ),
        (
            "- a\n- b\n",
            "job.yaml:1:1: expected a mapping, found a list; write `version: v1`, `deployment: NAME` and `services:`",
        ),
        (
            "version: v1\n\tdeployment: x\n",
            "job.yaml:1:10: not valid YAML: while scanning a plain scalar, found a tab; YAML is indented with spaces, and this file has tabs",
        ),
        ("a: [1\n", "job.yaml:1:4: not valid YAML: unclosed bracket '['"),
        ("a: \"b\n", "job.yaml:1:4: not valid YAML: unclosed quote"),
        ("a: b: c\n", "job.yaml:1:5: not valid YAML: mapping values are not allowed in this context"),
        ("a: *b\n", "job.yaml:1:4: not valid YAML: reference to unknown value"),
        (
            "version: v1\n---\nversion: v1\n",
            "job.yaml:3:1: not valid YAML: a spec is one document; take out the `---` between the parts",
        ),
        ("version: v1\ndeployment: test\n", "job.yaml:1:1: services: missing; write `services:` with a job below it"),
        ("version: v1\ndeployment: test\nservices: {}\n", "job.yaml:3:11: services: services must not be empty"),
        (
            "version: v1\ndeployment: test\nservices:\n",
            "job.yaml:3:9: services: expected a mapping, found nothing; write a job's name and its fields below it",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text:?}");
    }
}

#[test]
fn alias_bombs_and_deep_nesting_stop_early() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let alias = format!("*a{}, ", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", alias.repeat(10)));
    }
    let message = parse(&bomb).unwrap_err().to_string();
    assert!(message.contains("more than 20000 values, counting what aliases stand for, or 32 levels"), "{message}");
    let deep = format!("a: {}{}", "[".repeat(200), "]".repeat(200));
    assert!(parse(&deep).unwrap_err().to_string().contains("not valid YAML"));
}

#[test]
fn headers() {
    let replace = |from: &str, to: &str| parse(&with_fields("").replace(from, to)).unwrap_err().to_string();
    assert_eq!(
        replace("version: v1", "version: v2"),
        "job.yaml:1:10: version: format version \"v2\" is not supported; use v1"
    );
    assert_eq!(
        replace("version: v1", "version: 1"),
        "job.yaml:1:10: version: format version \"1\" is not supported; use v1"
    );
    assert_eq!(replace("version: v1\n", ""), "job.yaml:1:1: version: missing; write `version: v1`");
    assert_eq!(
        replace("deployment: test", "deployment: -x"),
        "job.yaml:2:13: deployment: \"-x\" is not a deployment name; write up to 128 letters, digits, `_`, `.` and `-`, a letter or digit first"
    );
    assert_eq!(
        replace("deployment: test", "deployment: test\nservice: {}"),
        "job.yaml:3:1: service: unknown field; did you mean \"services\"?"
    );
    assert_eq!(
        replace("  hello:", "  he llo:"),
        "job.yaml:4:3: services.he…: \"he llo\" is not a service name; write up to 128 letters, digits, `_`, `.` and `-`, a letter or digit first"
    );
    assert_eq!(
        replace("rtype: job", "rtype: jbo"),
        "job.yaml:5:12: services.hello.rtype: unknown rtype \"jbo\"; did you mean \"job\"?"
    );
    assert_eq!(replace("    rtype: job\n", ""), "job.yaml:4:3: services.hello.rtype: missing; write `rtype: job`");
    assert_eq!(
        replace("image: {name: busybox}", "image: busybox"),
        "job.yaml:6:12: services.hello.image: expected a mapping, found the text \"busybox\"; write `image: {name: …}`"
    );
    assert_eq!(
        replace("{name: busybox}", "{name: busybox, pull_policy: allways}"),
        "job.yaml:6:41: services.hello.image.pull_policy: unknown pull policy \"allways\"; did you mean \"always\"?"
    );
    assert_eq!(
        replace("{name: busybox}", "{}"),
        "job.yaml:6:5: services.hello.image.name: missing; [REGISTRY/]NAME[:TAG], oci:PATH[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REFERENCE]"
    );
}

#[test]
fn fields_of_a_job() {
    const PATH: &str = "is not a path in the container; write an absolute path without `..`";
    for (fields, expected) in [
        ("memory: 1Gi", "1:1: memory: unknown field; did you mean \"resources.memory\"?".to_owned()),
        ("environment: {}", "1:1: environment: unknown field; did you mean \"env\"?".into()),
        ("nonsense: 1", "1:1: nonsense: unknown field".into()),
        ("\"a\\nb\": 1", "1:1: a…: unknown field".into()),
        ("user: a\nuser: b", "2:1: user: given twice; first on line 7".into()),
        ("env: {A: 1, A: 2}", "1:13: env.A: given twice; first on line 7".into()),
        ("env: {A: }", "1:8: env.A: expected a value, found nothing; write \"\" for an empty one".into()),
        ("env: {A: [1]}", "1:10: env.A: expected text, found a list".into()),
        ("env: {\"A=B\": 1}", "1:7: env.A…: \"A…\" is not the name of an environment variable; write the name without `=`".into()),
        ("env: {\"\": 1}", "1:7: env.: the name of an environment variable must not be empty".into()),
        ("env: {A: \"a\\0b\"}", "1:10: env.A: the value of an environment variable must not hold a NUL byte".into()),
        ("env: {A: x-$E:NOPE-y}", "1:10: env.A: environment variable \"NOPE\" is not set".into()),
        ("env: [A=1, A=2]", "1:12: env[1]: environment variable \"A\" is given twice".into()),
        ("env: [NOPE]", "1:7: env[0]: environment variable \"NOPE\" is not set".into()),
        ("env: A=1", "1:6: env: expected a mapping, found something else; write NAME: value lines, or a list of NAME=value".into()),
        ("command: echo hi", "1:10: command: expected a list of arguments, or a mapping with entrypoint, args and workdir, found the text \"echo hi\"; write a list, as [\"/bin/sh\", \"-c\", \"…\"]".into()),
        ("command: {args: echo}", "1:17: command.args: expected a list, found the text \"echo\"; write a list, as [\"/bin/sh\", \"-c\", \"…\"]".into()),
        ("command: [a, [b]]", "1:14: command[1]: expected text, found a list".into()),
        ("command: [\"a\\0\"]", "1:11: command[0]: an argument must not hold a NUL byte".into()),
        ("command: {entrypoint: [\"\"]}", "1:23: command.entrypoint: the program of an entrypoint must not be empty".into()),
        ("command: {workdir: work}", format!("1:20: command.workdir: \"work\" {PATH}")),
        ("command: {workdir: /a/../b}", format!("1:20: command.workdir: \"/a/../b\" {PATH}")),
        ("resources: {memory: 512MB}", "1:21: resources.memory: \"512MB\" is not an amount of bytes; write it as 512Mi, 1Gi, 64m or a number of bytes".into()),
        ("resources: {memory: 0}", "1:21: resources.memory: 0 is out of range: an amount of memory is at least 6Mi".into()),
        ("resources: {memory: }", "1:19: resources.memory: expected text, found nothing".into()),
        ("resources: {memory: 99Ei}", "1:21: resources.memory: 99Ei is out of range: an amount of bytes is below 8Ei".into()),
        ("resources: {memory: 64Mi, memory_swap: 32Mi}", "1:40: resources.memory_swap: memory_swap of 33554432 bytes is below memory of 67108864 bytes; it counts memory and swap together".into()),
        ("resources: {memory_swap: 32Mi}", "1:26: resources.memory_swap: memory_swap needs memory to be set as well".into()),
        ("resources: {memory: 64Mi, memory_reservation: 65Mi}", "1:47: resources.memory_reservation: memory_reservation of 68157440 bytes is above memory of 67108864 bytes".into()),
        ("resources: {cpu: 0}", "1:18: resources.cpu: 0 is out of range: cpu is 0.01 to 8192 CPUs".into()),
        ("resources: {pids_limit: 2k}", "1:25: resources.pids_limit: expected a whole number, found the text \"2k\"".into()),
        ("resources: {cpuset: 3-1}", "1:21: resources.cpuset: \"3-1\" is not a list of CPUs; write it as 0-3,5".into()),
        ("resources: {cpu_shares: 1}", "1:25: resources.cpu_shares: 1 is out of range: cpu_shares is 2 to 262144".into()),
        ("resources: {oom_score_adj: 1001}", "1:28: resources.oom_score_adj: 1001 is out of range: oom_score_adj is -1000 to 1000".into()),
        ("resources: 512Mi", "1:12: resources: expected a mapping, found the text \"512Mi\"; write fields such as `memory: 512Mi` below it".into()),
        ("storage: [{type: bnd, target: /d}]", "1:18: storage[0].type: unknown type of storage \"bnd\"; did you mean \"bind\"?".into()),
        ("storage: [{target: /d}]", "1:11: storage[0].type: missing; one of bind, named, anonymous and tmpfs".into()),
        ("storage: [{type: bind, target: /d}]", "1:11: storage[0].source: missing; a path of the host".into()),
        ("storage: [{type: bind, source: x, target: /d}]", "1:32: storage[0].source: \"x\" is not a path of the host; write an absolute path".into()),
        ("storage: [{type: bind, source: /x, target: d}]", format!("1:44: storage[0].target: \"d\" {PATH}")),
        ("storage: [{type: tmpfs, target: /d, readonly: true}]", "1:37: storage[0].readonly: unknown field".into()),
        ("storage: [{type: tmpfs, target: /d, mode: 0o9}]", "1:43: storage[0].mode: \"0o9\" is not a file mode; write it in octal, as 1777 or 0755".into()),
        ("storage: [{type: anonymous, target: /d}, {type: anonymous, target: /d/}]", "1:42: storage[1]: mount target \"/d\" is given twice".into()),
        ("user: \"a b\"", "1:7: user: \"a b\" is not a user; write USER or USER:GROUP, each a name or a number".into()),
        ("extra_groups: [4294967295]", "1:16: extra_groups[0]: \"4294967295\" is not a group; write a name or a number".into()),
        ("hostname: -x", "1:11: hostname: \"-x\" is not a host name; write up to 64 letters, digits and `-`, in parts separated by dots".into()),
        ("init: 5", "1:7: init: expected true, false or a mapping with steps, found the number 5".into()),
        ("init: {steps: [{uses: init.rn, with: {command: x}}]}", "1:23: init.steps[0].uses: unknown kind of step \"init.rn\"; did you mean \"init.run\"?".into()),
        ("init: {steps: [{uses: init.run}]}", "1:16: init.steps[0].with: missing; the parameters of the step".into()),
        ("init: {steps: [{uses: init.run, with: {command: \"\"}}]}", "1:49: init.steps[0].with.command: the command of a step must not be empty".into()),
        ("init: {steps: [{uses: init.run, with: {command: x}, timeout: 0}]}", "1:62: init.steps[0].timeout: 0 is out of range: this length of time is more than zero".into()),
        ("init: {steps: [{id: a, uses: init.run, with: {command: x}}, {id: a, uses: init.run, with: {command: x}}]}", "1:61: init.steps[1]: step id \"a\" is given twice".into()),
        ("capabilities: [NET_ADMN]", "1:16: capabilities[0]: unknown capability \"NET_ADMN\"; did you mean \"CAP_NET_ADMIN\"?".into()),
        ("devices: [fuse]", "1:11: devices[0]: \"fuse\" is not a path of the host; write an absolute path".into()),
        ("devices: [\"/dev/a:/dev/b:rx\"]", "1:11: devices[0]: \"/dev/a:/dev/b:rx\" is not a device; write SOURCE, SOURCE:TARGET or SOURCE:TARGET:rwm".into()),
        ("ulimits: {nofiles: 1}", "1:11: ulimits.nofiles: unknown ulimit \"nofiles\"; did you mean \"nofile\"?".into()),
        ("ulimits: {nofile: {soft: 2, hard: 1}}", "1:19: ulimits.nofile: the soft limit 2 is above the hard limit 1".into()),
        ("sysctls: {kernel.panic: 1}", "1:11: sysctls.kernel.panic: sysctl \"kernel.panic\" is not supported; use one of the job's own: kernel.msg*, kernel.sem, kernel.shm*, fs.mqueue.* or net.*".into()),
        ("sysctls: {net.core.somaxconn: 1}", "1:11: sysctls.net.core.somaxconn: sysctl \"net.core.somaxconn\" is the host's own under network mode host; use network mode none".into()),
        ("security_opt: [apparmor=unconfined]", "1:16: security_opt[0]: security option \"apparmor=unconfined\" is not supported; use seccomp=unconfined or no-new-privileges".into()),
        ("stop_signal: TREM", "1:14: stop_signal: unknown signal \"TREM\"; did you mean \"SIGTERM\"?".into()),
        ("stop_grace_period: soon", "1:20: stop_grace_period: \"soon\" is not a length of time; write it as 10s, 1m30s, 500ms or a number of seconds".into()),
        ("labels: [a]", "1:9: labels: expected a mapping, found a list; write NAME: value lines".into()),
        ("platform: windows/amd64", "1:11: platform: operating system \"windows\" is not supported; use linux".into()),
        ("platform: linux", "1:11: platform: \"linux\" is not a platform; write OS/ARCH or OS/ARCH/VARIANT, as linux/arm64/v8".into()),
        ("network_mode: bridge", "1:15: network_mode: network mode \"bridge\" is not supported; use host or none".into()),
        ("network_mode: {mode: host, typ: x}", "1:28: network_mode.typ: unknown field; did you mean \"type\"?".into()),
        ("dns: [one.one.one.one]", "1:7: dns[0]: \"one.one.one.one\" is not an IP address; write it as 192.0.2.1 or 2001:db8::1".into()),
        ("extra_hosts: [db]", "1:15: extra_hosts[0]: \"db\" is not a line for /etc/hosts; write NAME:ADDRESS".into()),
        ("logs: {max_size_bytes: 1}", "1:24: logs.max_size_bytes: 1 is out of range: the size of a log is 4096 to 64Gi".into()),
        ("job: {deadline: 0s}", "1:17: job.deadline: 0s is out of range: this length of time is more than zero".into()),
        ("job: {dedline: 10s}", "1:7: job.dedline: unknown field; did you mean \"deadline\"?".into()),
        ("job: {deadline: yes}", "1:17: job.deadline: \"yes\" is not a length of time; write it as 10s, 1m30s, 500ms or a number of seconds".into()),
    ] {
        assert_eq!(error(fields), expected, "{fields}");
    }
}

#[test]
fn what_no_program_can_be_given() {
    let long = "x".repeat(32 * 4096);
    let said =
        |what| format!("{what} is 131072 bytes long; at most 131071 can be passed to a program, and more in a file");
    let value = said("the value of an environment variable");
    assert_eq!(errors(&format!("env: {{A: {long}}}")), [format!("1:10: env.A: {value}")]);
    let argument = said("an argument");
    assert_eq!(errors(&format!("command: [{long}]")), [format!("1:11: command[0]: {argument}")]);
    assert!(parse(&with_fields(&format!("command: [{}]", &long[1..]))).is_ok());
}

#[test]
fn names_that_no_image_can_have() {
    let form = "this is not an image reference like debian:12 or registry.example/team/image@sha256:…";
    let digest = "failed to read the digest \"sha256:123\": it is not of the form sha256: and 64 hexadecimal digits";
    for (image, message) in [
        ("a@sha256:123", format!("failed to read \"a@sha256:123\": {digest}")),
        ("http://foo/bar", format!("failed to read \"http://foo/bar\": {form}")),
        ("docker://", format!("failed to read \"docker://\": {form}")),
        ("-x", format!("failed to read \"-x\": {form}")),
        ("x:y:z", format!("failed to read \"x:y:z\": {form}")),
        ("UPPER", "failed to read \"UPPER\": names of repositories are in lower case".into()),
        (&"é".repeat(5000), format!("failed to read \"{0}…{0}\": {form}", "é".repeat(40))),
    ] {
        let text = with_fields("").replace("{name: busybox}", &format!("{{name: {image:?}}}"));
        let expected = format!("job.yaml:6:19: services.hello.image.name: {message}");
        assert_eq!(parse(&text).unwrap_err().to_string(), expected);
        let step = format!("init: {{steps: [{{uses: init.run, with: {{command: a, image: {image:?}}}}}]}}");
        assert_eq!(errors(&step), [format!("1:59: init.steps[0].with.image: {message}")]);
        assert_eq!(ServiceSpec::from_image(image).unwrap_err().to_string(), message);
    }
}

#[test]
fn long_values_are_not_echoed_whole() {
    let long = "9".repeat(5000);
    for fields in [
        format!("job: {{deadline: {long}h}}"),
        format!("job: {{max_concurrent: {long}}}"),
        format!("resources: {{memory: {long}}}"),
        format!("resources: {{cpu: {long}}}"),
        format!("stop_signal: {long}"),
        format!("user: [{long}]"),
        format!("hostname: {long}"),
        format!("a{long}: 1"),
        format!("env: {{A: $E:A{long}}}"),
        format!("storage: [{{type: a{long}}}]"),
        format!("storage: [{{type: tmpfs, target: a{long}}}]"),
        format!("storage: [{{type: tmpfs, target: /a, mode: {long}}}]"),
        format!("ulimits: {{a{long}: 1}}"),
        format!("ulimits: {{core: {long}}}"),
        format!("sysctls: {{a{long}: 1}}"),
        format!("platform: a{long}/b"),
        format!("devices: [a{long}]"),
        format!("capabilities: [a{long}]"),
        format!("dns: [a{long}]"),
        format!("extra_hosts: [\"a:a{long}\"]"),
        format!("network_mode: a{long}"),
        format!("logs: {{max_size_bytes: {long}}}"),
        format!("init: {{steps: [{{uses: a{long}}}]}}"),
        format!("init: {{steps: [{{uses: init.wait_tcp, with: {{host: a, port: {long}}}}}]}}"),
    ] {
        for error in errors(&fields) {
            assert!(error.chars().count() < 400, "{} characters: {error}", error.chars().count());
        }
    }
}

#[test]
fn files_that_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let read = |name: &str| DeploymentSpec::from_path_with(directory.path().join(name), &env).unwrap_err().to_string();
    let message = |name: &str, message: &str| format!("{}{message}", directory.path().join(name).display());
    assert_eq!(read("none.yaml"), message("none.yaml", ": cannot be read: No such file or directory (os error 2)"));
    assert_eq!(read(""), message("", ": a directory or a block device, not a file"));
    std::fs::write(directory.path().join("latin.yaml"), b"version: v1\n# caf\xe9\n").unwrap();
    assert_eq!(read("latin.yaml"), message("latin.yaml", ":2:6: not UTF-8 text"));
    let large = format!("{}#{}", with_fields(""), "x".repeat(1 << 20));
    std::fs::write(directory.path().join("large.yaml"), large).unwrap();
    assert_eq!(read("large.yaml"), message("large.yaml", ": larger than 1048576 bytes, the most that a spec may have"));
}
