//! Signature policy: which images may be taken into the store.
//! <https://github.com/containers/image/blob/main/docs/containers-policy.json.5.md>
//!
//! # The file
//! `~/.config/containers/policy.json`, else `/etc/containers/policy.json`, as podman and skopeo read
//! them; or one that the user names, which must then be there. A host without any accepts everything,
//! unlike podman, which then pulls nothing. A file that is malformed stops every pull.
//!
//! # What is checked, and when
//! The policy is read and asked whenever content is taken from a source under a name: at a pull, after
//! the manifest's digest is known and before its config or any layer is read; for an image in a local
//! file at every use of it; and before an image that is in the store is first used under a name with its
//! digest that it was not pulled under. Only what needs a signature waits for the manifest: an image that is
//! rejected by its name is not asked for at all.
//!
//! What is in the store has passed the policy of its time for the name it was pulled under, and is not
//! checked again when it is run: not when nothing is asked for, nor when the registry's HEAD answers
//! with the digest that is here (pull policy `newer`). To apply a policy that has become stricter to
//! images that are here, pull them again, or remove them.
//!
//! # Requirements
//! `insecureAcceptAnything`, `reject`, and `sigstoreSigned` with public keys. Whatever else a
//! requirement says (`signedBy`, Fulcio, Rekor, a PKI, fields and types of later versions) is read, and
//! refuses the images that it applies to: it cannot be checked here.
//!
//! # Signatures
//! Those that cosign attaches: an image manifest under the tag `sha256-HEX.sig` of the repository. As
//! in containers/image the digest that must be signed is that of the image's own manifest; a signature
//! on an index alone does not count. Local files have no such attachments, so nothing from them can
//! satisfy `sigstoreSigned`. Attachments are always looked for; `use-sigstore-attachments` of
//! containers-registries.d(5) is not needed.

mod error;
mod file;
mod identity;
mod json;
mod key;
mod parse;
mod requirement;
mod scope;
mod signature;
#[cfg(test)]
mod tests;
mod verify;

pub use error::{MalformedPolicy, PolicyError, Refusal, RefusalReason};
pub use file::Policy;
pub use key::KeyError;
pub use scope::Origin;
pub use signature::SignatureProblem;
pub use verify::Demands;
