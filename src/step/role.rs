//! The process: one request, one result.

use super::error::{StepError, one_line, say};
use super::http::Check;
use super::names::Names;
use super::request::{DATA_FD, HostFile, StepRequest};
#[cfg(feature = "s3")]
use super::s3::{self, Access, Object, Signing, Source, Store};
use super::tcp;
use crate::sys::process::{inherited, set_parent_death_signal};
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
#[cfg(feature = "s3")]
use std::path::PathBuf;

/// A file that whoever started this process has opened.
struct Passed {
    #[cfg_attr(not(feature = "s3"), expect(dead_code, reason = "only transfers read files"))]
    file: HostFile,
    #[cfg_attr(not(feature = "s3"), expect(dead_code, reason = "only transfers read files"))]
    content: File,
}

/// The most bytes of a request.
const LONGEST_REQUEST: u64 = 8 << 20;

/// Does what standard input asks for; the exit code.
pub fn main(arguments: &[OsString]) -> i32 {
    let Some(passed) = passed(arguments) else {
        say("failed to start: the arguments of a step are files of its request");
        return 1;
    };
    match run(passed) {
        Ok(()) => 0,
        Err(error) => {
            say(&one_line(&error));
            1
        }
    }
}

/// The files that this process was given.
fn passed(arguments: &[OsString]) -> Option<Vec<Passed>> {
    let parse = |argument: &OsString| {
        let (name, number) = argument.to_str()?.split_once('=')?;
        let file = [HostFile::Credentials, HostFile::Authorities].into_iter().find(|file| file.name() == name)?;
        Some(Passed { file, content: inherited(number.parse().ok()?).ok()?.into() })
    };
    arguments.iter().map(parse).collect()
}

fn run(files: Vec<Passed>) -> Result<(), StepError> {
    // Before anything is opened that would get its number.
    let data = inherited(DATA_FD);
    set_parent_death_signal(Signal::SIGKILL).map_err(|source| StepError::Runtime { source })?;
    let (request, rest) = read()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| StepError::Runtime { source })?;
    let result = runtime.block_on(perform(request, files, data, rest));
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

async fn perform(
    request: StepRequest,
    files: Vec<Passed>,
    data: io::Result<OwnedFd>,
    rest: Vec<u8>,
) -> Result<(), StepError> {
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
        StepRequest::S3 {
            direction,
            bucket,
            key,
            endpoint,
            region,
            env,
            credentials_file,
            anonymous,
            ca_bundle,
            addressing,
            resolve,
        } => {
            let mut files = files;
            let mut source = |path: Option<PathBuf>, file| {
                let at = files.iter().position(|passed| passed.file == file);
                let passed = at.map(|at| files.swap_remove(at).content);
                path.map(|path| Source { path, passed })
            };
            let credentials_file = source(credentials_file, HostFile::Credentials);
            let ca_bundle = source(ca_bundle, HostFile::Authorities);
            let keys = Signing::find(&env, credentials_file, anonymous)?;
            let access = Access::find(endpoint, region, &env, keys, ca_bundle, addressing)?;
            let store = Store::open(direction, Object { bucket, key }, access, names(&resolve)?)?;
            Ok(s3::transfer(&store, data, rest).await?)
        }
        #[cfg(not(feature = "s3"))]
        StepRequest::S3 { .. } => {
            drop((files, data, rest));
            Err(StepError::NoS3)
        }
    }
}
