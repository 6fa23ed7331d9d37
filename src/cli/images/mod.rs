//! `coracle pull`, `load`, `images`, `rmi` and `image`.

mod collect;
mod inspect;
mod list;
mod pull;

pub(super) use collect::{collect, remove, show as show_collected};
pub(super) use inspect::inspect;
pub(super) use list::{list, show};
pub(super) use pull::{load, load_input, pull};

use super::error::CliError;
use super::tally::Tally;
use crate::engine::{OciRuntime, RuntimeError};

/// What commands about images come to where there are none.
pub(super) fn none_of(references: &[String]) -> Result<u8, CliError> {
    let mut tally = Tally::of(references.len());
    for reference in references {
        tally.add(Err(CliError::NoImage { reference: reference.clone(), nearest: None }))?;
    }
    tally.finish()
}

/// Turns "no such image" into an error that knows what may have been meant.
async fn explain(runtime: &OciRuntime, error: RuntimeError) -> CliError {
    let RuntimeError::ImageNotFound { reference } = error else { return error.into() };
    // The suggestion is a service; without it the error stands all the same.
    let images = runtime.images().await.unwrap_or_default();
    let nearest = nearest(&reference, images.iter().map(|image| image.reference.as_str()));
    CliError::NoImage { nearest: nearest.map(str::to_owned), reference }
}

/// The known reference that is most like `name`, whose short forms count too, if one is at all. Names of jobs may
/// be compared as well: they have no prefixes and tags.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Share of the letters that may differ.
    const TOLERANCE: usize = 3;
    let distance = |reference: &str| {
        let names =
            ["", "docker.io/", "docker.io/library/"].into_iter().filter_map(|prefix| reference.strip_prefix(prefix));
        let tagged = names.flat_map(|name| [name, name.strip_suffix(":latest").unwrap_or(name)]);
        tagged.map(|known| (strsim::damerau_levenshtein(name, known), known.len())).min()
    };
    let best = known.filter_map(|reference| Some((distance(reference)?, reference))).min()?;
    let ((distance, length), reference) = best;
    (distance <= length.max(name.len()) / TOLERANCE).then_some(reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested() {
        let known = ["docker.io/library/debian:12", "docker.io/team/app:latest", "127.0.0.1:5000/x:1"];
        let nearest = |name| nearest(name, known.into_iter());
        assert_eq!(nearest("debain:12"), Some("docker.io/library/debian:12"));
        assert_eq!(nearest("debian:11"), Some("docker.io/library/debian:12"));
        assert_eq!(nearest("team/ap"), Some("docker.io/team/app:latest"));
        assert_eq!(nearest("docker.io/team/apps"), Some("docker.io/team/app:latest"));
        assert_eq!(nearest("postgres"), None);
        assert_eq!(super::nearest("x", std::iter::empty()), None);
    }
}
