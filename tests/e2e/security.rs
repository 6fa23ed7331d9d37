//! Safe from the first day: system calls, capabilities, privileges.

use crate::common::cli::Coracle;
use crate::common::host::{Feature, needs};
use std::collections::BTreeMap;

/// Capabilities of `podman run` without options:
/// <https://github.com/containers/common/blob/main/pkg/config/default.go> (DefaultCapabilities).
/// CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE,
/// SYS_CHROOT, SETFCAP.
const DEFAULT: u64 =
    1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 18 | 1 << 31;
const EPERM: &str = "1";
const ENOSYS: &str = "38";

fn caps(coracle: &Coracle, flags: &[&str], body: &str) -> BTreeMap<String, String> {
    let finished = if body.is_empty() {
        coracle.toolbox(flags, &["caps"])
    } else {
        let spec = coracle.job(&format!("{body}\ncommand: [caps]"));
        coracle.run(["run".as_ref(), spec.as_os_str()])
    };
    let lines = finished.expect_code(0).lines();
    lines.iter().filter_map(|line| line.split_once(":\t")).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

fn mask(caps: &BTreeMap<String, String>, set: &str) -> u64 {
    u64::from_str_radix(&caps[set], 16).expect("hexadecimal")
}

#[test]
fn the_capabilities_are_podmans_default() {
    let coracle = Coracle::new();
    let found = caps(&coracle, &[], "");
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(mask(&found, set), DEFAULT, "{set} {found:?}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(mask(&found, set), 0, "{set} {found:?}");
    }
}

#[test]
fn another_user_has_no_capabilities() {
    if !needs(Feature::ManyIds) {
        return;
    }
    let coracle = Coracle::new();
    let found = caps(&coracle, &["--user", "1000"], "");
    for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert_eq!(mask(&found, set), 0, "{set} {found:?}");
    }
    assert_eq!(mask(&found, "CapBnd"), DEFAULT);
}

#[test]
fn capabilities_are_added_and_dropped_by_the_spec() {
    let coracle = Coracle::new();
    let found = caps(&coracle, &[], "capabilities: [SYS_PTRACE]\ncap_drop: [CHOWN]");
    assert_eq!(mask(&found, "CapEff"), (DEFAULT | 1 << 19) & !1, "{found:?}");
    let found = caps(&coracle, &[], "cap_drop: [ALL]");
    assert_eq!(mask(&found, "CapEff"), 0, "{found:?}");
}

#[test]
fn privileges_cannot_be_gained() {
    let coracle = Coracle::new();
    let found = caps(&coracle, &[], "");
    assert_eq!(found["NoNewPrivs"], "1", "{found:?}");
    if needs(Feature::ManyIds) {
        let output = coracle.toolbox(&["--user", "1000"], &["/suid/id"]).expect_code(0);
        assert!(output.stdout().starts_with("uid=1000 euid=1000 "), "the set-user-ID bit worked: {output}");
    }
}

#[test]
fn a_filter_is_in_force_and_refuses_what_podmans_does() {
    let coracle = Coracle::new();
    let found = caps(&coracle, &[], "");
    assert_eq!(found["Seccomp"], "2", "{found:?}");
    let output = coracle.toolbox(&[], &["try"]).expect_code(0);
    let result: BTreeMap<String, String> = output
        .lines()
        .iter()
        .filter_map(|line| line.split_once(' '))
        .map(|(call, rest)| (call.to_owned(), rest.split(' ').next().unwrap_or_default().to_owned()))
        .collect();
    assert_eq!(result["getpid"], "ok", "{output}");
    // Refused by podman's profile without further capabilities, whatever the arguments are:
    // <https://github.com/containers/common/blob/main/pkg/seccomp/seccomp.json>
    for call in [
        "bpf",
        "clock_settime",
        "delete_module",
        "init_module",
        "kexec_load",
        "open_by_handle_at",
        "perf_event_open",
        "swapon",
        "userfaultfd",
    ] {
        assert_eq!(result[call], EPERM, "{call}: {output}");
    }
    for call in ["add_key", "io_uring_setup", "request_key"] {
        assert_eq!(result[call], ENOSYS, "{call}: {output}");
    }
    // Allowed by the filter, refused for want of a capability.
    for call in ["pivot_root", "reboot", "unshare_mount"] {
        assert_eq!(result[call], EPERM, "{call}: {output}");
    }
}

#[test]
fn every_process_of_the_job_is_under_the_filter() {
    let coracle = Coracle::new();
    for init in ["--init=true", "--init=false"] {
        let script = "sh -c 'grep Seccomp: /proc/self/status'";
        coracle.shell(&[init], script).expect_code(0).expect_stdout("Seccomp:\t2\n");
    }
    let spec = coracle.job("init:\n  steps:\n  - { uses: init.run, with: { command: [caps] } }\ncommand: [\"true\"]");
    let step = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0);
    assert!(step.stdout().contains("Seccomp:\t2\n"), "{step}");
}

#[test]
fn the_filter_is_left_out_only_when_the_spec_says_so() {
    let coracle = Coracle::new();
    let found = caps(&coracle, &[], "security_opt: [seccomp=unconfined]");
    assert_eq!(found["Seccomp"], "0", "{found:?}");
    assert_eq!(found["NoNewPrivs"], "1", "{found:?}");
}

#[test]
fn limits_of_the_process_are_the_specs() {
    let coracle = Coracle::new();
    let spec =
        coracle.job("ulimits: { nofile: { soft: 512, hard: 600 }, core: { soft: 0, hard: 0 } }\ncommand: [rlimits]");
    let output = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0);
    let row = |name: &str| {
        let line = output.lines().into_iter().find(|line| line.starts_with(name)).unwrap_or_default();
        line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("Max open files"), ["512", "600"], "{output}");
    assert_eq!(row("Max core file size"), ["0", "0"], "{output}");
}

#[test]
fn a_sysctl_of_its_own_namespaces_can_be_set() {
    let coracle = Coracle::new();
    let spec = coracle.job("sysctls: { kernel.msgmax: \"4096\" }\ncommand: [cat, /proc/sys/kernel/msgmax]");
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0).expect_stdout("4096\n");
}

#[test]
fn a_sysctl_of_its_own_network_can_be_set() {
    let coracle = Coracle::new();
    let spec = coracle.job(
        "network_mode: none\nsysctls: { net.ipv4.ip_forward: \"1\" }\ncommand: [cat, /proc/sys/net/ipv4/ip_forward]",
    );
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0).expect_stdout("1\n");
}

/// Fewer files than making a container takes.
#[test]
fn a_very_small_limit_of_open_files_holds_for_the_job_alone() {
    let coracle = Coracle::new();
    let spec = coracle.job("ulimits: { nofile: { soft: 5, hard: 6 } }\ncommand: [cat, /proc/self/limits]");
    let output = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0);
    let line = output.lines().into_iter().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    assert_eq!(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["5", "6"], "{output}");
}

/// Nothing limits device access but the mount: a disk of the host would be as open as this one.
#[test]
fn device_nodes_that_come_with_a_bind_cannot_be_opened() {
    let coracle = Coracle::new();
    let read = "head -c 1 /host/dev/zero >/dev/null && echo open || echo closed";
    coracle.shell(&["--mount", "type=bind,src=/,dst=/host,ro"], read).expect_code(0).expect_stdout("closed\n");
}
