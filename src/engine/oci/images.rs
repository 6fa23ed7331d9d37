//! Images: pulling, loading, listing and removing them, and collecting what nothing needs any more.

use super::OciRuntime;
use super::collect::LiveExecution;
use super::prepare::own_mappings;
use super::references::{KnownReference, Wanted, complete_names};
use crate::engine::RuntimeError;
use crate::id::JobExecutionId;
use crate::image::{self, Digest, GcReport, ImageError, ImageStore, Inventory, Platform, StoredImage};
use crate::spec::PullPolicy;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// How much of a digest has to be given.
const LEAST_DIGITS: usize = 12;

/// How to pull or load.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// [`PullPolicy::Always`] by default: the registry is asked, and what is here is not fetched again.
    pub policy: PullPolicy,
    /// `None`: the host's.
    pub platform: Option<Platform>,
}

impl Default for PullOptions {
    fn default() -> PullOptions {
        PullOptions { policy: PullPolicy::Always, platform: None }
    }
}

/// An image that is here now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledImage {
    /// In its complete form, as `docker.io/library/debian:12` or `oci:/images/report:v1`; `sha256:…` for
    /// a loaded image without a name.
    pub reference: String,
    /// What the reference names: an index, or the manifest itself.
    pub digest: Digest,
    /// Of the image's own manifest.
    pub manifest_digest: Digest,
    /// What the image is made for.
    pub platform: Platform,
    /// True when something was fetched or unpacked.
    pub pulled: bool,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Where to load from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadInput {
    /// An OCI or docker archive, or the directory of an OCI layout.
    Path(PathBuf),
    /// This process's standard input.
    Stdin,
}

/// One reference of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// In its complete form; see [`PulledImage::reference`].
    pub reference: String,
    /// What the reference names: an index, or the manifest itself.
    pub digest: Digest,
    /// Of the image's own manifest: the host's platform's, else the first that is here. `None` when
    /// there is none.
    pub manifest_digest: Option<Digest>,
    /// Those of which the store has the image.
    pub platforms: Vec<Platform>,
    /// As the image's config says.
    pub created: Option<Timestamp>,
    pub pulled_at: Timestamp,
    /// Last use by an execution or a pull, to the hour.
    pub used_at: Timestamp,
    /// Bytes of the image's documents and compressed layers, as the registry sends them.
    pub size: u64,
    /// Bytes of the files in its layers, as far as they are here. Layers may be shared with other images.
    pub unpacked_size: u64,
    /// Executions that have not ended and use it.
    pub in_use: Vec<JobExecutionId>,
    /// What is wrong with it: a damaged or missing document or layer, and what to do.
    pub problem: Option<String>,
}

/// Everything known about one image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageDetails {
    pub summary: ImageSummary,
    /// The OCI image config as it is stored, its history included.
    /// <https://github.com/opencontainers/image-spec/blob/main/config.md>
    pub config: serde_json::Value,
    /// Base first.
    pub layers: Vec<LayerDetails>,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDetails {
    /// Of the blob as it is sent.
    pub digest: Digest,
    /// Of the tar in it.
    pub diff_id: Digest,
    pub media_type: String,
    /// Bytes of the blob.
    pub size: u64,
    /// Bytes of the files in it; `None` when it is not here.
    pub unpacked_size: Option<u64>,
    /// Its root directory, there or not.
    pub path: PathBuf,
    pub present: bool,
}

impl OciRuntime {
    /// Makes sure that the image is here as the policy says, and records the reference.
    ///
    /// # Errors
    /// A name that is none, a registry that does not answer, a full disk, …
    pub async fn pull(&self, reference: &str, options: &PullOptions) -> Result<PulledImage, RuntimeError> {
        let (mappings, note) = own_mappings()?;
        let store = self.image_store(mappings);
        let wanted = Wanted { policy: options.policy, platform: options.platform.as_ref() };
        let image = self.resolve_image(&store, reference, wanted).await?;
        drop(image.lease);
        if image.pulled {
            self.collect_in_background(BTreeSet::from([image.reference.clone()]));
        }
        let notes = note.iter().map(ToString::to_string).chain(image.notes.iter().map(ToString::to_string)).collect();
        Ok(PulledImage {
            platform: Platform::of_config(&image.config),
            reference: image.reference,
            digest: image.digest,
            manifest_digest: image.manifest_digest,
            pulled: image.pulled,
            notes,
        })
    }

