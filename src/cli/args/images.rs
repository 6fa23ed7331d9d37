//! Which images, how they are got, and what is shown meanwhile.

use crate::spec::{Platform, parse_bytes, parse_duration, parse_platform};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// How an image is got; the same for every command that may pull.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pull options")]
pub(in crate::cli) struct FetchArgs {
    /// Platform, as linux/arm64 or linux/arm/v7 [default: this host's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = parse_platform)]
    pub platform: Option<Platform>,
    /// Signature policy (containers-policy.json(5)), in place of the user's or the host's
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub signature_policy: Option<PathBuf>,
    /// Show no progress of pulls; pull and load then print nothing but their results
    #[arg(short, long)]
    pub quiet: bool,
    /// How progress is shown, on standard error
    #[arg(long, value_enum, value_name = "MODE", default_value_t = ProgressMode::Auto, hide_default_value = true)]
    pub progress: ProgressMode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ProgressMode {
    /// Bars on a terminal, else plain lines
    Auto,
    /// A bar per layer and a total; plain lines when standard error is no terminal
    Bar,
    /// A line when a layer begins and one when it is done
    Plain,
    /// One JSON object per line and event
    Json,
    /// Nothing
    None,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PullArgs {
    /// What to pull: `debian:12`, `registry.example.com/team/app@sha256:...`, `oci:PATH[:TAG]`,
    /// `oci-archive:FILE`, `docker-archive:FILE`
    #[arg(required = true, value_name = "REF")]
    pub references: Vec<String>,
    #[command(flatten)]
    pub fetch: FetchArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LoadArgs {
    /// Archive or OCI layout directory; `-` reads an archive from stdin [default: -]
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::AnyPath, conflicts_with = "input")]
    pub file: Option<String>,
    /// The same, spelled as for docker and podman
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    pub input: Option<String>,
    #[command(flatten)]
    pub fetch: FetchArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImagesArgs {
    /// Print the digests alone
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,
    /// Print digests in full
    #[arg(long)]
    pub no_trunc: bool,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RmiArgs {
    /// References, or digests or the first 12 or more digits of them
    #[arg(required = true, value_name = "REF")]
    pub references: Vec<String>,
    /// Forget the reference also while an execution uses the image; its layers stay until that ends
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImageInspectArgs {
    /// References, or digests or the first 12 or more digits of them
    #[arg(required = true, value_name = "REF")]
    pub references: Vec<String>,
    /// Print a JSON array, one object per REF
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct GcArgs {
    /// Say what would be removed and remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Forget references that were not used for so long, as 30d [default: images.gc.max_unused of
    /// the configuration]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub max_unused: Option<Duration>,
    /// Forget references, the longest unused first, until all images together are no larger, as 20Gi
    /// [default: images.gc.max_size of the configuration]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub max_size: Option<u64>,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ImageCommand {
    /// List images; the same as `coracle images`
    #[command(visible_alias = "list")]
    Ls(ImagesArgs),
    /// Show everything that is known of images
    ///
    ///   coracle image inspect debian:12
    ///   coracle image inspect --json debian:12 | jq '.[].config.config.Env'
    #[command(verbatim_doc_comment)]
    Inspect(ImageInspectArgs),
    /// Remove what no image and no execution needs; with limits, images that were long unused too
    ///
    ///   coracle image gc --dry-run
    ///   coracle image gc --max-unused 30d --max-size 20Gi
    ///
    /// Nothing that a running or queued job needs is removed.
    #[command(verbatim_doc_comment)]
    Gc(GcArgs),
    /// Get images; the same as `coracle pull`
    Pull(PullArgs),
    /// Get images from an archive; the same as `coracle load`
    Load(LoadArgs),
    /// Remove images; the same as `coracle rmi`
    Rm(RmiArgs),
}
