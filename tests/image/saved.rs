//! Archives as `docker save` writes them, built in code.

use crate::layout::{Layer, Tar, config, digest};
use coracle::image::Platform;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// An image to be saved. Its layers are plain tars unless a test is about others.
#[derive(Clone)]
pub struct Saved<'a> {
    pub tags: &'a [&'a str],
    pub layers: &'a [Layer],
}

fn hex(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap()
}

fn config_of(image: &Saved) -> String {
    config(image.layers, &Platform::host().architecture)
}

/// As Docker 1.10 to 24: a directory for each layer, the same layer again as a link to the first.
pub fn docker_24(images: &[Saved]) -> Tar {
    let mut tar = Tar::new();
    let mut items = Vec::new();
    let mut known: HashMap<&str, String> = HashMap::new();
    let mut repositories: BTreeMap<&str, Value> = BTreeMap::new();
    for (number, image) in images.iter().enumerate() {
        let mut layers = Vec::new();
        for (position, layer) in image.layers.iter().enumerate() {
            // An id of the old kind: neither the layer's digest nor the diff id.
            let id = digest(format!("{number} {position}").as_bytes());
            let id = hex(&id);
            let name = format!("{id}/layer.tar");
            tar = tar.directory(&format!("{id}/")).file(&format!("{id}/VERSION"), b"1.0");
            tar = tar.file(&format!("{id}/json"), json!({"id": id}).to_string().as_bytes());
            tar = match known.get(layer.diff_id.as_str()) {
                Some(first) => tar.symlink(&name, &format!("../{first}")),
                None => tar.file(&name, &layer.blob),
            };
            known.entry(&layer.diff_id).or_insert_with(|| name.clone());
            layers.push(name);
        }
        let config = config_of(image);
        let name = format!("{}.json", hex(&digest(config.as_bytes())));
        tar = tar.file(&name, config.as_bytes());
        for tag in image.tags {
            let (repository, tag) = tag.rsplit_once(':').unwrap();
            repositories.insert(repository, json!({tag: "top"}));
        }
        items.push(item(&name, image.tags, &layers));
    }
    tar.file("manifest.json", json!(items).to_string().as_bytes())
        .file("repositories", json!(repositories).to_string().as_bytes())
}

/// An entry of `manifest.json`.
pub fn item(config: &str, tags: &[&str], layers: &[String]) -> Value {
    let tags = if tags.is_empty() { Value::Null } else { json!(tags) };
    json!({"Config": config, "RepoTags": tags, "Layers": layers})
}

/// What versions of Docker wrote into the `index.json` of [`docker_25`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    /// As it should be.
    Whole,
    /// 25.0.0: manifests without layers.
    NoLayers,
    /// 25.0.1, of images without a name.
    Null,
    /// Several images by digest: only the first.
    First,
}

/// As Docker from 25 on: an OCI layout that has `manifest.json` too.
pub fn docker_25(images: &[Saved], index: Index) -> Tar {
    let mut tar = Tar::new().file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).directory("blobs/sha256/");
    let (mut items, mut descriptors) = (Vec::new(), Vec::new());
    let mut known = Vec::new();
    let mut blob = |tar: Tar, bytes: &[u8]| {
        let digest = digest(bytes);
        let name = format!("blobs/sha256/{}", hex(&digest));
        let is_new = !known.contains(&digest);
        known.push(digest.clone());
        (if is_new { tar.file(&name, bytes) } else { tar }, name, digest)
    };
    for image in images {
        let (mut layers, mut names) = (Vec::new(), Vec::new());
        for layer in image.layers {
            let (name, digest);
            (tar, name, digest) = blob(tar, &layer.blob);
            layers.push(json!({"mediaType": layer.media_type, "digest": digest, "size": layer.blob.len()}));
            names.push(name);
        }
        let text = config_of(image);
        let (config, digest);
        (tar, config, digest) = blob(tar, text.as_bytes());
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": text.len(),
            },
            "layers": if index == Index::NoLayers { vec![] } else { layers },
        })
        .to_string();
        let digest;
        (tar, _, digest) = blob(tar, manifest.as_bytes());
        let platform = json!({"os": "linux", "architecture": Platform::host().architecture});
        let descriptor =
            json!({"mediaType": media_type, "digest": digest, "size": manifest.len(), "platform": platform});
        for tag in image.tags {
            let mut descriptor = descriptor.clone();
            let full = if tag.contains('/') { (*tag).to_owned() } else { format!("docker.io/library/{tag}") };
            descriptor["annotations"] = json!({
                "io.containerd.image.name": full,
                "org.opencontainers.image.ref.name": tag.rsplit_once(':').unwrap().1,
            });
            descriptors.push(descriptor);
        }
        if image.tags.is_empty() {
            descriptors.push(descriptor);
        }
        items.push(item(&config, image.tags, &names));
    }
    if index == Index::First {
        descriptors.truncate(1);
    }
    let manifests = if index == Index::Null { Value::Null } else { json!(descriptors) };
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
    tar.file("index.json", index.to_string().as_bytes()).file("manifest.json", json!(items).to_string().as_bytes())
}
