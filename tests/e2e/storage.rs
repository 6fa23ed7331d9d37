//! The root file system and what is mounted into it.

use crate::common::cli::Coracle;
use crate::common::host::{Feature, needs};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

#[test]
fn every_execution_starts_with_the_image_as_it_is() {
    let coracle = Coracle::new();
    coracle.toolbox(&[], &["write", "/mark", "x"]).expect_code(0);
    let output = coracle.toolbox(&[], &["ls", "/"]).expect_code(0);
    assert!(!output.stdout().contains("mark"), "{output}");
}

#[test]
fn a_read_only_root_takes_no_file_but_its_tmpfs_does() {
    let coracle = Coracle::new();
    let spec = |command: &str| {
        coracle.job(&format!(
            "read_only_root_fs: true\nstorage:\n- {{ type: tmpfs, target: /scratch, size: 1Mi }}\ncommand: {command}"
        ))
    };
    let path = spec("[write, /mark, x]");
    coracle.run(["run".as_ref(), path.as_os_str()]).expect_error(1, &["Read-only file system"]);
    let path = spec("[write, /scratch/mark, x]");
    coracle.run(["run".as_ref(), path.as_os_str()]).expect_code(0);
}

#[test]
fn a_bind_mount_shows_the_hosts_directory() {
    let coracle = Coracle::new();
    let directory = coracle.scratch().join("shared");
    std::fs::create_dir(&directory).expect("a new directory");
    std::fs::write(directory.join("from-host"), "hello\n").expect("a new file");
    let mount = format!("type=bind,src={},dst=/data", directory.display());
    coracle.toolbox(&["--mount", &mount], &["cat", "/data/from-host"]).expect_code(0).expect_stdout("hello\n");
    coracle.toolbox(&["--mount", &mount], &["write", "/data/from-job", "back"]).expect_code(0);
    let written = directory.join("from-job");
    assert_eq!(std::fs::read_to_string(&written).expect("the job wrote it"), "back\n");
    // Container root is the caller, rootful or rootless.
    let owner = std::fs::metadata(&written).expect("it is there").uid();
    assert_eq!(owner, nix::unistd::geteuid().as_raw());
}

#[test]
fn a_read_only_bind_mount_cannot_be_written() {
    let coracle = Coracle::new();
    let directory = coracle.scratch().join("shared");
    std::fs::create_dir(&directory).expect("a new directory");
    let mount = format!("type=bind,src={},dst=/data,ro", directory.display());
    coracle.toolbox(&["--mount", &mount], &["write", "/data/x", "x"]).expect_error(1, &["Read-only file system"]);
    assert_eq!(std::fs::read_dir(&directory).expect("the directory").count(), 0);
}

#[test]
fn a_missing_bind_source_is_an_error_before_the_start() {
    let coracle = Coracle::new();
    let mount = "type=bind,src=/no/such/source,dst=/data";
    coracle.toolbox(&["--mount", mount], &["true"]).expect_error(125, &["/no/such/source"]);
}

#[test]
fn a_named_volume_outlives_the_execution_and_an_anonymous_one_does_not() {
    let coracle = Coracle::new();
    let run = |kind: &str, command: &str| {
        let path = coracle.job(&format!("storage:\n- {kind}\ncommand: {command}"));
        coracle.run(["run".as_ref(), path.as_os_str()])
    };
    let named = "{ type: named, name: cache, target: /cache }";
    run(named, "[write, /cache/kept, x]").expect_code(0);
    run(named, "[cat, /cache/kept]").expect_code(0).expect_stdout("x\n");
    let anonymous = "{ type: anonymous, target: /cache }";
    run(anonymous, "[write, /cache/gone, x]").expect_code(0);
    run(anonymous, "[ls, /cache]").expect_code(0).expect_stdout("");
}

#[test]
fn a_tmpfs_has_its_size_and_mode() {
    let coracle = Coracle::new();
    let storage = "storage:\n- { type: tmpfs, target: /scratch, size: 1Mi, mode: \"0700\" }\n";
    let path = coracle.job(&format!("{storage}command: [stat, /scratch]"));
    let output = coracle.run(["run".as_ref(), path.as_os_str()]).expect_code(0);
    assert!(output.stdout().starts_with("directory 0700 0 0 "), "{output}");
    let path = coracle.job(&format!("{storage}command: [fill, /scratch/full]"));
    let output = coracle.run(["run".as_ref(), path.as_os_str()]).expect_code(0);
    assert!(output.stdout().starts_with("1048576 bytes, then No space left"), "{output}");
}

#[test]
fn ownership_and_modes_are_the_images() {
    if !needs(Feature::ManyIds) {
        return;
    }
    let coracle = Coracle::new();
    let output = coracle.toolbox(&[], &["stat", "/tmp", "/root", "/home/user", "/suid/id"]).expect_code(0);
    let found: Vec<String> =
        output.lines().iter().map(|line| line.splitn(5, ' ').take(4).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(found, ["directory 1777 0 0", "directory 0700 0 0", "directory 0700 1000 1000", "file 4755 0 0"]);
}

#[test]
fn the_state_root_is_closed_to_other_users() {
    let coracle = Coracle::new();
    coracle.toolbox(&[], &["true"]).expect_code(0);
    for (name, allowed) in [("", 0o711), ("executions", 0o711), ("layers", 0o711), ("coracle.db", 0o600)] {
        let path = coracle.root().join(name);
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode & !allowed, 0, "{} has mode {mode:o}", path.display());
    }
}

#[test]
fn a_state_root_behind_a_symbolic_link_works() {
    let coracle = Coracle::new();
    let link = coracle.scratch().join("a link, with: odd \\ names");
    std::fs::create_dir(coracle.root()).expect("a new directory");
    std::os::unix::fs::symlink(coracle.root(), &link).expect("a new link");
    let mut command = coracle.toolbox_command(&[], &["exit", "7"]);
    command.env("CORACLE_ROOT", &link);
    coracle.finish(command).expect_code(7);
    assert_eq!(coracle.only_execution()["exit_code"], 7);
}
