//! Jobs from images in archives, as other tools write them.

use crate::common::cli::Coracle;
use crate::common::fixture;
use crate::common::host::{Feature, needs};
use crate::common::podman::Podman;
use std::process::Command;

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
