//! From a name to an image: what is here, what the policy says, and where the rest comes from.

use super::blobs::Stored;
use super::pull::{self, BlobSource, StopOnDrop};
use super::{Candidate, Image, ImageError, ImageNote, ImageStore, PullPolicy};
use crate::image::config::HostConfig;
use crate::image::digest::Digest;
use crate::image::manifest::{self, Document, ManifestError};
use crate::image::name::ImageName;
use crate::image::platform::{self, Platform};
use crate::image::policy::{Demands, Origin, Policy, PolicyError};
use crate::image::reference::RegistryName;
use crate::image::registry::{NetworkPolicy, Registry};
use crate::image::source::{self, LocalImage, Scratch, SourceError};
use oci_spec::image::ImageManifest;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What the store has for a digest.
enum Found {
    Candidate(Box<Candidate>),
    Damaged(PathBuf),
    Nothing,
}

/// The platform to look for, and whether the user named it.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub platform: &'a Platform,
    pub is_explicit: bool,
}

impl ImageStore {
    /// The image of a file on this machine, which says at every use what it holds. Layers that are here are
    /// not unpacked again.
    pub(super) async fn resolve_local(
        &self,
        name: &ImageName,
        policy: PullPolicy,
        wanted: Wanted<'_>,
    ) -> Result<Image, ImageError> {
        let text = name.to_string();
        let (file, platform) = (name.clone(), wanted.platform.clone());
        let found = self.read_local(&text, move |scratch| source::find(&file, &platform, scratch)).await?;
        let local = found.ok_or_else(|| ImageError::NotPresent { name: text.clone() })?;
        self.admit_local(&text, name.transport(), name.path())?;
        self.take(&text, local, policy, wanted).await
    }

