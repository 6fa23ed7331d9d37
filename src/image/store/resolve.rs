//! From a name to an image: what is here, what the policy says, and where the rest comes from.

use super::blobs::Stored;
use super::layers::LayerState;
use super::lease::Lease;
use super::pull::{self, BlobSource};
use super::{Candidate, Image, ImageError, ImageNote, ImageRequest, ImageStore, PullPolicy};
use crate::image::config::HostConfig;
use crate::image::digest::Digest;
use crate::image::manifest::{self, Document, ManifestError};
use crate::image::platform::{self, Platform};
use crate::image::policy::{Demands, Origin, Policy, PolicyError};
use crate::image::reference::RegistryName;
use crate::image::registry::{Registry, RegistryError};
use crate::image::surroundings::Surroundings;
use oci_spec::image::ImageManifest;
use std::path::{Path, PathBuf};

/// What the store has for a digest.
pub(super) enum Found {
    Candidate(Box<Candidate>),
    Damaged(PathBuf),
    Nothing,
}

/// What a reference is resolved for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub platform: &'a Platform,
    /// Whether the user named the platform.
    pub is_explicit: bool,
}

impl<'a> Wanted<'a> {
    pub fn new(platform: Option<&'a Platform>, host: &'a Platform) -> Wanted<'a> {
        Wanted { platform: platform.unwrap_or(host), is_explicit: platform.is_some() }
    }
}

/// Whether the signature policy is asked again about an image that has not changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recheck {
    Yes,
    No,
}

/// An image that is here, or why it is not.
enum Here {
    Image(Box<Image>),
    Damaged(PathBuf),
    Nothing,
}

impl ImageStore {
    pub(super) async fn resolve_registry(
        &self,
        request: &ImageRequest<'_>,
        lease: &Lease,
        name: &RegistryName,
    ) -> Result<Image, ImageError> {
        let text = name.to_string();
        let host = Platform::host();
        let wanted = Wanted::new(request.platform, &host);
        let policy = request.policy;
        let mut names = candidates(name, &self.surroundings).await?;
        let mut notes = Vec::new();
        let mut here = None;
        let recorded = recorded(&names, request)?;
        if let Some((index, _)) = recorded {
            // What the name stood for it goes on standing for.
            names = vec![names.swap_remove(index)];
        }
        // What a digest names may be here as another image's, or without a name.
        let foreign = name.digest().filter(|_| recorded.is_none());
        if let Some(digest) = recorded.as_ref().map(|(_, digest)| digest).or(foreign) {
            match self.here(&names[0], digest, wanted, lease)? {
                // As at every pull; and a pull it becomes when signatures are to be seen.
                Here::Image(_) if foreign.is_some() && !self.admits_unseen(&names[0])? => {}
                // Which of several names is meant only their registries can tell.
                Here::Image(_) if foreign.is_some() && policy == PullPolicy::Always => {}
                Here::Image(image) => {
                    names.truncate(1);
                    here = Some(*image);
                }
                Here::Damaged(path) if policy == PullPolicy::Never => {
                    return Err(ImageError::Damaged { name: text, path });
                }
                Here::Damaged(path) => notes.push(ImageNote::Replaced { path }),
                Here::Nothing => {}
            }
        }
        match (policy, here) {
            (PullPolicy::IfNotPresent | PullPolicy::Never, Some(image)) => return Ok(image),
            (PullPolicy::Never, None) => return Err(ImageError::NotPresent { name: text }),
            // What a digest names cannot have changed.
            (PullPolicy::Newer, Some(image)) if name.digest().is_some() => return Ok(image),
            (PullPolicy::Newer, Some(mut image)) => {
                match self.current(&names[0], &image, wanted, lease, Recheck::No).await {
                    Ok((_, Some(pulled))) => return Ok(pulled),
                    Ok((digest, None)) => image.digest = digest,
                    Err(error) if error.is_unreachable() => {
                        image.notes.push(ImageNote::Offline { name: text, reason: error.to_string() });
                    }
                    Err(error) => return Err(error),
                }
                return Ok(image);
            }
            (PullPolicy::Always, Some(mut image)) => {
                match self.current(&names[0], &image, wanted, lease, Recheck::Yes).await? {
                    (_, Some(pulled)) => return Ok(pulled),
                    (digest, None) => image.digest = digest,
                }
                return Ok(image);
            }
            (PullPolicy::Always | PullPolicy::IfNotPresent | PullPolicy::Newer, None) => {}
        }
        let mut image = self.pull_first(&names, wanted, lease).await?;
        // A layer that was made again has been named already.
        notes.retain(|note| !image.notes.contains(note));
        image.notes.extend(notes);
        Ok(image)
    }

