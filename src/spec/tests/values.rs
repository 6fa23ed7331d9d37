//! The public parsers of single values, which flags use as well.

use crate::spec::*;
use std::time::Duration;

#[test]
fn bytes() {
    for (text, expected) in [
        ("0", 0),
        ("1", 1),
        ("512b", 512),
        ("007", 7),
        ("1k", 1024),
        ("1kb", 1024),
        ("64m", 64 << 20),
        ("1g", 1 << 30),
        ("512Mi", 512 << 20),
        ("512MiB", 512 << 20),
        ("1Gi", 1 << 30),
        ("1.5Gi", 3 << 29),
        (".5Ki", 512),
        ("1.50Ki", 1536),
        ("0.0001Ki", 0),
        ("1M", 1_000_000),
        ("2G", 2_000_000_000),
        ("7Ei", 7 << 60),
        ("9223372036854775807", i64::MAX as u64),
    ] {
        assert_eq!(parse_bytes(text), Ok(expected), "{text}");
    }
    for text in [
        "",
        " ",
        "Mi",
        ".",
        "1.",
        "1..5",
        "1.5.5Mi",
        "-1",
        "+1",
        "1 Mi",
        " 1",
        "1K",
        "1KB",
        "1MB",
        "1mi",
        "1e3",
        "1x",
        "0x10",
        "1_000",
        "１",
        "12e",
        "1.1234567891Gi",
    ] {
        assert!(matches!(parse_bytes(text), Err(ValueError::Malformed { .. })), "{text}");
    }
    for text in ["8Ei", "9223372036854775808", "18446744073709551616", "99999999999999999999999999999999Ei"] {
        assert!(matches!(parse_bytes(text), Err(ValueError::OutOfRange { .. })), "{text}");
    }
}

#[test]
fn cpus() {
    for (text, expected) in
        [("2", 2000), ("0.5", 500), (".5", 500), ("500m", 500), ("0.01", 10), ("1.250", 1250), ("8192", 8_192_000)]
    {
        assert_eq!(parse_cpu_millis(text), Ok(expected), "{text}");
    }
    for text in ["", "m", "0.0005", "0.5m", "1c", "-1", "1.", "half"] {
        assert!(matches!(parse_cpu_millis(text), Err(ValueError::Malformed { .. })), "{text}");
    }
    for text in ["0", "0.009", "9m", "8193", "99999999999999999999999"] {
        assert!(matches!(parse_cpu_millis(text), Err(ValueError::OutOfRange { .. })), "{text}");
    }
}

#[test]
fn durations() {
    for (text, millis) in [
        ("0", 0),
        ("90", 90_000),
        ("10s", 10_000),
        ("1m30s", 90_000),
        ("500ms", 500),
        ("1.5s", 1500),
        ("1.5", 1500),
        (".5s", 500),
        ("2h", 7_200_000),
        ("1d2h3m4s5ms", 93_784_005),
        ("1000us", 1),
        ("1000000ns", 1),
    ] {
        assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
    }
    for text in ["", "s", "1s1m", "1s1s", "1s5", "5 s", "-1s", "1x", "1.", "1..5s", "1s.", "1e3s", "m1", "1M", "²s"] {
        assert!(matches!(parse_duration(text), Err(ValueError::Malformed { .. })), "{text}");
    }
    for text in ["3661d", "99999999999999999999999999999999999999999999d", "18446744073709551616"] {
        assert!(matches!(parse_duration(text), Err(ValueError::OutOfRange { .. })), "{text}");
    }
}

#[test]
fn signals() {
    for (text, number) in [
        ("TERM", 15),
        ("SIGTERM", 15),
        ("sigterm", 15),
        ("15", 15),
        ("KILL", 9),
        ("64", 64),
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("RTMAX", 64),
        ("RTMAX-1", 63),
    ] {
        assert_eq!(parse_signal(text), Ok(number), "{text}");
    }
    for text in
        ["", "0", "65", "-9", "-", "RTMIN+31", "RTMIN+", "RTMAX-31", "RTMIN+999", "99999999999", "TREM", "SIG", "Ω"]
    {
        assert!(parse_signal(text).is_err(), "{text}");
    }
    assert_eq!(
        parse_signal("SIGTREM").unwrap_err().to_string(),
        "unknown signal \"SIGTREM\"; did you mean \"SIGTERM\"?"
    );
}

#[test]
fn networks() {
    assert_eq!(parse_network("host"), Ok(NetworkMode::Host));
    assert_eq!(parse_network("default"), Ok(NetworkMode::Host));
    assert_eq!(parse_network("none"), Ok(NetworkMode::None));
    assert_eq!(
        parse_network("bridge").unwrap_err().to_string(),
        "network mode \"bridge\" is not supported; use host or none"
    );
}

