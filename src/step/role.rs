//! The process: one request, one result.

use super::error::{StepError, one_line, say};
use super::http::Check;
use super::names::Names;
use super::request::{DATA_FD, StepRequest};
#[cfg(feature = "s3")]
use super::s3::{self, Access, Object, Store};
use super::tcp;
use crate::sys::process::{inherited, set_parent_death_signal};
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;

/// The most bytes of a request.
const LONGEST_REQUEST: u64 = 8 << 20;

/// Does what standard input asks for; the exit code.
pub fn main(arguments: &[OsString]) -> i32 {
    if !arguments.is_empty() {
        say("failed to start: a step takes no arguments");
        return 1;
    }
    match run() {
        Ok(()) => 0,
        Err(error) => {
            say(&one_line(&error));
            1
        }
    }
}

fn run() -> Result<(), StepError> {
    // Before anything is opened that would get its number.
    let data = inherited(DATA_FD);
    set_parent_death_signal(Signal::SIGKILL).map_err(|source| StepError::Runtime { source })?;
    let (request, rest) = read()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| StepError::Runtime { source })?;
    let result = runtime.block_on(perform(request, data, rest));
    // A name that is still being looked up in a thread is not waited for.
    runtime.shutdown_background();
    result
}

/// The request, and what has been read behind its line.
fn read() -> Result<(StepRequest, Vec<u8>), StepError> {
    let mut input = BufReader::new(std::io::stdin().lock().take(LONGEST_REQUEST));
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line).map_err(|source| StepError::Read { source })?;
    if line.last() != Some(&b'\n') {
        return Err(StepError::Unfinished { length: line.len() });
    }
    let request = serde_json::from_slice(&line).map_err(|error| StepError::Form { column: error.column() })?;
    Ok((request, input.buffer().to_vec()))
}

async fn perform(request: StepRequest, data: io::Result<OwnedFd>, rest: Vec<u8>) -> Result<(), StepError> {
    // Fails when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let names = |resolve| Names::new(resolve).map_err(|source| StepError::Names { source });
    match request {
        StepRequest::WaitTcp { host, port, interval, resolve } => {
            tcp::wait(&names(&resolve)?, &host, port, interval).await;
            Ok(())
        }
        StepRequest::WaitHttp { url, method, headers, expect_status, interval, insecure_skip_verify, resolve } => {
            let check = Check::new(&url, &method, &headers, expect_status, interval, !insecure_skip_verify)?;
            check.wait(&names(&resolve)?).await
        }
        #[cfg(feature = "s3")]
        StepRequest::S3 { direction, bucket, key, endpoint, region, env, credentials_file, resolve } => {
            let access = Access::find(endpoint, region, &env, credentials_file.as_deref())?;
            let store = Store::open(direction, Object { bucket, key }, access, names(&resolve)?)?;
            Ok(s3::transfer(&store, data, rest).await?)
        }
        #[cfg(not(feature = "s3"))]
        StepRequest::S3 { .. } => {
            drop((data, rest));
            Err(StepError::NoS3)
        }
    }
}
