//! Foreign text in messages.

/// The most characters of a foreign text that a message shows: enough to tell what was meant, and on one line.
const MOST: usize = 80;

/// In quotes, with what a terminal would act on escaped, and shortened.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", brief(text))
}

/// As [`quoted`], for what stands without quotes. What is left out was in the middle: a path says most at its end.
pub fn brief(text: &str) -> String {
    if text.chars().nth(MOST).is_none() {
        return text.escape_debug().to_string();
    }
    let start = text.char_indices().nth(MOST / 2).map_or(text.len(), |(at, _)| at);
    let end = text.char_indices().nth_back(MOST / 2 - 1).map_or(0, |(at, _)| at);
    format!("{}…{}", text[..start].escape_debug(), text[end..].escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(quoted("a\"\u{1b}é"), "\"a\\\"\\u{1b}é\"");
        assert_eq!(quoted(&"é".repeat(MOST)), format!("\"{}\"", "é".repeat(MOST)));
        let half = "é".repeat(MOST / 2);
        assert_eq!(quoted(&"é".repeat(MOST + 1)), format!("\"{half}…{half}\""));
        assert_eq!(brief(&format!("{half}/long/path/to/the{half}")), format!("{half}…{half}"));
    }
}
