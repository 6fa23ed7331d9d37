//! `init.s3_pull` and `init.s3_push`: one object to or from a pipe.
//!
//! The store is asked directly, at the endpoint that the step names or at AWS. Unless they are to be anonymous,
//! requests are signed with keys of the step's environment or of a credentials file; nothing else is looked for, in
//! particular no metadata service of a cloud. Failed requests are repeated [`RETRIES`] times.

mod access;
mod error;
mod pipes;
mod pull;
mod push;
mod store;

use super::request::Direction;
use pipes::Commit;
use std::io;
use std::os::fd::OwnedFd;

pub use access::{Access, AccessError, Signing, Source};
pub use error::S3Error;
pub use store::Store;

/// For each request; a pull that is cut goes on where it was.
const RETRIES: usize = 5;

/// What is moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub bucket: String,
    pub key: String,
}

/// Moves the object between the store and `data`. `rest` is what of standard input has been read behind the
/// request.
///
/// # Errors
/// See [`S3Error`]. After a failed push there is no object, or the one from before.
pub async fn transfer(store: &Store, data: io::Result<OwnedFd>, rest: Vec<u8>) -> Result<(), S3Error> {
    match store.direction {
        Direction::Pull => pull::pull(store, pipes::output(data)?).await,
        Direction::Push => push::push(store, pipes::input(data)?, Commit::watch(rest)?).await,
    }
}
