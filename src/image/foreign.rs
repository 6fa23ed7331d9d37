//! Text of registries and images in messages.

/// More is not shown, in characters.
const LONGEST: usize = 400;

/// `text` without what would steer a terminal, and not too long.
pub fn shown(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(LONGEST) {
        let steers = character.is_control()
            || matches!(character, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if steers {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_cannot_steer_the_terminal() {
        assert_eq!(shown("a\x1b[2J\r\u{202e}b"), "a\\u{1b}[2J\\r\\u{202e}b");
        assert_eq!(shown("grün"), "grün");
        let long = shown(&"x".repeat(5000));
        assert!(long.chars().count() == LONGEST + 1 && long.ends_with('…'));
    }
}
