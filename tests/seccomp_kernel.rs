//! The default seccomp filter in a real kernel. Each check runs in a process of its own, because a
//! filter cannot be taken off: the test starts its own binary again with [`ROLE`] set.

#![expect(clippy::disallowed_methods, reason = "tests write files and start programs")]

use coracle::seccomp::{Architecture, compile};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const ROLE: &str = "CORACLE_TEST_SECCOMP_ROLE";

/// Calls that have no effect even where nothing stops them: (name, number, arguments).
fn probes() -> Vec<(&'static str, i64, [u64; 4])> {
    const AUDIT: u64 = libc::NETLINK_AUDIT as u64;
    const NETLINK: u64 = libc::AF_NETLINK as u64;
    const RAW: u64 = libc::SOCK_RAW as u64;
    let high = 1 << 32;
    vec![
        ("acct", libc::SYS_acct, [1, 0, 0, 0]),
        ("add_key", libc::SYS_add_key, [0; 4]),
        ("bpf", libc::SYS_bpf, [u64::MAX, 0, 0, 0]),
        ("clone3", libc::SYS_clone3, [0; 4]),
        ("getpid", libc::SYS_getpid, [0; 4]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [0; 4]),
        ("kexec_load", libc::SYS_kexec_load, [0, 0, 0, u64::MAX]),
        ("keyctl", libc::SYS_keyctl, [u64::MAX, 0, 0, 0]),
        ("mount", libc::SYS_mount, [0; 4]),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, [0; 4]),
        ("perf_event_open", libc::SYS_perf_event_open, [0; 4]),
        ("personality query", libc::SYS_personality, [0xffff_ffff, 0, 0, 0]),
        ("personality no randomisation", libc::SYS_personality, [libc::ADDR_NO_RANDOMIZE as u64, 0, 0, 0]),
        ("ptrace", libc::SYS_ptrace, [libc::PTRACE_ATTACH as u64, 0, 0, 0]),
        ("setns", libc::SYS_setns, [u64::MAX, 0, 0, 0]),
        ("socket audit", libc::SYS_socket, [NETLINK, RAW, AUDIT, 0]),
        ("socket audit, upper half set", libc::SYS_socket, [NETLINK | high, RAW, AUDIT | high, 0]),
        ("socket route", libc::SYS_socket, [NETLINK, RAW, 0, 0]),
        ("unshare nothing", libc::SYS_unshare, [0; 4]),
        ("unshare user namespace", libc::SYS_unshare, [libc::CLONE_NEWUSER as u64, 0, 0, 0]),
        ("userfaultfd", libc::SYS_userfaultfd, [u64::MAX, 0, 0, 0]),
    ]
}

fn host_filter(capabilities: &[&str]) -> Vec<u8> {
    let capabilities: BTreeSet<String> = capabilities.iter().map(|&name| name.to_owned()).collect();
    compile(&capabilities, Architecture::host().expect("the tests run on a supported architecture")).bytes()
}

fn set_no_new_privileges() {
    nix::sys::prctl::set_no_new_privs().unwrap();
}

