//! Keys made here, and signatures in the form that cosign attaches them.

use crate::common::registry::Registry;
use crate::layout::digest;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

pub const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const ANNOTATION: &str = "dev.cosignproject.cosign/signature";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The DER before the 65 bytes of a P-256 key.
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A new key, of the kind that `cosign generate-key-pair` makes.
pub struct Signer(EcdsaKeyPair);

impl Signer {
    pub fn new() -> Signer {
        let (algorithm, random) = (&ECDSA_P256_SHA256_ASN1_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Signer(EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap())
    }

    pub fn pem(&self) -> String {
        let key = base64(&[&SPKI, self.0.public_key().as_ref()].concat());
        format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n")
    }

    pub fn signature(&self, payload: &str) -> Signature {
        let signature = base64(self.0.sign(&SystemRandom::new(), payload.as_bytes()).unwrap().as_ref());
        Signature { media_type: PAYLOAD, payload: payload.to_owned(), annotations: json!({ANNOTATION: signature}) }
    }

    /// That the image with this digest may be called so.
    pub fn sign(&self, digest: &str, reference: &str) -> Signature {
        self.signature(&payload(digest, reference))
    }
}

pub struct Signature {
    pub media_type: &'static str,
    pub payload: String,
    pub annotations: Value,
}

pub fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

pub fn payload(digest: &str, reference: &str) -> String {
    json!({
        "critical": {
            "identity": {"docker-reference": reference},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string()
}

/// Replaces the signatures of an image, in the form that cosign attaches them.
pub fn attach(registry: &Registry, repository: &str, image: &str, signatures: &[Signature]) {
    let config = json!({"architecture": "", "os": "", "rootfs": {"type": "layers", "diff_ids": []}}).to_string();
    let blob = |bytes: &str, media_type: &str| {
        registry.put_blob(repository, &digest(bytes.as_bytes()), bytes.as_bytes());
        json!({"mediaType": media_type, "digest": digest(bytes.as_bytes()), "size": bytes.len()})
    };
    let layers = signatures.iter().map(|signature| {
        let mut layer = blob(&signature.payload, signature.media_type);
        layer["annotations"] = signature.annotations.clone();
        layer
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": blob(&config, "application/vnd.oci.image.config.v1+json"),
        "layers": layers.collect::<Vec<_>>(),
    });
    let tag = format!("{}.sig", image.replace(':', "-"));
    registry.put_manifest(repository, &tag, OCI_MANIFEST, manifest.to_string().as_bytes());
}
