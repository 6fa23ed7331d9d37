//! Images that lie in files on this machine: OCI layouts in a directory or in a tar archive, and the
//! archives that `docker save` and `podman save` write.
//!
//! [`find`] gives one image of a file, [`load`] all of them; both as a [`LocalImage`], whose documents
//! are read and verified and whose layers can be located. Everything here blocks.
//!
//! Contract: archives are read in place. One pass over the tar's headers says where each member is, then
//! members are read where they lie; nothing is extracted, so that no name in an archive ever names a file
//! of the host. What cannot be read in place (a pipe, a compressed archive) is first written to a file
//! without a name, which is gone with the process. A file that changes meanwhile gives an error, because
//! whatever is read of it is compared with a digest. The bytes of an archive are as hostile as those of
//! a registry.

mod docker_archive;
mod error;
mod files;
mod layout;
mod local;
mod spool;
mod tarball;

pub use error::{ArchiveProblem, BlobProblem, Place, SourceError};
pub use files::FileSlice;
pub use local::{LayerFiles, LoadInput, LocalImage, Scratch, find, load};
