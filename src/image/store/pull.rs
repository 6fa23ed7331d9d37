//! Makes the layers of an image that are not there yet, several at a time.

use super::layer::{self, Job, LayerError, Piece, Source};
use super::staging::{LayerLock, Staging, StagingError};
use super::{Candidate, Image, ImageError, ImageNote, ImageStore};
use crate::image::digest::Digest;
use crate::image::manifest::LayerRef;
use crate::image::registry::Registry;
use crate::image::source::LayerFiles;
use crate::image::unpack::UnpackStats;
use futures_util::StreamExt;
use std::collections::HashSet;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// Layers worked on at once, as Docker does (`max-concurrent-downloads`).
const AT_ONCE: usize = 3;

/// Pieces between the network and the thread that decompresses.
const QUEUE: usize = 16;

/// Where the blobs of an image are.
pub enum BlobSource {
    Local(LayerFiles),
    Registry(Registry),
}

/// Makes what is missing of `candidate` and keeps its documents.
///
/// # Errors
/// The first layer's error; the other layers are stopped and cleaned up before it is returned.
pub async fn complete(store: &ImageStore, candidate: Candidate, source: BlobSource) -> Result<Image, ImageError> {
    let Candidate { name, .. } = &candidate;
    let worker = |_| ImageError::Worker { name: name.clone() };
    let sweeper = store.clone();
    // Leftovers that cannot be removed are no reason not to run a job.
    if let Err(error) = tokio::task::spawn_blocking(move || sweeper.sweep()).await.map_err(worker)? {
        tracing::warn!(%error, "staging area not swept");
    }
    let mut seen = HashSet::new();
    let missing = candidate.layers.iter().filter(|layer| seen.insert(&layer.diff_id));
    let mut missing = missing.filter(|layer| !store.layer(&layer.diff_id).is_dir()).cloned();
    let source = Arc::new(source);
    let (cancel, cancelled) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut result = Ok(());
    let mut notes = Vec::new();
    loop {
        while result.is_ok() && tasks.len() < AT_ONCE {
            let Some(layer) = missing.next() else { break };
            tasks.spawn(one(store.clone(), source.clone(), layer, cancelled.clone()));
        }
        let Some(done) = tasks.join_next().await else { break };
        match done.map_err(worker).and_then(|(layer, made)| {
            let failed =
                |source| ImageError::Layer { name: name.clone(), digest: layer.blob.clone(), source: Box::new(source) };
            Ok((layer.diff_id.clone(), made.map_err(failed)?))
        }) {
            Ok((diff_id, Some(stats))) => notes.extend(note(diff_id, stats)),
            Ok((_, None)) => {}
            Err(error) => {
                // What the others say from here on is that they were cancelled.
                result = result.and(Err(error));
                cancel.send_replace(true);
            }
        }
    }
    result?;
    store.blobs.write(&candidate.config_bytes)?;
    store.blobs.write(&candidate.manifest)?;
    let mut image = store.image(&candidate, true).ok_or_else(|| ImageError::NotPresent { name: name.clone() })?;
    image.notes.extend(notes);
    Ok(image)
}

fn note(diff_id: Digest, stats: UnpackStats) -> Option<ImageNote> {
    let is_whole = stats.squashed_owners == 0 && stats.skipped_devices == 0 && stats.skipped_xattrs == 0;
    (!is_whole).then_some(ImageNote::Unpacked { diff_id, stats })
}

/// Makes one layer, unless another process does; `None` when it is there then.
async fn one(
    store: ImageStore,
    source: Arc<BlobSource>,
    layer: LayerRef,
    mut cancelled: watch::Receiver<bool>,
) -> (LayerRef, Result<Option<UnpackStats>, LayerError>) {
    let made = make(&store, &source, &layer, &mut cancelled).await;
    (layer, made)
}

async fn make(
    store: &ImageStore,
    source: &BlobSource,
    layer: &LayerRef,
    cancelled: &mut watch::Receiver<bool>,
) -> Result<Option<UnpackStats>, LayerError> {
    let lock = tokio::select! {
        lock = lock(&store.staging, &layer.diff_id) => lock?,
        () = called_off(cancelled) => return Err(LayerError::Cancelled),
    };
    let target = store.layer(&layer.diff_id);
    if target.is_dir() {
        return Ok(None);
    }
    create_parent(&target)?;
    let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
    let job = |source| Job {
        layer: layer.clone(),
        source,
        staging: store.staging.clone(),
        lock,
        target,
        allowance: store.limits.allowance(layer.size),
        cancelled: stop.0.clone(),
    };
    let ended = |_| LayerError::Cancelled;
    match source {
        BlobSource::Local(files) => {
            let job = job(Source::File(files.layer(&layer.blob)?));
            let mut working = tokio::task::spawn_blocking(move || layer::make(job));
            let stats = tokio::select! {
                made = &mut working => made,
                () = called_off(cancelled) => {
                    stop.0.store(true, Ordering::Relaxed);
                    working.await
                }
            };
            stats.map_err(ended)?.map(Some)
        }
        BlobSource::Registry(registry) => {
            let mut stream = std::pin::pin!(registry.blob(&layer.blob, layer.size));
            let (sender, receiver) = mpsc::channel(QUEUE);
            let job = job(Source::Stream(receiver));
            let working = tokio::task::spawn_blocking(move || layer::make(job));
            loop {
                let piece = tokio::select! {
                    piece = stream.next() => match piece {
                        Some(Ok(data)) => Piece::Data(data),
                        Some(Err(error)) => Piece::Failed(error),
                        None => Piece::End,
                    },
                    () = called_off(cancelled) => break,
                };
                let is_last = !matches!(piece, Piece::Data(_));
                // A receiver that is gone has failed and says why below.
                if sender.send(piece).await.is_err() || is_last {
                    break;
                }
            }
            drop(sender);
            working.await.map_err(ended)?.map(Some)
        }
    }
}

/// Returns when the image's other layers are of no use any more.
async fn called_off(cancelled: &mut watch::Receiver<bool>) {
    // The sender lives as long as the tasks; were it gone, nobody would want the layer either.
    let _ = cancelled.wait_for(|cancelled| *cancelled).await;
}

/// Takes the lock of a layer, waiting on a thread of its own while another has it: that thread is in
/// nobody's way when the wait is given up.
async fn lock(staging: &Staging, diff_id: &Digest) -> Result<LayerLock, StagingError> {
    if let Some(lock) = staging.try_lock(diff_id)? {
        return Ok(lock);
    }
    tracing::debug!(%diff_id, "waiting for another process to make this layer");
    let (sender, receiver) = oneshot::channel();
    let (waiting, diff_id) = (staging.clone(), diff_id.clone());
    std::thread::spawn(move || {
        // Nobody waits any more: the lock is dropped at once.
        let _ = sender.send(waiting.lock(&diff_id));
    });
    let ended = || StagingError::Io {
        action: "wait for a lock in",
        path: staging.directory.clone(),
        source: io::Error::from(io::ErrorKind::Other),
    };
    receiver.await.unwrap_or_else(|_| Err(ended()))
}

fn create_parent(target: &std::path::Path) -> Result<(), StagingError> {
    let parent = target.parent().map(PathBuf::from).unwrap_or_default();
    let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&parent);
    created.map_err(|source| StagingError::Io { action: "create the directory", path: parent, source })
}

/// Tells the blocking thread when nobody waits for it any more.
pub(super) struct StopOnDrop(pub Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
