//! `coracle image inspect`.

use super::explain;
use crate::cli::args::ImageInspectArgs;
use crate::cli::error::CliError;
use crate::cli::json::{self, ImageDetailsDocument};
use crate::cli::tally::Tally;
use crate::cli::{human, output};
use crate::engine::{ImageDetails, OciRuntime};
use crate::exec::JobExecutionId;
use serde_json::Value;
use std::fmt::Write;

pub(in crate::cli) async fn inspect(runtime: &OciRuntime, args: &ImageInspectArgs) -> Result<u8, CliError> {
    let mut tally = Tally::of(args.references.len());
    let mut found = Vec::new();
    for reference in &args.references {
        tally.add(match runtime.inspect_image(reference).await {
            Ok(details) => {
                found.push(details);
                Ok(())
            }
            Err(error) => Err(explain(runtime, error).await),
        })?;
    }
    if args.json {
        json::print(&found.iter().map(ImageDetailsDocument::new).collect::<Vec<_>>())?;
    } else {
        output::print(&found.iter().map(description).collect::<Vec<_>>().join("\n"))?;
    }
    tally.finish()
}

/// One fact a line; what is not known is left out.
fn description(details: &ImageDetails) -> String {
    let image = &details.summary;
    let config = |field: &str| words(&details.config["config"][field]);
    let platforms: Vec<String> = image.platforms.iter().map(ToString::to_string).collect();
    let executions: Vec<&str> = image.in_use.iter().map(JobExecutionId::as_str).collect();
    let facts = [
        ("reference", image.reference.clone()),
        ("digest", image.digest.to_string()),
        ("manifest", image.manifest_digest.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("platform", platforms.join(", ")),
        ("created", image.created.map(|time| time.to_string()).unwrap_or_default()),
        ("pulled", image.pulled_at.to_string()),
        ("used", image.used_at.to_string()),
        ("size", human::bytes(image.size)),
        ("unpacked", human::bytes(image.unpacked_size)),
        ("in use by", executions.join(", ")),
        ("problem", image.problem.clone().unwrap_or_default()),
        ("entrypoint", config("Entrypoint")),
        ("command", config("Cmd")),
        ("user", config("User")),
        ("directory", config("WorkingDir")),
    ];
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        writeln!(text, "{:14}{}", format!("{name}:"), output::printable(value).replace('\n', "\\n"))
            .expect("writing to a string cannot fail");
    };
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        line(name, value);
    }
    for variable in details.config["config"]["Env"].as_array().into_iter().flatten() {
        line("environment", variable.as_str().unwrap_or_default());
    }
    for layer in &details.layers {
        let unpacked = match layer.unpacked_size {
            Some(size) => format!("{} unpacked", human::bytes(size)),
            None if layer.present => "unpacked".to_owned(),
            None => "not here".to_owned(),
        };
        line("layer", &format!("{} {}, {unpacked}", layer.digest, human::bytes(layer.size)));
    }
    text
}

/// A text, or a list of words each of which is told apart from the next.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(words) => words.iter().map(Value::to_string).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}
