//! Images of files on this machine, and those that are only ever looked up in the store.

use super::lease::Lease;
use super::pull::{self, BlobSource, StopOnDrop};
use super::resolve::{Found, Names, Wanted, candidate};
use super::{Image, ImageError, ImageRequest, ImageStore, PullPolicy};
use crate::image::digest::Digest;
use crate::image::platform::Platform;
use crate::image::source::{self, LocalImage, Scratch, SourceError};
use std::sync::Arc;
use tokio::sync::oneshot;

impl ImageStore {
    /// The image of a file, which says at every use what it holds. Layers that are here are not unpacked
    /// again.
    pub(super) async fn resolve_local(&self, request: &ImageRequest<'_>, lease: &Lease) -> Result<Image, ImageError> {
        let host = Platform::host();
        let wanted = Wanted::new(request.platform, &host);
        let name = request.name.to_string();
        let complete = request.name.clone().absolute();
        let complete = complete.map_err(|source| ImageError::Path { name: name.clone(), source })?;
        let (file, platform) = (request.name.clone(), wanted.platform.clone());
        let found = self.read_local(&name, move |scratch| source::find(&file, &platform, scratch)).await?;
        let local = found.ok_or_else(|| ImageError::NotPresent { name: name.clone() })?;
        self.admit_local(&name, request.name.transport(), request.name.path())?;
        self.take((&name, &complete.to_string()), local, request.policy, wanted, lease).await
    }

    /// Completes an image whose documents come from a file; `names` are as in [`Names`].
    pub(super) async fn take(
        &self,
        (name, reference): (&str, &str),
        local: LocalImage,
        policy: PullPolicy,
        wanted: Wanted<'_>,
        lease: &Lease,
    ) -> Result<Image, ImageError> {
        let LocalImage { manifest_digest, manifest_bytes, manifest, config, layers } = local;
        let names = Names { name, reference, digest: &manifest_digest };
        let candidate = candidate(names, manifest_digest.clone(), manifest_bytes, &manifest, config, wanted)?;
        if let Some(image) = self.image(&candidate, lease, false) {
            // The layers may be another image's; the documents make it one of the store's own.
            self.keep_documents(&candidate)?;
            return Ok(image);
        }
        if policy == PullPolicy::Never {
            let name = name.to_owned();
            return Err(match self.broken_layer(&candidate) {
                Some(path) => ImageError::Damaged { name, path },
                None => ImageError::NotPresent { name },
            });
        }
        pull::complete(self, candidate, lease, BlobSource::Local(layers)).await
    }

    /// Runs `read` on a thread of its own: it may wait for a pipe for ever, and must then be in nobody's way.
    pub(super) async fn read_local<T: Send + 'static>(
        &self,
        name: &str,
        read: impl FnOnce(&Scratch) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, ImageError> {
        let stop = StopOnDrop(Arc::default());
        let scratch = Scratch::new(self.staging.directory.clone(), stop.0.clone());
        let (sender, receiver) = oneshot::channel();
        std::thread::spawn(move || {
            // Nobody waits any more: the result is dropped.
            let _ = sender.send(read(&scratch));
        });
        let result = receiver.await.map_err(|_| ImageError::Worker { name: name.to_owned() })?;
        Ok(result?)
    }

    /// An image that is only ever looked up here.
    pub(super) fn resolve_stored(
        &self,
        request: &ImageRequest<'_>,
        digest: &Digest,
        lease: &Lease,
    ) -> Result<Image, ImageError> {
        let host = Platform::host();
        let name = digest.to_string();
        match self.find(&name, digest, Wanted::new(request.platform, &host))? {
            Found::Candidate(candidate) => {
                match (self.image(&candidate, lease, false), self.broken_layer(&candidate)) {
                    (Some(image), _) => Ok(image),
                    (None, Some(path)) => Err(ImageError::DamagedHere { name, path }),
                    (None, None) => Err(ImageError::Incomplete { name }),
                }
            }
            Found::Damaged(path) => Err(ImageError::DamagedHere { name, path }),
            Found::Nothing => Err(ImageError::NotHere { name }),
        }
    }
}
