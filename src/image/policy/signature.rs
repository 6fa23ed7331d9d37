//! One signature, in cosign's form: a payload in the format of simple signing, and a signature of it.
//! <https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md>

use super::identity::{Named, SignedIdentity};
use super::json;
use super::key::PublicKey;
use crate::image::digest::Digest;
use crate::image::manifest::ManifestError;
use crate::image::registry::RegistryError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// `critical.type` of the payload.
const PAYLOAD_TYPE: &str = "cosign container image signature";

/// The annotation of a payload's descriptor that holds its signature, in base64.
pub const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";

/// Why a signature is not accepted. Completes a sentence about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SignatureProblem {
    #[error("its payload has {size} bytes, more than {most}")]
    TooLarge { size: u64, most: u64 },
    #[error("its descriptor cannot be used: {0}")]
    Descriptor(Arc<ManifestError>),
    #[error("{0}")]
    Fetch(Arc<RegistryError>),
    #[error("it lacks the annotation {SIGNATURE_ANNOTATION}")]
    NoAnnotation,
    #[error("its annotation {SIGNATURE_ANNOTATION} is not base64: {0}")]
    Base64(base64::DecodeError),
    #[error("it was not made with {}", if *keys == 1 { "the policy's key" } else { "any of the policy's keys" })]
    Key { keys: usize },
    #[error("its payload cannot be parsed: {0}")]
    Payload(Arc<serde_json::Error>),
    #[error("its payload is of the type {0:?}")]
    Type(String),
    #[error("it is for another image, {0:?}")]
    Digest(String),
    #[error(
        "it is for {signed:?}, which signedIdentity {kind} does not accept for {wanted}{}",
        if *is_bare { "; signatures by cosign name the repository alone and need matchRepository or exactRepository" }
        else { "" }
    )]
    Identity { signed: String, kind: &'static str, wanted: String, is_bare: bool },
}

/// Verifies that the owner of one of `keys` has signed that the image with this `digest` may be called
/// what `accepted` accepts for `identity`. Nothing of the payload is looked at before its signature is
/// good.
///
/// # Errors
/// See [`SignatureProblem`].
pub fn verify(
    payload: &[u8],
    annotation: Option<&str>,
    keys: &[PublicKey],
    digest: &Digest,
    identity: &Named,
    accepted: &SignedIdentity,
) -> Result<(), SignatureProblem> {
    let signature = annotation.ok_or(SignatureProblem::NoAnnotation)?;
    let signature = STANDARD.decode(signature).map_err(SignatureProblem::Base64)?;
    if !keys.iter().any(|key| key.has_signed(payload, &signature)) {
        return Err(SignatureProblem::Key { keys: keys.len() });
    }
    let Payload { critical, .. } = parse(payload).map_err(|error| SignatureProblem::Payload(Arc::new(error)))?;
    if critical.kind != PAYLOAD_TYPE {
        return Err(SignatureProblem::Type(critical.kind));
    }
    if critical.image.digest != digest.to_string() {
        return Err(SignatureProblem::Digest(critical.image.digest));
    }
    let signed = critical.identity.reference;
    let named = Named::parse(&signed);
    if named.as_ref().is_ok_and(|named| accepted.accepts(identity, named)) {
        return Ok(());
    }
    let is_bare = accepted.needs_tag() && named.is_ok_and(|named| named.is_name_only());
    Err(SignatureProblem::Identity { signed, kind: accepted.kind(), wanted: identity.to_string(), is_bare })
}

/// A payload has nothing but this, and each key once.
fn parse(payload: &[u8]) -> Result<Payload, serde_json::Error> {
    let payload: Payload = serde_json::from_value(json::parse(payload)?)?;
    match &payload.optional {
        Value::Null | Value::Object(_) => Ok(payload),
        _ => Err(serde::de::Error::custom("\"optional\" is neither null nor an object")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    critical: Critical,
    /// Annotations of the signer. Required, but null is a value.
    #[serde(deserialize_with = "Value::deserialize")]
    optional: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: SignedImage,
    identity: SignedAs,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedImage {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedAs {
    #[serde(rename = "docker-reference")]
    reference: String,
}
