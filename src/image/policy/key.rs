//! Public keys in PEM, and signatures made with their private halves.

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use webpki::{RawPublicKeyEntity, ring};

/// What sigstore signs with, always over SHA-256 (Ed25519 over the message itself).
/// <https://github.com/sigstore/sigstore/blob/main/pkg/signature/verifier.go> (`LoadVerifier`)
static ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 4] =
    [ring::ECDSA_P256_SHA256, ring::ECDSA_P384_SHA256, ring::ED25519, ring::RSA_PKCS1_2048_8192_SHA256];

/// A key that can be verified with.
#[derive(Debug, Clone)]
pub struct PublicKey {
    spki: SubjectPublicKeyInfoDer<'static>,
    algorithm: &'static dyn SignatureVerificationAlgorithm,
}

/// Bytes that are no usable public key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("failed to read the key: {0}")]
    Pem(pem::Error),
    #[error("failed to find a key: there is no PEM section PUBLIC KEY")]
    NotAPublicKey,
    #[error("failed to parse the key")]
    Der(#[source] webpki::Error),
    #[error("failed to use the key: it is neither ECDSA P-256, ECDSA P-384, Ed25519 nor RSA")]
    Algorithm,
}

impl PublicKey {
    /// Reads the first `PUBLIC KEY` section, as `cosign public-key` and `openssl pkey -pubout` write it.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn parse(pem: &[u8]) -> Result<PublicKey, KeyError> {
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|error| match error {
            pem::Error::NoItemsFound => KeyError::NotAPublicKey,
            error => KeyError::Pem(error),
        })?;
        let entity = RawPublicKeyEntity::try_from(&spki).map_err(KeyError::Der)?;
        // Whether an algorithm is the key's comes before whether the signature is good.
        let is_for_key = |algorithm: &&&dyn SignatureVerificationAlgorithm| {
            let tried = entity.verify_signature(**algorithm, b"", b"");
            !matches!(tried, Err(webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)))
        };
        let algorithm = *ALGORITHMS.iter().find(is_for_key).ok_or(KeyError::Algorithm)?;
        Ok(PublicKey { spki, algorithm })
    }

    /// True when the key's owner has signed `message`.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let entity = RawPublicKeyEntity::try_from(&self.spki);
        entity.is_ok_and(|entity| entity.verify_signature(self.algorithm, message, signature).is_ok())
    }
}
