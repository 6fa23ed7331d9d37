//! What images are called: names as users write them, references into registries, digests.
//!
//! Parsers alone: nothing here looks whether there is such an image. A spec holds only names that [`ImageName::parse`]
//! takes, and `image` finds what they stand for.

pub mod digest;
pub mod name;
pub mod reference;

pub use digest::{Digest, DigestError};
pub use name::{ArchivedImage, ImageName};
pub use reference::{ReferenceError, RegistryName};
