//! From a name to an image: tags, platforms, what is here already.

use crate::layout::{Compression, Layer, LayoutBuilder, Tar};
use crate::server::{Answer, Server, digest_of};
use crate::store::{chain, home, homes, resolve_in};
use coracle::image::{Image, ImageError, ImageName, Platform, PullPolicy};
use std::fs;

fn layer(name: &str) -> Layer {
    Layer::new(Tar::new().file(name, b""), Compression::Gzip)
}

#[test]
fn what_is_here_needs_neither_unpacker_nor_network() {
    for home in homes() {
        let mut layout = LayoutBuilder::new(&home.path("layout"));
        layout.image(&[layer("a"), layer("b")]);
        let text = format!("oci:{}", layout.path().display());
        let first = home.resolve(&text).unwrap();
        assert!(first.pulled && first.notes.is_empty());
        assert_eq!(first.config.config().as_ref().unwrap().cmd().as_deref(), Some(&["/bin/hello".to_owned()][..]));
        let name = ImageName::parse(&text).unwrap();
        let store = home.store_with("/no/such/coracle".as_ref());
        let again = resolve_in(&store, &name, PullPolicy::Never, None, None).unwrap();
        assert!(!again.pulled);
        assert_eq!((again.manifest_digest, again.layers), (first.manifest_digest, first.layers));
    }
}

#[test]
fn never_means_never() {
    let home = home();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    layout.image(&[layer("a")]);
    for name in [format!("oci:{}", layout.path().display()), "127.0.0.1:1/image".into()] {
        let error = home.resolve_with(&name, PullPolicy::Never).unwrap_err();
        assert!(matches!(error, ImageError::NotPresent { .. }), "{error}");
    }
    home.assert_empty();
}

#[test]
fn tags_choose_among_the_images_of_a_layout() {
    let home = home();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    layout.tagged_image("one", &[layer("one")]);
    let path = layout.path().display().to_string();
    assert!(home.resolve(&format!("oci:{path}")).unwrap().layers[0].join("one").exists(), "the only one");
    layout.tagged_image("two", &[layer("two")]);
    assert!(home.resolve(&format!("oci:{path}:two")).unwrap().layers[0].join("two").exists());
    let fails = |name: &str, reasons: &[&str]| {
        let error = chain(&home.resolve(name).unwrap_err());
        assert!(reasons.iter().all(|reason| error.contains(reason)), "{error}");
    };
    fails(&format!("oci:{path}"), &["it holds 2", "oci:PATH:TAG", "one, two"]);
    fails(&format!("oci:{path}:three"), &["three", "one, two"]);
    fails("oci:/no/such/layout", &["/no/such/layout"]);
    fails(&format!("oci:{}", home.state.root().display()), &["not an OCI layout"]);
}

#[test]
fn a_damaged_layout_is_named() {
    let home = home();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    let descriptor = layout.image(&[layer("a")]);
    let name = format!("oci:{}", layout.path().display());
    let manifest = layout.blob_path(&digest_of(&descriptor));
    let good = fs::read(&manifest).unwrap();
    let fails = |reason: &str| {
        let error = chain(&home.resolve(&name).unwrap_err());
        assert!(error.contains(reason), "{error}");
        home.assert_empty();
    };
    fs::write(&manifest, [&good[..good.len() - 1], b" "].concat()).unwrap();
    fails("its digest is sha256:");
    fs::write(&manifest, &good[1..]).unwrap();
    fails("bytes instead of");
    fs::remove_file(&manifest).unwrap();
    fails("the blob is missing");
    fs::write(layout.path().join("index.json"), "{").unwrap();
    fails("failed to parse");
}

#[test]
fn an_index_gives_the_image_for_the_platform() {
    let home = home();
    let host = Platform::host().architecture;
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    layout.tagged_index("multi", &[("s390x", &[layer("other")]), (&host, &[layer("host")])]);
    layout.tagged_index("foreign", &[("s390x", &[layer("other")]), ("mips64le", &[layer("third")])]);
    let resolve = |tag: &str, platform: Option<&str>| -> Result<Image, String> {
        let name = ImageName::parse(&format!("oci:{}:{tag}", layout.path().display())).unwrap();
        let platform: Option<Platform> = platform.map(|platform| platform.parse().unwrap());
        resolve_in(&home.store(), &name, PullPolicy::IfNotPresent, platform.as_ref(), None)
            .map_err(|error| chain(&error))
    };
    assert!(resolve("multi", None).unwrap().layers[0].join("host").exists());
    assert!(resolve("multi", Some("linux/s390x")).unwrap().layers[0].join("other").exists());
    let error = resolve("foreign", None).unwrap_err();
    assert!(error.contains("linux/s390x, linux/mips64le"), "{error}");
}

