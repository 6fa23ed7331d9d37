//! What a step role is asked to do.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The descriptor of the data pipe of [`StepRequest::S3`]: written by a pull, read by a push.
pub const DATA_FD: i32 = 3;

/// What follows the request on the standard input of a push when everything that was to be uploaded has
/// come through the data pipe. The end of the input in its place: it has not, and no object is left.
pub const COMMIT: u8 = b'c';

/// One step, as one line of JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StepRequest {
    /// Until a connection is accepted.
    WaitTcp {
        /// A name or an address; an IPv6 address with or without brackets.
        host: String,
        port: u16,
        /// From the end of one try to the next.
        interval: Duration,
        resolve: Resolve,
    },
    /// Until a request is answered as expected.
    WaitHttp {
        /// Starts with `http://` or `https://`.
        url: String,
        /// Upper case.
        method: String,
        headers: Vec<(String, String)>,
        /// Empty: any from 200 to 299.
        expect_status: Vec<u16>,
        /// From the end of one try to the next.
        interval: Duration,
        /// Any certificate will do.
        insecure_skip_verify: bool,
        resolve: Resolve,
    },
    /// One object to or from [`DATA_FD`].
    S3 {
        direction: Direction,
        bucket: String,
        key: String,
        /// `None`: that of AWS for the region.
        endpoint: Option<String>,
        /// `None`: `AWS_REGION` or `AWS_DEFAULT_REGION` of `env`, else `us-east-1`.
        region: Option<String>,
        /// Where `AWS_ACCESS_KEY_ID` and what belongs to it is looked for; of two with one name, the first.
        env: Vec<(String, String)>,
        /// A file in the form of `~/.aws/credentials`, for when `env` has no key.
        credentials_file: Option<PathBuf>,
        /// Requests are not signed, and no keys are looked for.
        anonymous: bool,
        /// A file with the only authorities (PEM) that may vouch for the store. `None`: those of the host.
        ca_bundle: Option<PathBuf>,
        addressing: Addressing,
        resolve: Resolve,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the store to the job.
    Pull,
    /// From the job to the store.
    Push,
}

/// Where a request names the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Addressing {
    /// In the name of the host at AWS, unless the bucket's has a dot; in the path at an endpoint.
    Auto,
    /// In the path.
    Path,
    /// In the name of the host.
    Virtual,
}

/// A file of the host that a role reads. Its name, `=` and a number as an argument of the role: whoever started it has
/// opened the file with rights of its own, and the role has it as that descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostFile {
    Credentials,
    Authorities,
}

impl HostFile {
    pub fn name(self) -> &'static str {
        match self {
            HostFile::Credentials => "credentials_file",
            HostFile::Authorities => "ca_bundle",
        }
    }
}

impl StepRequest {
    /// Files of the host that it needs.
    pub fn files(&self) -> Vec<(HostFile, &Path)> {
        let StepRequest::S3 { credentials_file, ca_bundle, .. } = self else { return Vec::new() };
        let files = [(HostFile::Credentials, credentials_file), (HostFile::Authorities, ca_bundle)];
        files.into_iter().filter_map(|(file, path)| path.as_deref().map(|path| (file, path))).collect()
    }
}

/// How names become addresses. Empty: as on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolve {
    /// Looked at first, as lines of `/etc/hosts`; a name may stand here more than once.
    pub hosts: Vec<(String, IpAddr)>,
    /// Name servers to ask instead of the host's.
    pub servers: Vec<IpAddr>,
}

/// Without what may be secret: headers, environment and the query of an address.
impl fmt::Debug for StepRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StepRequest::WaitTcp { host, port, .. } => write!(f, "WaitTcp({host}:{port})"),
            StepRequest::WaitHttp { .. } => write!(f, "WaitHttp"),
            StepRequest::S3 { direction, bucket, key, .. } => write!(f, "S3({direction:?} {bucket}/{key})"),
        }
    }
}
