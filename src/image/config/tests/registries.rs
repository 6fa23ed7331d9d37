//! Where a repository is read from, and which files say so.

use super::{Host, chain, contains, display, name};
use crate::image::config::{Endpoint, HostConfig, Serves};

/// Each endpoint as `REGISTRY/REPOSITORY`, with what is special about it.
fn endpoints(config: &HostConfig, text: &str) -> Vec<String> {
    let show = |endpoint: Endpoint| {
        let insecure = if endpoint.insecure { " insecure" } else { "" };
        let serves = match endpoint.serves {
            Serves::All => "",
            Serves::DigestOnly => " by digest",
            Serves::TagOnly => " by tag",
        };
        format!("{}/{}{insecure}{serves}", endpoint.registry, endpoint.repository)
    };
    config.endpoints(&name(text)).unwrap().into_iter().map(show).collect()
}

fn of(toml: &str, text: &str) -> Vec<String> {
    endpoints(&HostConfig::from_toml(toml).unwrap(), text)
}

#[test]
fn without_an_entry_only_this_machine_is_insecure() {
    assert_eq!(of("", "debian"), ["docker.io/library/debian"]);
    assert_eq!(of("", "localhost:5000/a"), ["localhost:5000/a insecure"]);
    assert_eq!(of("", "127.0.0.1:5000/a"), ["127.0.0.1:5000/a insecure"]);
    assert_eq!(of("", "registry.example/a"), ["registry.example/a"]);
    // An entry decides by itself.
    assert_eq!(of("[[registry]]\nlocation = \"localhost:5000\"", "localhost:5000/a"), ["localhost:5000/a"]);
}

#[test]
fn the_longest_prefix_counts_and_ends_at_a_separator() {
    let toml = r#"
        [[registry]]
        location = "example.com"
        [[registry]]
        prefix = "example.com/team"
        location = "team.example"
        insecure = true
        [[registry]]
        prefix = "example.com/team/tool:1"
        location = "one.example/tool:1"
    "#;
    assert_eq!(of(toml, "example.com/other"), ["example.com/other"]);
    assert_eq!(of(toml, "example.com/team/a:2"), ["team.example/a insecure"]);
    assert_eq!(of(toml, "example.com/teams/a"), ["example.com/teams/a"]);
    assert_eq!(of(toml, "example.com/team/tool:1"), ["one.example/tool"]);
    assert_eq!(of(toml, "example.com/team/tool:12"), ["team.example/tool insecure"]);
    assert_eq!(of(toml, "example.community/a"), ["example.community/a"]);
    // As in podman, a host stands for all its ports.
    assert_eq!(
        of("[[registry]]\nlocation = \"example.com\"\ninsecure = true", "example.com:5000/a"),
        ["example.com:5000/a insecure"]
    );
}

#[test]
fn a_location_takes_the_place_of_the_prefix() {
    let toml = r#"
        [[registry]]
        prefix = "example.com/foo"
        location = "internal.example:5000/bar/"
        [[registry]]
        prefix = "docker.io/library/alpine"
        location = "docker.io/mirrored/alpine"
        [[registry]]
        prefix = "gcr.io"
        location = "docker.io"
    "#;
    assert_eq!(of(toml, "example.com/foo/image:latest"), ["internal.example:5000/bar/image"]);
    assert_eq!(of(toml, "example.com/foo:1"), ["internal.example:5000/bar"]);
    assert_eq!(of(toml, "alpine:3"), ["docker.io/mirrored/alpine"]);
    assert_eq!(of(toml, "gcr.io/alpine"), ["docker.io/library/alpine"]);
}