    /// Takes every image of an archive or layout into the store, under the names that it gives them: one
    /// [`PulledImage`] for each name. The policy is of no account.
    ///
    /// # Errors
    /// Input that is neither an OCI nor a docker archive, is damaged, or does not fit on the disk.
    pub async fn load(&self, input: LoadInput, options: &PullOptions) -> Result<Vec<PulledImage>, RuntimeError> {
        let (mappings, note) = own_mappings()?;
        let store = self.image_store(mappings);
        let input = match input {
            LoadInput::Path(path) => image::LoadInput::Path(path),
            LoadInput::Stdin => {
                let stdin = io::stdin().as_fd().try_clone_to_owned();
                image::LoadInput::Stream(stdin.map_err(RuntimeError::io("read", "/dev/stdin"))?)
            }
        };
        let lease = store.lease().await?;
        let mut loaded = Vec::new();
        for image in store.load(input, options.platform.as_ref()).await? {
            let notes = note.iter().map(ToString::to_string).chain(image.notes.iter().map(ToString::to_string));
            let notes: Vec<String> = notes.collect();
            let mut references: Vec<String> = image.references.iter().map(ToString::to_string).collect();
            if references.is_empty() {
                references.push(image.digest.to_string());
            }
            for reference in references {
                self.remember(&reference, &image.digest, true)?;
                loaded.push(PulledImage {
                    reference,
                    digest: image.digest.clone(),
                    manifest_digest: image.digest.clone(),
                    platform: image.platform.clone(),
                    pulled: image.pulled,
                    notes: notes.clone(),
                });
            }
        }
        drop(lease);
        if loaded.iter().any(|image| image.pulled) {
            self.collect_in_background(loaded.iter().map(|image| image.reference.clone()).collect());
        }
        Ok(loaded)
    }

    /// All references, in alphabetical order; those that are damaged too.
    ///
    /// # Errors
    /// When the record or the store cannot be read.
    pub async fn images(&self) -> Result<Vec<ImageSummary>, RuntimeError> {
        let store = self.own_store()?;
        let lease = store.lease().await?;
        let this = self.clone();
        blocking(move || {
            let _lease = lease;
            let live = this.live_executions()?;
            let known = this.known_references()?;
            known.into_iter().map(|known| Ok(Examined::new(&store, known)?.summary(&store, &live))).collect()
        })
        .await
    }

    /// One image by reference, digest, or at least twelve digits of one.
    ///
    /// # Errors
    /// [`RuntimeError::ImageNotFound`], [`RuntimeError::AmbiguousImage`], or its documents cannot be read.
    pub async fn inspect_image(&self, reference: &str) -> Result<ImageDetails, RuntimeError> {
        let store = self.own_store()?;
        let lease = store.lease().await?;
        let (this, text) = (self.clone(), reference.to_owned());
        blocking(move || {
            let _lease = lease;
            let found = this.find_images(&store, &text)?;
            // Several names of one digest are one image.
            let is_one = found.iter().all(|other| other.known.digest == found[0].known.digest);
            if !is_one {
                return Err(ambiguous(text, &found));
            }
            found[0].details(&store, &this.live_executions()?)
        })
        .await
    }

    /// Drops a reference (or, by digest, the only one of an image; with `force` all of them), then
    /// removes what nothing else needs. With `force` also one that an execution uses: what that needs
    /// stays until it ends.
    ///
    /// # Errors
    /// [`RuntimeError::ImageNotFound`], [`RuntimeError::AmbiguousImage`], [`RuntimeError::ImageInUse`].
    pub async fn remove_image(&self, reference: &str, force: bool) -> Result<GcReport, RuntimeError> {
        let store = self.own_store()?;
        let (this, text) = (self.clone(), reference.to_owned());
        let drop = blocking(move || {
            let found = this.find_images(&store, &text)?;
            if found.len() > 1 && !force {
                return Err(ambiguous(text, &found));
            }
            let live = this.live_executions()?;
            for examined in found.iter().filter(|_| !force) {
                let executions = examined.used_by(&live);
                if !executions.is_empty() {
                    let reference = examined.known.reference.clone();
                    return Err(RuntimeError::ImageInUse { reference, executions });
                }
            }
            Ok(found.into_iter().map(|examined| examined.known.reference).collect::<BTreeSet<_>>())
        })
        .await?;
        self.collect_dropped(drop).await
    }

    fn own_store(&self) -> Result<ImageStore, RuntimeError> {
        Ok(self.image_store(own_mappings()?.0))
    }

