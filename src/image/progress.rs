//! What a pull tells those who watch it.

use super::digest::Digest;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// A step of a pull. In JSON: `{"event": "…", …}`, sizes in bytes.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PullEvent {
    /// The manifest is known; these are the layers of the image, base first, each once.
    Started { image: String, digest: Digest, layers: Vec<LayerProgress> },
    /// Another process makes this layer; this one waits for it.
    Waiting { layer: Digest },
    /// `received` bytes of the blob have come so far. Comes at most a few times per second and layer.
    Advanced { layer: Digest, received: u64 },
    /// A request failed and is made again after a pause.
    Retrying { what: String, attempt: u32, pause: Duration, reason: String },
    /// The layer is in the store.
    Done { layer: Digest },
    /// The image is complete.
    Finished { image: String, digest: Digest },
}

/// A layer as it stands when a pull begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerProgress {
    /// Of the blob, as in the manifest; what other events call `layer`.
    pub layer: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// True when the store has it already.
    pub present: bool,
}

/// Is called from any thread, often, and must not block.
pub type Observer = Arc<dyn Fn(&PullEvent) + Send + Sync>;
