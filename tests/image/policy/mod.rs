//! Signature policies, against a real registry where there is one.

mod scopes;
mod signatures;
mod signer;

use crate::common::registry::Registry;
use crate::layout::{Compression, Layer, LayoutBuilder, Tar};
use crate::server::digest_of;
use crate::store::{Home, chain, resolve_in};
use coracle::image::{Image, ImageError, ImageName, PullPolicy};
use serde_json::{Value, json};
use signer::{Signature, Signer};
use std::fs;
use std::path::{Path, PathBuf};

/// A registry with the image `team/app:v1`, and a signer.
struct Site {
    home: Home,
    registry: Registry,
    signer: Signer,
    reference: String,
    /// Of the image's manifest.
    digest: String,
}

impl Site {
    fn new(home: Home) -> Site {
        let registry = Registry::start();
        let mut layout = LayoutBuilder::new(&home.path("layout"));
        let digest = digest_of(&layout.tagged_image("v1", &layers()));
        let reference = registry.push(&format!("oci:{}:v1", layout.path().display()), "team/app:v1");
        Site { home, registry, signer: Signer::new(), reference, digest }
    }

    fn repository(&self) -> &str {
        self.reference.strip_suffix(":v1").unwrap()
    }

    /// Replaces the signatures of the image with this digest.
    fn attach(&self, digest: &str, signatures: &[Signature]) {
        signer::attach(&self.registry, "team/app", digest, signatures);
    }

    fn key_file(&self) -> PathBuf {
        write(&self.home.path("signer.pub"), &self.signer.pem())
    }

    /// `sigstoreSigned` by the signer for everything.
    fn signed_policy(&self) -> Value {
        json!({"default": [{"type": "sigstoreSigned", "keyPath": self.key_file()}]})
    }

    fn pull(&self, policy: &Value, reference: &str) -> Result<Image, ImageError> {
        resolve(&self.home, policy, reference, PullPolicy::IfNotPresent)
    }

    /// Asserts that nothing of the image gets into the store, and returns what is said about it.
    fn refused(&self, policy: &Value, reference: &str) -> String {
        refused(&self.home, policy, reference)
    }
}

fn layers() -> Vec<Layer> {
    vec![Layer::new(Tar::new().file("file", b"content"), Compression::Gzip)]
}

fn write(path: &Path, text: &str) -> PathBuf {
    fs::write(path, text).unwrap();
    path.to_owned()
}

fn resolve(home: &Home, policy: &Value, reference: &str, pull: PullPolicy) -> Result<Image, ImageError> {
    resolve_known(home, policy, reference, pull, None)
}

fn resolve_known(
    home: &Home,
    policy: &Value,
    reference: &str,
    pull: PullPolicy,
    known: Option<&Image>,
) -> Result<Image, ImageError> {
    let store = home.store().with_signature_policy(write(&home.path("policy.json"), &policy.to_string()));
    let name = ImageName::parse(reference).unwrap();
    resolve_in(&store, &name, pull, None, known.map(|image| &image.manifest_digest))
}

fn refused(home: &Home, policy: &Value, reference: &str) -> String {
    let error = resolve(home, policy, reference, PullPolicy::IfNotPresent).unwrap_err();
    assert!(matches!(error, ImageError::Policy(_)), "{error:?}");
    home.assert_empty();
    assert_eq!(fs::read_dir(home.state.blobs().join("sha256")).unwrap().count(), 0, "no document was stored");
    chain(&error)
}
