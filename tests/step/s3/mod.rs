//! `init.s3_pull` and `init.s3_push`.

mod scripted;
mod server;
mod transfers;

use super::harness::{Ended, Step, host_resolver, pipe};
use coracle::step::{Addressing, Direction, Resolve, StepRequest};
use server::{KEY_ID, SECRET};
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;

/// A transfer that a test changes.
#[derive(Clone)]
pub struct Transfer {
    pub bucket: String,
    pub key: String,
    pub endpoint: String,
    pub region: Option<String>,
    pub env: Vec<(String, String)>,
    pub credentials_file: Option<PathBuf>,
    pub anonymous: bool,
    pub ca_bundle: Option<PathBuf>,
    pub addressing: Addressing,
    pub resolve: Resolve,
}

impl Transfer {
    pub fn of(endpoint: &str, bucket: &str, key: &str) -> Transfer {
        Transfer {
            bucket: bucket.into(),
            key: key.into(),
            endpoint: endpoint.into(),
            region: None,
            env: env(&[("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", SECRET)]),
            credentials_file: None,
            anonymous: false,
            ca_bundle: None,
            addressing: Addressing::Auto,
            resolve: host_resolver(),
        }
    }

    fn request(&self, direction: Direction) -> StepRequest {
        StepRequest::S3 {
            direction,
            bucket: self.bucket.clone(),
            key: self.key.clone(),
            endpoint: Some(self.endpoint.clone()),
            region: self.region.clone(),
            env: self.env.clone(),
            credentials_file: self.credentials_file.clone(),
            anonymous: self.anonymous,
            ca_bundle: self.ca_bundle.clone(),
            addressing: self.addressing,
            resolve: self.resolve.clone(),
        }
    }

    /// A pull under way and what comes out of it.
    pub fn start_pull(&self) -> (Step, File) {
        let (reader, writer) = pipe();
        (Step::start_on(&self.request(Direction::Pull), writer.into()), reader)
    }

    /// A push under way and where it reads from.
    pub fn start_push(&self) -> (Step, File) {
        let (reader, writer) = pipe();
        (Step::start_on(&self.request(Direction::Push), reader.into()), writer)
    }

    /// A whole pull.
    pub fn pull(&self) -> (Ended, Vec<u8>) {
        let (step, mut reader) = self.start_pull();
        let mut content = Vec::new();
        reader.read_to_end(&mut content).expect("a pipe");
        (step.finish(), content)
    }

    /// A whole push.
    pub fn push(&self, content: &[u8]) -> Ended {
        let (mut step, mut writer) = self.start_push();
        // One that has failed reads no more.
        let _ = writer.write_all(content);
        drop(writer);
        step.commit();
        step.finish()
    }
}

pub fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}
