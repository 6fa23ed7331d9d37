//! The pipes of a transfer.

use super::super::request::{COMMIT, DATA_FD};
use super::error::S3Error;
use crate::sys::process::inherited;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use std::future::pending;
use std::io;
use std::os::fd::AsFd;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// Where a pull writes to.
pub fn output() -> Result<pipe::Sender, S3Error> {
    let failed = |source| S3Error::Pipe { source };
    pipe::Sender::from_owned_fd(inherited(DATA_FD).map_err(failed)?).map_err(failed)
}

/// Where a push reads from.
pub fn input() -> Result<pipe::Receiver, S3Error> {
    let failed = |source| S3Error::Pipe { source };
    pipe::Receiver::from_owned_fd(inherited(DATA_FD).map_err(failed)?).map_err(failed)
}

/// Whether all that was to be uploaded has come, once it is known.
#[derive(Clone)]
pub struct Commit(Shared<BoxFuture<'static, bool>>);

impl Commit {
    /// Reads standard input, of which `rest` has been read already.
    pub fn watch(rest: Vec<u8>) -> Result<Commit, S3Error> {
        let failed = |source| S3Error::Pipe { source };
        let input = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
        let mut input = pipe::Receiver::from_owned_fd(input).map_err(failed)?;
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
