//! A real registry behind a proxy that spoils connections, and proxies from the environment.

use crate::common::host::{Feature, needs};
use crate::common::registry::Registry;
use crate::layout::{Compression, Layer, LayoutBuilder, Tar};
use crate::proxy::{Fault, Proxy};
use crate::store::{Home, chain, home, homes, impatient, resolve_in};
use coracle::image::{ImageName, ImageStore, NetworkPolicy, PullPolicy};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A registry that holds `team/large:v1`, of two layers, one of which does not compress.
fn filled(home: &Home) -> Registry {
    let registry = Registry::start();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let content: Vec<u8> = noise.take(4 << 20).collect();
    let small = Layer::new(Tar::new().file("small", b"x"), Compression::Gzip);
    let large = Layer::new(Tar::new().file("large", &content), Compression::Gzip);
    layout.tagged_image("v1", &[small, large]);
    registry.push(&format!("oci:{}:v1", layout.path().display()), "team/large:v1");
    registry
}

fn before(registry: &Registry, fault: impl Fn(usize) -> Fault + Send + 'static) -> (Proxy, ImageName) {
    let proxy = Proxy::start(registry.reference("").trim_end_matches('/'), fault);
    let name = ImageName::parse(&format!("{}/team/large:v1", proxy.address())).unwrap();
    (proxy, name)
}

fn store(home: &Home) -> ImageStore {
    home.store().with_network(NetworkPolicy { stall: Duration::from_millis(500), ..impatient() })
}

#[test]
fn an_image_comes_whole_over_connections_that_are_spoilt() {
    if !needs(Feature::Registry) {
        return;
    }
    const BUSY: &str = "HTTP/1.1 429 X\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const DOWN: &str = "HTTP/1.1 503 X\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndown";
    type Faults = fn(usize) -> Fault;
    let faults: [(&str, usize, Faults); 5] = [
        ("each is cut after a megabyte", 4, |_| Fault::Cut(1 << 20)),
        ("the first are cut early", 4, |number| if number < 3 { Fault::Cut(100) } else { Fault::None }),
        ("the first stall", 3, |number| if number < 2 { Fault::Stall(700_000) } else { Fault::None }),
        ("the registry is busy", 4, |number| if number < 3 { Fault::Answer(BUSY) } else { Fault::None }),
        ("the registry is down now and then", 4, |number| {
            if number % 3 == 0 { Fault::Answer(DOWN) } else { Fault::Cut(1 << 20) }
        }),
    ];
    for (kind, connections, fault) in faults {
        let home = home();
        let registry = filled(&home);
        let (proxy, name) = before(&registry, fault);
        let image = resolve_in(&store(&home), &name, PullPolicy::IfNotPresent, None, None);
        let image = image.unwrap_or_else(|error| panic!("{kind}: {}", chain(&error)));
        let large = std::fs::metadata(image.layers[1].join("large")).unwrap();
        assert_eq!(large.len(), 4 << 20, "{kind}");
        assert!(proxy.count() >= connections, "{kind}: {}", proxy.count());
        assert_eq!(home.staged(), Vec::<String>::new());
    }
}

#[test]
fn a_layer_that_was_changed_on_the_way_is_not_kept() {
    if !needs(Feature::Registry) {
        return;
    }
    for home in homes() {
        let registry = filled(&home);
        let (_proxy, name) = before(&registry, |_| Fault::Corrupt(2 << 20));
        let error = resolve_in(&store(&home), &name, PullPolicy::IfNotPresent, None, None).unwrap_err();
        assert!(chain(&error).contains("failed to verify the layer: its digest is"), "{}", chain(&error));
        assert_eq!(home.staged(), Vec::<String>::new());
        assert!(home.layers().len() < 2, "the small one may be there");

        let (_proxy, name) = before(&registry, |_| Fault::None);
        assert!(resolve_in(&store(&home), &name, PullPolicy::IfNotPresent, None, None).is_ok());
    }
}

#[test]
fn an_image_that_is_here_runs_while_the_registry_is_down() {
    const DOWN: &str = "HTTP/1.1 503 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const LIMITED: &str = "HTTP/1.1 429 X\r\nRetry-After: 9999\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const LOCKED: &str = "HTTP/1.1 403 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    if !needs(Feature::Registry) {
        return;
    }
    let home = home();
    let registry = filled(&home);
    let known = home.resolve(&registry.reference("team/large:v1")).unwrap().manifest_digest;
    for answer in [DOWN, LIMITED] {
        let (_proxy, name) = before(&registry, move |_| Fault::Answer(answer));
        let image = resolve_in(&store(&home), &name, PullPolicy::Newer, None, Some(&known)).unwrap();
        assert!(!image.pulled && image.notes[0].to_string().contains("that is here"), "{:?}", image.notes);
    }
    let (_proxy, name) = before(&registry, |_| Fault::Answer(LOCKED));
    let error = resolve_in(&store(&home), &name, PullPolicy::Newer, None, Some(&known)).unwrap_err();
    assert!(chain(&error).contains("refused access"), "an answer is an answer: {}", chain(&error));
}

