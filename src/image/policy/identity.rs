//! What a signature may claim an image to be called: `signedIdentity`.

use crate::image::digest::Digest;
use crate::image::reference::{ReferenceError, RegistryName};
use std::fmt;

/// A reference as Docker reads it, to which no default tag has been added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Registry and repository.
    name: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// How the identity in a signature must relate to the image's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedIdentity {
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    ExactReference(Named),
    /// Registry and repository.
    ExactRepository(String),
    RemapIdentity {
        prefix: String,
        signed_prefix: String,
    },
}

impl Named {
    /// # Errors
    /// What is no reference.
    pub fn parse(text: &str) -> Result<Named, ReferenceError> {
        let name = RegistryName::parse(text)?;
        let last = text.split('@').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        let tag = if last.contains(':') { name.tag().map(str::to_owned) } else { None };
        Ok(Named { name: repository(&name), tag, digest: name.digest().cloned() })
    }

    /// The image's own identity. Where there is a digest the tag does not count, as for podman.
    pub fn of(name: &RegistryName) -> Named {
        let tag = if name.digest().is_none() { name.tag().map(str::to_owned) } else { None };
        Named { name: repository(name), tag, digest: name.digest().cloned() }
    }

    /// Registry and repository.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn is_name_only(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }
}

fn repository(name: &RegistryName) -> String {
    format!("{}/{}", name.registry(), name.repository())
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

impl SignedIdentity {
    /// The name of the kind in a policy.
    pub fn kind(&self) -> &'static str {
        match self {
            SignedIdentity::MatchExact => "matchExact",
            SignedIdentity::MatchRepoDigestOrExact => "matchRepoDigestOrExact",
            SignedIdentity::MatchRepository => "matchRepository",
            SignedIdentity::ExactReference(_) => "exactReference",
            SignedIdentity::ExactRepository(_) => "exactRepository",
            SignedIdentity::RemapIdentity { .. } => "remapIdentity",
        }
    }

    /// True when a signature for `signed` is one for `image`.
    pub fn accepts(&self, image: &Named, signed: &Named) -> bool {
        match self {
            SignedIdentity::MatchExact => !image.is_name_only() && signed == image,
            SignedIdentity::MatchRepoDigestOrExact => is_same_or_by_digest(image, signed),
            SignedIdentity::MatchRepository => signed.name == image.name,
            SignedIdentity::ExactReference(reference) => signed == reference,
            SignedIdentity::ExactRepository(repository) => signed.name == *repository,
            SignedIdentity::RemapIdentity { prefix, signed_prefix } => {
                remap(image, prefix, signed_prefix).is_some_and(|image| is_same_or_by_digest(&image, signed))
            }
        }
    }

    /// True for the kinds that no identity without a tag or digest can satisfy, and cosign writes such.
    pub fn needs_tag(&self) -> bool {
        !matches!(self, SignedIdentity::MatchRepository | SignedIdentity::ExactRepository(_))
    }
}

fn is_same_or_by_digest(image: &Named, signed: &Named) -> bool {
    match (&image.tag, &image.digest) {
        _ if signed.is_name_only() => false,
        (Some(_), _) => signed == image,
        // That the image has this digest, and the signature too, is checked elsewhere.
        (None, Some(_)) => signed.name == image.name,
        (None, None) => false,
    }
}

/// The image's identity with the beginning of its name exchanged, if it has that beginning. `None` when
/// the result is not a complete reference.
fn remap(image: &Named, prefix: &str, signed_prefix: &str) -> Option<Named> {
    let rest = match image.name.strip_prefix(prefix) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => return Some(image.clone()),
    };
    let remapped = Named { name: format!("{signed_prefix}{rest}"), ..image.clone() };
    Named::parse(&remapped.to_string()).ok().filter(|parsed| *parsed == remapped)
}
