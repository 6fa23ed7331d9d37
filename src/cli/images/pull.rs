//! Getting images: `pull` and `load`.

use super::explain;
use crate::cli::args::{FetchArgs, LoadArgs, PullArgs};
use crate::cli::error::CliError;
use crate::cli::interrupts::Interrupts;
use crate::cli::output;
use crate::cli::progress::Progress;
use crate::cli::tally::Tally;
use crate::cli::told::Told;
use crate::engine::{Digest, LoadInput, OciRuntime, Platform, PullOptions, PulledImage};
use crate::outcome::signal_code;
use std::io::IsTerminal;

/// The file that stands for standard input.
const STDIN: &str = "-";

/// Names of an image that is in a local file; see containers-transports(5).
const LOCAL: [&str; 4] = ["oci:", "oci-archive:", "docker-archive:", "sha256:"];

/// Pulls one after the other and prints what each name stands for now.
pub(in crate::cli) async fn pull(runtime: &OciRuntime, args: &PullArgs, progress: Progress) -> Result<u8, CliError> {
    let mut interrupts = Interrupts::new()?;
    let watched = progress.watch(runtime);
    let options = options(&args.fetch);
    let mut tally = Tally::of(args.references.len());
    for reference in &args.references {
        let pulled = tokio::select! {
            pulled = watched.pull(reference, &options) => pulled,
            signal = interrupts.next() => return Ok(interrupted(runtime, &progress, &mut interrupts, signal).await),
        };
        progress.close();
        let shown = match pulled {
            Ok(image) => {
                note(&image, args.fetch.quiet);
                output::print(&format!("{}\n", by_digest(&image.reference, &image.digest)))
            }
            Err(error) => Err(explain(runtime, error).await),
        };
        tally.add(shown)?;
    }
    interrupts.unless(runtime.finish_collection()).await;
    tally.finish()
}

/// Where to load from, as the arguments say.
///
/// # Errors
/// A terminal for an archive.
pub(in crate::cli) fn load_input(args: &LoadArgs) -> Result<LoadInput, CliError> {
    match args.file.as_deref().or(args.input.as_deref()) {
        Some(path) if path != STDIN => Ok(LoadInput::Path(path.into())),
        _ if std::io::stdin().is_terminal() => {
            Err(CliError::usage("nothing to load", "name a FILE, or pipe an archive into this command"))
        }
        _ => Ok(LoadInput::Stdin),
    }
}

/// Loads every image of an archive and prints their names.
pub(in crate::cli) async fn load(
    runtime: &OciRuntime,
    args: &LoadArgs,
    input: LoadInput,
    progress: Progress,
) -> Result<u8, CliError> {
    let mut interrupts = Interrupts::new()?;
    let watched = progress.watch(runtime);
    let options = options(&args.fetch);
    let loaded = tokio::select! {
        loaded = watched.load(input, &options) => loaded,
        signal = interrupts.next() => return Ok(interrupted(runtime, &progress, &mut interrupts, signal).await),
    };
    progress.close();
    let mut told = Told::default();
    for image in loaded? {
        note(&image, args.fetch.quiet);
        told.take(output::print(&format!("Loaded image: {}\n", output::printable(&image.reference))))?;
    }
    interrupts.unless(runtime.finish_collection()).await;
    Ok(told.code(0))
}

fn options(args: &FetchArgs) -> PullOptions {
    let platform = args.platform.as_ref().map(|platform| Platform {
        os: platform.os.clone(),
        architecture: platform.architecture.clone(),
        variant: platform.variant.clone(),
    });
    PullOptions { platform, ..PullOptions::default() }
}

fn note(image: &PulledImage, is_quiet: bool) {
    for note in image.notes.iter().filter(|_| !is_quiet) {
        output::message("note", &format!("{}: {note}", image.reference));
    }
}

/// Says what a pull that was given up leaves, when that is so. A further signal does not wait for it.
async fn interrupted(runtime: &OciRuntime, progress: &Progress, interrupts: &mut Interrupts, signal: i32) -> u8 {
    progress.close();
    interrupts.unless(runtime.finish_pulls()).await;
    output::message("note", "interrupted; finished layers are kept; the next pull goes on from there");
    signal_code(signal)
}

/// `NAME@sha256:…`, which means the same image for ever; the digest alone where no registry has it.
fn by_digest(reference: &str, digest: &Digest) -> String {
    if LOCAL.iter().any(|transport| reference.starts_with(transport)) {
        return digest.to_string();
    }
    let name = reference.split('@').next().unwrap_or(reference);
    // The colon of a port comes before the last slash, that of a tag behind it.
    let path = name.rfind('/').map_or(0, |slash| slash + 1);
    let end = name[path..].find(':').map_or(name.len(), |colon| path + colon);
    format!("{}@{digest}", &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_by_digest_have_no_tag() {
        let digest = Digest::of(b"x");
        for (reference, expected) in [
            ("docker.io/library/debian:12", format!("docker.io/library/debian@{digest}")),
            ("localhost:5000/team/app", format!("localhost:5000/team/app@{digest}")),
            ("localhost:5000/app:v1", format!("localhost:5000/app@{digest}")),
            (&format!("quay.io/app:v1@{digest}"), format!("quay.io/app@{digest}")),
            ("oci:/images/app:v1", digest.to_string()),
            (&digest.to_string(), digest.to_string()),
        ] {
            assert_eq!(by_digest(reference, &digest), expected);
        }
    }
}
