//! A spec file: `version`, `deployment`, `services`.

use super::error::{Place, Problem, SpecError, SpecErrors, Warning};
use super::job::JobSpec;
use super::names::identifier;
use super::node::{self, Mark, Value};
use super::reader::{At, Lookup, Report};
use super::service;
use super::value_error::ValueError;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

/// The most bytes a spec may have. Real ones have a few hundred lines; the limit keeps a mistaken
/// path (a core dump, a device) from filling the memory.
pub const MAX_SPEC_SIZE: u64 = 1 << 20;

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
pub struct Deployment {
    pub name: String,
    /// By name; never empty.
    pub services: BTreeMap<String, Service>,
    /// Fields that were accepted and have no effect, in the order of the file.
    pub warnings: Vec<Warning>,
}

/// One service of a deployment.
#[derive(Debug)]
pub enum Service {
    Job(Box<JobSpec>),
    /// Not for coracle (`rtype: service`); the error is for whoever asks for it. The other services
    /// of the file run.
    Refused(SpecError),
}

impl Deployment {
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
        let whole = |problem| SpecErrors::from(file_error(&source, Mark::default(), problem));
        let bytes = read_limited(path).map_err(whole)?;
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => {
                return Err(file_error(&source, end_of(&bytes[..error.valid_up_to()]), Problem::NotUtf8).into());
            }
        };
        // Without a current directory, relative sources are refused like those of a text.
        let absolute = std::path::absolute(path).ok();
        parse(text, &source, env, absolute.as_deref().and_then(Path::parent))
    }

    /// Like [`Deployment::from_path`] for text that came from elsewhere, which `source` names in
    /// messages. Bind sources must be absolute.
    ///
    /// # Errors
    /// All that is wrong with the text, in its order.
    pub fn parse(text: &str, source: &str, env: Lookup) -> Result<Self, SpecErrors> {
        parse(text, source, env, None)
    }
}

fn file_error(source: &str, mark: Mark, problem: Problem) -> SpecError {
    SpecError { place: Place::new(source, "", mark), problem }
}

fn read_limited(path: &Path) -> Result<Vec<u8>, Problem> {
    // Opening a FIFO would wait for its writer.
    if !std::fs::metadata(path).map_err(Problem::Read)?.is_file() {
        return Err(Problem::NotAFile);
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(Problem::Read)?;
    file.take(MAX_SPEC_SIZE + 1).read_to_end(&mut bytes).map_err(Problem::Read)?;
    Ok(bytes)
}

/// The place after these bytes, which are valid UTF-8.
fn end_of(valid: &[u8]) -> Mark {
    let text = String::from_utf8_lossy(valid);
    let last = text.rsplit('\n').next().unwrap_or_default();
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Mark { line: count(text.matches('\n').count() + 1), column: count(last.chars().count() + 1) }
}

fn parse(text: &str, source: &str, env: Lookup, base: Option<&Path>) -> Result<Deployment, SpecErrors> {
    let fail = |mark, problem| SpecErrors::from(file_error(source, mark, problem));
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_SPEC_SIZE {
        return Err(fail(Mark::default(), Problem::TooLarge { limit: MAX_SPEC_SIZE }));
    }
    let root = node::parse(text).map_err(|error| fail(error.mark, Problem::Syntax(error.message)))?;
    if matches!(root.value, Value::Null) {
        return Err(fail(Mark::default(), Problem::Empty));
    }
    let report = Report::new(source, env, base);
    let (name, services) = read_top(&At::root(&report, &root));
    let ((name, services), warnings) = report.finish((name, services))?;
    Ok(Deployment { name, services, warnings })
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
