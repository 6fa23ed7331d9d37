//! From the bytes of a layer blob to a layer in the store, as one stream: count and hash what comes in,
//! decompress, hash the tar, hand it to the unpacker. Nothing is kept whole, and nothing is visible
//! before size, both digests and the unpacker's result are good.

use super::layers::{self, ROOT};
use super::limits::Allowance;
use super::staging::{LayerLock, Staging, StagingError};
use crate::image::decompress::{self, decompress};
use crate::image::digest::Digest;
use crate::image::manifest::LayerRef;
use crate::image::progress::Meter;
use crate::image::registry::RegistryError;
use crate::image::source::{FileSlice, SourceError};
use crate::image::unpack::{self, Report, UnpackError, UnpackStats};
use bytes::{Buf, Bytes};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// Bytes asked for at a time from the decompressor and from files.
const PIECE: usize = 256 << 10;

/// Capacity of the pipe to the unpacker; the largest that users without privileges may have
/// (`/proc/sys/fs/pipe-max-size`).
const PIPE: i32 = 1 << 20;

/// A layer could not be made. Nothing of it is in the store.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(
        "failed to verify the layer: {found} bytes came instead of {expected}; it is cut off or was changed on the way"
    )]
    TooShort { expected: u64, found: u64 },
    #[error("failed to verify the layer: more than the {expected} bytes that it has came")]
    TooLong { expected: u64 },
    #[error("failed to verify the layer: its digest is {found}; it was damaged or changed on the way")]
    Digest { found: Digest },
    #[error(
        "failed to verify the layer: the diff id of what is in it is {found}, the image's config says {expected}; \
         the image was built wrongly"
    )]
    DiffId { expected: Digest, found: Digest },
    #[error("failed to decompress the layer; the image was built wrongly")]
    Decompress { source: io::Error },
    #[error(
        "failed to decompress the layer: its zstd window is larger than {} MiB; compress it again with a smaller one, \
         for example with skopeo copy --dest-compress-format zstd --dest-force-compress-format",
        decompress::LARGEST_WINDOW >> 20
    )]
    Window,
    #[error(
        "failed to unpack the layer: it becomes more than {limit} bytes; if you trust it, raise images.max_layer_size"
    )]
    TooLarge { limit: u64 },
    #[error(
        "failed to unpack the layer: it becomes more than {limit} bytes, over {ratio} times what is sent for it, as \
         decompression bombs do; if you trust it, raise images.max_compression_ratio"
    )]
    Ratio { limit: u64, ratio: u32 },
    #[error(transparent)]
    Unpack(UnpackError),
    #[error("failed to unpack the layer: the disk that holds {} is full", store.display())]
    OutOfSpace { store: PathBuf, source: UnpackError },
    #[error("failed to run the unpacker {}", binary.display())]
    Spawn { binary: PathBuf, source: io::Error },
    #[error("failed to unpack the layer: the unpacker ended without a report ({status})")]
    NoReport { status: String },
    #[error(
        "failed to unpack the layer: the unpacker was killed by {signal}{}",
        if *signal == Signal::SIGSYS { ", for a system call that no layer needs: do not trust this image" } else { "" }
    )]
    Killed { signal: Signal },
    #[error("failed to write {} to disk", path.display())]
    Sync { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Staging(#[from] StagingError),
    #[error("failed to unpack the layer: cancelled")]
    Cancelled,
}

impl LayerError {
    /// True when other bytes came than those that the manifest names.
    pub fn is_wrong_content(&self) -> bool {
        matches!(self, LayerError::Digest { .. } | LayerError::TooShort { .. } | LayerError::TooLong { .. })
    }
}

/// Where a blob comes from.
pub enum Source {
    File(FileSlice),
    /// Ends with [`Piece::End`]; a channel that closes without means that nobody wants the layer any more.
    Stream(mpsc::Receiver<Piece>),
}

/// What a stream is made of.
pub enum Piece {
    Data(Bytes),
    End,
    Failed(RegistryError),
}

/// One layer to be made.
pub struct Job {
    pub layer: LayerRef,
    pub source: Source,
    pub staging: Staging,
    /// Held until the layer is visible.
    pub lock: LayerLock,
    /// Where it will be.
    pub target: PathBuf,
    /// What it may become; `None`: anything.
    pub allowance: Option<Allowance>,
    pub cancelled: Arc<AtomicBool>,
    pub meter: Meter,
}

/// Makes the layer and publishes it. Blocks, and must run on a thread that lives until it returns: the
/// unpacker dies with the thread.
///
/// # Errors
/// See [`LayerError`].
pub fn make(job: Job) -> Result<UnpackStats, LayerError> {
    let Job { layer, source, staging, lock, target, allowance, cancelled, meter } = job;
    let staged = staging.stage(&layer.diff_id, &lock)?;
    let root = staged.path().join(ROOT);
    let created = std::fs::DirBuilder::new().mode(0o755).create(&root);
    created.map_err(|source| StagingError::Io { action: "create the directory", path: root.clone(), source })?;
    let mut incoming = Incoming::new(source, layer.size, cancelled, meter);
    let unpacker = Unpacker::start(&staging, &root, allowance)?;
    let (stats, bytes) = match transfer(&mut incoming, unpacker, allowance) {
        Ok((diff_id, report, bytes)) => {
            incoming.verify(&layer)?;
            if diff_id != layer.diff_id {
                return Err(LayerError::DiffId { expected: layer.diff_id, found: diff_id });
            }
            (report, bytes)
        }
        // The blob's own state explains the rest.
        Err(error) => return Err(incoming.explain(error, &layer, &staging, allowance)),
    };
    let recorded = layers::write_record(staged.path(), &layer, bytes, stats.entries, staging.mappings.as_ref());
    recorded.map_err(|source| LayerError::Sync { path: staged.path().to_owned(), source })?;
    // Everything below must be on disk before the name is: after a crash of the host, a layer that is
    // there is whole. The name itself may be lost; then so is the layer, and what staging held is swept.
    // One call for the whole file system is far cheaper than fsync of every file: about a second for
    // 300 MB in 15,000 files on a plain disk, nothing on a tmpfs.
    let synced = File::open(&root).and_then(|directory| Ok(nix::unistd::syncfs(&directory)?));
    synced.map_err(|source| LayerError::Sync { path: root, source })?;
    staged.publish(&target)?;
    drop(lock);
    Ok(stats)
}

/// Moves the blob through decompressor and unpacker; the diff id, what the unpacker reports, and the bytes
/// of the tar.
fn transfer(
    incoming: &mut Incoming,
    mut unpacker: Unpacker,
    allowance: Option<Allowance>,
) -> Result<(Digest, UnpackStats, u64), LayerError> {
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut left = allowance.map(|allowance| allowance.bytes);
    let mut buffer = vec![0; PIECE];
    let decompressed = |source| match source {
        source if decompress::is_window_too_large(&source) => LayerError::Window,
        source => LayerError::Decompress { source },
    };
    {
        let mut tar = decompress(&mut *incoming).map_err(decompressed)?;
        loop {
            let length = match tar.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(decompressed(error)),
            };
            if let (Some(left), Some(allowance)) = (&mut left, allowance) {
                *left = left.checked_sub(length as u64).ok_or_else(|| allowance.exceeded())?;
            }
            bytes += length as u64;
            hash.update(&buffer[..length]);
            if unpacker.write(&buffer[..length]).is_err() {
                // It ended early, and its report says why.
                break;
            }
        }
    }
    let stats = unpacker.finish()?;
    Ok((Digest::from_hash(hash), stats, bytes))
}

