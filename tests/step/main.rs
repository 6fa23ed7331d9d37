//! The step role of the built binary, with pipes as its supervisor gives them: checks against servers that
//! come up late or answer oddly, transfers against a real S3 server and against one that does what a test says.

#![expect(clippy::disallowed_methods, reason = "tests write files and start programs")]

#[path = "../common/mod.rs"]
mod common;

mod harness;
mod http;
mod names;
mod pages;
mod requests;
#[cfg(feature = "s3")]
mod s3;
mod tcp;