#[test]
fn a_location_that_makes_another_image_is_refused() {
    let refused = |location: &str, text: &str| {
        let toml = format!("[[registry]]\nprefix = \"example.com/a\"\nlocation = \"{location}\"");
        chain(&HostConfig::from_toml(&toml).unwrap().endpoints(&name(text)).unwrap_err())
    };
    contains(&refused("other.example/a:2", "example.com/a/b:1"), &["example.com/a/b:1", "other.example/a:2"]);
    contains(&refused("nohost/a", "example.com/a/b:1"), &["example.com/a/b:1", "nohost/a", "registries.conf"]);
    contains(&refused("other.example/A", "example.com/a/b:1"), &["lower case"]);
    let toml = "[[registry]]\nprefix = \"example.com/a:1\"\nlocation = \"example.com/a:2\"";
    let error = HostConfig::from_toml(toml).unwrap().endpoints(&name("example.com/a:1")).unwrap_err();
    contains(&error.to_string(), &["example.com/a:1", "change the tag"]);
}

#[test]
fn a_star_stands_for_any_hosts_below_one() {
    let toml = r#"
        [[registry]]
        prefix = "*.example.com"
        insecure = true
        [[registry]]
        location = "a.b.example.com"
        [[registry]]
        prefix = "*.moved.example"
        location = "new.example/old"
    "#;
    for host in ["x.example.com", "x.y.example.com", "x.example.com:5000"] {
        assert_eq!(of(toml, &format!("{host}/a")), [format!("{host}/a insecure")]);
    }
    for host in ["example.com", "xexample.com", "x.example.com.org", "a.b.example.com"] {
        assert_eq!(of(toml, &format!("{host}/a")), [format!("{host}/a")]);
    }
    assert_eq!(of(toml, "evil.org/x.example.com"), ["evil.org/x.example.com"], "the path is no host");
    assert_eq!(of(toml, "x.moved.example/a/b"), ["new.example/old/a/b"]);
    // Of the same length, the host itself.
    let toml = "[[registry]]\nlocation = \"x.a.com\"\n[[registry]]\nprefix = \"*.a.com\"\ninsecure = true";
    assert_eq!(of(toml, "x.a.com/b"), ["x.a.com/b"]);
    assert_eq!(of(toml, "y.a.com/b"), ["y.a.com/b insecure"]);
}

#[test]
fn mirrors_come_first_and_say_what_they_serve() {
    let toml = r#"
        [[registry]]
        prefix = "example.com/foo"
        location = "internal.example/bar"
        [[registry.mirror]]
        location = "one.example/mirror"
        [[registry.mirror]]
        location = "two.example"
        insecure = true
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "three.example"
        pull-from-mirror = "tag-only"
        [[registry.mirror]]
        location = "four.example"
        pull-from-mirror = "all"
        [[registry]]
        location = "other.example"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "mirror.example/other"
    "#;
    assert_eq!(
        of(toml, "example.com/foo/image:1"),
        [
            "one.example/mirror/image",
            "two.example/image insecure by digest",
            "three.example/image by tag",
            "four.example/image",
            "internal.example/bar/image",
        ]
    );
    assert_eq!(of(toml, "other.example/a"), ["mirror.example/other/a by digest", "other.example/a"]);
}

#[test]
fn a_blocked_namespace_is_refused_with_its_file() {
    let host = Host::new();
    let text = "[[registry]]\nlocation = \"example.com/bad\"\nblocked = true\n";
    let file = host.file("etc/containers/registries.conf", text);
    let error = host.config().endpoints(&name("example.com/bad/a:1")).unwrap_err();
    contains(&error.to_string(), &["example.com/bad/a:1", "blocks example.com/bad", display(&file)]);
    assert_eq!(endpoints(&host.config(), "example.com/good"), ["example.com/good"]);
}

