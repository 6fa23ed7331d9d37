//! Signatures in the registry.

use super::error::{PolicyError, Refusal, RefusalReason};
use super::identity::{Named, SignedIdentity};
use super::key::PublicKey;
use super::signature::{self, SIGNATURE_ANNOTATION, SignatureProblem};
use crate::image::digest::Digest;
use crate::image::manifest::{self, Document, ManifestError};
use crate::image::registry::Registry;
use oci_spec::image::Descriptor;
use std::path::PathBuf;
use std::sync::Arc;

/// The media type of payloads. Attachments of other types are not signatures.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// Signatures of one image that are looked at. Signers that sign the same image again and again add one
/// each time.
const MOST_SIGNATURES: usize = 128;

/// Bytes of a payload. Those of cosign have about 250, and what the signer chose to add.
const LARGEST_PAYLOAD: u64 = 1 << 20;

/// What an image's signatures must show before anything of it is unpacked.
#[derive(Debug)]
#[must_use]
pub struct Demands {
    pub(super) image: String,
    /// The policy file.
    pub(super) path: PathBuf,
    pub(super) demands: Vec<Demand>,
}

/// One `sigstoreSigned`.
#[derive(Debug)]
pub struct Demand {
    pub place: String,
    pub keys: Vec<PublicKey>,
    /// What signatures may name.
    pub signed: SignedIdentity,
    /// What the image is called.
    pub identity: Named,
}

impl Demands {
    /// True when nothing need be seen.
    pub fn is_empty(&self) -> bool {
        self.demands.is_empty()
    }

    /// Verifies that the image with the manifest `digest` meets every demand. One good signature each
    /// is enough. `is_of_index` tells that an index led to the image. Asks the registry only when there
    /// is a demand.
    ///
    /// # Errors
    /// [`PolicyError::Refused`]; [`PolicyError::Signatures`] and [`PolicyError::SignatureList`] when
    /// it cannot be decided.
    pub async fn verify(&self, registry: &Registry, digest: &Digest, is_of_index: bool) -> Result<(), PolicyError> {
        let Some(first) = self.demands.first() else { return Ok(()) };
        let signatures = self.signatures(registry, digest).await?;
        if signatures.is_empty() {
            return Err(self.refused(first, RefusalReason::Unsigned { digest: digest.clone(), is_of_index }));
        }
        if signatures.len() > MOST_SIGNATURES {
            let (count, most) = (signatures.len(), MOST_SIGNATURES);
            return Err(self.refused(first, RefusalReason::TooMany { count, most }));
        }
        // Those not yet met, with what was wrong with each signature so far.
        let mut open: Vec<(&Demand, Vec<SignatureProblem>)> = self.demands.iter().map(|d| (d, Vec::new())).collect();
        for descriptor in &signatures {
            let payload = self.payload(registry, descriptor).await?;
            let annotations = descriptor.annotations().as_ref();
            let annotation = annotations.and_then(|all| all.get(SIGNATURE_ANNOTATION)).map(String::as_str);
            open.retain_mut(|(Demand { keys, signed, identity, .. }, problems)| {
                let verified = payload.as_ref().map_err(SignatureProblem::clone);
                match verified.and_then(|bytes| signature::verify(bytes, annotation, keys, digest, identity, signed)) {
                    Ok(()) => false,
                    Err(problem) => {
                        problems.push(problem);
                        true
                    }
                }
            });
            if open.is_empty() {
                break;
            }
        }
        match open.into_iter().next() {
            None => Ok(()),
            Some((demand, problems)) => Err(self.refused(demand, RefusalReason::NoneAccepted { problems })),
        }
    }

    /// The descriptors of the payloads that are attached to an image.
    async fn signatures(&self, registry: &Registry, digest: &Digest) -> Result<Vec<Descriptor>, PolicyError> {
        let tag = format!("sha256-{}.sig", digest.hex());
        let found = registry.manifest_of_tag(&tag).await;
        let found = found.map_err(|source| self.unknown(source))?;
        let Some(bytes) = found else { return Ok(Vec::new()) };
        let parsed = manifest::parse(&bytes).and_then(|document| match document {
            Document::Manifest(manifest) => Ok(manifest),
            Document::Index(_) => Err(ManifestError::MediaType("an index".into())),
        });
        let failed = |source| PolicyError::SignatureList { image: self.image.clone(), tag, source: Box::new(source) };
        let mut layers = std::mem::take(parsed.map_err(failed)?.layers_mut());
        layers.retain(|layer| layer.media_type().as_ref() == PAYLOAD);
        Ok(layers)
    }

    /// A payload, or what is wrong with it. A registry that does not answer any more ends the search:
    /// whether another signature is good is then not known.
    async fn payload(
        &self,
        registry: &Registry,
        descriptor: &Descriptor,
    ) -> Result<Result<Vec<u8>, SignatureProblem>, PolicyError> {
        let (size, most) = (descriptor.size(), LARGEST_PAYLOAD);
        if size > most {
            return Ok(Err(SignatureProblem::TooLarge { size, most }));
        }
        let digest = match manifest::digest_of(descriptor) {
            Ok(digest) => digest,
            Err(error) => return Ok(Err(SignatureProblem::Descriptor(Arc::new(error)))),
        };
        match registry.document(&digest, size).await {
            Ok(payload) => Ok(Ok(payload)),
            Err(error) if error.is_unreachable() => Err(self.unknown(error)),
            Err(error) => Ok(Err(SignatureProblem::Fetch(Arc::new(error)))),
        }
    }

    fn unknown(&self, source: crate::image::registry::RegistryError) -> PolicyError {
        PolicyError::Signatures { image: self.image.clone(), source: Box::new(source) }
    }

    fn refused(&self, demand: &Demand, reason: RefusalReason) -> PolicyError {
        let (image, path, place) = (self.image.clone(), self.path.clone(), demand.place.clone());
        PolicyError::Refused(Box::new(Refusal { image, path, place, reason }))
    }
}
