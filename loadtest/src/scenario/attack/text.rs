//! Characters that turn the page's own words around, or hide.

/// Control characters, bidirectional controls, and characters without a width that are no part of a script.
pub fn is_foul(text: &str) -> bool {
    text.chars().any(|character| {
        character.is_control()
            || matches!(character,
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
                | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{061c}')
    })
}

/// Texts as somebody writes them who wants to be taken for somebody else.
pub const FOUL: [&str; 6] = [
    "\u{202e}(uoy) nnA",
    "Ann\u{200b}",
    "\u{2066}Bob\u{2069}\u{202d}",
    "Cem\u{0007}\u{001b}[31m",
    "A\u{feff}nn\u{2060}",
    "\u{200f}\u{061c}host",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_or_hides_is_foul_and_scripts_are_not() {
        assert!(FOUL.iter().all(|text| is_foul(text)));
        for text in ["Ann", "天桥", "أحمد", "José", "👩\u{200d}💻", "क्\u{200d}ष"] {
            assert!(!is_foul(text), "{text}");
        }
    }
}
