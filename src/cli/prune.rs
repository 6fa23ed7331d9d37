//! `coracle prune`.

use super::args::PruneArgs;
use super::error::CliError;
use super::json::{self, PruneDocument};
use super::{human, jobs, output};
use crate::config::Config;
use crate::exec::{JobExecutor, PruneReport, PruneRequest};
use crate::outcome::EXIT_ENGINE;
use std::fmt::Write;

pub(super) async fn prune(executor: &JobExecutor, config: &Config, args: &PruneArgs) -> Result<u8, CliError> {
    jobs::note_unknown(executor, args.job.as_deref()).await?;
    let request = PruneRequest {
        ttl: args.ttl,
        keep_last: args.keep_last,
        job: args.job.clone(),
        all: args.all,
        dry_run: args.dry_run,
        defaults: config.retention.clone(),
    };
    let report = executor.prune(&request).await?;
    if args.json {
        json::print(&PruneDocument::new(&report, args.dry_run))?;
    } else {
        output::print(&text(&report, args.dry_run))?;
    }
    for problem in &report.problems {
        output::message("error", &format!("{}: {}", problem.id, problem.message));
    }
    Ok(if report.problems.is_empty() { 0 } else { EXIT_ENGINE })
}

/// What was done, one thing a line, and the sum.
fn text(report: &PruneReport, dry_run: bool) -> String {
    let (remove, free) = if dry_run { ("would remove", "would free") } else { ("removed", "freed") };
    let mut text = String::new();
    let mut line = |line: String| {
        writeln!(text, "{}", output::printable(&line).replace('\n', "\\n")).expect("writing to a string cannot fail");
    };
    report.removed.iter().for_each(|id| line(format!("{remove}: {id}")));
    report.orphans.iter().for_each(|name| line(format!("{remove}: {name} (files that are on no record)")));
    line(format!("{free}: {} of {} executions", human::bytes(report.freed_bytes), report.removed.len()));
    text
}