    async fn open_registry(&self, name: &RegistryName) -> Result<Registry, ImageError> {
        let text = name.to_string();
        let (name, network, observer) = (name.clone(), self.network.clone(), self.reporter.observer());
        let surroundings = self.surroundings.clone();
        let open = move || Registry::open(&name, &HostConfig::load(&surroundings)?, &network, observer);
        Ok(tokio::task::spawn_blocking(open).await.map_err(|_| ImageError::Worker { name: text })??)
    }

    /// Pulls the first of the names that a registry has.
    async fn pull_first(&self, names: &[RegistryName], wanted: Wanted<'_>, lease: &Lease) -> Result<Image, ImageError> {
        let mut refusal = None;
        for name in names {
            let demands = self.demands(&name.to_string(), &Origin::Registry(name.clone()))?;
            let registry = self.open_registry(name).await?;
            match self.fetch(&registry, name, wanted, &demands).await {
                Ok(candidate) => {
                    return pull::complete(self, candidate, lease, BlobSource::Registry(registry)).await;
                }
                // Only an answer that is no leads on: an image must not come from elsewhere because its
                // registry is down.
                Err(ImageError::Registry(error)) if error.is_refusal() => {
                    refusal.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match refusal {
            Some(error) => Err(error.into()),
            None => Err(ImageError::NotPresent { name: names.first().map(ToString::to_string).unwrap_or_default() }),
        }
    }

    /// What the reference names now, and the image that it leads to, if that is another than `image`.
    async fn current(
        &self,
        name: &RegistryName,
        image: &Image,
        wanted: Wanted<'_>,
        lease: &Lease,
        recheck: Recheck,
    ) -> Result<(Digest, Option<Image>), ImageError> {
        let demands = || self.demands(&name.to_string(), &Origin::Registry(name.clone()));
        // A policy that cannot be used is found before anything is asked for.
        let early = if recheck == Recheck::Yes { Some(demands()?) } else { None };
        let registry = self.open_registry(name).await?;
        if let Some(current) = self.unchanged(&registry, name, image, wanted).await? {
            if let Some(demands) = early {
                demands.verify(&registry, &image.manifest_digest, current != image.manifest_digest).await?;
            }
            return Ok((current, None));
        }
        let demands = early.map_or_else(demands, Ok)?;
        let candidate = self.fetch(&registry, name, wanted, &demands).await?;
        let current = candidate.digest.clone();
        if candidate.manifest_digest == image.manifest_digest {
            return Ok((current, None));
        }
        let pulled = pull::complete(self, candidate, lease, BlobSource::Registry(registry)).await?;
        Ok((current, Some(pulled)))
    }

    /// What the store has of `name`, which was last resolved to `digest`.
    fn here(
        &self,
        name: &RegistryName,
        digest: &Digest,
        wanted: Wanted<'_>,
        lease: &Lease,
    ) -> Result<Here, ImageError> {
        Ok(match self.find(&name.to_string(), digest, wanted)? {
            Found::Damaged(path) => Here::Damaged(path),
            Found::Nothing => Here::Nothing,
            Found::Candidate(candidate) => match self.image(&candidate, lease, false) {
                Some(image) => Here::Image(Box::new(image)),
                None => self.broken_layer(&candidate).map_or(Here::Nothing, Here::Damaged),
            },
        })
    }

    /// The directory of the first layer that is there and cannot be used.
    pub(super) fn broken_layer(&self, candidate: &Candidate) -> Option<PathBuf> {
        candidate.layers.iter().find_map(|layer| match self.layers.find(&layer.diff_id) {
            LayerState::Broken(path) => Some(path),
            LayerState::Ready(_) | LayerState::Absent => None,
        })
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

    /// True when the signature policy lets an image be called `name` without having seen a signature.
    fn admits_unseen(&self, name: &RegistryName) -> Result<bool, PolicyError> {
        Ok(self.demands(&name.to_string(), &Origin::Registry(name.clone()))?.is_empty())
    }

    /// What the signature policy wants to see of an image before its config is read.
    fn demands(&self, name: &str, origin: &Origin) -> Result<Demands, PolicyError> {
        Policy::load(self.signature_policy.as_deref(), &self.surroundings)?.demands(name, origin)
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
        let top = digest.clone();
        let names = Names { name: &text, reference: &text, digest: &top };
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
                    return candidate(names, digest, bytes, &manifest, config, wanted);
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
    pub(super) fn find(&self, name: &str, digest: &Digest, wanted: Wanted<'_>) -> Result<Found, ImageError> {
        let names = Names { name, reference: name, digest };
        let mut digest = digest.clone();
        for _ in 0..=MOST_NESTED {
            let bytes = match self.blobs.read(&digest)? {
                Stored::Good(bytes) => bytes,
                Stored::Corrupt(path) => return Ok(Found::Damaged(path)),
                Stored::Missing => return Ok(Found::Nothing),
            };
            // What was stored was understood then: what is not understood now is no better than damaged.
            let damaged = || Ok(Found::Damaged(self.blobs.path(&digest)));
            let Ok(document) = manifest::parse(&bytes) else { return damaged() };
            match document {
                Document::Manifest(manifest) => {
                    let Ok((config_digest, _)) = manifest::config_of(&manifest) else { return damaged() };
                    let config = match self.blobs.read(&config_digest)? {
                        Stored::Good(config) => config,
                        Stored::Corrupt(path) => return Ok(Found::Damaged(path)),
                        Stored::Missing => return Ok(Found::Nothing),
                    };
                    return match candidate(names, digest, bytes, &manifest, config, wanted) {
                        Ok(candidate) => Ok(Found::Candidate(Box::new(candidate))),
                        // It was pulled for another platform; the registry may have this one.
                        Err(ImageError::Manifest { source: ManifestError::OtherPlatform { .. }, .. }) => {
                            Ok(Found::Nothing)
                        }
                        Err(_) => Ok(Found::Damaged(self.blobs.path(&config_digest))),
                    };
                }
                Document::Index(index) => match platform::choose(index.manifests(), wanted.platform) {
                    Ok(chosen) => match manifest::digest_of(chosen) {
                        Ok(next) => digest = next,
                        Err(_) => return damaged(),
                    },
                    Err(_) => return Ok(Found::Nothing),
                },
            }
        }
        Ok(Found::Damaged(self.blobs.path(&digest)))
    }

    /// Keeps manifest and config, so that the image can be found again.
    pub(super) fn keep_documents(&self, candidate: &Candidate) -> Result<(), ImageError> {
        self.blobs.write(&candidate.config_bytes)?;
        self.blobs.write(&candidate.manifest)?;
        Ok(())
    }
}

/// What an image is called while it is resolved.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    /// As the user wrote it.
    pub name: &'a str,
    /// In its complete form.
    pub reference: &'a str,
    /// What the reference names.
    pub digest: &'a Digest,
}

/// The full names that `name` may stand for, in the order to try.
async fn candidates(name: &RegistryName, surroundings: &Surroundings) -> Result<Vec<RegistryName>, ImageError> {
    if !name.is_short() {
        // A complete name costs no look at the configuration.
        return Ok(vec![name.clone()]);
    }
    let (name, text, surroundings) = (name.clone(), name.to_string(), surroundings.clone());
    let found = tokio::task::spawn_blocking(move || HostConfig::load(&surroundings)?.candidates(&name)).await;
    Ok(found.map_err(|_| ImageError::Worker { name: text })?.map_err(RegistryError::from)?)
}

/// The first of the names that is on record, with what it stands for.
fn recorded(names: &[RegistryName], request: &ImageRequest<'_>) -> Result<Option<(usize, Digest)>, ImageError> {
    for (index, name) in names.iter().enumerate() {
        let recorded = (request.references)(&name.to_string())
            .map_err(|source| ImageError::References { name: name.to_string(), source })?;
        // A digest in the name stands for itself.
        if let Some(digest) = recorded.filter(|digest| name.digest().is_none_or(|named| named == digest)) {
            return Ok(Some((index, digest)));
        }
    }
    Ok(None)
}

/// How many indexes may lead to a manifest.
const MOST_NESTED: u32 = 8;

pub(super) fn candidate(
    names: Names<'_>,
    manifest_digest: Digest,
    manifest_bytes: Vec<u8>,
    manifest: &ImageManifest,
    config_bytes: Vec<u8>,
    wanted: Wanted<'_>,
) -> Result<Candidate, ImageError> {
    let failed = |source| ImageError::Manifest { name: names.name.to_owned(), source };
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
    Ok(Candidate {
        name: names.name.to_owned(),
        reference: names.reference.to_owned(),
        digest: names.digest.clone(),
        manifest_digest,
        manifest: manifest_bytes,
        config_bytes,
        config,
        layers,
        notes,
    })
}
