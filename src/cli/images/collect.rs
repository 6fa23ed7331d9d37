//! Getting rid of images: `rmi` and `image gc`.

use super::explain;
use crate::cli::args::{GcArgs, RmiArgs};
use crate::cli::error::CliError;
use crate::cli::json::{self, GcDocument};
use crate::cli::tally::Tally;
use crate::cli::{human, output};
use crate::engine::{DropReason, GcPolicy, GcReport, KeepReason, OciRuntime, RemovedKind};
use crate::outcome::EXIT_ENGINE;
use std::fmt::Write;

pub(in crate::cli) async fn remove(runtime: &OciRuntime, args: &RmiArgs) -> Result<u8, CliError> {
    let mut tally = Tally::of(args.references.len());
    let mut code = 0;
    for reference in &args.references {
        tally.add(match runtime.remove_image(reference, args.force).await {
            Ok(report) => {
                code = code.max(complain(&report));
                output::print(&text(&report))
            }
            Err(error) => Err(explain(runtime, error).await),
        })?;
    }
    Ok(code.max(tally.finish()?))
}

/// `configured` holds where no flag says otherwise.
pub(in crate::cli) async fn collect(
    runtime: &OciRuntime,
    args: &GcArgs,
    configured: &GcPolicy,
) -> Result<u8, CliError> {
    let policy = GcPolicy {
        max_unused: args.max_unused.or(configured.max_unused),
        max_bytes: args.max_size.or(configured.max_bytes),
    };
    show(&runtime.collect_images(&policy, args.dry_run).await?, args.json)
}

/// Prints what was done.
pub(in crate::cli) fn show(report: &GcReport, as_json: bool) -> Result<u8, CliError> {
    if as_json {
        json::print(&GcDocument::new(report))?;
    } else {
        output::print(&text(report))?;
    }
    Ok(complain(report))
}

/// Shows what could not be done; the exit code that follows from it.
fn complain(report: &GcReport) -> u8 {
    report.problems.iter().for_each(|problem| output::message("error", problem));
    if report.problems.is_empty() { 0 } else { EXIT_ENGINE }
}

/// What was done, one thing a line, and the sum.
fn text(report: &GcReport) -> String {
    let (untag, remove, free) = match report.dry_run {
        true => ("would untag", "would remove", "would free"),
        false => ("untagged", "removed", "freed"),
    };
    let mut text = String::new();
    let mut line = |line: String| {
        writeln!(text, "{}", output::printable(&line).replace('\n', "\\n")).expect("writing to a string cannot fail");
    };
    for image in &report.dropped {
        line(format!("{untag}: {}{}", image.reference, why(image.reason)));
    }
    for removed in &report.removed {
        let kind = match removed.kind {
            RemovedKind::Layer => "layer",
            RemovedKind::Document => "document",
            RemovedKind::Leftover => "leftover",
        };
        line(format!("{remove}: {kind} {} ({})", removed.name, human::bytes(removed.bytes)));
    }
    for image in &report.kept {
        if let KeepReason::InUse(executions) = &image.reason {
            line(format!("kept: {}, used by {}", image.reference, executions.join(", ")));
        }
    }
    line(format!("{free} {}; {} remain", human::bytes(report.freed), human::bytes(report.remaining)));
    text
}

fn why(reason: DropReason) -> String {
    match reason {
        DropReason::Asked => String::new(),
        DropReason::Unused(length) => format!(", not used for {}", human::duration(length)),
        DropReason::OverBudget => ", to keep to the size".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Digest, DroppedReference, KeptReference, Removed};
    use std::time::Duration;

    #[test]
    fn a_report_is_one_thing_a_line() {
        let digest = Digest::of(b"x");
        let dropped =
            |reference: &str, reason| DroppedReference { reference: reference.into(), digest: digest.clone(), reason };
        let kept =
            |reference: &str, reason| KeptReference { reference: reference.into(), digest: digest.clone(), reason };
        let mut report = GcReport {
            dropped: vec![
                dropped("a", DropReason::Asked),
                dropped("b\n", DropReason::Unused(Duration::from_secs(86_400 * 40))),
                dropped("c", DropReason::OverBudget),
            ],
            removed: vec![Removed { kind: RemovedKind::Layer, name: "sha256:12".into(), bytes: 3 << 20 }],
            kept: vec![kept("d", KeepReason::InUse(vec!["0199".into()])), kept("e", KeepReason::Policy)],
            freed: 3 << 20,
            remaining: 1 << 30,
            ..GcReport::default()
        };
        assert_eq!(
            text(&report),
            "untagged: a\nuntagged: b\\n, not used for 40d\nuntagged: c, to keep to the size\n\
             removed: layer sha256:12 (3.0 MiB)\nkept: d, used by 0199\nfreed 3.0 MiB; 1.0 GiB remain\n"
        );
        report.dry_run = true;
        assert!(text(&report).starts_with("would untag: a\n") && text(&report).contains("\nwould free 3.0 MiB;"));
    }
}