#[test]
fn drop_ins_replace_what_files_before_them_say() {
    let host = Host::new();
    let entry =
        |prefix: &str, location: &str| format!("[[registry]]\nprefix = \"{prefix}\"\nlocation = \"{location}\"\n");
    let main = entry("a.example", "main.example") + &entry("b.example", "main.example");
    host.file("etc/containers/registries.conf", &main);
    host.file("etc/containers/registries.conf.d/20.conf", &entry("a.example", "second.example"));
    host.file("etc/containers/registries.conf.d/10.conf", &entry("a.example", "first.example"));
    host.file("etc/containers/registries.conf.d/30.conf.off", &entry("a.example", "off.example"));
    host.file("etc/containers/registries.conf.d/40.conf/x.conf", &entry("a.example", "below.example"));
    assert_eq!(endpoints(&host.config(), "a.example/x"), ["second.example/x"]);
    assert_eq!(endpoints(&host.config(), "b.example/x"), ["main.example/x"]);
    host.file("home/.config/containers/registries.conf.d/01.conf", &entry("a.example", "mine.example"));
    assert_eq!(endpoints(&host.config(), "a.example/x"), ["mine.example/x"]);
    // With a main file of one's own the system's files do not count.
    host.file("home/.config/containers/registries.conf", &entry("c.example", "mine.example"));
    assert_eq!(endpoints(&host.config(), "a.example/x"), ["mine.example/x"]);
    assert_eq!(endpoints(&host.config(), "b.example/x"), ["b.example/x"]);
    assert_eq!(endpoints(&host.config(), "c.example/x"), ["mine.example/x"]);
}

#[test]
fn a_file_that_is_named_replaces_the_main_files_and_must_be_there() {
    let mut host = Host::new();
    let entry = |location: &str| format!("[[registry]]\nprefix = \"a.example\"\nlocation = \"{location}\"\n");
    host.file("etc/containers/registries.conf", &entry("main.example"));
    host.file("home/.config/containers/registries.conf", &entry("mine.example"));
    host.file("named.conf", &entry("named.example"));
    host.set("CONTAINERS_REGISTRIES_CONF", "named.conf");
    assert_eq!(endpoints(&host.config(), "a.example/x"), ["named.example/x"]);
    host.file("etc/containers/registries.conf.d/10.conf", &entry("dropped.example"));
    assert_eq!(endpoints(&host.config(), "a.example/x"), ["dropped.example/x"], "drop-ins count as ever");
    host.set("CONTAINERS_REGISTRIES_CONF", "missing.conf");
    let error = host.config().endpoints(&name("a.example/x")).unwrap_err();
    contains(&error.to_string(), &[display(&host.path("missing.conf")), "CONTAINERS_REGISTRIES_CONF"]);
    host.variables.insert("CONTAINERS_REGISTRIES_CONF", "".into());
    std::fs::remove_file(host.path("etc/containers/registries.conf.d/10.conf")).unwrap();
    assert_eq!(endpoints(&host.config(), "a.example/x"), ["mine.example/x"], "empty is not set");
}

#[test]
fn files_are_read_once() {
    let host = Host::new();
    let file = host.file("etc/containers/registries.conf", "[[registry]]\nlocation = \"a.example\"\ninsecure = true\n");
    let config = host.config();
    let clone = config.clone();
    assert_eq!(endpoints(&config, "a.example/x"), ["a.example/x insecure"]);
    std::fs::remove_file(file).unwrap();
    assert_eq!(endpoints(&clone, "a.example/x"), ["a.example/x insecure"]);
    assert_eq!(endpoints(&host.config(), "a.example/x"), ["a.example/x"]);
}

