//! Foreign text in messages.

/// The most characters of a foreign text that a message shows: enough to tell what was meant, and on one line.
const MOST: usize = 80;

/// In quotes, with what a terminal would act on escaped, and shortened.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", brief(text))
}

/// As [`quoted`], for what stands without quotes.
pub fn brief(text: &str) -> String {
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", text[..end].escape_debug()),
        None => text.escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(quoted("a\"\u{1b}é"), "\"a\\\"\\u{1b}é\"");
        assert_eq!(quoted(&"é".repeat(MOST)), format!("\"{}\"", "é".repeat(MOST)));
        assert_eq!(quoted(&"é".repeat(MOST + 1)), format!("\"{}…\"", "é".repeat(MOST)));
        assert_eq!(brief(&"é".repeat(MOST + 1)), format!("{}…", "é".repeat(MOST)));
    }
}