#[test]
fn an_image_for_another_platform_is_refused_if_one_was_asked_for() {
    let home = home();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    let foreign = layout.manifest(&[layer("a")], "s390x");
    layout.add(foreign);
    let name = ImageName::parse(&format!("oci:{}", layout.path().display())).unwrap();
    let resolve =
        |platform: Option<&Platform>| resolve_in(&home.store(), &name, PullPolicy::IfNotPresent, platform, None);
    let error = chain(&resolve(Some(&"linux/ppc64le".parse().unwrap())).unwrap_err());
    assert!(error.contains("linux/ppc64le") && error.contains("made for linux/s390x"), "{error}");
    let image = resolve(None).unwrap();
    assert!(image.notes[0].to_string().contains("made for linux/s390x"), "{:?}", image.notes);
}

#[test]
fn a_layer_that_is_there_twice_is_mounted_once_at_its_upper_place() {
    let home = home();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    layout.image(&[layer("twice"), layer("between"), layer("twice"), layer("top")]);
    let image = home.resolve(&format!("oci:{}", layout.path().display())).unwrap();
    let files: Vec<&str> = image
        .layers
        .iter()
        .map(|root| *["twice", "between", "top"].iter().find(|name| root.join(name).exists()).unwrap())
        .collect();
    assert_eq!(files, ["between", "twice", "top"]);
}

#[test]
fn an_image_without_layers_is_an_image() {
    let home = home();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    layout.image(&[]);
    assert!(home.resolve(&format!("oci:{}", layout.path().display())).unwrap().layers.is_empty());
}

#[test]
fn a_known_digest_needs_no_registry_until_something_is_missing() {
    let home = home();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    let manifest = digest_of(&layout.image(&[layer("a")]));
    let server = Server::start(&layout, &manifest, |_| Answer::Normal);
    let reference = server.reference();
    let name = ImageName::parse(&reference).unwrap();
    let digest = home.resolve(&reference).unwrap().manifest_digest;
    let resolve = |policy| resolve_in(&home.store(), &name, policy, None, Some(&digest));
    let before = server.count("");
    for policy in [PullPolicy::IfNotPresent, PullPolicy::Never] {
        assert!(!resolve(policy).unwrap().pulled);
    }
    assert_eq!(server.count(""), before, "no request");

    let blob = home.state.blobs().join("sha256").join(digest.hex());
    fs::write(&blob, "damaged").unwrap();
    let error = resolve(PullPolicy::Never).unwrap_err();
    assert!(matches!(error, ImageError::Damaged { .. }), "{error}");
    let image = resolve(PullPolicy::IfNotPresent).unwrap();
    assert!(image.notes[0].to_string().contains(digest.hex()), "the damaged file is named: {:?}", image.notes);
    assert!(!resolve(PullPolicy::Never).unwrap().pulled, "and is good again");
}

#[test]
fn newer_and_always_differ_when_the_registry_is_gone() {
    let home = home();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    let manifest = digest_of(&layout.image(&[layer("a")]));
    let newer = digest_of(&layout.image(&[layer("b")]));
    let server = Server::start(&layout, &manifest, |_| Answer::Normal);
    let reference = server.reference();
    let name = ImageName::parse(&reference).unwrap();
    let known = home.resolve(&reference).unwrap().manifest_digest;
    let resolve = |policy| resolve_in(&home.store(), &name, policy, None, Some(&known));
    assert!(!resolve(PullPolicy::Newer).unwrap().pulled);
    drop(server);

    let image = resolve(PullPolicy::Newer).unwrap();
    assert!(image.notes[0].to_string().contains("that is here"), "{:?}", image.notes);
    let error = chain(&resolve(PullPolicy::Always).unwrap_err());
    assert!(error.contains("failed to reach 127.0.0.1"), "{error}");

    // The tag has moved; the port is another one, which the store does not care about.
    let server = Server::start(&layout, &newer, |_| Answer::Normal);
    let name = ImageName::parse(&server.reference()).unwrap();
    for (policy, pulled) in [(PullPolicy::IfNotPresent, false), (PullPolicy::Newer, true)] {
        let image = resolve_in(&home.store(), &name, policy, None, Some(&known)).unwrap();
        assert_eq!((image.pulled, image.manifest_digest == known), (pulled, !pulled), "{policy:?}");
    }
}

#[test]
fn what_has_not_changed_is_asked_for_by_its_digest_alone() {
    let home = home();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    let manifest = digest_of(&layout.image(&[layer("a")]));
    let server = Server::start(&layout, &manifest, |_| Answer::Normal);
    let name = ImageName::parse(&server.reference()).unwrap();
    let known = home.resolve(&server.reference()).unwrap().manifest_digest;
    let (asked, fetched) = (server.count("/manifests/latest"), server.count("GET /v2/image/manifests/latest"));
    for policy in [PullPolicy::Newer, PullPolicy::Always] {
        let image = resolve_in(&home.store(), &name, policy, None, Some(&known)).unwrap();
        assert!(!image.pulled && image.manifest_digest == known, "{policy:?}");
    }
    assert_eq!(server.count("/manifests/latest"), asked + 2);
    assert_eq!(server.count("GET /v2/image/manifests/latest"), fetched);
}