    /// The references that `text` means: the one of that name, else those of that digest. Never none.
    fn find_images(&self, store: &ImageStore, text: &str) -> Result<Vec<Examined>, RuntimeError> {
        let known = self.known_references()?;
        for name in complete_names(text) {
            if let Some(known) = known.iter().find(|known| known.reference == name) {
                return Ok(vec![Examined::new(store, known.clone())?]);
            }
        }
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let is_prefix = digits.len() >= LEAST_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut found = Vec::new();
        for known in known.into_iter().filter(|_| is_prefix) {
            let examined = Examined::new(store, known)?;
            let manifests = examined.inventory.images.iter().map(|image| &image.manifest_digest);
            if manifests.chain([&examined.known.digest]).any(|digest| digest.hex().starts_with(digits)) {
                found.push(examined);
            }
        }
        if found.is_empty() { Err(RuntimeError::ImageNotFound { reference: text.to_owned() }) } else { Ok(found) }
    }
}

/// A reference, and what the store has of it.
struct Examined {
    known: KnownReference,
    inventory: Inventory,
}

impl Examined {
    fn new(store: &ImageStore, known: KnownReference) -> Result<Examined, RuntimeError> {
        Ok(Examined { inventory: store.inventory(&known.digest)?, known })
    }

    fn image(&self) -> Option<&StoredImage> {
        self.inventory.image_for(&Platform::host())
    }

    fn used_by(&self, live: &[LiveExecution]) -> Vec<JobExecutionId> {
        let images: BTreeSet<&Digest> = self.inventory.images.iter().map(|image| &image.manifest_digest).collect();
        let users = live.iter().filter(|live| live.uses(&self.known.reference, &images));
        users.map(|live| JobExecutionId(live.id().to_owned())).collect()
    }

    fn summary(&self, store: &ImageStore, live: &[LiveExecution]) -> ImageSummary {
        let image = self.image();
        let mut seen = BTreeSet::new();
        let (mut size, mut unpacked_size, mut problem) =
            (self.inventory.documents.values().sum::<u64>(), 0, self.inventory.problem.clone());
        for layer in self.inventory.images.iter().flat_map(|image| &image.layers) {
            if !seen.insert(&layer.diff_id) {
                continue;
            }
            size += layer.size;
            let stored = store.stored_layer(&layer.diff_id);
            match stored.unpacked_bytes {
                Some(bytes) => unpacked_size += bytes,
                None => {
                    let what = if stored.is_broken { "damaged" } else { "missing" };
                    problem.get_or_insert_with(|| format!("its layer {} is {what}", layer.diff_id));
                }
            }
        }
        ImageSummary {
            reference: self.known.reference.clone(),
            digest: self.known.digest.clone(),
            manifest_digest: image.map(|image| image.manifest_digest.clone()),
            platforms: self.inventory.images.iter().map(|image| image.platform.clone()).collect(),
            created: image.and_then(|image| image.config.created().as_ref()?.parse().ok()),
            pulled_at: self.known.pulled_at,
            used_at: self.known.used_at,
            size,
            unpacked_size,
            in_use: self.used_by(live),
            problem: problem.map(|problem| format!("{problem}; pull it again, or remove it")),
        }
    }

    fn details(&self, store: &ImageStore, live: &[LiveExecution]) -> Result<ImageDetails, RuntimeError> {
        let summary = self.summary(store, live);
        let Some(image) = self.image() else {
            let reference = summary.reference;
            return Err(RuntimeError::ImageIncomplete { reference, problem: summary.problem.unwrap_or_default() });
        };
        let layers = image.layers.iter().zip(image.manifest.layers()).map(|(layer, descriptor)| {
            let stored = store.stored_layer(&layer.diff_id);
            LayerDetails {
                digest: layer.blob.clone(),
                diff_id: layer.diff_id.clone(),
                media_type: descriptor.media_type().to_string(),
                size: layer.size,
                present: stored.unpacked_bytes.is_some(),
                unpacked_size: stored.unpacked_bytes,
                path: stored.root,
            }
        });
        let layers = layers.collect();
        // It was read as an image config before.
        let config = serde_json::from_slice(&image.config_bytes).unwrap_or_default();
        Ok(ImageDetails { summary, config, layers })
    }
}

fn ambiguous(reference: String, found: &[Examined]) -> RuntimeError {
    let references = found.iter().map(|examined| examined.known.reference.clone()).collect();
    RuntimeError::AmbiguousImage { reference, references }
}

/// Runs what reads many files on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
) -> Result<T, RuntimeError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ImageError::Worker { name: "the images".to_owned() })?
}
