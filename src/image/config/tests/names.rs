//! What a short name stands for.

use super::{Host, chain, contains, name};
use crate::image::config::HostConfig;

fn candidates(config: &HostConfig, text: &str) -> Vec<String> {
    config.candidates(&name(text)).unwrap().iter().map(ToString::to_string).collect()
}

fn of(toml: &str, text: &str) -> Vec<String> {
    candidates(&HostConfig::from_toml(toml).unwrap(), text)
}

#[test]
fn without_configuration_it_is_docker_hub() {
    let config = HostConfig::default();
    assert_eq!(candidates(&config, "debian"), ["docker.io/library/debian:latest"]);
    assert_eq!(candidates(&config, "a/b:1"), ["docker.io/a/b:1"]);
    assert!(!config.candidates(&name("debian")).unwrap()[0].is_short(), "what it stands for is complete");
    assert_eq!(candidates(&config, "quay.io/a/b:1"), ["quay.io/a/b:1"]);
}

#[test]
fn an_alias_is_looked_up_as_written_and_keeps_tag_and_digest() {
    let toml = r#"
        unqualified-search-registries = ["search.example"]
        [aliases]
        "tool" = "registry.example/team/tool"
        "team/tool" = "localhost:5000/x"
        "alpine" = "docker.io/alpine"
    "#;
    let digest = format!("sha256:{}", "a".repeat(64));
    assert_eq!(of(toml, "tool"), ["registry.example/team/tool:latest"]);
    assert_eq!(of(toml, "tool:3"), ["registry.example/team/tool:3"]);
    assert_eq!(of(toml, &format!("tool@{digest}")), [format!("registry.example/team/tool@{digest}")]);
    assert_eq!(of(toml, &format!("tool:3@{digest}")), [format!("registry.example/team/tool:3@{digest}")]);
    assert_eq!(of(toml, "team/tool:1"), ["localhost:5000/x:1"]);
    assert_eq!(of(toml, "alpine:3"), ["docker.io/library/alpine:3"]);
    assert_eq!(of(toml, "library/tool"), ["search.example/library/tool:latest"], "another name");
    assert_eq!(of(toml, "docker.io/library/tool"), ["docker.io/library/tool:latest"], "not short");
}

#[test]
fn search_registries_are_tried_in_order() {
    let toml = r#"unqualified-search-registries = ["one.example", "two.example:5000/", "docker.io"]"#;
    let expected = ["one.example/debian:12", "two.example:5000/debian:12", "docker.io/library/debian:12"];
    assert_eq!(of(toml, "debian:12"), expected);
    assert_eq!(of(&format!("short-name-mode = \"disabled\"\n{toml}"), "debian:12"), expected);
    assert_eq!(of(&format!("short-name-mode = \"permissive\"\n{toml}"), "debian:12"), expected);
    assert_eq!(of("unqualified-search-registries = []", "debian"), ["docker.io/library/debian:latest"]);
}

#[test]
fn enforcing_asks_for_the_full_name_where_podman_would_ask_its_user() {
    let enforcing = |hosts: &str| {
        let toml = format!("short-name-mode = \"enforcing\"\nunqualified-search-registries = {hosts}");
        HostConfig::from_toml(&toml).unwrap()
    };
    assert_eq!(candidates(&enforcing(r#"["one.example"]"#), "debian:1"), ["one.example/debian:1"]);
    let error = enforcing(r#"["one.example", "two.example"]"#).candidates(&name("debian:1")).unwrap_err();
    contains(
        &error.to_string(),
        &["one.example/debian:1 or two.example/debian:1", "enforcing", "write the name with its registry"],
    );
}

#[test]
fn later_files_replace_and_erase_aliases() {
    let host = Host::new();
    host.file(
        "etc/containers/registries.conf",
        "unqualified-search-registries = [\"main.example\"]\n[aliases]\na = \"main.example/a\"\nb = \"main.example/b\"\n",
    );
    host.file("etc/containers/registries.conf.d/10-first.conf", "[aliases]\na = \"first.example/a\"\nb = \"\"\n");
    host.file("etc/containers/registries.conf.d/20-second.conf", "[aliases]\na = \"second.example/a\"\n");
    assert_eq!(candidates(&host.config(), "a"), ["second.example/a:latest"]);
    assert_eq!(candidates(&host.config(), "b"), ["main.example/b:latest"], "by search");
    // What podman recorded when its user chose goes before all.
    host.file("home/.cache/containers/short-name-aliases.conf", "[aliases]\n\"a\" = \"chosen.example/a\"\n");
    assert_eq!(candidates(&host.config(), "a"), ["chosen.example/a:latest"]);
}

#[test]
fn root_keeps_recorded_aliases_elsewhere() {
    let mut host = Host::new();
    host.uid = 0;
    host.file("home/.cache/containers/short-name-aliases.conf", "[aliases]\na = \"home.example/a\"\n");
    host.file("var/cache/containers/short-name-aliases.conf", "[aliases]\na = \"var.example/a\"\n");
    assert_eq!(candidates(&host.config(), "a"), ["var.example/a:latest"]);
}

#[test]
fn an_alias_that_makes_no_name_is_named() {
    let toml = format!("[aliases]\nlong = \"registry.example/{}\"", "a".repeat(230));
    let config = HostConfig::from_toml(&toml).unwrap();
    assert_eq!(config.candidates(&name("long:1")).unwrap().len(), 1);
    for (text, parts) in [
        ("[aliases]\na = \"b\"", ["registries.conf:2", "aliases.a", "with its registry"]),
        ("[aliases]\na = \"b.example/c:1\"", ["registries.conf:2", "aliases.a", "without a tag"]),
        ("[aliases]\n\n\"b.example/c\" = \"b.example/c\"", ["registries.conf:3", "b.example/c", "has no registry"]),
        ("[aliases]\n\"a:1\" = \"b.example/c\"", ["registries.conf:2", "aliases.a:1", "no tag"]),
    ] {
        contains(&chain(&HostConfig::from_toml(text).unwrap_err()), &parts);
    }
}

#[test]
fn a_complete_name_needs_no_file() {
    let host = Host::new();
    host.file("etc/containers/registries.conf", "this is not TOML");
    assert_eq!(candidates(&host.config(), "quay.io/a/b:1"), ["quay.io/a/b:1"]);
    host.config().candidates(&name("debian")).unwrap_err();
}
