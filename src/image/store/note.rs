//! What a user should know of how an image was got.

use crate::image::digest::Digest;
use crate::image::platform::Platform;
use crate::image::unpack::UnpackStats;
use std::fmt;
use std::path::PathBuf;

/// Something that went otherwise than one may expect. For the user's eyes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageNote {
    /// The registry was not reached and the image that was here is used.
    Offline { name: String, reason: String },
    /// The image is not made for this host, and no platform was asked for.
    OtherPlatform { wanted: Platform, found: Platform },
    /// A damaged file of the store, got again.
    Replaced { path: PathBuf },
    /// Parts of a layer that were left out or changed.
    Unpacked { diff_id: Digest, stats: UnpackStats },
}

impl fmt::Display for ImageNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageNote::Offline { name, reason } => write!(f, "using the {name} that is here: {reason}"),
            ImageNote::OtherPlatform { wanted, found } => {
                write!(f, "the image is made for {found}, this host is {wanted}")
            }
            ImageNote::Replaced { path } => write!(f, "{} was damaged and has been got again", path.display()),
            ImageNote::Unpacked { diff_id, stats } => {
                write!(f, "layer {diff_id}:")?;
                let mut separator = " ";
                for (count, what) in [
                    (stats.squashed_owners, "entries without an owner of their own, for want of subordinate ids"),
                    (stats.skipped_devices, "device nodes left out, which only root can make"),
                    (stats.skipped_xattrs, "extended attributes left out"),
                ] {
                    if count > 0 {
                        write!(f, "{separator}{what}: {count}")?;
                        separator = "; ";
                    }
                }
                Ok(())
            }
        }
    }
}
