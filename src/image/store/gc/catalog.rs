//! What is in the store, and what a digest needs of it.

use crate::image::digest::Digest;
use crate::image::manifest::{self, Document, LayerRef};
use crate::image::platform::Platform;
use crate::image::store::blobs::Stored;
use crate::image::store::layers::LayerState;
use crate::image::store::{ImageError, ImageStore};
use oci_spec::image::{ImageConfiguration, ImageManifest};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// How many documents may be reached from one digest: more than any index has, and a bound on the work.
const MOST_DOCUMENTS: usize = 10_000;

/// Everything of the store that is reached from one digest.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Indexes, manifests and configs that are here, with their bytes.
    pub documents: BTreeMap<Digest, u64>,
    pub images: Vec<StoredImage>,
    /// What is damaged or missing, such that not everything that is needed can be known.
    pub problem: Option<String>,
}

/// One image of the store; its layers may be missing.
#[derive(Debug)]
pub struct StoredImage {
    pub manifest_digest: Digest,
    pub manifest: ImageManifest,
    /// As stored.
    pub config_bytes: Vec<u8>,
    pub config: ImageConfiguration,
    pub platform: Platform,
    /// Base first.
    pub layers: Vec<LayerRef>,
}

/// How a layer is kept in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLayer {
    /// Its root directory, there or not.
    pub root: PathBuf,
    /// Bytes of the uncompressed tar, or of the files where those are not known; `None` when the layer is
    /// not here.
    pub unpacked_bytes: Option<u64>,
    /// The directory is there and cannot be used.
    pub is_broken: bool,
}

impl Inventory {
    /// The diff ids of all images.
    pub fn layers(&self) -> BTreeSet<&Digest> {
        self.images.iter().flat_map(|image| &image.layers).map(|layer| &layer.diff_id).collect()
    }

    /// The image for `wanted`, else the first that is here.
    pub fn image_for(&self, wanted: &Platform) -> Option<&StoredImage> {
        self.images.iter().find(|image| wanted.accepts(&image.platform)).or(self.images.first())
    }

    fn set_problem(&mut self, problem: String) {
        // The first leads to the others.
        self.problem.get_or_insert(problem);
    }
}

impl ImageStore {
    /// What is reached from `digest`, an index's or a manifest's. Images of an index that were never pulled
    /// are no problem. Blocks.
    ///
    /// # Errors
    /// [`ImageError::Store`] for a document that cannot be read; a damaged one is a problem of the inventory.
    pub fn inventory(&self, digest: &Digest) -> Result<Inventory, ImageError> {
        let mut found = Inventory::default();
        let mut seen = BTreeSet::from([digest.clone()]);
        let mut left = vec![digest.clone()];
        while let Some(next) = left.pop() {
            let path = self.blobs.path(&next);
            let bytes = match self.blobs.read(&next)? {
                Stored::Good(bytes) => bytes,
                Stored::Corrupt(path) => {
                    found.set_problem(format!("{} is damaged", path.display()));
                    continue;
                }
                Stored::Missing => {
                    if next == *digest {
                        found.set_problem(format!("{} is missing", path.display()));
                    }
                    continue;
                }
            };
            found.documents.insert(next.clone(), bytes.len() as u64);
            let understood = match manifest::parse(&bytes) {
                Ok(Document::Index(index)) => {
                    let children = index.manifests().iter().filter_map(|child| manifest::digest_of(child).ok());
                    left.extend(children.filter(|child| seen.len() < MOST_DOCUMENTS && seen.insert(child.clone())));
                    Ok(())
                }
                Ok(Document::Manifest(manifest)) => self.add_image(&mut found, next, *manifest)?,
                Err(error) => Err(error),
            };
            if let Err(error) = understood {
                found.set_problem(format!("{} cannot be used: {error}", path.display()));
            }
        }
        if found.images.is_empty() {
            found.set_problem("none of its images is in the store".to_owned());
        }
        Ok(found)
    }

    fn add_image(
        &self,
        found: &mut Inventory,
        manifest_digest: Digest,
        manifest: ImageManifest,
    ) -> Result<Result<(), manifest::ManifestError>, ImageError> {
        let (config_digest, _) = match manifest::config_of(&manifest) {
            Ok(config) => config,
            // An index may list signatures and other artifacts, which are never pulled.
            Err(error) => return Ok(Err(error)),
        };
        let config_bytes = match self.blobs.read(&config_digest)? {
            Stored::Good(bytes) => bytes,
            Stored::Corrupt(path) => {
                found.set_problem(format!("{} is damaged", path.display()));
                return Ok(Ok(()));
            }
            Stored::Missing => {
                found.set_problem(format!("{} is missing", self.blobs.path(&config_digest).display()));
                return Ok(Ok(()));
            }
        };
        found.documents.insert(config_digest, config_bytes.len() as u64);
        let (config, layers) = match manifest::parse_config(&manifest, &config_bytes) {
            Ok(parsed) => parsed,
            Err(error) => return Ok(Err(error)),
        };
        let platform = Platform::of_config(&config);
        found.images.push(StoredImage { manifest_digest, manifest, config_bytes, config, platform, layers });
        Ok(Ok(()))
    }

    /// How a layer is kept. Blocks; walks through a layer of an old version.
    pub fn stored_layer(&self, diff_id: &Digest) -> StoredLayer {
        let target = || self.layers.target(diff_id).join(crate::image::store::layers::ROOT);
        match self.layers.find(diff_id) {
            LayerState::Ready(root) => {
                let unpacked_bytes = root.parent().map(crate::image::store::layers::unpacked_bytes);
                StoredLayer { root, unpacked_bytes, is_broken: false }
            }
            LayerState::Absent => StoredLayer { root: target(), unpacked_bytes: None, is_broken: false },
            LayerState::Broken(_) => StoredLayer { root: target(), unpacked_bytes: None, is_broken: true },
        }
    }
}
