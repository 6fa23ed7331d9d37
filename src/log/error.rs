//! What can be wrong with a log.

use super::format::{MAX_SIZE, MIN_SIZE, VERSION};
use std::io;
use std::path::PathBuf;

/// A log cannot be created, read or watched.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("failed to {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("a log of {size} bytes is not possible; choose {MIN_SIZE} to {MAX_SIZE} bytes")]
    Size { size: u64 },
    #[error("{} is not a coracle log: {reason}", path.display())]
    NotALog { path: PathBuf, reason: &'static str },
    #[error(
        "the log {} was written by a newer coracle (format version {found}, this one knows {VERSION}); \
         use that version to read it", path.display()
    )]
    Newer { path: PathBuf, found: u32 },
    #[error("the log {} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: &'static str },
    #[error(
        "failed to watch the log {}: too many inotify instances or watches; \
         raise fs.inotify.max_user_instances or max_user_watches (sysctl)", path.display()
    )]
    TooManyWatches { path: PathBuf, source: io::Error },
}
