//! Writing to standard output and standard error.

use super::error::CliError;
use crate::sys::readable;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;

/// Writes a result to standard output.
///
/// # Errors
/// [`CliError::OutputClosed`] when its reader has gone, [`CliError::Output`] for every other reason.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    print_bytes(text.as_bytes())
}

/// As [`print()`], for bytes.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(output_error)
}

pub(super) fn output_error(source: io::Error) -> CliError {
    match source.kind() {
        io::ErrorKind::BrokenPipe => CliError::OutputClosed,
        _ => CliError::Output { source },
    }
}

/// Returns when nobody reads standard output any more. That is seen on pipes and sockets, without a write.
pub(super) async fn closed() {
    let watched = io::stdout().as_fd().try_clone_to_owned().and_then(readable::watch_errors);
    match watched {
        // A pipe whose readers have gone is in error (poll(2)).
        Ok(stdout) => drop(stdout.ready(tokio::io::Interest::ERROR).await),
        // Files have no readers to go.
        Err(_) => std::future::pending().await,
    }
}

/// True when standard output and standard error are the same terminal, pipe or file.
pub(super) fn streams_are_one() -> bool {
    let identity = |stream: BorrowedFd<'_>| {
        let metadata = File::from(stream.try_clone_to_owned().ok()?).metadata().ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    identity(io::stdout().as_fd()).is_some_and(|stdout| Some(stdout) == identity(io::stderr().as_fd()))
}

/// The exit code of a command that did nothing but print.
pub(super) fn finish(result: Result<(), CliError>) -> u8 {
    result.map_or_else(|error| error.report(), |()| 0)
}

/// One message to the user: `coracle: KIND: TEXT`, with KIND error, warning, note or hint.
pub(super) fn message(kind: &str, text: &str) {
    complain(&formatted(kind, text));
}

/// The line that [`message`] writes.
pub(super) fn formatted(kind: &str, text: &str) -> String {
    format!("coracle: {kind}: {}\n", printable(text))
}

/// Writes to standard error. There is nowhere to report that this failed.
pub(super) fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Foreign text without what a terminal would obey: control characters but line feeds are escaped, and so are those
/// that change the direction of text (<https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>).
pub(super) fn printable(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let escape = |c: char| (c.is_control() && c != '\n') || turns(c);
    if !text.contains(escape) {
        return text.to_owned();
    }
    text.chars().flat_map(|c| if escape(c) { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_commanded() {
        assert_eq!(printable("plain ünïcode\nline"), "plain ünïcode\nline");
        assert_eq!(printable("a\u{1b}[31mb\r\t\u{9b}"), "a\\u{1b}[31mb\\r\\t\\u{9b}");
        assert_eq!(printable("\u{202e}cod\u{2069}.exe ל"), "\\u{202e}cod\\u{2069}.exe ל");
    }
}
