//! Digests of content, as OCI writes them.

use crate::quote::quoted;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// `sha256:` and 64 lower-case hexadecimal digits. Other algorithms are refused when parsed: no
/// registry in use produces them for images, and every name on disk is made of these digits.
/// <https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests>
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest {
    hex: String,
}

/// A digest that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    #[error("failed to read the digest {}: it is not of the form sha256: and 64 hexadecimal digits", quoted(.0))]
    Form(String),
    #[error("failed to use the digest {}: only sha256 is supported", quoted(.0))]
    Algorithm(String),
}

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::from_hash(Sha256::new().chain_update(bytes))
    }

    /// Of everything that `hash` was fed.
    pub fn from_hash(hash: Sha256) -> Digest {
        let hex = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Digest { hex }
    }

    /// The hexadecimal digits alone; safe as a file name.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let Some((algorithm, hex)) = text.split_once(':') else { return Err(DigestError::Form(text.to_owned())) };
        if algorithm != "sha256" {
            return Err(DigestError::Algorithm(text.to_owned()));
        }
        if hex.len() != 64 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(DigestError::Form(text.to_owned()));
        }
        Ok(Digest { hex: hex.to_owned() })
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Digest, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_sha256_is_a_digest() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(empty.parse::<Digest>().unwrap(), Digest::of(b""));
        for text in ["", "sha256:", "e3b0", &empty.to_uppercase(), &empty[..70], "sha256:../../etc/passwd"] {
            assert!(matches!(text.parse::<Digest>(), Err(DigestError::Form(_) | DigestError::Algorithm(_))), "{text}");
        }
        assert!(matches!("sha512:00".parse::<Digest>(), Err(DigestError::Algorithm(_))));
    }
}