/// Runs `role` in this file's own test binary and returns its lines `NAME=VALUE`.
fn in_a_process_of_its_own(role: &str) -> BTreeMap<String, String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "role", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{role}: {}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// Not a test of its own: what the other tests start.
#[test]
fn role() {
    println!(); // ends the line that the test harness has begun
    match std::env::var(ROLE).as_deref() {
        Ok("filtered") => {
            set_no_new_privileges();
            coracle::sys::seccomp::load(&host_filter(&["CAP_SYS_CHROOT"])).unwrap();
            print_probes();
        }
        Ok("with CAP_SYS_ADMIN") => {
            set_no_new_privileges();
            coracle::sys::seccomp::load(&host_filter(&["CAP_SYS_ADMIN"])).unwrap();
            print_probes();
        }
        Ok("unfiltered") => print_probes(),
        Ok("ordinary program") => {
            set_no_new_privileges();
            coracle::sys::seccomp::load(&host_filter(&[])).unwrap();
            let output =
                Command::new("/bin/sh").args(["-c", "ls / >/dev/null && echo shell=$((6*7))"]).output().unwrap();
            print!("{}", String::from_utf8_lossy(&output.stdout));
            std::thread::spawn(|| println!("thread={}", std::process::id())).join().unwrap();
            println!("seccomp={}", status_field("Seccomp"));
        }
        Ok("load time") => {
            let filter = host_filter(&["CAP_SYS_CHROOT"]);
            set_no_new_privileges();
            let start = std::time::Instant::now();
            coracle::sys::seccomp::load(&filter).unwrap();
            println!("microseconds={}", start.elapsed().as_micros());
        }
        Ok("bad programs") => {
            set_no_new_privileges();
            for (name, bytes) in [("empty", vec![]), ("cut", vec![0; 12]), ("zeros", vec![0; 16])] {
                println!("{name}={:?}", coracle::sys::seccomp::load(&bytes).unwrap_err().kind());
            }
            println!("seccomp={}", status_field("Seccomp"));
        }
        Ok(other) => panic!("unknown role {other}"),
        Err(_) => {}
    }
}

fn status_field(name: &str) -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

fn print_probes() {
    for (name, number, [a, b, c, d]) in probes() {
        // SAFETY: no probe passes a pointer to memory that the kernel could write to, and none
        // changes the state that this process still needs.
        let result = unsafe { libc::syscall(number, a, b, c, d) };
        let errno = if result == -1 { std::io::Error::last_os_error().raw_os_error().unwrap() } else { 0 };
        println!("{name}={errno}");
    }
}

#[test]
fn forbidden_calls_fail_as_under_podman_and_others_reach_the_kernel() {
    let filtered = in_a_process_of_its_own("filtered");
    let unfiltered = in_a_process_of_its_own("unfiltered");
    let forbidden = BTreeMap::from([
        ("acct", libc::EPERM),
        ("add_key", libc::ENOSYS),
        ("bpf", libc::EPERM),
        ("io_uring_setup", libc::ENOSYS),
        ("kexec_load", libc::EPERM),
        ("open_by_handle_at", libc::EPERM),
        ("perf_event_open", libc::EPERM),
        ("personality no randomisation", libc::ENOSYS),
        ("socket audit", libc::EINVAL),
        ("socket audit, upper half set", libc::EINVAL),
        ("userfaultfd", libc::EPERM),
    ]);
    for (name, ..) in probes() {
        match forbidden.get(name) {
            Some(errno) => assert_eq!(filtered[name], errno.to_string(), "{name}"),
            // Not forbidden: the kernel's own answer, whatever it is here.
            None => assert_eq!(filtered[name], unfiltered[name], "{name}"),
        }
    }
}

#[test]
fn capability_opens_the_calls_it_stands_for() {
    let admin = in_a_process_of_its_own("with CAP_SYS_ADMIN");
    let unfiltered = in_a_process_of_its_own("unfiltered");
    for name in ["bpf", "perf_event_open"] {
        assert_eq!(admin[name], unfiltered[name], "{name}");
    }
    assert_eq!(admin["acct"], libc::EPERM.to_string());
}

#[test]
fn ordinary_programs_and_threads_run_under_the_filter() {
    let found = in_a_process_of_its_own("ordinary program");
    assert_eq!(found["shell"], "42");
    assert!(found.contains_key("thread"));
    assert_eq!(found["seccomp"], "2", "SECCOMP_MODE_FILTER");
}

#[test]
fn program_that_is_none_is_refused_and_nothing_is_loaded() {
    let found = in_a_process_of_its_own("bad programs");
    for name in ["empty", "cut", "zeros"] {
        assert_eq!(found[name], "InvalidInput", "{name}");
    }
    assert_eq!(found["seccomp"], "0");
}

/// Reports only; a time is no property to fail on.
#[test]
fn load_time_is_reported() {
    let microseconds: u64 = in_a_process_of_its_own("load time")["microseconds"].parse().unwrap();
    eprintln!("loading the default filter took {microseconds} µs");
}