    /// Completes an image whose documents come from a file.
    pub(super) async fn take(
        &self,
        name: &str,
        local: LocalImage,
        policy: PullPolicy,
        wanted: Wanted<'_>,
    ) -> Result<Image, ImageError> {
        let LocalImage { manifest_digest, manifest_bytes, manifest, config, layers } = local;
        let candidate = candidate(name, manifest_digest, manifest_bytes, &manifest, config, wanted)?;
        if let Some(image) = self.image(&candidate, false) {
            // The layers may be another image's; the documents make it one of the store's own.
            self.blobs.write(&candidate.config_bytes)?;
            self.blobs.write(&candidate.manifest)?;
            return Ok(image);
        }
        if policy == PullPolicy::Never {
            return Err(ImageError::NotPresent { name: name.to_owned() });
        }
        pull::complete(self, candidate, BlobSource::Local(layers)).await
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
    pub(super) fn resolve_stored(&self, digest: &Digest, wanted: Wanted<'_>) -> Result<Image, ImageError> {
        let name = digest.to_string();
        match self.find(&name, digest, wanted)? {
            Found::Candidate(candidate) => self.image(&candidate, false).ok_or(ImageError::Incomplete { name }),
            Found::Damaged(path) => Err(ImageError::DamagedHere { name, path }),
            Found::Nothing => Err(ImageError::NotHere { name }),
        }
    }

    pub(super) async fn resolve_registry(
        &self,
        name: &RegistryName,
        policy: PullPolicy,
        wanted: Wanted<'_>,
        known: Option<&Digest>,
    ) -> Result<Image, ImageError> {
        let text = name.to_string();
        // A digest in the name is as good as one that was seen before.
        let known = name.digest().or(known);
        let mut notes = Vec::new();
        let mut here = None;
        if let Some(known) = known {
            match self.find(&text, known, wanted)? {
                Found::Candidate(candidate) => here = self.image(&candidate, false),
                Found::Damaged(path) if policy == PullPolicy::Never => {
                    return Err(ImageError::Damaged { name: text, path });
                }
                Found::Damaged(path) => notes.push(ImageNote::Replaced { path }),
                Found::Nothing => {}
            }
        }
        let mut before = None;
        match (policy, here) {
            (PullPolicy::IfNotPresent | PullPolicy::Never, Some(image)) => return Ok(image),
            (PullPolicy::Never, None) => return Err(ImageError::NotPresent { name: text }),
            // What a digest names cannot have changed.
            (PullPolicy::Newer, Some(image)) if name.digest().is_some() => return Ok(image),
            (PullPolicy::Newer, Some(mut image)) => match self.newer(name, &image, wanted).await {
                Ok(None) => return Ok(image),
                Ok(Some(pulled)) => return Ok(pulled),
                Err(error) if error.is_unreachable() => {
                    image.notes.push(ImageNote::Offline { name: text, reason: error.to_string() });
                    return Ok(image);
                }
                Err(error) => return Err(error),
            },
            (PullPolicy::Always, here) => before = here,
            (PullPolicy::IfNotPresent | PullPolicy::Newer, None) => {}
        }
        let demands = self.demands(&text, &Origin::Registry(name.clone()))?;
        let registry = open_registry(name, &self.network).await?;
        if let Some(image) = before
            && let Some(current) = self.unchanged(&registry, name, &image, wanted).await?
        {
            demands.verify(&registry, &image.manifest_digest, current != image.manifest_digest).await?;
            return Ok(image);
        }
        let candidate = self.fetch(&registry, name, wanted, &demands).await?;
        let mut image = pull::complete(self, candidate, BlobSource::Registry(registry)).await?;
        image.notes.extend(notes);
        Ok(image)
    }

    /// The image that the registry has now, if that is another than `image`.
    async fn newer(&self, name: &RegistryName, image: &Image, wanted: Wanted<'_>) -> Result<Option<Image>, ImageError> {
        let registry = open_registry(name, &self.network).await?;
        if self.unchanged(&registry, name, image, wanted).await?.is_some() {
            return Ok(None);
        }
        let demands = self.demands(&name.to_string(), &Origin::Registry(name.clone()))?;
        let candidate = self.fetch(&registry, name, wanted, &demands).await?;
        if candidate.manifest_digest == image.manifest_digest {
            return Ok(None);
        }
        pull::complete(self, candidate, BlobSource::Registry(registry)).await.map(Some)
    }

    /// What the reference names now, if that is or leads to `image`. Only the digest is asked for.
    async fn unchanged(
        &self,
        registry: &Registry,
        name: &RegistryName,
        image: &Image,
        wanted: Wanted<'_>,
    ) -> Result<Option<Digest>, ImageError> {
        let current = registry.digest().await?;
        Ok(match self.find(&name.to_string(), &current, wanted)? {
            Found::Candidate(candidate) if candidate.manifest_digest == image.manifest_digest => Some(current),
            Found::Candidate(_) | Found::Damaged(_) | Found::Nothing => None,
        })
    }

    /// Applies the signature policy to an image in a local file, whose content is used as it is now.
    pub(super) fn admit_local(
        &self,
        name: &str,
        transport: &'static str,
        path: Option<&Path>,
    ) -> Result<(), PolicyError> {
        let origin = match path {
            Some(path) if transport != "docker-archive" => Origin::local(transport, path)?,
            // These have no scopes.
            _ => Origin::Local { transport, path: None },
        };
        // A local image has no signatures: where they are demanded, it is refused here.
        self.demands(name, &origin).map(drop)
    }

    /// What the signature policy wants to see of an image before its config is read.
    fn demands(&self, name: &str, origin: &Origin) -> Result<Demands, PolicyError> {
        Policy::load(self.signature_policy.as_deref())?.demands(name, origin)
    }

    /// Gets manifest and config of a reference, through indexes, and keeps the indexes once the image
    /// meets `demands`.
    async fn fetch(
        &self,
        registry: &Registry,
        name: &RegistryName,
        wanted: Wanted<'_>,
        demands: &Demands,
    ) -> Result<Candidate, ImageError> {
        let text = name.to_string();
        let failed = |source| ImageError::Manifest { name: text.clone(), source };
        let (mut digest, mut bytes) = registry.manifest(None).await?;
        let mut indexes: Vec<Vec<u8>> = Vec::new();
        for _ in 0..=MOST_NESTED {
            match manifest::parse(&bytes).map_err(failed)? {
                Document::Manifest(manifest) => {
                    demands.verify(registry, &digest, !indexes.is_empty()).await?;
                    for index in &indexes {
                        self.blobs.write(index)?;
                    }
                    let (config_digest, config_size) = manifest::config_of(&manifest).map_err(failed)?;
                    let config = match self.blobs.read(&config_digest)? {
                        Stored::Good(config) => config,
                        Stored::Corrupt(_) | Stored::Missing => registry.document(&config_digest, config_size).await?,
                    };
                    return candidate(&text, digest, bytes, &manifest, config, wanted);
                }
                Document::Index(index) => {
                    let chosen = platform::choose(index.manifests(), wanted.platform).map_err(|offered| {
                        failed(ManifestError::NoPlatform { wanted: Box::new(wanted.platform.clone()), offered })
                    })?;
                    let next = manifest::digest_of(chosen).map_err(failed)?;
                    indexes.push(std::mem::take(&mut bytes));
                    (digest, bytes) = match self.blobs.read(&next)? {
                        Stored::Good(bytes) => (next, bytes),
                        Stored::Corrupt(_) | Stored::Missing => registry.manifest(Some(&next)).await?,
                    };
                }
            }
        }
        Err(failed(ManifestError::TooDeep(MOST_NESTED)))
    }

    /// What the store holds under `digest`, a manifest's or an index's.
    fn find(&self, name: &str, digest: &Digest, wanted: Wanted<'_>) -> Result<Found, ImageError> {
        let failed = |source| ImageError::Manifest { name: name.to_owned(), source };
        let mut digest = digest.clone();
        for _ in 0..=MOST_NESTED {
            let bytes = match self.blobs.read(&digest)? {
                Stored::Good(bytes) => bytes,
                Stored::Corrupt(path) => return Ok(Found::Damaged(path)),
                Stored::Missing => return Ok(Found::Nothing),
            };
            match manifest::parse(&bytes).map_err(failed)? {
                Document::Manifest(manifest) => {
                    let (config_digest, _) = manifest::config_of(&manifest).map_err(failed)?;
                    let config = match self.blobs.read(&config_digest)? {
                        Stored::Good(config) => config,
                        Stored::Corrupt(path) => return Ok(Found::Damaged(path)),
                        Stored::Missing => return Ok(Found::Nothing),
                    };
                    return match candidate(name, digest, bytes, &manifest, config, wanted) {
                        // It was pulled for another platform; the registry may have this one.
                        Err(ImageError::Manifest { source: ManifestError::OtherPlatform { .. }, .. }) => {
                            Ok(Found::Nothing)
                        }
                        result => result.map(|candidate| Found::Candidate(Box::new(candidate))),
                    };
                }
                Document::Index(index) => match platform::choose(index.manifests(), wanted.platform) {
                    Ok(chosen) => digest = manifest::digest_of(chosen).map_err(failed)?,
                    Err(_) => return Ok(Found::Nothing),
                },
            }
        }
        Err(failed(ManifestError::TooDeep(MOST_NESTED)))
    }
}

/// How many indexes may lead to a manifest.
const MOST_NESTED: u32 = 8;

fn candidate(
    name: &str,
    manifest_digest: Digest,
    manifest_bytes: Vec<u8>,
    manifest: &ImageManifest,
    config_bytes: Vec<u8>,
    wanted: Wanted<'_>,
) -> Result<Candidate, ImageError> {
    let failed = |source| ImageError::Manifest { name: name.to_owned(), source };
    let (config, layers) = manifest::parse_config(manifest, &config_bytes).map_err(failed)?;
    let found = Platform::of_config(&config);
    let mut notes = Vec::new();
    if !wanted.platform.accepts(&found) {
        let wanted_platform = wanted.platform.clone();
        if wanted.is_explicit {
            return Err(failed(ManifestError::OtherPlatform {
                wanted: Box::new(wanted_platform),
                found: Box::new(found),
            }));
        }
        // The host may emulate it.
        notes.push(ImageNote::OtherPlatform { wanted: wanted_platform, found });
    }
    let name = name.to_owned();
    Ok(Candidate { name, manifest_digest, manifest: manifest_bytes, config_bytes, config, layers, notes })
}

async fn open_registry(name: &RegistryName, network: &NetworkPolicy) -> Result<Registry, ImageError> {
    let text = name.to_string();
    let (name, network) = (name.clone(), network.clone());
    let opened = tokio::task::spawn_blocking(move || Registry::open(&name, &HostConfig::load()?, &network, None)).await;
    Ok(opened.map_err(|_| ImageError::Worker { name: text })??)
}
