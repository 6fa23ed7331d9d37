//! `coracle images`.

use crate::cli::args::ImagesArgs;
use crate::cli::error::CliError;
use crate::cli::json::{self, ImageDocument};
use crate::cli::progress::short;
use crate::cli::{human, output};
use crate::engine::{Digest, ImageSummary, OciRuntime};
use jiff::Timestamp;

const HEADER: [&str; 7] = ["REFERENCE", "DIGEST", "PLATFORM", "SIZE", "CREATED", "USED", "STATE"];

pub(in crate::cli) async fn list(runtime: &OciRuntime, args: &ImagesArgs) -> Result<u8, CliError> {
    show(&runtime.images().await?, args).map(|()| 0)
}

pub(in crate::cli) fn show(images: &[ImageSummary], args: &ImagesArgs) -> Result<(), CliError> {
    if args.json {
        return json::print(&images.iter().map(ImageDocument::new).collect::<Vec<_>>());
    }
    if args.quiet {
        return output::print(&digests(images, args.no_trunc));
    }
    let now = Timestamp::now();
    let rows: Vec<_> = images.iter().map(|image| row(image, args.no_trunc, now)).collect();
    output::print(&human::table(&HEADER, &rows))?;
    for image in images {
        if let Some(problem) = &image.problem {
            output::message("warning", &format!("{}: {problem}", image.reference));
        }
    }
    Ok(())
}

/// One a line, each once: several references may name one image.
fn digests(images: &[ImageSummary], in_full: bool) -> String {
    let mut seen = Vec::new();
    for image in images {
        if !seen.contains(&&image.digest) {
            seen.push(&image.digest);
        }
    }
    seen.into_iter().map(|digest| format!("{}\n", shown(digest, in_full))).collect()
}

fn shown(digest: &Digest, in_full: bool) -> String {
    if in_full { digest.to_string() } else { short(digest).to_owned() }
}

fn row(image: &ImageSummary, in_full: bool, now: Timestamp) -> Vec<String> {
    let ago = |time: Timestamp| format!("{} ago", human::age(time, now));
    let platforms: Vec<String> = image.platforms.iter().map(ToString::to_string).collect();
    let mut state = Vec::new();
    if !image.in_use.is_empty() {
        state.push("in use");
    }
    if image.problem.is_some() {
        state.push("damaged");
    }
    let cells = [
        image.reference.clone(),
        shown(&image.digest, in_full),
        or_dash(platforms.join(",")),
        human::bytes(image.unpacked_size),
        image.created.map_or_else(|| "-".to_owned(), ago),
        ago(image.used_at),
        or_dash(state.join(", ")),
    ];
    // One line each, whatever the names hold.
    cells.map(|cell| output::printable(&cell).replace('\n', "\\n")).into()
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::JobExecutionId;

    fn image(reference: &str, content: &[u8]) -> ImageSummary {
        let at = |text: &str| text.parse().expect("a time");
        ImageSummary {
            reference: reference.into(),
            digest: Digest::of(content),
            manifest_digest: None,
            platforms: vec!["linux/amd64".parse().expect("a platform")],
            created: Some(at("2026-01-01T00:00:00Z")),
            pulled_at: at("2026-01-21T00:00:00Z"),
            used_at: at("2026-01-22T00:00:00Z"),
            size: 1 << 20,
            unpacked_size: 3 << 20,
            in_use: Vec::new(),
            problem: None,
        }
    }

    #[test]
    fn a_row_says_what_state_the_image_is_in() {
        let now = "2026-01-22T02:00:00Z".parse().expect("a time");
        let mut one = image("docker.io/library/debian:12", b"1");
        let rows = [row(&one, false, now), {
            one.in_use.push(JobExecutionId("x".into()));
            one.problem = Some("no layer".into());
            one.created = None;
            one.platforms.clear();
            one.reference = "oci:/a\u{1b}\nb:1".into();
            row(&one, true, now)
        }];
        assert_eq!(
            rows[0],
            ["docker.io/library/debian:12", "6b86b273ff34", "linux/amd64", "3.0 MiB", "21d ago", "2h ago", "-"]
        );
        assert_eq!(rows[1][0], "oci:/a\\u{1b}\\nb:1");
        assert_eq!(rows[1][1], one.digest.to_string());
        assert_eq!(rows[1][2..], ["-", "3.0 MiB", "-", "2h ago", "in use, damaged"]);
    }

    #[test]
    fn digests_are_printed_once() {
        let images = [image("a", b"1"), image("b", b"2"), image("c", b"1")];
        assert_eq!(digests(&images, false), "6b86b273ff34\nd4735e3a265e\n");
    }
}
