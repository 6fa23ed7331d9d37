//! What the job's process gets: environment, user, directory, descriptors.

use crate::common::cli::Coracle;
use crate::common::host::{Feature, needs};

#[test]
fn the_environment_is_the_images_then_the_flags() {
    let coracle = Coracle::new();
    let lines = coracle.toolbox(&["--env", "GREETING=hello world", "--env", "EMPTY="], &["env"]).expect_code(0).lines();
    assert!(lines.contains(&"PATH=/bin".to_owned()), "{lines:?}");
    assert!(lines.contains(&"GREETING=hello world".to_owned()), "{lines:?}");
    assert!(lines.contains(&"EMPTY=".to_owned()), "{lines:?}");
    assert!(lines.contains(&"HOME=/root".to_owned()), "{lines:?}");
    let callers: Vec<_> =
        lines.iter().filter(|line| line.starts_with("CORACLE_ROOT=") || line.starts_with("RUST_")).collect();
    assert!(callers.is_empty(), "nothing of the caller's environment: {callers:?}");
}

#[test]
fn an_environment_variable_of_the_caller_reaches_the_spec_by_name() {
    let coracle = Coracle::new();
    let spec = coracle.job("env: { WHO: \"user-$E:CORACLE_E2E_NAME!\" }\ncommand: [env]");
    let mut command = coracle.command(["run"]);
    command.arg(&spec).env("CORACLE_E2E_NAME", "jo");
    let lines = coracle.finish(command).expect_code(0).lines();
    assert!(lines.contains(&"WHO=user-jo!".to_owned()), "{lines:?}");
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_error(125, &["CORACLE_E2E_NAME"]);
}

#[test]
fn the_working_directory_is_made_if_absent() {
    let coracle = Coracle::new();
    coracle.toolbox(&["--workdir", "/deep/inside"], &["cwd"]).expect_code(0).expect_stdout("/deep/inside\n");
    coracle.toolbox(&[], &["cwd"]).expect_code(0).expect_stdout("/\n");
}

#[test]
fn a_user_is_looked_up_in_the_image() {
    if !needs(Feature::ManyIds) {
        return;
    }
    let coracle = Coracle::new();
    let id = |user: &str| coracle.toolbox(&["--user", user], &["id"]).expect_code(0).stdout();
    assert_eq!(id("user"), "uid=1000 euid=1000 gid=1000 egid=1000 groups=29,1000,2000\n");
    assert_eq!(id("1001"), "uid=1001 euid=1001 gid=1001 egid=1001 groups=1001,2000\n");
    assert_eq!(id("4321"), "uid=4321 euid=4321 gid=0 egid=0 groups=0\n");
    assert_eq!(id("user:audio"), "uid=1000 euid=1000 gid=29 egid=29 groups=29\n");
    assert_eq!(id("1000:2000"), "uid=1000 euid=1000 gid=2000 egid=2000 groups=2000\n");
    let home = coracle.toolbox(&["--user", "user"], &["env"]).expect_code(0);
    assert!(home.stdout().contains("HOME=/home/user\n"), "{home}");
    coracle.toolbox(&["--user", "nosuchuser"], &["id"]).expect_error(125, &["nosuchuser"]);
}

#[test]
fn extra_groups_are_added() {
    if !needs(Feature::ManyIds) {
        return;
    }
    let coracle = Coracle::new();
    let spec = coracle.job("user: \"1001:1001\"\nextra_groups: [audio, \"3000\"]\ncommand: [id]");
    let output = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0);
    assert_eq!(output.stdout(), "uid=1001 euid=1001 gid=1001 egid=1001 groups=29,1001,3000\n");
}

#[test]
fn root_is_the_default_user() {
    let coracle = Coracle::new();
    let output = coracle.toolbox(&[], &["id"]).expect_code(0).stdout();
    assert!(output.starts_with("uid=0 euid=0 gid=0 egid=0 groups="), "{output}");
}

#[test]
fn the_job_inherits_only_its_three_streams() {
    let coracle = Coracle::new();
    for init in ["--init=true", "--init=false"] {
        let output = coracle.toolbox(&[init], &["fds"]).expect_code(0);
        let numbers: Vec<String> =
            output.lines().iter().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect();
        assert_eq!(numbers, ["0", "1", "2"], "{output}");
        assert!(output.stdout().starts_with("0 /dev/null\n"), "{output}");
    }
}

#[test]
fn signals_have_their_default_actions() {
    let coracle = Coracle::new();
    let output = coracle.toolbox(&[], &["signals"]).expect_code(0);
    for name in ["SigBlk", "SigIgn", "SigCgt"] {
        assert!(output.stdout().contains(&format!("{name}:\t0000000000000000\n")), "{output}");
    }
}

#[test]
fn the_job_sees_neither_our_command_line_nor_our_binary() {
    let coracle = Coracle::new();
    let output = coracle.toolbox(&["--env", "SECRET=x"], &["ps"]).expect_code(0);
    let lines = output.lines();
    assert_eq!(lines.len(), 2, "our pid 1 and the job: {output}");
    let root = coracle.root();
    assert!(!output.stdout().contains(root.to_str().expect("a plain name")), "a host path: {output}");
    assert!(!output.stdout().contains("--image"), "the command line of the front: {output}");
    let binary = Coracle::binary();
    assert!(!output.stdout().contains(binary.to_str().expect("a plain name")), "the path of our binary: {output}");
}

#[test]
fn our_binary_cannot_be_opened_for_writing_from_inside() {
    let coracle = Coracle::new();
    let before = std::fs::metadata(Coracle::binary()).expect("the binary");
    let script = "for exe in /proc/1/exe /proc/self/exe; do : ; done; \
                  if ( : >> /proc/1/exe ) 2>/dev/null; then echo writable; else echo refused; fi";
    coracle.shell(&[], script).expect_code(0).expect_stdout("refused\n");
    let after = std::fs::metadata(Coracle::binary()).expect("the binary");
    assert_eq!(before.len(), after.len());
    assert_eq!(before.modified().expect("a time"), after.modified().expect("a time"));
}

#[test]
fn stdin_is_empty_unless_asked_for() {
    let coracle = Coracle::new();
    let input = coracle.file("input", "one\ntwo\n");
    let run = |flags: &[&str]| {
        let mut command = coracle.toolbox_command(flags, &["stdin"]);
        command.stdin(std::fs::File::open(&input).expect("it was just written"));
        coracle.finish(command).expect_code(0).stdout()
    };
    assert_eq!(run(&[]), "");
    assert_eq!(run(&["-i"]), "one\ntwo\n");
}

#[test]
fn arguments_are_passed_as_they_are() {
    let coracle = Coracle::new();
    let output = coracle.toolbox(&[], &["args", "", "a b", "--flag", "$HOME", "\u{e9}", "-"]).expect_code(0);
    assert_eq!(output.stdout(), "\"\"\n\"a b\"\n\"--flag\"\n\"$HOME\"\n\"\u{e9}\"\n\"-\"\n");
}

#[test]
fn the_hostname_is_the_specs() {
    let coracle = Coracle::new();
    let spec = coracle.job("hostname: tub\ncommand: [hostname]");
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0).expect_stdout("tub\n");
}

#[test]
fn zombies_are_reaped_by_our_pid_1() {
    let coracle = Coracle::new();
    // The inner subshells are orphans at once; the last `ps` would show them as zombies.
    let script = "i=0; while [ $i -lt 20 ]; do ( ( : ) & ); i=$((i+1)); done; \
                  while grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | grep -q .; do :; done; echo none";
    coracle.shell(&[], script).expect_code(0).expect_stdout("none\n");
}