#[test]
fn keys_of_newer_versions_are_passed_over() {
    let toml = r#"
        additional-layer-store-auth-helper = "x"
        [new-table]
        key = 1979-05-27
        [[registry]]
        location = "a.example"
        insecure = true
        new-key = { a = 1 }
        [[registry.mirror]]
        location = "b.example"
        another = ["x"]
    "#;
    assert_eq!(of(toml, "a.example/x"), ["b.example/x", "a.example/x insecure"]);
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (toml, parts) in [
        ("[[registry]]\nlocation = \"a.b\"\ninsecure = \"yes\"", &["registries.conf:3:12", "boolean", "insecure"][..]),
        ("\nunqualified-search-registries = \"a.b\"", &["registries.conf:2:", "unqualified-search-registries"]),
        ("[[registry]]\nlocation = ", &["registries.conf:2:"]),
        ("[registries.search]\nregistries = [\"a.b\"]", &["registries.conf:1", "version 1", "[[registry]]"]),
        ("[[registry]]\nlocation = \"https://a.b\"", &["registries.conf:2", "location", "without http"]),
        ("[[registry]]\nprefix = \"a.b\"", &["registries.conf:1", "needs a location"]),
        ("[[registry]]\ninsecure = true", &["registries.conf:1", "needs a location"]),
        ("[[registry]]\nprefix = \"a.*.b\"\nlocation = \"c.d\"", &["registries.conf:2", "prefix", "star"]),
        ("[[registry]]\nprefix = \"*.a.b/c\"", &["registries.conf:2", "prefix", "star"]),
        ("[[registry]]\nlocation = \"a.b\"\npull-from-mirror = \"all\"", &["registries.conf:3", "registry.mirror"]),
        ("[[registry]]\nlocation = \"a.b\"\n[[registry.mirror]]\n", &["registries.conf:3", "needs a location"]),
        (
            "[[registry]]\nlocation = \"a.b\"\n[[registry.mirror]]\nlocation = \"c.d\"\npull-from-mirror = \"some\"",
            &["registries.conf:5", "pull-from-mirror = \"some\"", "tag-only"],
        ),
        (
            "[[registry]]\nlocation = \"a.b\"\nmirror-by-digest-only = true\n\
             [[registry.mirror]]\nlocation = \"c.d\"\npull-from-mirror = \"all\"",
            &["registries.conf:6", "mirror-by-digest-only"],
        ),
        (
            "[[registry]]\nlocation = \"a.b\"\nblocked = true\n[[registry]]\nprefix = \"c.d\"\nlocation = \"a.b\"",
            &["registries.conf:4", "blocked", "says otherwise"],
        ),
        ("short-name-mode = \"maybe\"", &["registries.conf:1", "short-name-mode", "enforcing"]),
        ("unqualified-search-registries = [\"a.b/c\"]", &["registries.conf:1", "unqualified-search-registries"]),
        ("unqualified-search-registries = [\"quay\"]", &["registries.conf:1", "quay", "registry.example"]),
    ] {
        contains(&chain(&HostConfig::from_toml(toml).unwrap_err()), parts);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_a_home_of_somebody_else_is_not() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::new();
    std::fs::create_dir_all(host.path("etc/containers/registries.conf")).unwrap();
    let error = host.config().endpoints(&name("a.example/x")).unwrap_err();
    contains(&error.to_string(), &[display(&host.path("etc/containers/registries.conf"))]);
    std::fs::remove_dir(host.path("etc/containers/registries.conf")).unwrap();
    let file = host.file("home/.config/containers/registries.conf", "[[registry]]\nlocation = \"a.example\"\n");
    std::fs::set_permissions(host.path("home"), PermissionsExt::from_mode(0o0)).unwrap();
    // Root sees everything.
    let is_hidden = file.metadata().is_err();
    let found = host.config().endpoints(&name("a.example/x"));
    std::fs::set_permissions(host.path("home"), PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(found.unwrap().len(), 1, "hidden: {is_hidden}");
}

#[test]
fn a_runtime_directory_that_is_closed_to_this_user_holds_no_credentials() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::new();
    // As podman makes it when root runs it first.
    host.file("run/containers/0/auth.json", "{}");
    let closed = host.path("run/containers");
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o0)).unwrap();
    let endpoint = host.config().endpoints(&name("a.example/x")).unwrap().remove(0);
    let found = host.config().credentials(&endpoint);
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(found.unwrap(), crate::image::config::Credentials::Anonymous);
}
