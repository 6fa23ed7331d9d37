//! Manifests, indexes and configs, of OCI and of Docker's schema 2.
//! <https://github.com/opencontainers/image-spec/blob/main/manifest.md>,
//! <https://distribution.github.io/distribution/spec/manifest-v2-2/>

use super::digest::{Digest, DigestError};
use super::foreign::shown;
use super::platform::Platform;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};
use serde::Deserialize;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

const CONFIGS: [&str; 2] = ["application/vnd.oci.image.config.v1+json", DOCKER_CONFIG];

/// Types of layers that hold a tar, however compressed: that is told by the first bytes.
const LAYERS: [&str; 9] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    DOCKER_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];

/// A bound on memory for what is read whole; parsed it takes up to twelve times as much. containers/image
/// has the same for manifests and configs, and registries need take no more.
/// <https://github.com/containers/image/blob/main/internal/iolimits/iolimits.go>,
/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests>
pub const LARGEST_DOCUMENT: u64 = 4 << 20;

/// A manifest, index or config that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("failed to parse the {document}")]
    Parse { document: &'static str, source: serde_json::Error },
    #[error(
        "failed to use the manifest: it has schema version {0}, and only version 2 is supported; \
         convert the image, for example with skopeo copy --format v2s2"
    )]
    Schema(u32),
    #[error("failed to use the manifest: it is of type {}, which is no image", shown(.0))]
    MediaType(String),
    #[error("failed to use the manifest: its config is of type {}, so this is an artifact and no image", shown(.0))]
    NotAnImage(String),
    #[error("failed to use the layer {}: its type {} is not supported", shown(digest), shown(media_type))]
    LayerType { digest: String, media_type: String },
    #[error("failed to match layers: the manifest has {layers}, the config has {diff_ids} diff ids")]
    LayerCount { layers: usize, diff_ids: usize },
    #[error("failed to use the {document}: its size of {size} bytes is more than {LARGEST_DOCUMENT}")]
    TooLarge { document: &'static str, size: u64 },
    #[error("failed to choose from the index: an index points to an index more than {0} times")]
    TooDeep(u32),
    #[error(transparent)]
    Digest(#[from] DigestError),
    #[error(
        "failed to find the image for {wanted}: {}",
        if offered.is_empty() { "the index lists no platform".to_owned() } else { format!("there is {}", offered.join(", ")) }
    )]
    NoPlatform { wanted: Box<Platform>, offered: Vec<String> },
    #[error("failed to use the image for {wanted}: it is made for {found}")]
    OtherPlatform { wanted: Box<Platform>, found: Box<Platform> },
}

/// Either document that a reference can lead to.
#[derive(Debug)]
pub enum Document {
    Manifest(Box<ImageManifest>),
    Index(Box<ImageIndex>),
}

/// One layer as manifest and config describe it together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRef {
    /// Of the blob as it is sent.
    pub blob: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// Of the tar in it.
    pub diff_id: Digest,
}

pub fn is_manifest(media_type: &str) -> bool {
    media_type == OCI_MANIFEST || media_type == DOCKER_MANIFEST
}

pub fn is_index(media_type: &str) -> bool {
    media_type == OCI_INDEX || media_type == DOCKER_LIST
}

