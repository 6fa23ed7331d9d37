//! `init.s3_pull` and `init.s3_push`: one object to or from a pipe.
//!
//! The store is asked directly, at the endpoint that the step names (the bucket is part of the path then) or at
//! AWS. Requests are signed with keys of the step's environment or of a credentials file; nothing else is looked
//! for, in particular no metadata service of a cloud. Failed requests are repeated [`RETRIES`] times.

mod access;
mod data;
mod error;
mod pull;
mod push;
mod store;

use super::names::Names;
use super::request::Direction;
pub use access::Access;
pub use error::S3Error;

/// For each request; a pull that is cut goes on where it was.
const RETRIES: usize = 5;

/// What is moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub bucket: String,
    pub key: String,
}

/// Moves the object between the store and [`super::DATA_FD`]. `rest` is what of standard input has been read
/// behind the request.
///
/// # Errors
/// See [`S3Error`]. After a failed push there is no object, or the one from before.
pub async fn transfer(
    direction: Direction,
    object: Object,
    access: Access,
    names: Names,
    rest: Vec<u8>,
) -> Result<(), S3Error> {
    match direction {
        Direction::Pull => {
            let pipe = data::output()?;
            let store = store::Store::open(direction, object, access, names)?;
            pull::pull(&store, pipe).await
        }
        Direction::Push => {
            let (pipe, commit) = (data::input()?, data::Commit::watch(rest)?);
            let store = store::Store::open(direction, object, access, names)?;
            push::push(&store, pipe, commit).await
        }
    }
}