/// A running unpacker; killed and reaped when dropped.
struct Unpacker {
    child: Child,
}

impl Unpacker {
    fn start(staging: &Staging, root: &Path, allowance: Option<Allowance>) -> Result<Unpacker, LayerError> {
        let largest = allowance.map(|allowance| allowance.bytes);
        let child = unpack::spawn(&staging.binary, root, staging.mappings.as_ref(), largest)
            .map_err(|source| LayerError::Spawn { binary: staging.binary.clone(), source })?;
        if let Some(stdin) = &child.stdin {
            // A smaller pipe works as well, only slower.
            let _ = fcntl(stdin, FcntlArg::F_SETPIPE_SZ(PIPE));
        }
        Ok(Unpacker { child })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.child.stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(bytes))
    }

    /// Lets it come to its end and reads what it says.
    fn finish(mut self) -> Result<UnpackStats, LayerError> {
        /// A report has one short line.
        const LONGEST_REPORT: u64 = 1 << 20;
        drop(self.child.stdin.take());
        let mut text = String::new();
        if let Some(stdout) = self.child.stdout.take() {
            // What cannot be read is no report.
            let _ = stdout.take(LONGEST_REPORT).read_to_string(&mut text);
        }
        let status = self.child.wait();
        match (serde_json::from_str(&text), status) {
            (Ok(Report::Failed(error)), _) => Err(LayerError::Unpack(error)),
            // Not taken at its word if it ends badly after that.
            (Ok(Report::Done(stats)), Ok(status)) if status.success() => Ok(stats),
            (_, Ok(status)) => match status.signal().and_then(|signal| Signal::try_from(signal).ok()) {
                Some(signal) => Err(LayerError::Killed { signal }),
                None => Err(LayerError::NoReport { status: status.to_string() }),
            },
            (_, Err(error)) => Err(LayerError::NoReport { status: error.to_string() }),
        }
    }
}

