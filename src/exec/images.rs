//! Images: pulling, loading, listing and removing them, and collecting what nothing needs any more.

use super::error::ExecError;
use super::executor::JobExecutor;
use super::model::JobExecutionId;
use crate::image::{Digest, GcPolicy, GcReport, Platform};
use crate::spec::PullPolicy;
use jiff::Timestamp;
use std::path::PathBuf;

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

impl JobExecutor {
    /// Makes sure that the image is here as the policy says, and records the reference.
    ///
    /// # Errors
    /// A name that is none, a registry that does not answer, a full disk, …
    pub async fn pull(&self, reference: &str, options: &PullOptions) -> Result<PulledImage, ExecError> {
        let _ = options;
        Err(ExecError::ImageNotFound { reference: reference.to_owned() })
    }

    /// Takes every image of an archive or layout into the store, under the names that it gives them.
    ///
    /// # Errors
    /// Input that is neither an OCI nor a docker archive, is damaged, or does not fit on the disk.
    pub async fn load(&self, input: LoadInput, options: &PullOptions) -> Result<Vec<PulledImage>, ExecError> {
        let _ = (input, options);
        Ok(Vec::new())
    }

    /// All references, in alphabetical order; those that are damaged too.
    ///
    /// # Errors
    /// When the record or the store cannot be read.
    pub async fn images(&self) -> Result<Vec<ImageSummary>, ExecError> {
        Ok(Vec::new())
    }

    /// One image by reference, digest, or at least twelve digits of one.
    ///
    /// # Errors
    /// [`ExecError::ImageNotFound`], [`ExecError::AmbiguousImage`], or its documents cannot be read.
    pub async fn inspect_image(&self, reference: &str) -> Result<ImageDetails, ExecError> {
        Err(ExecError::ImageNotFound { reference: reference.to_owned() })
    }

    /// Drops a reference (or, by digest, the only one of an image; with `force` all of them), then
    /// removes what nothing else needs. With `force` also one that an execution uses: what that needs
    /// stays until it ends.
    ///
    /// # Errors
    /// [`ExecError::ImageNotFound`], [`ExecError::AmbiguousImage`], [`ExecError::ImageInUse`].
    pub async fn remove_image(&self, reference: &str, force: bool) -> Result<GcReport, ExecError> {
        let _ = force;
        Err(ExecError::ImageNotFound { reference: reference.to_owned() })
    }

    /// Drops the references that `policy` chooses, then removes what nothing needs any more. With
    /// `dry_run` nothing is changed, and the report says what would be.
    ///
    /// # Errors
    /// When the record or the store cannot be read. What cannot be removed is in the report.
    pub async fn collect_images(&self, policy: &GcPolicy, dry_run: bool) -> Result<GcReport, ExecError> {
        let _ = (policy, dry_run);
        Ok(GcReport::default())
    }

    /// Waits for the automatic collection that a pull of this executor may have started. A program that
    /// ends without it loses nothing: the next collection finishes the work.
    pub async fn finish_collection(&self) {}
}
