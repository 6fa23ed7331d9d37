//! Every image of a file, made available at once.

use super::resolve::Wanted;
use super::{ImageError, ImageNote, ImageStore, PullPolicy};
use crate::image::digest::Digest;
use crate::image::platform::Platform;
use crate::image::reference::RegistryName;
use crate::image::source::{self, LoadInput};

/// An image that was loaded.
#[derive(Debug, Clone)]
pub struct LoadedImage {
    /// The names that the file gives it. For the caller to record; without one, the image is known by its
    /// digest (`ImageName::Stored`).
    pub references: Vec<RegistryName>,
    /// Of its own manifest.
    pub digest: Digest,
    /// What its config says.
    pub platform: Platform,
    /// False when everything of it was here already.
    pub pulled: bool,
    /// What the user should know.
    pub notes: Vec<ImageNote>,
}

impl ImageStore {
    /// Makes all images of `input` available, in its order, each for `platform` (default: the host's):
    /// of what `docker save`, `podman save` and `skopeo copy` write, plain or compressed, and of an OCI
    /// layout directory. Dropping the future stops the work, as for [`ImageStore::resolve`]. The caller holds
    /// a [`Lease`](super::Lease) until it has recorded the names, or a collection may take them for garbage.
    ///
    /// # Errors
    /// See [`ImageError`]. Images before the first one that fails stay in the store.
    pub async fn load(&self, input: LoadInput, platform: Option<&Platform>) -> Result<Vec<LoadedImage>, ImageError> {
        let lease = self.lease().await?;
        let host = Platform::host();
        let wanted = Wanted::new(platform, &host);
        let (file, path) = match &input {
            LoadInput::Path(path) => (path.display().to_string(), Some(path.clone())),
            LoadInput::Stream(_) => ("standard input".to_owned(), None),
        };
        let platform = wanted.platform.clone();
        let (transport, images) =
            self.read_local(&file, move |scratch| source::load(input, &platform, scratch)).await?;
        self.admit_local(&file, transport, path.as_deref())?;
        let mut loaded = Vec::with_capacity(images.len());
        for named in images {
            let name = match named.references.first() {
                Some(reference) => reference.to_string(),
                None => named.image.manifest_digest.to_string(),
            };
            let image = self.take((&name, &name), named.image, PullPolicy::IfNotPresent, wanted, &lease).await?;
            loaded.push(LoadedImage {
                references: named.references,
                digest: image.manifest_digest,
                platform: Platform::of_config(&image.config),
                pulled: image.pulled,
                notes: image.notes,
            });
        }
        Ok(loaded)
    }
}
