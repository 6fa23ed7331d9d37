//! A spec file: `version`, `deployment`, `services`.

use super::document::{self, Text};
use super::error::{Problem, SpecError, SpecErrors, Warning};
use super::job::ServiceSpec;
use super::names::identifier;
use super::node::{Mark, Value};
use super::reader::{At, Lookup, Report};
use super::service;
use super::value_error::ValueError;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::str::FromStr;

/// What messages call a text that came without a name.
const TEXT: &str = "<text>";

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
    /// The jobs, by name; of those the ones that were asked for.
    pub services: BTreeMap<String, ServiceSpec>,
    /// The names of the jobs that were not asked for; see [`DeploymentSpec::parse_some`].
    pub others: BTreeSet<String>,
    /// By name, the services that are not for coracle (`rtype: service`), each with the error for whoever asks
    /// for it. Those in `services` run all the same. A name is in one of the two.
    pub refused: BTreeMap<String, SpecError>,
    /// Fields that were accepted and have no effect, in the order of the file.
    pub warnings: Vec<Warning>,
}

/// YAML text; `$E:NAME` is a variable of this process. See [`DeploymentSpec::parse`].
impl FromStr for DeploymentSpec {
    type Err = SpecErrors;

    fn from_str(text: &str) -> Result<Self, SpecErrors> {
        DeploymentSpec::parse(text, TEXT, &environment)
    }
}

impl DeploymentSpec {
    /// Reads a spec file, or a pipe. Relative bind sources start from the file's directory; relative paths of
    /// images from the current directory, as in containers-transports(5)
    /// (<https://github.com/containers/image/blob/main/docs/containers-transports.5.md>).
    ///
    /// `$E:NAME` is a variable of this process.
    ///
    /// # Errors
    /// All that is wrong with the file, in its order.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, SpecErrors> {
        DeploymentSpec::from_path_with(path, &environment)
    }

    /// Like [`DeploymentSpec::from_path`], with `env` to answer `$E:NAME`.
    ///
    /// # Errors
    /// All that is wrong with the file, in its order.
    pub fn from_path_with(path: impl AsRef<Path>, env: Lookup) -> Result<Self, SpecErrors> {
        from_path(path.as_ref(), env, None)
    }

    /// Like [`DeploymentSpec::from_path_with`] for these services alone; see [`DeploymentSpec::parse_some`].
    ///
    /// # Errors
    /// All that is wrong with the file, in its order, but for variables that others take.
    pub fn some_from_path(path: impl AsRef<Path>, env: Lookup, names: &[String]) -> Result<Self, SpecErrors> {
        from_path(path.as_ref(), env, Some(names))
    }

    /// Like [`DeploymentSpec::from_path_with`] for text that came from elsewhere, which `source` names in
    /// messages. Bind sources must be absolute.
    ///
    /// # Errors
    /// All that is wrong with the text, in its order.
    pub fn parse(text: &str, source: &str, env: Lookup) -> Result<Self, SpecErrors> {
        parse(text, Report::new(source, env, None))
    }

    /// Like [`DeploymentSpec::parse`] for the services of these names alone: the variables that others take may be
    /// missing, and nothing is said of values that are made of them. A name that no service has is no error here.
    ///
    /// # Errors
    /// All else that is wrong with the text, in its order, with the other services too.
    pub fn parse_some(text: &str, source: &str, env: Lookup, names: &[String]) -> Result<Self, SpecErrors> {
        parse(text, Report::new(source, env, None).of(Some(names)))
    }
}

fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

fn from_path(path: &Path, env: Lookup, wanted: Option<&[String]>) -> Result<DeploymentSpec, SpecErrors> {
    let source = path.display().to_string();
    let Text { text, base } = document::read(path)?;
    parse(&text, Report::new(&source, env, base.as_deref()).of(wanted))
}

fn parse(text: &str, report: Report) -> Result<DeploymentSpec, SpecErrors> {
    let source = report.source;
    match document::parse(text, report, read_top)? {
        Some((mut deployment, warnings)) => {
            deployment.warnings = warnings;
            Ok(deployment)
        }
        None => Err(document::error(source, Mark::default(), Problem::Empty).into()),
    }
}

fn read_top(root: &At) -> DeploymentSpec {
    let mut deployment = DeploymentSpec {
        name: String::new(),
        services: BTreeMap::new(),
        others: BTreeSet::new(),
        refused: BTreeMap::new(),
        warnings: Vec::new(),
    };
    let Some(mut fields) = root.fields("write `version: v1`, `deployment: NAME` and `services:`") else {
        return deployment;
    };
    if let Some(at) = fields.require("version", "write `version: v1`") {
        at.parse(|text| match text {
            "v1" => Ok(()),
            other => Err(ValueError::Unsupported { what: "format version", name: other.to_owned(), supported: "v1" }),
        });
    }
    deployment.name = fields
        .require("deployment", "write `deployment: NAME`")
        .and_then(|at| at.parse(|text| identifier("a deployment name", text)))
        .unwrap_or_default();
    fields.meaningless(MEANINGLESS);
    if let Some(at) = fields.require("services", "write `services:` with a job below it") {
        read_services(&at, &mut deployment);
    }
    fields.finish();
    deployment
}

fn read_services(at: &At, deployment: &mut DeploymentSpec) {
    for (name, at) in at.entries("write a job's name and its fields below it").unwrap_or_default() {
        if at.check_name(identifier("a service name", name)).is_none() {
            continue;
        }
        match service::refused(&at) {
            Some(error) => {
                deployment.refused.insert(name.to_owned(), error);
            }
            None => {
                let is_wanted = at.report.begin_service(name);
                let job = service::read_job(&at, name, &deployment.name);
                if is_wanted {
                    deployment.services.insert(name.to_owned(), job);
                } else {
                    deployment.others.insert(name.to_owned());
                }
            }
        }
    }
    if matches!(&at.node.value, Value::Map(entries) if entries.is_empty()) {
        at.error(ValueError::Empty { what: "services" });
    }
}
