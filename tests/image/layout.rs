//! OCI layouts and layers, built in code.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::{Path, PathBuf};

pub use crate::tarball::Tar;

pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Plain,
    Gzip,
    Zstd,
}

impl Compression {
    pub fn apply(self, tar: &[u8]) -> Vec<u8> {
        match self {
            Compression::Plain => tar.to_vec(),
            Compression::Gzip => gzip(tar),
            Compression::Zstd => zstd::encode_all(tar, 3).unwrap(),
        }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Compression::Plain => "application/vnd.oci.image.layer.v1.tar",
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// One layer of an image to be built: what is sent, and what the config claims to be in it.
#[derive(Clone)]
pub struct Layer {
    pub blob: Vec<u8>,
    pub media_type: String,
    pub diff_id: String,
}

impl Layer {
    pub fn new(tar: Tar, compression: Compression) -> Layer {
        let tar = tar.bytes();
        Layer { blob: compression.apply(&tar), media_type: compression.media_type().to_owned(), diff_id: digest(&tar) }
    }
}

/// The config of an image with these layers.
pub fn config(layers: &[Layer], architecture: &str) -> String {
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/hello"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": layers.iter().map(|_| json!({"created_by": "a test"})).collect::<Vec<_>>(),
    })
    .to_string()
}

/// An OCI layout directory under construction; complete on disk after every call.
pub struct LayoutBuilder {
    path: PathBuf,
    manifests: Vec<Value>,
}

impl LayoutBuilder {
    pub fn new(path: &Path) -> LayoutBuilder {
        std::fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        std::fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let layout = LayoutBuilder { path: path.to_owned(), manifests: Vec::new() };
        layout.write_index();
        layout
    }

    /// An image for this host's platform without a tag.
    pub fn image(&mut self, layers: &[Layer]) -> Value {
        let architecture = coracle::image::Platform::host().architecture;
        let descriptor = self.manifest(layers, &architecture);
        self.add(descriptor.clone());
        descriptor
    }

    pub fn tagged_image(&mut self, tag: &str, layers: &[Layer]) -> Value {
        let architecture = coracle::image::Platform::host().architecture;
        let mut descriptor = self.manifest(layers, &architecture);
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        self.add(descriptor.clone());
        descriptor
    }

    /// A tag that leads to an index with one image for each architecture.
    pub fn tagged_index(&mut self, tag: &str, images: &[(&str, &[Layer])]) -> Value {
        let mut manifests = Vec::new();
        for (architecture, layers) in images {
            let mut descriptor = self.manifest(layers, architecture);
            descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
            manifests.push(descriptor);
        }
        let media_type = "application/vnd.oci.image.index.v1+json";
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
        let mut descriptor = self.blob(index.to_string().as_bytes(), media_type);
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        self.add(descriptor.clone());
        descriptor
    }

    /// Writes an image's blobs and returns the descriptor of its manifest.
    pub fn manifest(&self, layers: &[Layer], architecture: &str) -> Value {
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": self.blob(config(layers, architecture).as_bytes(), "application/vnd.oci.image.config.v1+json"),
            "layers": layers.iter().map(|layer| self.blob(&layer.blob, &layer.media_type)).collect::<Vec<_>>(),
        });
        self.blob(manifest.to_string().as_bytes(), media_type)
    }

    pub fn blob(&self, bytes: &[u8], media_type: &str) -> Value {
        let digest = digest(bytes);
        std::fs::write(self.blob_path(&digest), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    pub fn add(&mut self, descriptor: Value) {
        self.manifests.push(descriptor);
        self.write_index();
    }

    pub fn blob_path(&self, digest: &str) -> PathBuf {
        self.path.join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The layout in a tar, as `skopeo copy … oci-archive:` writes it.
    pub fn archive(&self) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_dir_all(".", &self.path).unwrap();
        builder.into_inner().unwrap()
    }

    fn write_index(&self) {
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        std::fs::write(self.path.join("index.json"), index.to_string()).unwrap();
    }
}