#[test]
fn an_image_that_is_here_runs_while_no_layer_of_a_newer_one_comes() {
    if !needs(Feature::Registry) {
        return;
    }
    let home = home();
    let registry = filled(&home);
    let mut before_that = LayoutBuilder::new(&home.path("old"));
    before_that.tagged_image("v1", &[Layer::new(Tar::new().file("old", b"x"), Compression::Gzip)]);
    registry.push(&format!("oci:{}:v1", home.path("old").display()), "team/large:v1");
    let known = home.resolve(&registry.reference("team/large:v1")).unwrap().manifest_digest;
    registry.push(&format!("oci:{}:v1", home.path("layout").display()), "team/large:v1");
    let (_proxy, name) = before(&registry, |_| Fault::Cut(100_000));
    let image = resolve_in(&store(&home), &name, PullPolicy::Newer, None, Some(&known)).unwrap();
    assert!(!image.pulled && image.notes[0].to_string().contains("that is here"), "{:?}", image.notes);
    assert_eq!(image.manifest_digest, known);
    let error = resolve_in(&store(&home), &name, PullPolicy::Always, None, Some(&known)).unwrap_err();
    assert!(chain(&error).contains("broke"), "{}", chain(&error));
}

#[test]
fn an_image_of_schema_1_is_refused_with_a_way_out() {
    if !needs(Feature::Registry) {
        return;
    }
    let home = home();
    let registry = filled(&home);
    let source = format!("oci:{}:v1", home.path("layout").display());
    let old = registry.push_with(&["--format", "v2s1"], &source, "team/old:v1");
    let error = chain(&home.resolve(&old).unwrap_err());
    assert!(error.contains("schema version 1") && error.contains("skopeo copy --format v2s2"), "{error}");
    home.assert_empty();
}

/// Runs `coracle` with this environment; the connections that came to a proxy that leads to
/// `registry`, and what was said.
fn through_proxy(home: &Home, registry: &Registry, image: &str, variables: &[(&str, &str)]) -> (usize, String) {
    let (proxy, _) = before(registry, |_| Fault::Tunnel);
    let address = format!("http://{}", proxy.address());
    let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    for (name, value) in variables {
        command.env(name, if *value == "PROXY" { &address } else { *value });
    }
    let run = ["run", "--image", image, "--", "/nothing"];
    let output = command.arg("--root").arg(home.state.root()).args(run).stdin(Stdio::null()).output().unwrap();
    (proxy.count(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn proxies_come_from_the_environment() {
    if !needs(Feature::Registry) {
        return;
    }
    let home = home();
    let registry = Registry::start();
    // This machine, by an address that is not known to be. Nobody listens there; at the other end of the
    // proxy is a registry without TLS.
    let image = "0.0.0.0:1/team/image:v1";
    for variables in [
        &[("HTTPS_PROXY", "PROXY")][..],
        &[("https_proxy", "PROXY")],
        &[("ALL_PROXY", "PROXY")],
        &[("HTTPS_PROXY", "PROXY"), ("NO_PROXY", "example.com,0.0.0.0:2")],
    ] {
        let (count, said) = through_proxy(&home, &registry, image, variables);
        assert!(count > 0 && said.contains("it does not speak TLS"), "{variables:?}: {count} {said}");
    }
    for variables in [
        &[][..],
        &[("HTTP_PROXY", "PROXY")],
        &[("HTTPS_PROXY", "PROXY"), ("NO_PROXY", "example.com,0.0.0.0")],
        &[("https_proxy", "PROXY"), ("no_proxy", "0.0.0.0/8")],
        &[("HTTPS_PROXY", "PROXY"), ("NO_PROXY", "*")],
    ] {
        let (count, said) = through_proxy(&home, &registry, image, variables);
        assert!(count == 0 && said.contains("Connection refused"), "{variables:?}: {count} {said}");
    }
}

#[test]
fn this_machine_is_reached_without_a_proxy() {
    if !needs(Feature::Registry) {
        return;
    }
    let home = home();
    let registry = filled(&home);
    let image = registry.reference("team/large:v1");
    let (count, said) = through_proxy(&home, &registry, &image, &[("HTTP_PROXY", "PROXY"), ("HTTPS_PROXY", "PROXY")]);
    assert_eq!((count, home.layers().len()), (0, 2), "{said}");
}
