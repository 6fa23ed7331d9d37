//! The image commands without a network: usage, help, empty stores, the configuration file.

use crate::harness::Host;

const EMPTY: &str = "REFERENCE  DIGEST  PLATFORM  SIZE  CREATED  USED  STATE\n";

#[test]
fn nothing_is_listed_of_an_empty_store() {
    let host = Host::new();
    host.run(["images"]).exits(0).prints(EMPTY).is_quiet();
    host.run(["image", "ls"]).exits(0).prints(EMPTY).is_quiet();
    host.run(["image", "list", "--json"]).exits(0).prints("[]\n").is_quiet();
    host.run(["images", "-q"]).exits(0).prints("").is_quiet();
    host.run(["image", "gc"]).exits(0).prints("freed 0 bytes; 0 bytes remain\n").is_quiet();
    host.run(["image", "gc", "--dry-run"]).exits(0).prints("would free 0 bytes; 0 bytes remain\n").is_quiet();
    let document = host.run(["image", "gc", "--json"]).exits(0).is_quiet().json();
    assert_eq!(
        document,
        serde_json::json!({
            "dry_run": false, "dropped": [], "removed": [], "kept": [], "problems": [],
            "freed_bytes": 0, "remaining_bytes": 0,
        })
    );
}

#[test]
fn wrong_usage_is_told_before_there_is_a_root() {
    let host = Host::new();
    for (arguments, words) in [
        (&["pull"][..], "<REF>"),
        (&["pull", "--platform", "arm64", "x"], "a platform"),
        (&["pull", "--platform", "windows/amd64", "x"], "windows"),
        (&["pull", "--progress", "loud", "x"], "[possible values: auto, bar, plain, json, none]"),
        (&["load", "a.tar", "-i", "b.tar"], "cannot be used with"),
        (&["rmi"], "<REF>"),
        (&["image"], "Usage: coracle image"),
        (&["image", "inspect"], "<REF>"),
        (&["image", "gc", "--max-unused", "soon"], "soon"),
        (&["image", "gc", "--max-size", "lots"], "lots"),
        (&["images", "-q", "--json"], "cannot be used with"),
        (&["run", "--image", "oci:x", "--platform", "x", "--", "true"], "a platform"),
    ] {
        host.run(arguments).exits(125).prints("").complains(&[words]);
    }
    assert!(!host.root().exists(), "{:?}", host.tree());
}

#[test]
fn help_shows_examples_and_the_ways_of_progress() {
    let host = Host::new();
    for (arguments, words) in [
        (&["pull", "--help"][..], &["coracle pull debian:12", "--platform", "--quiet", "one JSON object"][..]),
        (&["load", "--help"], &["podman save app:v1 | coracle load", "--input"]),
        (&["image", "--help"], &["inspect", "gc", "ls", "list", "pull", "load", "rm"]),
        (&["image", "gc", "--help"], &["--max-unused 30d", "--dry-run", "images.gc.max_size"]),
        (&["run", "--help"], &["--platform", "--progress", "--quiet"]),
        (&["--help"], &["--config", "pull", "load", "images", "rmi", "image"]),
    ] {
        let help = host.run(arguments);
        help.exits(0).is_quiet();
        let text = help.text().to_lowercase();
        for word in words {
            assert!(text.contains(&word.to_lowercase()), "{arguments:?}: {word:?} is missing in {}", help.text());
        }
    }
}

#[test]
fn unknown_images_are_named() {
    let host = Host::new();
    for arguments in [&["rmi", "debian:12"][..], &["image", "rm", "debian:12"], &["image", "inspect", "debian:12"]] {
        let ran = host.run(arguments);
        ran.exits(125).prints("").complains(&["error: no image", "debian:12", "hint: `coracle images` lists them"]);
    }
    let ran = host.run(["rmi", "debian:12", "alpine"]);
    ran.exits(125).complains(&["debian:12", "alpine", "coracle: error: 2 of 2 failed"]);
    host.run(["image", "inspect", "--json", "one", "two"]).exits(125).prints("[]\n");
}

#[test]
fn what_is_no_image_is_not_pulled() {
    let host = Host::new();
    host.run(["pull", "docker.io/Team/app"]).exits(125).prints("").complains(&["docker.io/Team/app"]);
    let nowhere = format!("oci:{}", host.path("nowhere").display());
    host.run(["pull", &nowhere]).exits(125).prints("").complains(&["nowhere"]);
}

#[test]
fn the_configuration_file_counts_where_images_are_got_or_collected() {
    let host = Host::new();
    host.write("good.yaml", "images:\n  gc: {max_unused: 30d}\n");
    host.write("bad.yaml", "images:\n  gc: {max_unused: soon}\n");
    host.run(["--config", "good.yaml", "image", "gc"]).exits(0).is_quiet();
    host.run(["image", "gc", "--config", "bad.yaml"]).exits(125).complains(&["bad.yaml:2:", "max_unused", "soon"]);
    host.run(["pull", "oci:x", "--config", "nowhere.yaml"]).exits(125).complains(&["nowhere.yaml", "No such file"]);
    let mut command = host.command(["run", "--image", "oci:x", "--", "true"]);
    command.env("CORACLE_CONFIG", host.path("bad.yaml"));
    host.finish(command, b"").exits(125).complains(&["bad.yaml:2:", "soon"]);
    // A job can be cancelled all the same, unless the file was asked for.
    let mut command = host.command(["cancel", "--all"]);
    command.env("CORACLE_CONFIG", host.path("bad.yaml"));
    host.finish(command, b"").exits(0).is_quiet();
    host.run(["ps", "--config", "bad.yaml"]).exits(125).complains(&["bad.yaml:2:", "soon"]);
}
