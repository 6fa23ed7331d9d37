//! Foreign text in messages.

/// The most characters of a foreign text that a message shows: enough to tell what was meant, and on one line.
const MOST: usize = 80;

/// In quotes, with what a terminal would act on escaped, and shortened.
pub fn quoted(text: &str) -> String {
    let shown = shortened(text);
    match shown.len() < text.len() {
        true => format!("\"{}…\"", shown.escape_debug()),
        false => format!("\"{}\"", shown.escape_debug()),
    }
}

/// The start of the text: all of it unless it is long.
pub fn shortened(text: &str) -> &str {
    text.char_indices().nth(MOST).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(quoted("a\"\u{1b}é"), "\"a\\\"\\u{1b}é\"");
        assert_eq!(quoted(&"é".repeat(MOST)), format!("\"{}\"", "é".repeat(MOST)));
        assert_eq!(quoted(&"é".repeat(MOST + 1)), format!("\"{}…\"", "é".repeat(MOST)));
    }
}