/// Parses a manifest or index. The document's own `mediaType` decides; an OCI document may lack it
/// and is then told by its fields. One that is both is refused.
///
/// # Errors
/// See [`ManifestError`].
pub fn parse(bytes: &[u8]) -> Result<Document, ManifestError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Versioned {
        schema_version: u32,
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
        layers: Option<serde::de::IgnoredAny>,
        config: Option<serde::de::IgnoredAny>,
    }
    let failed = |document| move |error| unparsed(document, &error);
    let versioned: Versioned = serde_json::from_slice(bytes).map_err(failed("manifest"))?;
    if versioned.schema_version != 2 {
        return Err(ManifestError::Schema(versioned.schema_version));
    }
    let has_image = versioned.layers.is_some() || versioned.config.is_some();
    // A document that parsers could take for either is a way to show them different images.
    // https://github.com/opencontainers/image-spec/security/advisories/GHSA-77vh-xpmg-72qh
    let ambiguous = has_image && versioned.manifests.is_some();
    let media_type = versioned.media_type.as_deref();
    match media_type {
        _ if ambiguous => Err(ManifestError::MediaType("manifest and index at once".into())),
        Some(media_type) if !is_manifest(media_type) && !is_index(media_type) => {
            Err(ManifestError::MediaType(media_type.to_owned()))
        }
        Some(media_type) if is_index(media_type) => {
            serde_json::from_slice(bytes).map(|index| Document::Index(Box::new(index))).map_err(failed("index"))
        }
        None if versioned.manifests.is_some() => {
            serde_json::from_slice(bytes).map(|index| Document::Index(Box::new(index))).map_err(failed("index"))
        }
        _ => serde_json::from_slice(bytes)
            .map(|manifest| Document::Manifest(Box::new(manifest)))
            .map_err(failed("manifest")),
    }
}

/// The parser may quote what it did not understand.
fn unparsed(document: &'static str, error: &serde_json::Error) -> ManifestError {
    ManifestError::Parse { document, source: serde::de::Error::custom(shown(&error.to_string())) }
}

/// Parses the config of `manifest` and joins the layers of both, base first.
///
/// # Errors
/// See [`ManifestError`].
pub fn parse_config(
    manifest: &ImageManifest,
    config: &[u8],
) -> Result<(ImageConfiguration, Vec<LayerRef>), ManifestError> {
    let config: ImageConfiguration =
        serde_json::from_slice(config).map_err(|error| unparsed("image config", &error))?;
    let (layers, diff_ids) = (manifest.layers(), config.rootfs().diff_ids());
    if layers.len() != diff_ids.len() {
        return Err(ManifestError::LayerCount { layers: layers.len(), diff_ids: diff_ids.len() });
    }
    let refs = layers.iter().zip(diff_ids).map(|(layer, diff_id)| {
        let media_type = layer.media_type().as_ref();
        if !LAYERS.contains(&media_type) {
            return Err(ManifestError::LayerType {
                digest: layer.digest().to_string(),
                media_type: media_type.to_owned(),
            });
        }
        Ok(LayerRef { blob: digest_of(layer)?, size: layer.size(), diff_id: diff_id.parse()? })
    });
    let refs = refs.collect::<Result<_, ManifestError>>()?;
    Ok((config, refs))
}

/// The descriptor of the config, checked to be an image's.
///
/// # Errors
/// [`ManifestError::NotAnImage`], [`ManifestError::TooLarge`], [`ManifestError::Digest`].
pub fn config_of(manifest: &ImageManifest) -> Result<(Digest, u64), ManifestError> {
    let config = manifest.config();
    if !CONFIGS.contains(&config.media_type().as_ref()) {
        return Err(ManifestError::NotAnImage(config.media_type().to_string()));
    }
    Ok((digest_of(config)?, document_size("image config", config)?))
}

/// The size of a document that is to be read whole.
///
/// # Errors
/// [`ManifestError::TooLarge`].
pub fn document_size(document: &'static str, descriptor: &Descriptor) -> Result<u64, ManifestError> {
    let size = descriptor.size();
    if size > LARGEST_DOCUMENT { Err(ManifestError::TooLarge { document, size }) } else { Ok(size) }
}

