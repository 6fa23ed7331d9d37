//! `coracle validate`, and reading a spec.

use super::args::ValidateArgs;
use super::error::CliError;
use super::json::{self, ProblemDocument, ValidationDocument};
use super::{environment, output};
use crate::outcome::EXIT_ENGINE;
use crate::spec::{DeploymentSpec, MAX_SPEC_SIZE, Place, Problem, SpecError, SpecErrors};
use std::io::Read;

/// The spec `-`.
pub(super) const STDIN: &str = "-";
/// What messages call it.
const SOURCE: &str = "<stdin>";

/// Reads and checks a deployment from a file or, for `-`, from standard input. With names, the variables that other
/// services take may be missing.
pub(super) fn read(spec: &str, names: &[String]) -> Result<DeploymentSpec, SpecErrors> {
    if spec != STDIN {
        return match names {
            [] => DeploymentSpec::from_path_with(spec, &environment),
            names => DeploymentSpec::some_from_path(spec, &environment, names),
        };
    }
    let failed = |problem| {
        SpecErrors::from(SpecError {
            place: Place { source: SOURCE.to_owned(), path: String::new(), line: 0, column: 0 },
            problem,
        })
    };
    let mut bytes = Vec::new();
    // One byte more than allowed, so that the parser sees that it is too much.
    std::io::stdin()
        .lock()
        .take(MAX_SPEC_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(Problem::Read(error)))?;
    let text = String::from_utf8(bytes).map_err(|_| failed(Problem::NotUtf8))?;
    match names {
        [] => DeploymentSpec::parse(&text, SOURCE, &environment),
        names => DeploymentSpec::parse_some(&text, SOURCE, &environment, names),
    }
}

pub(super) fn validate(args: &ValidateArgs) -> Result<u8, CliError> {
    let document = match read(&args.spec, &[]) {
        Ok(deployment) => {
            if !args.json {
                warn(&deployment);
            }
            describe(&deployment)
        }
        Err(errors) if !args.json => return Err(errors.into()),
        Err(errors) => {
            ValidationDocument { errors: errors.iter().map(problem).collect(), ..ValidationDocument::default() }
        }
    };
    if args.json {
        json::print(&document)?;
    } else if document.valid {
        output::print(&format!("{} is valid: {}\n", source_name(&args.spec), names(&document.jobs)))?;
    } else {
        return Err(no_job(&args.spec));
    }
    Ok(if document.valid { 0 } else { EXIT_ENGINE })
}

/// Shows the warnings of a spec, and which services are refused.
pub(super) fn warn(deployment: &DeploymentSpec) {
    for warning in &deployment.warnings {
        output::message("warning", &warning.to_string());
    }
    for error in deployment.refused.values() {
        output::message("warning", &error.to_string());
    }
}

/// The error for a spec in which every service is refused.
pub(super) fn no_job(spec: &str) -> CliError {
    CliError::Usage { message: format!("{} holds no job", source_name(spec)), hint: None }
}

/// A spec without a job is not valid: there is nothing to run.
fn describe(deployment: &DeploymentSpec) -> ValidationDocument {
    let warnings = deployment.warnings.iter();
    ValidationDocument {
        valid: !deployment.services.is_empty(),
        deployment: Some(deployment.name.clone()),
        warnings: warnings.map(|warning| ProblemDocument::new(&warning.place, warning.message.clone())).collect(),
        jobs: deployment.services.keys().cloned().collect(),
        refused: deployment.refused.values().map(problem).collect(),
        ..ValidationDocument::default()
    }
}

fn problem(error: &SpecError) -> ProblemDocument {
    ProblemDocument::new(&error.place, error.problem.to_string())
}

/// How messages call the spec.
pub(super) fn source_name(spec: &str) -> &str {
    if spec == STDIN { SOURCE } else { spec }
}

fn names(jobs: &[String]) -> String {
    match jobs {
        [job] => format!("job {job}"),
        jobs => format!("jobs {}", jobs.join(", ")),
    }
}
