//! Manifests, indexes and configs that a registry or a layout may hold to confuse or to overwhelm.

use crate::layout::{Compression, Layer, LayoutBuilder, Tar, digest};
use crate::store::{Home, chain, home};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// A good image, of which the tests spoil one thing.
struct Documents {
    config: Value,
    config_type: &'static str,
    manifest: Value,
}

impl Documents {
    /// What is in `layout`, and the manifest once the config is known.
    fn new(layout: &LayoutBuilder) -> Documents {
        let layer = Layer::new(Tar::new().file("x", b""), Compression::Gzip);
        let blob = layout.blob(&layer.blob, &layer.media_type);
        let architecture = coracle::image::Platform::host().architecture;
        let config = json!({
            "architecture": architecture, "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
        });
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [blob]});
        Documents { config, config_type: CONFIG, manifest }
    }
}

/// Resolves an image after `change`; the error as text.
fn resolve(home: &Home, change: impl FnOnce(&mut Documents)) -> Result<coracle::image::Image, String> {
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    let mut documents = Documents::new(&layout);
    change(&mut documents);
    if documents.manifest.get("config").is_none() {
        documents.manifest["config"] = layout.blob(documents.config.to_string().as_bytes(), documents.config_type);
    }
    let descriptor = layout.blob(documents.manifest.to_string().as_bytes(), MANIFEST);
    layout.add(descriptor);
    finish(home, &layout)
}

fn finish(home: &Home, layout: &LayoutBuilder) -> Result<coracle::image::Image, String> {
    let resolved = home.resolve(&format!("oci:{}", layout.path().display())).map_err(|error| chain(&error));
    std::fs::remove_dir_all(layout.path()).unwrap();
    if resolved.is_err() {
        home.assert_empty();
    }
    resolved
}

/// A descriptor and the document itself, as text that need not be JSON.
fn with_document(home: &Home, text: &str) -> Result<coracle::image::Image, String> {
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    let descriptor = layout.blob(text.as_bytes(), MANIFEST);
    layout.add(descriptor);
    finish(home, &layout)
}

fn refused(result: Result<coracle::image::Image, String>, reason: &str) {
    let error = result.unwrap_err();
    assert!(error.contains(reason), "{error}");
}

#[test]
fn a_document_is_a_manifest_or_an_index_and_says_so() {
    let home = home();
    let change = |key: &'static str, value: Value| resolve(&home, move |documents| documents.manifest[key] = value);
    refused(change("manifests", json!([])), "manifest and index at once");
    refused(change("mediaType", json!(INDEX)), "parse the index");
    refused(change("mediaType", json!("application/vnd.example")), "application/vnd.example, which is no image");
    refused(change("mediaType", json!(7)), "parse the manifest");
    refused(change("schemaVersion", json!(1)), "schema version 1");
    refused(change("schemaVersion", json!("2")), "parse the manifest");
    refused(change("layers", json!({})), "parse the manifest");
    refused(resolve(&home, |documents| documents.config_type = "application/vnd.example"), "artifact and no image");
    refused(with_document(&home, ""), "parse the manifest");
    refused(with_document(&home, &"[".repeat(100_000)), "parse the manifest");
    refused(with_document(&home, &format!("{{\"x\":{}", "{\"x\":".repeat(100_000))), "parse the manifest");
    refused(with_document(&home, r#"{"schemaVersion":2,"config":{},"config":{},"layers":[]}"#), "duplicate field");
}

#[test]
fn digests_are_sha256_and_well_formed() {
    let home = home();
    for wrong in [
        format!("sha512:{}", "a".repeat(128)),
        "md5:d41d8cd98f00b204e9800998ecf8427e".into(),
        format!("sha256:{}", "A".repeat(64)),
        format!("sha256:{}", "a".repeat(63)),
        format!("sha256:{}", "../".repeat(22)),
        "sha256".into(),
        String::new(),
    ] {
        let of_layer = resolve(&home, |documents| documents.manifest["layers"][0]["digest"] = json!(wrong));
        assert!(of_layer.is_err(), "{wrong}");
        let of_tar = resolve(&home, |documents| documents.config["rootfs"]["diff_ids"][0] = json!(wrong));
        refused(of_tar, "digest");
        let config = json!({"mediaType": CONFIG, "digest": wrong, "size": 2});
        assert!(resolve(&home, |documents| documents.manifest["config"] = config).is_err(), "{wrong}");
    }
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let home = home();
    for wrong in [json!(-1), json!(1.5), json!("100"), json!(null), json!(1e300)] {
        let result = resolve(&home, |documents| documents.manifest["layers"][0]["size"] = wrong.clone());
        refused(result, "parse the manifest");
    }
    let of_layer = |size: u64| resolve(&home, move |documents| documents.manifest["layers"][0]["size"] = json!(size));
    refused(of_layer(u64::MAX), "bytes came instead of 18446744073709551615");
    refused(of_layer(1), "more than the 1 bytes");
    let huge = json!({"mediaType": CONFIG, "digest": digest(b"{}"), "size": 1_u64 << 40});
    refused(resolve(&home, |documents| documents.manifest["config"] = huge), "is more than 4194304");
    let padding = " ".repeat(17 << 20);
    refused(with_document(&home, &padding), "4194304");
}

#[test]
fn a_config_has_as_many_diff_ids_as_there_are_layers() {
    let home = home();
    let with = |ids: Value| resolve(&home, move |documents| documents.config["rootfs"]["diff_ids"] = ids);
    refused(with(json!([])), "has 1, the config has 0");
    refused(with(json!(vec![digest(b""); 10_000])), "has 1, the config has 10000");
    refused(with(json!("sha256")), "parse the image config");
}

#[test]
fn a_long_history_is_no_obstacle() {
    let home = home();
    let history: Vec<Value> =
        (0..10_000).map(|number| json!({"created_by": format!("RUN {number}"), "empty_layer": number > 0})).collect();
    let image = resolve(&home, |documents| documents.config["history"] = json!(history)).unwrap();
    assert_eq!(image.config.history().as_ref().map(Vec::len), Some(10_000));
    assert!(image.layers[0].join("x").exists());
}

#[test]
fn indexes_that_lead_nowhere_come_to_an_end() {
    let home = home();
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    let layer = Layer::new(Tar::new().file("x", b""), Compression::Gzip);
    let mut descriptor = layout.manifest(&[layer], &coracle::image::Platform::host().architecture);
    for _ in 0..100 {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]});
        descriptor = layout.blob(index.to_string().as_bytes(), INDEX);
    }
    layout.add(descriptor);
    refused(finish(&home, &layout), "an index points to an index more than");
    // Thousands of images for other platforms.
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    let other = json!({"mediaType": MANIFEST, "digest": digest(b""), "size": 0, "platform": {"os": "plan9", "architecture": "vax"}});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": vec![other; 10_000]});
    let descriptor = layout.blob(index.to_string().as_bytes(), INDEX);
    layout.add(descriptor);
    let error = finish(&home, &layout).unwrap_err();
    assert!(error.contains("plan9") && error.len() < 2000, "{} bytes: {:.300}", error.len(), error);
}
