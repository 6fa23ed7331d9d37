//! A spec file: `version`, `deployment`, `services`.

use super::document;
use super::error::{Problem, SpecError, SpecErrors, Warning};
use super::job::ServiceSpec;
use super::names::identifier;
use super::node::{Mark, Value};
use super::reader::{At, Lookup, Report};
use super::service;
use super::value_error::ValueError;
use std::collections::BTreeMap;
use std::path::Path;

/// Top-level blocks that say how services find each other.
const MEANINGLESS: &[&str] = &[
    "network",
    "networks",
    "overlay",
    "overlays",
    "endpoints",
    "ingress",
    "tunnels",
    "api",
    "scale",
    "health",
    "depends",
];

/// A valid spec file.
#[derive(Debug)]
pub struct DeploymentSpec {
    pub name: String,
    /// By name; never empty.
    pub services: BTreeMap<String, Service>,
    /// Fields that were accepted and have no effect, in the order of the file.
    pub warnings: Vec<Warning>,
}

/// One service of a deployment.
#[derive(Debug)]
pub enum Service {
    Job(Box<ServiceSpec>),
    /// Not for coracle (`rtype: service`); the error is for whoever asks for it. The other services
    /// of the file run.
    Refused(SpecError),
}

impl DeploymentSpec {
    /// Reads a spec file. Relative bind sources start from its directory; relative paths of
    /// images from the current directory, as in containers-transports(5)
    /// (<https://github.com/containers/image/blob/main/docs/containers-transports.5.md>).
    ///
    /// `env` answers `$E:NAME`; pass `&|name| std::env::var_os(name)`.
    ///
    /// # Errors
    /// All that is wrong with the file, in its order.
    pub fn from_path(path: &Path, env: Lookup) -> Result<Self, SpecErrors> {
        let source = path.display().to_string();
        let text = document::read(path)?;
        // Without a current directory, relative sources are refused like those of a text.
        let absolute = std::path::absolute(path).ok();
        parse(&text, &source, env, absolute.as_deref().and_then(Path::parent))
    }

    /// Like [`DeploymentSpec::from_path`] for text that came from elsewhere, which `source` names in
    /// messages. Bind sources must be absolute.
    ///
    /// # Errors
    /// All that is wrong with the text, in its order.
    pub fn parse(text: &str, source: &str, env: Lookup) -> Result<Self, SpecErrors> {
        parse(text, source, env, None)
    }
}

fn parse(text: &str, source: &str, env: Lookup, base: Option<&Path>) -> Result<DeploymentSpec, SpecErrors> {
    match document::parse(text, Report::new(source, env, base), read_top)? {
        Some(((name, services), warnings)) => Ok(DeploymentSpec { name, services, warnings }),
        None => Err(document::error(source, Mark::default(), Problem::Empty).into()),
    }
}

fn read_top(root: &At) -> (String, BTreeMap<String, Service>) {
    let mut services = BTreeMap::new();
    let Some(mut fields) = root.fields("write `version: v1`, `deployment: NAME` and `services:`") else {
        return (String::new(), services);
    };
    if let Some(at) = fields.require("version", "write `version: v1`") {
        at.parse(|text| match text {
            "v1" => Ok(()),
            other => Err(ValueError::Unsupported { what: "format version", name: other.to_owned(), supported: "v1" }),
        });
    }
    let name = fields
        .require("deployment", "write `deployment: NAME`")
        .and_then(|at| at.parse(|text| identifier("a deployment name", text)))
        .unwrap_or_default();
    fields.meaningless(MEANINGLESS);
    if let Some(at) = fields.require("services", "write `services:` with a job below it") {
        for (service, at) in at.entries("write a job's name and its fields below it").unwrap_or_default() {
            if at.check_name(identifier("a service name", service)).is_none() {
                continue;
            }
            let read = match service::refused(&at) {
                Some(error) => Service::Refused(error),
                None => Service::Job(Box::new(service::read_job(&at, service, &name))),
            };
            services.insert(service.to_owned(), read);
        }
        if matches!(&at.node.value, Value::Map(entries) if entries.is_empty()) {
            at.error(ValueError::Empty { what: "services" });
        }
    }
    fields.finish();
    (name, services)
}
