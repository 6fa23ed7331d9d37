//! Jobs from images in archives, as other tools write them.

use crate::common::cli::Coracle;
use crate::common::fixture;
use crate::common::host::{Feature, needs};
use crate::common::podman::Podman;
use nix::sys::signal::Signal;
use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

/// `skopeo copy` of the toolbox to a name of a local image.
fn copy_toolbox(target: &str) {
    let output = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", &fixture::toolbox(), target])
        .output()
        .expect("skopeo starts");
    assert!(output.status.success(), "{target}: {}", String::from_utf8_lossy(&output.stderr));
}

fn assert_runs(coracle: &Coracle, image: &str) {
    let finished = coracle.finish(coracle.image_command(image, &["--network", "none"], &["interfaces"]));
    finished.expect_code(0).expect_stdout("lo\n");
}

#[test]
fn archives_of_skopeo_run() {
    if !needs(Feature::Registry) {
        return;
    }
    let coracle = Coracle::new();
    let file = |name: &str| coracle.scratch().join(name).display().to_string();
    for name in
        [format!("docker-archive:{}:toolbox:v1", file("docker.tar")), format!("oci-archive:{}:v1", file("oci.tar"))]
    {
        copy_toolbox(&name);
        assert_runs(&coracle, &name);
        let without_tag = name.split(':').take(2).collect::<Vec<_>>().join(":");
        assert_runs(&coracle, &without_tag);
    }
    // As a user would name a file of the directory that he is in.
    let mut command = coracle.image_command("docker-archive:docker.tar", &["--network", "none"], &["interfaces"]);
    command.current_dir(coracle.scratch());
    coracle.finish(command).expect_code(0).expect_stdout("lo\n");
}

#[test]
fn archives_of_podman_run() {
    if !needs(Feature::Root) || !needs(Feature::Podman) || !needs(Feature::Registry) {
        return;
    }
    let coracle = Coracle::new();
    let podman = Podman::new();
    let source = coracle.scratch().join("source.tar");
    copy_toolbox(&format!("docker-archive:{}:example.com/toolbox:v1", source.display()));
    podman.load(&source);
    for format in ["docker-archive", "oci-archive"] {
        let path = coracle.scratch().join(format);
        podman.save(&["--format", format], &path, &["example.com/toolbox:v1"]);
        assert_runs(&coracle, &format!("{format}:{}", path.display()));
    }
}

#[test]
fn what_is_wrong_with_an_archive_is_said() {
    let coracle = Coracle::new();
    let archive = coracle.file("archive.tar", "no archive");
    let fails = |image: &str, reasons: &[&str]| {
        coracle.finish(coracle.image_command(image, &[], &["interfaces"])).expect_error(125, reasons);
    };
    let path = archive.display();
    fails(&format!("docker-archive:{path}"), &["archive.tar", "no tar archive"]);
    fails(&format!("docker-archive:{path}:@x"), &["@x", "a number"]);
    fails("oci-archive:", &["must not be empty"]);
    fails("oci-archive:/no/such/file", &["/no/such/file", "no such file"]);
    fails("docker-daemon:box", &["docker-daemon", "docker-archive:FILE"]);
    fails(&format!("sha256:{}", "0".repeat(64)), &["in the store", "load or pull it"]);
}

#[test]
fn what_is_loaded_has_its_names_and_runs_by_them() {
    if !needs(Feature::Registry) {
        return;
    }
    const NAME: &str = "example.com/team/toolbox:v1";
    let coracle = Coracle::new();
    let archive = coracle.scratch().join("docker.tar");
    copy_toolbox(&format!("docker-archive:{}:{NAME}", archive.display()));
    let mut from_stdin = coracle.command(["load", "-q"]);
    from_stdin.stdin(File::open(&archive).expect("an archive"));
    let mut from_dash = coracle.command(["image", "load", "-"]);
    from_dash.stdin(File::open(&archive).expect("an archive"));
    let named = ["load".as_ref(), archive.as_os_str()];
    let as_docker = ["load".as_ref(), "--input".as_ref(), archive.as_os_str()];
    for command in [from_stdin, from_dash, coracle.command(named), coracle.command(as_docker)] {
        coracle.finish(command).expect_code(0).expect_stdout(&format!("Loaded image: {NAME}\n"));
        let run = coracle.image_command(NAME, &["--pull", "never", "--network", "none"], &["interfaces"]);
        coracle.finish(run).expect_code(0).expect_stdout("lo\n");
        coracle.run(["rmi", NAME]).expect_code(0);
        assert_eq!(coracle.layers().len(), 0);
    }
    // An archive without names: the digest is one.
    let unnamed = coracle.scratch().join("oci.tar");
    copy_toolbox(&format!("oci-archive:{}", unnamed.display()));
    let loaded = coracle.run(["load".as_ref(), unnamed.as_os_str()]).expect_code(0);
    let digest = loaded.stdout().trim_end().trim_start_matches("Loaded image: ").to_owned();
    assert!(digest.starts_with("sha256:"), "{loaded}");
    assert_runs(&coracle, &digest);
}

#[test]
fn what_podman_saves_loads_through_a_pipe() {
    if !needs(Feature::Root) || !needs(Feature::Podman) || !needs(Feature::Registry) {
        return;
    }
    let coracle = Coracle::new();
    let podman = Podman::new();
    let source = coracle.scratch().join("source.tar");
    copy_toolbox(&format!("docker-archive:{}:example.com/toolbox:v1", source.display()));
    podman.load(&source);
    let saved = coracle.scratch().join("saved.tar");
    podman.save(&[], &saved, &["example.com/toolbox:v1"]);
    let mut cat = Command::new("cat").arg(&saved).stdout(Stdio::piped()).spawn().expect("cat starts");
    let mut load = coracle.command(["load"]);
    load.stdin(cat.stdout.take().expect("stdout is a pipe"));
    coracle.finish(load).expect_code(0).expect_stdout("Loaded image: example.com/toolbox:v1\n");
    assert!(cat.wait().expect("a child").success());
    assert_runs(&coracle, "example.com/toolbox:v1");
}

#[test]
fn what_cannot_be_loaded_is_said() {
    let coracle = Coracle::new();
    let archive = coracle.file("archive.tar", "no archive");
    coracle.run(["load".as_ref(), archive.as_os_str()]).expect_error(125, &["archive.tar"]);
    coracle.run(["load", "/no/such/file"]).expect_error(125, &["/no/such/file"]);
    // Standard input is /dev/null.
    coracle.run(["load"]).expect_error(125, &["standard input"]);
    assert_eq!(coracle.layers().len(), 0);
}

#[test]
fn a_load_that_waits_for_its_input_can_be_interrupted() {
    let coracle = Coracle::new();
    let mut command = coracle.command(["load"]);
    let (reader, writer) = nix::unistd::pipe().expect("a pipe");
    command.stdin(reader);
    let running = coracle.start(command);
    // More than the pipe holds: when it is written, the load is under way.
    let mut writer = File::from(writer);
    writer.write_all(&vec![0; 1 << 20]).expect("a reader");
    running.process.signal(Signal::SIGTERM);
    running.finish().expect_error(143, &["interrupted"]);
    drop(writer);
    let staging = std::fs::read_dir(coracle.root().join("staging")).expect("a state root");
    assert_eq!(staging.count(), 0);
}
