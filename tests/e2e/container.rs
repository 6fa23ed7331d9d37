//! The walls: namespaces, network, /proc, /sys, /dev.

use crate::common::cli::Coracle;
use std::collections::BTreeMap;

fn namespaces(lines: &[String]) -> BTreeMap<String, String> {
    lines.iter().filter_map(|line| line.split_once(' ')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

#[test]
fn the_job_has_namespaces_of_its_own() {
    let coracle = Coracle::new();
    let inside = namespaces(&coracle.toolbox(&[], &["ns"]).expect_code(0).lines());
    for kind in ["pid", "mnt", "ipc", "uts", "cgroup"] {
        let outside = std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace");
        assert_ne!(inside[kind], outside.display().to_string(), "{kind}");
    }
    let network = std::fs::read_link("/proc/self/ns/net").expect("a namespace").display().to_string();
    assert_eq!(inside["net"], network, "the host's by default");
    let isolated = namespaces(&coracle.toolbox(&["--network", "none"], &["ns"]).expect_code(0).lines());
    assert_ne!(isolated["net"], network);
}

#[test]
fn without_a_network_there_is_only_loopback() {
    let coracle = Coracle::new();
    coracle.toolbox(&["--network", "none"], &["interfaces"]).expect_code(0).expect_stdout("lo\n");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port().to_string();
    coracle.toolbox(&[], &["connect", "127.0.0.1", &port]).expect_code(0).expect_stdout("connected\n");
    let isolated = coracle.toolbox(&["--network", "none"], &["connect", "127.0.0.1", &port]).expect_code(0);
    assert!(isolated.stdout().contains("refused") || isolated.stdout().contains("unreachable"), "{isolated}");
}

#[test]
fn dangerous_places_in_proc_are_masked_or_read_only() {
    let coracle = Coracle::new();
    let script = "for f in /proc/kcore /proc/keys /proc/timer_list; do \
                    if [ -e $f ]; then head -c 1 $f 2>/dev/null | wc -c; fi; done; \
                  for d in /proc/acpi /proc/scsi /sys/firmware; do [ -d $d ] && ls $d; done; \
                  for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/irq/default_smp_affinity; do \
                    if [ -e $f ] && ( : >> $f ) 2>/dev/null; then echo writable $f; fi; done; echo done";
    let output = coracle.shell(&[], script).expect_code(0);
    assert!(output.lines().iter().all(|line| line == "0" || line == "done"), "{output}");
}

#[test]
fn sys_cannot_be_written() {
    let coracle = Coracle::new();
    let output = coracle.toolbox(&[], &["mounts"]).expect_code(0);
    for line in output.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        if fields[4] == "/sys" || fields[4].starts_with("/sys/") {
            assert!(fields[5].split(',').any(|option| option == "ro"), "writable: {line}");
        }
    }
}

#[test]
fn dev_holds_only_the_usual_devices() {
    let coracle = Coracle::new();
    let names = coracle.toolbox(&[], &["ls", "/dev"]).expect_code(0).lines();
    let usual = [
        "console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
        "tty", "urandom", "zero",
    ];
    let unusual: Vec<_> = names.iter().filter(|name| !usual.contains(&name.as_str())).collect();
    assert!(unusual.is_empty(), "{unusual:?}");
    for needed in ["null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "stdout", "stderr", "shm", "pts"]
    {
        assert!(names.iter().any(|name| name == needed), "no /dev/{needed} in {names:?}");
    }
    let script = "echo x > /dev/null && head -c 4 /dev/zero | wc -c && head -c 4 /dev/urandom | wc -c";
    coracle.shell(&[], script).expect_code(0).expect_stdout("4\n4\n");
}

#[test]
fn the_mount_table_shows_nothing_of_the_host_but_the_root_overlay() {
    let coracle = Coracle::new();
    let output = coracle.toolbox(&[], &["mounts"]).expect_code(0);
    let points: Vec<String> =
        output.lines().iter().filter_map(|line| line.split(' ').nth(4).map(str::to_owned)).collect();
    let expected = ["/", "/proc", "/dev", "/sys", "/etc"];
    let strange: Vec<_> = points
        .iter()
        .filter(|point| {
            !expected
                .iter()
                .any(|allowed| point == allowed || (*allowed != "/" && point.starts_with(&format!("{allowed}/"))))
        })
        .collect();
    assert!(strange.is_empty(), "{strange:?} in {output}");
}

#[test]
fn hosts_and_resolver_are_given() {
    let coracle = Coracle::new();
    let spec =
        coracle.job("hostname: tub\nextra_hosts: [\"db:10.1.2.3\"]\ncommand: [cat, /etc/hosts, /etc/resolv.conf]");
    let output = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0);
    let has = |name: &str, address: &str| {
        output.lines().iter().any(|line| line.starts_with(address) && line.split_whitespace().any(|word| word == name))
    };
    assert!(has("localhost", "127.0.0.1") && has("db", "10.1.2.3"), "{output}");
}

#[test]
fn the_cgroup_is_not_shown_writable() {
    let coracle = Coracle::new();
    let script = "find /sys/fs/cgroup -name '*procs' 2>/dev/null | while read f; do ( echo 0 > $f ) 2>/dev/null && echo $f; done; echo done";
    coracle.shell(&[], script).expect_code(0).expect_stdout("done\n");
}