#[test]
fn mounts() {
    let bind = |readonly| Storage::Bind { source: "/src".into(), target: "/dst".into(), readonly };
    for (text, expected) in [
        ("type=bind,src=/src,dst=/dst", bind(false)),
        ("type=bind,source=/src,target=/dst,readonly", bind(true)),
        ("ro,destination=//dst/./,source=/src,type=bind", bind(true)),
        ("type=bind,src=/src,dst=/dst,ro=true", bind(true)),
        ("type=bind,src=/src,dst=/dst,readonly=false", bind(false)),
        ("type=volume,src=data,dst=/d", Storage::Named { name: "data".into(), target: "/d".into(), readonly: false }),
        ("src=data,dst=/d,ro", Storage::Named { name: "data".into(), target: "/d".into(), readonly: true }),
        ("dst=/d", Storage::Anonymous { target: "/d".into() }),
        ("type=tmpfs,dst=/t", Storage::Tmpfs { target: "/t".into(), size: None, mode: None }),
        (
            "type=tmpfs,dst=/t,tmpfs-size=64m,tmpfs-mode=1770",
            Storage::Tmpfs { target: "/t".into(), size: Some(64 << 20), mode: Some(0o1770) },
        ),
    ] {
        assert_eq!(parse_mount(text), Ok(expected), "{text}");
    }
    let relative = parse_mount("type=bind,src=some/dir,dst=/d").unwrap();
    assert!(matches!(relative, Storage::Bind { source, .. } if source.is_absolute() && source.ends_with("some/dir")));
}

#[test]
fn bad_mounts() {
    for (text, message) in [
        (
            "",
            "unknown key of a mount \"\"; known are type, source, src, target, destination, dst, readonly, ro, tmpfs-size, tmpfs-mode",
        ),
        ("type=bind,dst=/d", "a bind mount lacks source=PATH"),
        ("type=bind,src=/s", "a mount lacks target=PATH"),
        ("type=bind,src=/s,taget=/d", "unknown key of a mount \"taget\"; did you mean \"target\"?"),
        ("type=bnd,src=/s,dst=/d", "unknown type of mount \"bnd\"; did you mean \"bind\"?"),
        ("type=bind,src=/s,source=/t,dst=/d", "key of a mount \"source\" is given twice"),
        ("type=bind,src=/s,dst=/d,tmpfs-size=1m", "tmpfs-size has no meaning for a bind mount"),
        ("type=tmpfs,src=/s,dst=/d", "source has no meaning for a tmpfs"),
        ("dst=/d,ro", "readonly has no meaning for a volume without source"),
        ("type=bind,src=/s,dst", "target lacks a value"),
        ("type=bind,src=/s,dst=d", "\"d\" is not a path in the container; write an absolute path without `..`"),
        (
            "type=bind,src=/s,dst=/a/../b",
            "\"/a/../b\" is not a path in the container; write an absolute path without `..`",
        ),
        (
            "type=bind,src=/s,dst=/proc/self",
            "mount target \"/proc/self\" is not supported; use a path other than /, /sys, /dev and anything in /proc",
        ),
        (
            "type=bind,src=/s,dst=/d,ro=maybe",
            "\"maybe\" is not a value of readonly; write readonly, readonly=true or readonly=false",
        ),
        ("type=tmpfs,dst=/d,tmpfs-size=0", "0 is out of range: the size of a tmpfs is above 0"),
        ("type=tmpfs,dst=/d,tmpfs-mode=8", "\"8\" is not a file mode; write it in octal, as 1777 or 0755"),
        (
            "type=bind,src=~/x,dst=/d",
            "\"~/x\" is not a path of the host; write the home directory in full; `~` is the shell's",
        ),
    ] {
        assert_eq!(parse_mount(text).unwrap_err().to_string(), message, "{text}");
    }
}

#[test]
fn a_job_from_flags_has_the_defaults_of_a_spec() {
    let mut from_flags = ServiceSpec::from_image("busybox").unwrap();
    let from_spec = super::job("");
    assert_eq!(from_flags.name, "busybox");
    assert_eq!(from_flags.deployment, None);
    from_flags.name = from_spec.name.clone();
    from_flags.deployment = from_spec.deployment.clone();
    assert_eq!(from_flags, from_spec);
    assert_eq!(from_flags.stop.grace_period, Duration::from_secs(10));
    assert_eq!(from_flags.logs.max_size, 1 << 20);
}

