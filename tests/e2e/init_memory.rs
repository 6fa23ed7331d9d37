//! File systems in memory: what init steps write there is there for the steps after them and for the main process.

use crate::common::cli::Coracle;
use crate::common::host::Process;
use crate::common::leftovers;
use nix::sys::signal::Signal;

const STORAGE: &str = "storage:\n- { type: tmpfs, target: /secrets, size: 1Mi, mode: \"0750\" }\n";

#[test]
fn what_steps_write_in_memory_is_there_for_the_main_process() {
    let coracle = Coracle::new();
    let image = crate::common::fixture::busybox();
    for path in ["/secrets/token", "/dev/shm/token"] {
        let spec = coracle.job(&format!(
            "{STORAGE}init:\n  steps:\n  \
               - {{ uses: init.run, with: {{ command: [write, {path}, one] }} }}\n  \
               - {{ uses: init.run, with: {{ image: {image:?}, command: \"echo two >> {path}\" }} }}\n\
             command: [cat, {path}]"
        ));
        coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0).expect_stdout("one\ntwo\n");
    }
}

#[test]
fn it_is_the_same_when_a_check_made_the_namespaces() {
    let coracle = Coracle::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let spec = coracle.job(&format!(
        "network_mode: none\n{STORAGE}init:\n  steps:\n  \
           - {{ uses: init.wait_tcp, timeout: 200ms, on_failure: continue, with: {{ host: 127.0.0.1, port: {port} }} }}\n  \
           - {{ uses: init.run, with: {{ command: [write, /secrets/token, one] }} }}\n\
         command: [cat, /secrets/token]"
    ));
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0).expect_stdout("one\n");
}

#[test]
fn a_shared_tmpfs_has_its_size_and_mode_and_is_confined() {
    let coracle = Coracle::new();
    let job = |command: &str| {
        let path = coracle.job(&format!(
            "{STORAGE}init:\n  steps:\n  - {{ uses: init.run, with: {{ command: [\"true\"] }} }}\ncommand: {command}"
        ));
        coracle.run(["run".as_ref(), path.as_os_str()]).expect_code(0)
    };
    let output = job("[stat, /secrets, /dev/shm]");
    let found: Vec<String> =
        output.lines().iter().map(|line| line.splitn(5, ' ').take(4).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(found, ["directory 0750 0 0", "directory 1777 0 0"], "{output}");
    let output = job("[fill, /secrets/full]");
    assert!(output.stdout().starts_with("1048576 bytes, then No space left"), "{output}");
    let output = job("[cat, /proc/mounts]");
    for (target, expected) in [(" /secrets ", &["nosuid", "nodev"][..]), (" /dev/shm ", &["nosuid", "nodev", "noexec"])]
    {
        let lines = output.lines();
        let line = lines.iter().find(|line| line.contains(target)).expect("it is mounted");
        assert!(expected.iter().all(|option| line.contains(option)), "{line}");
    }
}

#[test]
fn nothing_in_memory_outlives_the_attempt() {
    let coracle = Coracle::new();
    let spec = coracle.job(&format!(
        "{STORAGE}init:\n  steps:\n  - {{ uses: init.run, with: {{ command: [write, /secrets/token, one] }} }}\n\
         command: [sleep, \"1000\"]"
    ));
    let id = coracle.detach(&[spec.to_str().expect("a plain name")]);
    super::lifecycle::until_running(&coracle, &id);
    let directory = coracle.container(&id).join("tmpfs");
    let mountpoints: Vec<_> = directory.read_dir().expect("it is made").flatten().map(|entry| entry.path()).collect();
    assert_eq!(mountpoints.len(), 2, "{mountpoints:?}");
    // The host sees the mountpoints alone.
    assert!(mountpoints.iter().all(|path| path.read_dir().is_ok_and(|mut content| content.next().is_none())));
    let all: Vec<Process> = leftovers::processes(&coracle.root()).into_iter().map(|related| related.handle).collect();
    coracle.supervisor(&id).signal(Signal::SIGKILL);
    coracle.run(["wait", &id]).expect_code(125);
    assert!(all.iter().all(|process| process.ends_within(std::time::Duration::from_secs(1))));
    assert!(!directory.exists(), "the mountpoints go with the attempt");
}
