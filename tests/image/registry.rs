//! Debian's docker-registry, filled by skopeo.

use crate::common::host::{Feature, needs};
use crate::common::registry::{PASSWORD, Registry, USER};
use crate::layout::{Compression, Layer, LayoutBuilder, Tar};
use crate::store::{chain, home, homes};
use std::fs;
use std::process::{Command, Stdio};

fn layers() -> Vec<Layer> {
    let names = ["base", "middle", "top"];
    let compressions = [Compression::Gzip, Compression::Plain, Compression::Gzip];
    names
        .iter()
        .zip(compressions)
        .map(|(name, compression)| Layer::new(Tar::new().file(name, name.repeat(100_000).as_bytes()), compression))
        .collect()
}

#[test]
fn images_of_every_format_come_by_tag_and_by_digest() {
    if !needs(Feature::Registry) {
        return;
    }
    let registry = Registry::start();
    for home in homes() {
        let mut layout = LayoutBuilder::new(&home.path("layout"));
        layout.tagged_image("v1", &layers());
        let host = coracle::image::Platform::host().architecture;
        layout.tagged_index("multi", &[("s390x", &layers()[..1]), (&host, &layers())]);
        let source = |tag: &str| format!("oci:{}:{tag}", layout.path().display());
        let oci = registry.push(&source("v1"), "team/oci:v1");
        let docker = registry.push_with(&["--format", "v2s2"], &source("v1"), "team/docker:v1");
        let zstd =
            registry.push_with(&["--dest-compress-format", "zstd", "--dest-compress"], &source("v1"), "team/zstd:v1");
        let multi = registry.push_with(&["--all"], &source("multi"), "team/multi:v1");

        let first = home.resolve(&oci).unwrap();
        assert!(first.pulled);
        for (root, name) in first.layers.iter().zip(["base", "middle", "top"]) {
            assert_eq!(fs::read_to_string(root.join(name)).unwrap(), name.repeat(100_000));
        }
        for reference in [docker, zstd, multi] {
            let image = home.resolve(&reference).unwrap();
            assert_eq!(image.layers, first.layers, "{reference}: the same layers, which are shared");
        }
        let repository = oci.strip_suffix(":v1").unwrap();
        for reference in [
            format!("{repository}@{}", first.manifest_digest),
            format!("{oci}@{}", first.manifest_digest),
            format!("docker://{oci}"),
        ] {
            assert_eq!(home.resolve(&reference).unwrap().manifest_digest, first.manifest_digest);
        }
        assert_eq!(home.staged(), Vec::<String>::new());
    }
}

#[test]
fn what_the_registry_does_not_have_is_named() {
    if !needs(Feature::Registry) {
        return;
    }
    let registry = Registry::start();
    let home = home();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    layout.tagged_image("v1", &layers());
    registry.push(&format!("oci:{}:v1", layout.path().display()), "there:v1");
    for name in ["there:v2", "nowhere:v1", &format!("there@sha256:{}", "0".repeat(64))] {
        let reference = registry.reference(name);
        let error = chain(&home.resolve(&reference).unwrap_err());
        assert!(error.contains(&reference) && error.contains("does not have it"), "{error}");
    }
    home.assert_empty();
}

#[test]
fn a_login_comes_from_dockers_configuration() {
    if !needs(Feature::Registry) {
        return;
    }
    let registry = Registry::start_with_login();
    let home = home();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    layout.tagged_image("v1", &layers());
    let login = format!("{USER}:{PASSWORD}");
    let source = format!("oci:{}:v1", layout.path().display());
    let reference = registry.push_with(&["--dest-creds", &login], &source, "private:v1");
    let configuration = home.path("docker");
    fs::create_dir(&configuration).unwrap();
    let pull = || {
        let output = Command::new(env!("CARGO_BIN_EXE_coracle"))
            .arg("--root")
            .arg(home.state.root())
            .args(["run", "--image", &reference, "--", "/nothing"])
            .env("DOCKER_CONFIG", &configuration)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let write = |user: &str, password: &str| {
        let host = reference.split('/').next().unwrap();
        let config = serde_json::json!({"auths": {host: {"username": user, "password": password}}});
        fs::write(configuration.join("config.json"), config.to_string()).unwrap();
    };
    let fails = |reasons: &[&str]| {
        let (code, said) = pull();
        assert!(code == Some(125) && reasons.iter().all(|reason| said.contains(reason)), "{code:?}: {said}");
        home.assert_empty();
    };
    fails(&["refused access without credentials"]);
    write(USER, "wrong");
    fails(&["refused access with the credentials"]);
    fs::write(configuration.join("config.json"), "{").unwrap();
    fails(&["failed to get the credentials", "config.json"]);
    write(USER, PASSWORD);
    let (code, said) = pull();
    assert_eq!(code, Some(127), "the image is there, and has no program in it: {said}");
    assert_eq!(home.layers().len(), 3);
}
