//! What can be wrong with registries.conf, and what it forbids.

use crate::image::reference::ReferenceError;
use std::io;
use std::path::PathBuf;

/// The registry configuration cannot be used, or forbids what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to make {} absolute", path.display())]
    Place { path: PathBuf, source: io::Error },
    #[error("failed to find {}: {variable} names it; correct or unset {variable}", path.display())]
    Missing { path: PathBuf, variable: &'static str },
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// Not TOML, or a value of the wrong type.
    #[error("failed to read {}:{line}:{column}: {message}", path.display())]
    Toml { path: PathBuf, line: usize, column: usize, message: String },
    #[error(
        "failed to read {}:{line}: [registries.search] and the like are version 1 of the format, which is not \
         supported; write [[registry]] and unqualified-search-registries, see containers-registries.conf(5)",
        path.display()
    )]
    Version1 { path: PathBuf, line: usize },
    #[error("failed to read {}:{line}: {key} = {value:?}: {expected}", path.display())]
    Setting { path: PathBuf, line: usize, key: String, value: String, expected: &'static str },
    #[error("failed to use {name}: {} blocks {prefix}", file.display())]
    Blocked { name: String, prefix: String, file: PathBuf },
    #[error("failed to move {name} to the location {location:?} that {} sets", file.display())]
    Location { name: String, location: String, file: PathBuf, source: Box<ReferenceError> },
    #[error(
        "failed to move {name} to the location {location:?} that {} sets: it would change the tag or the digest, \
         which is not supported; set prefix and location without tags", file.display()
    )]
    OtherVersion { name: String, location: String, file: PathBuf },
    #[error("failed to complete the image name {name}")]
    ShortName { name: String, source: Box<ReferenceError> },
    #[error(
        "failed to complete the image name {name}: it may mean {}, and {} sets short-name-mode = \"enforcing\"; \
         write the name with its registry", candidates.join(" or "), file.display()
    )]
    Ambiguous { name: String, candidates: Vec<String>, file: PathBuf },
}