#[test]
fn the_image_names_a_job_from_flags() {
    for (image, name) in [
        ("oci:target/fixtures/toolbox:latest", "toolbox"),
        ("oci:/a b/c d/", "cd"),
        ("localhost:5000/team/tool.1:v2", "tool.1"),
        (&format!("debian@sha256:{}", "0".repeat(64)), "debian"),
        ("oci:.", "job"),
        ("oci-archive:/a b/report.tar:v1", "report.tar"),
        ("docker-archive:/a/all.tar:example.com/team/report:v1", "report"),
        ("docker-archive:/a/report.tar:@0", "report.tar"),
    ] {
        assert_eq!(ServiceSpec::from_image(image).unwrap().name, name, "{image}");
    }
    for image in ["", "oci:", "docker-archive:", "a b", "a\nb", "a\0", "a@sha256:123", "docker://", "-x", "x:y:z"] {
        assert!(ServiceSpec::from_image(image).is_err(), "{image:?}");
    }
}

#[test]
fn flags_change_a_job() {
    let job = super::job(
        "env: {A: old, B: kept}\ncommand: {args: [x], workdir: /w}\nstorage: [{type: anonymous, target: /d}, {type: anonymous, target: /e}]",
    );
    let tmpfs = Storage::Tmpfs { target: "/d".into(), size: None, mode: None };
    let changed = job
        .with(Overrides {
            args: Some(vec!["y".into()]),
            env: vec![("A".into(), "new".into()), ("C".into(), "3".into())],
            memory: Some(64 << 20),
            mounts: vec![tmpfs.clone()],
            network: Some(NetworkMode::None),
            init: Some(false),
            deadline: Some(Duration::from_secs(1)),
            ..Overrides::default()
        })
        .unwrap();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(changed.env, [pair("A", "new"), pair("B", "kept"), pair("C", "3")]);
    assert_eq!(changed.command.args, Some(vec!["y".into()]));
    assert_eq!(changed.command.workdir.as_deref(), Some("/w"));
    assert_eq!(changed.storage, [Storage::Anonymous { target: "/e".into() }, tmpfs]);
    assert_eq!(changed.resources.memory, Some(64 << 20));
    assert_eq!(changed.network.mode, NetworkMode::None);
    assert!(!changed.process.init);
    assert_eq!(changed.policy.deadline, Some(Duration::from_secs(1)));
}

#[test]
fn flags_obey_the_rules_of_a_spec() {
    let refuse = |fields: &str, changes: Overrides| super::job(fields).with(changes).unwrap_err().to_string();
    let memory = |memory| Overrides { memory: Some(memory), ..Overrides::default() };
    assert_eq!(refuse("", memory(1)), "1 is out of range: an amount of memory is at least 6Mi");
    assert_eq!(
        refuse("resources: {memory: 8Mi, memory_swap: 16Mi}", memory(32 << 20)),
        "memory_swap of 16777216 bytes is below memory of 33554432 bytes; it counts memory and swap together"
    );
    assert_eq!(
        refuse(
            "network_mode: none\nsysctls: {net.core.somaxconn: 1}",
            Overrides { network: Some(NetworkMode::Host), ..Overrides::default() }
        ),
        "sysctl \"net.core.somaxconn\" is the host's own under network mode host; use network mode none"
    );
    let anonymous = |target: &str| Storage::Anonymous { target: target.into() };
    let mounts = |mounts| Overrides { mounts, ..Overrides::default() };
    assert_eq!(refuse("", mounts(vec![anonymous("/d"), anonymous("/d")])), "mount target \"/d\" is given twice");
    assert!(refuse("", mounts(vec![anonymous("/d/../e")])).contains("not a path in the container"));
    let bind = Storage::Bind { source: "here".into(), target: "/d".into(), readonly: false };
    assert!(refuse("", mounts(vec![bind])).contains("not a path of the host"));
    let user = Overrides { user: Some("a b".into()), ..Overrides::default() };
    assert!(refuse("", user).contains("not a user"));
    let cpu = Overrides { cpu_millis: Some(1), ..Overrides::default() };
    assert_eq!(refuse("", cpu), "1m is out of range: cpu is 0.01 to 8192 CPUs");
    let signal = Overrides { stop_signal: Some(65), ..Overrides::default() };
    assert_eq!(refuse("", signal), "65 is out of range: a signal is 1 to 64");
    let deadline = Overrides { deadline: Some(Duration::ZERO), ..Overrides::default() };
    assert!(refuse("", deadline).contains("more than zero"));
}
