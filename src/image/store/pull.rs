//! Makes the layers of an image that are not there yet, several at a time.

use super::layer::{self, Job, LayerError, Piece, Source};
use super::layers::LayerState;
use super::lease::Lease;
use super::staging::{LayerLock, Staging, StagingError};
use super::{Candidate, Image, ImageError, ImageNote, ImageStore};
use crate::image::digest::Digest;
use crate::image::manifest::LayerRef;
use crate::image::progress::{LayerProgress, PullEvent};
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

/// Pieces between the network and the thread that decompresses.
const QUEUE: usize = 16;

/// Where the blobs of an image are.
pub enum BlobSource {
    Local(LayerFiles),
    Registry(Registry),
}

impl BlobSource {
    /// See [`Registry::place`]; local files have one place.
    fn place(&self) -> usize {
        match self {
            BlobSource::Local(_) => 0,
            BlobSource::Registry(registry) => registry.place(),
        }
    }

    fn distrust(&self, place: usize) -> bool {
        match self {
            BlobSource::Local(_) => false,
            BlobSource::Registry(registry) => registry.distrust(place),
        }
    }
}

/// Makes what is missing of `candidate` and keeps its documents.
///
/// # Errors
/// The first layer's error; the other layers are stopped and cleaned up before it is returned.
pub async fn complete(
    store: &ImageStore,
    candidate: Candidate,
    lease: &Lease,
    source: BlobSource,
) -> Result<Image, ImageError> {
    let Candidate { name, .. } = &candidate;
    let worker = |_| ImageError::Worker { name: name.clone() };
    let sweeper = store.clone();
    // Leftovers that cannot be removed are no reason not to run a job.
    if let Err(error) = tokio::task::spawn_blocking(move || sweeper.sweep()).await.map_err(worker)? {
        tracing::warn!(%error, "staging area not swept");
    }
    store.reporter.tell(|| started(store, &candidate));
    let mut seen = HashSet::new();
    let missing = candidate.layers.iter().filter(|layer| seen.insert(&layer.diff_id));
    let missing: Vec<LayerRef> = missing.filter(|layer| !store.layers.is_ready(&layer.diff_id)).cloned().collect();
    let mut notes: Vec<ImageNote> = missing
        .iter()
        .filter_map(|layer| match store.layers.find(&layer.diff_id) {
            LayerState::Broken(path) => Some(ImageNote::Replaced { path }),
            LayerState::Ready(_) | LayerState::Absent => None,
        })
        .collect();
    let mut missing = missing.into_iter();
    let source = Arc::new(source);
    let (cancel, cancelled) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut result = Ok(());
    loop {
        while result.is_ok() && tasks.len() < store.parallel_layers {
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
    store.keep_documents(&candidate)?;
    let mut image =
        store.image(&candidate, lease, true).ok_or_else(|| ImageError::NotPresent { name: name.clone() })?;
    image.notes.extend(notes);
    let digest = &image.manifest_digest;
    store.reporter.tell(|| PullEvent::Finished { image: name.clone(), digest: digest.clone() });
    Ok(image)
}

fn started(store: &ImageStore, candidate: &Candidate) -> PullEvent {
    let mut seen = HashSet::new();
    let layers = candidate.layers.iter().filter(|layer| seen.insert(&layer.diff_id));
    let layers = layers.map(|layer| LayerProgress {
        layer: layer.blob.clone(),
        size: layer.size,
        present: store.layers.is_ready(&layer.diff_id),
    });
    let digest = candidate.manifest_digest.clone();
    PullEvent::Started { image: candidate.name.clone(), digest, layers: layers.collect() }
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
    let made = loop {
        let place = source.place();
        match make(&store, &source, &layer, &mut cancelled).await {
            Err(error) if error.is_wrong_content() && source.distrust(place) => {
                tracing::debug!(layer = %layer.blob, %error, "going on at the next mirror");
            }
            made => break made,
        }
    };
    if made.is_ok() {
        store.reporter.tell(|| PullEvent::Done { layer: layer.blob.clone() });
    }
    (layer, made)
}

async fn make(
    store: &ImageStore,
    source: &BlobSource,
    layer: &LayerRef,
    cancelled: &mut watch::Receiver<bool>,
) -> Result<Option<UnpackStats>, LayerError> {
    let mut lock = tokio::select! {
        lock = lock(store, layer) => lock?,
        () = called_off(cancelled) => return Err(LayerError::Cancelled),
    };
    let target = store.layers.target(&layer.diff_id);
    match store.layers.find(&layer.diff_id) {
        LayerState::Ready(_) => return Ok(None),
        LayerState::Absent => {}
        LayerState::Broken(path) => {
            let (staging, diff_id) = (store.staging.clone(), layer.diff_id.clone());
            let discarded = tokio::task::spawn_blocking(move || {
                let discarded = staging.discard(&diff_id, &path, &lock);
                discarded.map(|()| lock)
            });
            lock = discarded.await.map_err(|_| LayerError::Cancelled)??;
        }
    }
    create_parent(&target)?;
    let meter = store.reporter.begin(&layer.blob);
    let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
    let job = |source| Job {
        layer: layer.clone(),
        source,
        staging: store.staging.clone(),
        lock,
        target,
        allowance: store.limits.allowance(layer.size),
        cancelled: stop.0.clone(),
        meter,
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
async fn lock(store: &ImageStore, layer: &LayerRef) -> Result<LayerLock, StagingError> {
    let (staging, diff_id) = (&store.staging, &layer.diff_id);
    if let Some(lock) = staging.try_lock(diff_id)? {
        return Ok(lock);
    }
    tracing::debug!(%diff_id, "waiting for another process to make this layer");
    store.reporter.tell(|| PullEvent::Waiting { layer: layer.blob.clone() });
    let (sender, receiver) = oneshot::channel();
    // Who only waits leaves nothing behind.
    let waiting = Staging { work: None, ..staging.clone() };
    let diff_id = diff_id.clone();
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
