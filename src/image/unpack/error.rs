//! What can go wrong in the unpacker; it crosses the process boundary as JSON.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

/// A layer could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnpackError {
    /// The tar stream ended inside an entry.
    #[error("failed to read the layer: it ends in the middle of an entry")]
    Truncated,
    #[error("failed to read the layer: {what} (at byte {offset})")]
    Malformed {
        what: Malformed,
        /// Of the header, from the start of the tar stream.
        offset: u64,
    },
    #[error("failed to unpack {name}: {why}")]
    Refused { name: String, why: Refusal },
    #[error("failed to {action} {name}: {}", io::Error::from_raw_os_error(*errno))]
    System { action: String, name: String, errno: i32 },
    #[error(
        "failed to give {name} to {kind} {id}: it is not among the ids that you may use in containers; \
         add to your ranges in /etc/subuid and /etc/subgid"
    )]
    UnmappedId { name: String, kind: IdKind, id: u64 },
    #[error("failed to unpack the layer: it becomes larger than it may")]
    TooLarge,
    #[error("failed to confine the unpacker: {message}")]
    Confine { message: String },
}

/// What is wrong with the archive's structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Malformed {
    Checksum,
    Number,
    Pax,
    ExtensionTooLong,
    DanglingExtension,
    EntryType,
    Sparse,
}

/// Why a well-formed entry is not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    LeavesTheLayer,
    EmptyName,
    NulInName,
    NameTooLong,
    RootIsNotADirectory,
    Whiteout,
    OwnerOutOfRange,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdKind {
    User,
    Group,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Checksum => "a header's checksum does not match, so this is not a tar archive or a damaged one",
            Malformed::Number => "a number in a header is not valid",
            Malformed::Pax => "a PAX extended header is not valid",
            Malformed::ExtensionTooLong => "an extended header is larger than 1 MiB",
            Malformed::DanglingExtension => "an extended header describes no entry",
            Malformed::EntryType => "an entry is of a type that is not known",
            Malformed::Sparse => "the map of a sparse file is not valid",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::LeavesTheLayer => "its name leads out of the layer",
            Refusal::EmptyName => "its name is empty",
            Refusal::NulInName => "its name holds a NUL byte",
            Refusal::NameTooLong => "its name is too long",
            Refusal::RootIsNotADirectory => "the root of a layer can only be a directory",
            Refusal::Whiteout => "it is a whiteout that names no file",
            Refusal::OwnerOutOfRange => "its owner is not a valid user or group id",
        })
    }
}

impl fmt::Display for IdKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IdKind::User => "user",
            IdKind::Group => "group",
        })
    }
}

impl UnpackError {
    /// A failed system call while working on `name`.
    pub(super) fn system(action: &str, name: &[u8], error: impl Into<io::Error>) -> UnpackError {
        // Every error that reaches this comes from the kernel; EIO stands for one that does not.
        let errno = error.into().raw_os_error().unwrap_or(libc::EIO);
        UnpackError::System { action: action.to_owned(), name: printable(name), errno }
    }

    pub(super) fn refused(name: &[u8], why: Refusal) -> UnpackError {
        UnpackError::Refused { name: printable(name), why }
    }

    /// True when the disk or a quota is full.
    pub fn is_out_of_space(&self) -> bool {
        matches!(self, UnpackError::System { errno: libc::ENOSPC | libc::EDQUOT, .. })
    }
}

/// A name for messages: control characters escaped, cut at a length that fits a line.
fn printable(name: &[u8]) -> String {
    const LONGEST: usize = 200;
    let shown = &name[..name.len().min(LONGEST)];
    let escaped: String = String::from_utf8_lossy(shown).chars().flat_map(char::escape_debug).collect();
    format!("\"{escaped}{}\"", if name.len() > LONGEST { "…" } else { "" })
}
