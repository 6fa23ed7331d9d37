//! One YAML document: from a file to a reader, and from what was read to a value or all that is wrong.

use super::error::{Place, Problem, SpecError, SpecErrors, Warning};
use super::node::{self, Mark, Value};
use super::reader::{At, Lookup, Report};
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// The most bytes a spec may have. Real ones have a few hundred lines; the limit keeps a mistaken
/// path (a core dump, a device) from filling the memory.
pub const MAX_SPEC_SIZE: u64 = 1 << 20;

/// Reads a YAML file of ours that is not a spec; `None` when nothing is in it. `env` answers `$E:NAME`.
///
/// # Errors
/// All that is wrong with the file, in its order.
pub(crate) fn read_file<T>(
    path: &Path,
    env: Lookup,
    read_root: impl FnOnce(&At) -> T,
) -> Result<Option<T>, SpecErrors> {
    let source = path.display().to_string();
    let Text { text, .. } = read(path)?;
    let parsed = parse(&text, Report::new(&source, env, None), read_root)?;
    Ok(parsed.map(|(value, _)| value))
}

/// The text of a file, or of a pipe.
pub(super) struct Text {
    pub text: String,
    /// Where relative paths in it start from: the file's directory. A pipe lies nowhere, and what has a name in `/dev`
    /// or `/proc` was opened by somebody who knows it by another one.
    pub base: Option<PathBuf>,
}

pub(super) fn read(path: &Path) -> Result<Text, SpecErrors> {
    let source = path.display().to_string();
    let (bytes, is_file) = read_limited(path).map_err(|problem| error(&source, Mark::default(), problem))?;
    let text = String::from_utf8(bytes).map_err(|invalid| {
        let valid = &invalid.as_bytes()[..invalid.utf8_error().valid_up_to()];
        error(&source, end_of(valid), Problem::NotUtf8)
    })?;
    // Without a current directory, relative paths are refused like those of a pipe.
    let absolute = std::path::absolute(path)
        .ok()
        .filter(|path| is_file && !["/dev", "/proc"].iter().any(|directory| path.starts_with(directory)));
    Ok(Text { text, base: absolute.and_then(|path| path.parent().map(Path::to_owned)) })
}

/// What `read_root` makes of the text, with warnings; `None` when nothing is in it.
pub(super) fn parse<T>(
    text: &str,
    report: Report<'_>,
    read_root: impl FnOnce(&At) -> T,
) -> Result<Option<(T, Vec<Warning>)>, SpecErrors> {
    let fail = |mark, problem| SpecErrors::from(error(report.source, mark, problem));
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_SPEC_SIZE {
        return Err(fail(Mark::default(), Problem::TooLarge { limit: MAX_SPEC_SIZE }));
    }
    let root = node::parse(text).map_err(|error| fail(error.mark, Problem::Syntax(error.message)))?;
    if matches!(root.value, Value::Null) {
        return Ok(None);
    }
    let value = read_root(&At::root(&report, &root));
    report.finish(value).map(Some)
}

pub(super) fn error(source: &str, mark: Mark, problem: Problem) -> SpecError {
    SpecError { place: Place::new(source, "", mark), problem }
}

/// What is there, and whether it is a file. A pipe, such as a shell's `<(…)`, is read to its end, and so is a terminal.
fn read_limited(path: &Path) -> Result<(Vec<u8>, bool), Problem> {
    let file = std::fs::File::open(path).map_err(Problem::Read)?;
    let kind = file.metadata().map_err(Problem::Read)?.file_type();
    if kind.is_dir() || kind.is_block_device() {
        return Err(Problem::NotAFile);
    }
    let mut bytes = Vec::new();
    file.take(MAX_SPEC_SIZE + 1).read_to_end(&mut bytes).map_err(Problem::Read)?;
    Ok((bytes, kind.is_file()))
}

/// The place after these bytes, which are valid UTF-8.
fn end_of(valid: &[u8]) -> Mark {
    let text = String::from_utf8_lossy(valid);
    let last = text.rsplit('\n').next().unwrap_or_default();
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Mark { line: count(text.matches('\n').count() + 1), column: count(last.chars().count() + 1) }
}