impl Drop for Unpacker {
    fn drop(&mut self) {
        // Both fail only when it has been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The blob as it comes, counted and hashed.
struct Incoming {
    source: Pieces,
    current: Bytes,
    hash: Sha256,
    received: u64,
    expected: u64,
    cancelled: Arc<AtomicBool>,
    meter: Meter,
    ended: bool,
    /// Why reading failed; the readers above see only an I/O error.
    failure: Option<LayerError>,
}

enum Pieces {
    /// With the bytes of it read so far.
    File {
        slice: FileSlice,
        read: u64,
    },
    Stream(mpsc::Receiver<Piece>),
}

impl Incoming {
    fn new(source: Source, expected: u64, cancelled: Arc<AtomicBool>, meter: Meter) -> Incoming {
        let source = match source {
            Source::Stream(receiver) => Pieces::Stream(receiver),
            Source::File(slice) => Pieces::File { slice, read: 0 },
        };
        let current = Bytes::new();
        let hash = Sha256::new();
        Incoming { source, current, hash, received: 0, expected, cancelled, meter, ended: false, failure: None }
    }

    /// The next piece that is not empty; empty at the end.
    fn next_piece(&mut self) -> Result<Bytes, LayerError> {
        loop {
            if self.ended {
                return Ok(Bytes::new());
            }
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(LayerError::Cancelled);
            }
            let piece = match &mut self.source {
                Pieces::Stream(receiver) => match receiver.blocking_recv() {
                    Some(Piece::Data(piece)) if piece.is_empty() => continue,
                    Some(Piece::Data(piece)) => piece,
                    Some(Piece::End) => Bytes::new(),
                    Some(Piece::Failed(error)) => return Err(error.into()),
                    None => return Err(LayerError::Cancelled),
                },
                Pieces::File { slice, read } => {
                    let mut buffer = vec![0; PIECE];
                    match slice.read_at(&mut buffer, *read) {
                        Ok(length) => buffer.truncate(length),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        Err(source) => return Err(LayerError::Read { path: slice.path.clone(), source }),
                    }
                    *read += buffer.len() as u64;
                    Bytes::from(buffer)
                }
            };
            self.ended = piece.is_empty();
            self.received += piece.len() as u64;
            if self.received > self.expected {
                return Err(LayerError::TooLong { expected: self.expected });
            }
            self.hash.update(&piece);
            self.meter.advance(self.received);
            return Ok(piece);
        }
    }

    /// Reads what is left and compares size and digest.
    fn verify(&mut self, layer: &LayerRef) -> Result<(), LayerError> {
        while !self.ended {
            self.next_piece()?;
        }
        if self.received != layer.size {
            return Err(LayerError::TooShort { expected: layer.size, found: self.received });
        }
        let found = Digest::from_hash(self.hash.clone());
        if found == layer.blob { Ok(()) } else { Err(LayerError::Digest { found }) }
    }

    /// The reason behind `error`: what is wrong with the blob comes before what that led to.
    fn explain(
        &mut self,
        error: LayerError,
        layer: &LayerRef,
        staging: &Staging,
        allowance: Option<Allowance>,
    ) -> LayerError {
        if let Some(failure) = self.failure.take() {
            return failure;
        }
        match error {
            LayerError::Unpack(source) if source.is_out_of_space() => {
                LayerError::OutOfSpace { store: staging.directory.clone(), source }
            }
            LayerError::Unpack(UnpackError::TooLarge) => allowance.map_or(error, |allowance| allowance.exceeded()),
            LayerError::Unpack(
                UnpackError::Truncated | UnpackError::Malformed { .. } | UnpackError::Refused { .. },
            )
            | LayerError::Decompress { .. } => self.verify(layer).err().unwrap_or(error),
            error => error,
        }
    }
}

impl BufRead for Incoming {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.is_empty() {
            match self.next_piece() {
                Ok(piece) => self.current = piece,
                Err(error) => {
                    self.failure = Some(error);
                    return Err(io::Error::other("the blob cannot be read"));
                }
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, length: usize) {
        self.current.advance(length);
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}
