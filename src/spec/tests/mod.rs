//! Specs as users write them, good and bad.

mod bad;
mod classes;
mod expected;
mod full;
mod policy;
mod properties;
mod redaction;
mod steps;
mod values;

use super::{DeploymentSpec, ServiceSpec, SpecErrors};
use std::ffi::OsString;

fn env(name: &str) -> Option<OsString> {
    (name == "REGION").then(|| "eu-1".into())
}

fn parse(text: &str) -> Result<DeploymentSpec, SpecErrors> {
    DeploymentSpec::parse(text, "job.yaml", &env)
}

/// A deployment with one job that has these fields (unindented) besides its image.
fn with_fields(fields: &str) -> String {
    let indented: String = fields.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "version: v1\ndeployment: test\nservices:\n  hello:\n    rtype: job\n    image: {{name: busybox}}\n{indented}"
    )
}

/// The first line of the fields given to [`with_fields`], and how far they are indented.
const FIRST_LINE: u64 = 7;
const INDENT: u64 = 4;

#[track_caller]
fn job(fields: &str) -> ServiceSpec {
    let deployment = parse(&with_fields(fields)).unwrap_or_else(|errors| panic!("{fields}\n{errors}"));
    assert!(deployment.warnings.is_empty(), "{fields}\n{:?}", deployment.warnings);
    deployment.services.into_values().next().unwrap()
}

/// All errors of a job with these fields: `LINE:COLUMN: PATH: MESSAGE`, the place within `fields` and
/// the path from the service.
#[track_caller]
fn errors(fields: &str) -> Vec<String> {
    let errors = match parse(&with_fields(fields)) {
        Ok(deployment) => panic!("accepted: {fields}\n{deployment:?}"),
        Err(errors) => errors,
    };
    errors
        .iter()
        .map(|error| {
            let path = error.place.path.strip_prefix("services.hello.").unwrap_or(&error.place.path);
            let line = (error.place.line + 1).saturating_sub(FIRST_LINE);
            let column = error.place.column.saturating_sub(INDENT);
            format!("{line}:{column}: {path}: {}", error.problem)
        })
        .collect()
}

#[track_caller]
fn error(fields: &str) -> String {
    let mut errors = errors(fields);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors.remove(0)
}
