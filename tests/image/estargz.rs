//! eStargz layers: a gzip member for each file, a table of contents as the last entry, and a footer that
//! is an empty member with an extra field. To a reader that knows nothing of it, a tar.gz like any other.
//! <https://github.com/containerd/stargz-snapshotter/blob/main/docs/estargz.md>

use crate::common::host::{Feature, needs};
use crate::common::registry::Registry;
use crate::layout::{Layer, LayoutBuilder, Tar, digest};
use crate::store::homes;
use flate2::{Compression, GzBuilder};
use serde_json::json;
use std::fs;
use std::io::Write;

const LANDMARK: &str = ".no.prefetch.landmark";
const TABLE: &str = "stargz.index.json";

fn member(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The empty member that says where the table's member begins: an extra field `SG` with 16 hexadecimal
/// digits and the word STARGZ.
fn footer(table: usize) -> Vec<u8> {
    let content = format!("{table:016x}STARGZ");
    let length = u16::try_from(content.len()).unwrap().to_le_bytes();
    let extra = [&b"SG"[..], &length, content.as_bytes()].concat();
    let footer = GzBuilder::new().extra(extra).write(Vec::new(), Compression::none()).finish().unwrap();
    assert_eq!(footer.len(), 51, "the size that the format fixes");
    footer
}

/// The entries of a tar without its end.
fn entries(tar: Tar) -> Vec<u8> {
    let mut bytes = tar.bytes();
    bytes.truncate(bytes.len() - 1024);
    bytes
}

fn estargz(files: &[(&str, &[u8])]) -> Layer {
    let mut tar = Vec::new();
    let mut blob = Vec::new();
    let mut table = Vec::new();
    let mut add = |name: &str, content: &[u8], blob: &mut Vec<u8>| {
        let bytes = entries(Tar::new().file(name, content));
        let entry = json!({"name": name, "type": "reg", "size": content.len(), "offset": blob.len()});
        blob.extend(member(&bytes));
        tar.extend(bytes);
        entry
    };
    table.push(add(LANDMARK, b"\xf0", &mut blob));
    for (name, content) in files {
        table.push(add(name, content, &mut blob));
    }
    let table_offset = blob.len();
    let end = Tar::new().file(TABLE, json!({"version": 1, "entries": table}).to_string().as_bytes()).bytes();
    blob.extend(member(&end));
    blob.extend(footer(table_offset));
    tar.extend(end);
    Layer { blob, media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into(), diff_id: digest(&tar) }
}

#[test]
fn estargz_layers_are_layers_like_any_other() {
    if !needs(Feature::Registry) {
        return;
    }
    let registry = Registry::start();
    let big = b"content ".repeat(50_000);
    let layer = estargz(&[("etc", b"a file"), ("big", &big), ("empty", b"")]);
    for home in homes() {
        let mut layout = LayoutBuilder::new(&home.path("layout"));
        layout.tagged_image("v1", std::slice::from_ref(&layer));
        let reference = registry.push(&format!("oci:{}:v1", layout.path().display()), "team/estargz:v1");
        let image = home.resolve(&reference).unwrap();
        let root = &image.layers[0];
        assert_eq!(fs::read(root.join("big")).unwrap(), big);
        assert_eq!(fs::read(root.join("etc")).unwrap(), b"a file");
        assert_eq!(fs::read(root.join("empty")).unwrap(), b"");
        // What podman and Docker do with the format's own entries as well: they are files.
        let table: serde_json::Value = serde_json::from_slice(&fs::read(root.join(TABLE)).unwrap()).unwrap();
        assert_eq!(table["entries"].as_array().unwrap().len(), 4);
        assert!(root.join(LANDMARK).exists());
    }
}
