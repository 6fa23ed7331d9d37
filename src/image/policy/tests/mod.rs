mod identities;
mod keys;
mod parsing;
mod scopes;
mod signatures;

use super::error::PolicyError;
use super::file::Policy;
use crate::image::reference::RegistryName;
use serde_json::Value;
use std::path::Path;

fn policy(document: &Value) -> Policy {
    read(&document.to_string()).unwrap()
}

fn read(text: &str) -> Result<Policy, PolicyError> {
    Policy::parse(Path::new("/policy.json"), text.as_bytes())
}

fn name(text: &str) -> RegistryName {
    RegistryName::parse(text).unwrap()
}

/// The whole chain of an error.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn digest(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}
