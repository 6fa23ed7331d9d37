//! Errors in one line.

use std::error::Error;
use std::fmt::Write;

/// The message with its causes, `failed to A: failed to B: no such file`. A cause whose words the
/// text before it ends with is left out.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            write!(text, ": {message}").expect("writing to a string cannot fail");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to do it")]
    struct Outer {
        source: io::Error,
    }

    #[test]
    fn causes_are_told_once() {
        let told = |source| with_causes(&Outer { source });
        assert_eq!(told(io::Error::other("no such thing")), "failed to do it: no such thing");
        assert_eq!(told(io::Error::other(io::Error::other("deep"))), "failed to do it: deep");
    }
}
