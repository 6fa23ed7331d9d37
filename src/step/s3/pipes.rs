//! The pipes of a transfer.

use super::super::request::COMMIT;
use super::error::S3Error;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use std::future::pending;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// Where a pull writes to.
pub fn output(data: io::Result<OwnedFd>) -> Result<pipe::Sender, S3Error> {
    data.and_then(pipe::Sender::from_owned_fd).map_err(|source| S3Error::Pipe { source })
}

/// Where a push reads from.
pub fn input(data: io::Result<OwnedFd>) -> Result<pipe::Receiver, S3Error> {
    data.and_then(pipe::Receiver::from_owned_fd).map_err(|source| S3Error::Pipe { source })
}

/// Whether all that was to be uploaded has come, once it is known.
#[derive(Clone)]
pub struct Commit(Shared<BoxFuture<'static, bool>>);

impl Commit {
    /// Reads standard input, of which `rest` has been read already.
    pub fn watch(rest: Vec<u8>) -> Result<Commit, S3Error> {
        let input = io::stdin().as_fd().try_clone_to_owned();
        let mut input = input.and_then(pipe::Receiver::from_owned_fd).map_err(|source| S3Error::Pipe { source })?;
        let verdict = async move {
            match rest.first() {
                Some(byte) => *byte == COMMIT,
                None => input.read_u8().await.is_ok_and(|byte| byte == COMMIT),
            }
        };
        Ok(Commit(verdict.boxed().shared()))
    }

    /// True when it has come, false when it will not.
    pub async fn has_come(&self) -> bool {
        self.0.clone().await
    }

    /// Returns when it will not come.
    pub async fn will_not_come(&self) {
        if self.has_come().await {
            pending::<()>().await;
        }
    }
}