/// # Errors
/// [`ManifestError::Digest`] for an algorithm other than sha256.
pub fn digest_of(descriptor: &Descriptor) -> Result<Digest, ManifestError> {
    Ok(descriptor.digest().as_ref().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: &str) -> String {
        format!("sha256:{}", byte.repeat(32))
    }

    fn manifest(layer_type: &str) -> String {
        serde_json::json!({
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": {"mediaType": CONFIGS[1], "digest": digest("01"), "size": 10},
            "layers": [{"mediaType": layer_type, "digest": digest("02"), "size": 20}],
        })
        .to_string()
    }

    fn config(diff_ids: &[String]) -> String {
        serde_json::json!({
            "architecture": "amd64", "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })
        .to_string()
    }

    #[test]
    fn manifest_and_config_make_layers() {
        let Document::Manifest(manifest) = parse(manifest(LAYERS[7]).as_bytes()).unwrap() else { panic!() };
        let (_, layers) = parse_config(&manifest, config(&[digest("03")]).as_bytes()).unwrap();
        let expected =
            LayerRef { blob: digest("02").parse().unwrap(), size: 20, diff_id: digest("03").parse().unwrap() };
        assert_eq!(layers, [expected]);
        let error = parse_config(&manifest, config(&[]).as_bytes()).unwrap_err();
        assert!(matches!(error, ManifestError::LayerCount { layers: 1, diff_ids: 0 }));
    }

    #[test]
    fn what_is_not_understood_cannot_steer_the_terminal() {
        let evil = "\x1b[2J\nerror \u{202e}";
        let artifact = manifest(LAYERS[7]).replace(CONFIGS[1], "EVIL");
        let bad_digest = manifest(LAYERS[7]).replace("sha256:", "EVIL:");
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":1,
            "platform":{{"os":"EVIL","architecture":"a"}}}}]}}"#,
            digest("01")
        );
        let documents =
            [manifest("EVIL"), artifact, bad_digest, index, r#"{"schemaVersion":2,"mediaType":"EVIL"}"#.into()];
        for document in documents {
            let document = document.replace("EVIL", serde_json::to_string(evil).unwrap().trim_matches('"'));
            let error = match parse(document.as_bytes()) {
                Err(ManifestError::Parse { source, .. }) => source.to_string(),
                Err(error) => error.to_string(),
                Ok(Document::Index(index)) => {
                    let offered = super::super::platform::choose(index.manifests(), &Platform::host()).unwrap_err();
                    ManifestError::NoPlatform { wanted: Box::new(Platform::host()), offered }.to_string()
                }
                Ok(Document::Manifest(manifest)) => {
                    let text = config(&[digest("03")]);
                    let parsed = config_of(&manifest).and_then(|_| parse_config(&manifest, text.as_bytes()));
                    parsed.unwrap_err().to_string()
                }
            };
            assert!(error.contains("\\u{1b}[2J\\nerror \\u{202e}") && !error.contains(['\x1b', '\n']), "{error}");
        }
    }

    #[test]
    fn documents_are_told_apart() {
        assert!(matches!(parse(br#"{"schemaVersion":2,"manifests":[]}"#), Ok(Document::Index(_))));
        assert!(matches!(parse(br#"{"schemaVersion":1,"fsLayers":[]}"#), Err(ManifestError::Schema(1))));
        assert!(matches!(
            parse(br#"{"schemaVersion":2,"mediaType":"application/vnd.example"}"#),
            Err(ManifestError::MediaType(_))
        ));
        assert!(matches!(
            parse(br#"{"schemaVersion":2,"manifests":[],"config":{},"layers":[]}"#),
            Err(ManifestError::MediaType(_))
        ));
        for text in ["", "[]", "{}", "null", r#"{"schemaVersion":2}"#, r#"{"schemaVersion":"2"}"#] {
            assert!(matches!(parse(text.as_bytes()), Err(ManifestError::Parse { .. })), "{text}");
        }
    }

    #[test]
    fn layers_of_unknown_types_are_refused() {
        let Document::Manifest(manifest) = parse(manifest("application/x-ociv2").as_bytes()).unwrap() else { panic!() };
        let error = parse_config(&manifest, config(&[digest("03")]).as_bytes()).unwrap_err();
        assert!(matches!(error, ManifestError::LayerType { .. }), "{error}");
    }
}
