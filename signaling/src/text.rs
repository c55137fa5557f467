//! What people write, made safe to show beside what the page says: in NFC, without controls, in whole graphemes.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use unicode_segmentation::UnicodeSegmentation;

/// More marks on one base are no writing system's, they only cover the lines around.
const MAX_MARKS: usize = 4;
/// The longest emoji of Unicode have 10 code points.
const MAX_GRAPHEME_CHARS: usize = 16;
/// Bytes that a grapheme may have on average: most have 1 to 4, conjuncts of Indic scripts up to a dozen.
const BYTES_PER_GRAPHEME: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    One,
    /// Line feeds are kept.
    Many,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextError {
    /// Nothing is left of it that can be seen.
    Empty,
    TooLong,
}

/// The text as it is kept and shown, at most `max` graphemes.
pub fn clean(text: &str, max: usize, lines: Lines) -> Result<String, TextError> {
    if text.len() > max.saturating_mul(4 * BYTES_PER_GRAPHEME) {
        return Err(TextError::TooLong);
    }
    let text = text.replace("\r\n", "\n");
    let kept: String = text.nfc().filter_map(|c| keep(c, lines)).collect();
    let text: String = kept.graphemes(true).map(tame).collect();
    let text = text.trim();
    if !text.chars().any(is_visible) {
        return Err(TextError::Empty);
    }
    if text.graphemes(true).count() > max || text.len() > max.saturating_mul(BYTES_PER_GRAPHEME) {
        return Err(TextError::TooLong);
    }
    Ok(text.to_owned())
}

/// The character, what stands for it, or `None` where it goes.
fn keep(c: char, lines: Lines) -> Option<char> {
    use GeneralCategory as Category;
    match c {
        '\n' if lines == Lines::Many => return Some(c),
        '\n' | '\r' | '\t' => return Some(' '),
        // Joiners are looked at with what they join, see `tame`.
        ZWNJ | ZWJ => return Some(c),
        // Fillers are letters by their category and empty to the eye; the braille blank is a symbol.
        '\u{115F}' | '\u{1160}' | '\u{3164}' | '\u{FFA0}' | '\u{2800}' => return None,
        // Variation selectors choose between text and emoji; the rest of them are for tables of glyphs.
        '\u{FE0E}' | '\u{FE0F}' => return Some(c),
        '\u{FE00}'..='\u{FE0D}' | '\u{E0100}'..='\u{E01EF}' | '\u{034F}' | '\u{180B}'..='\u{180F}' => return None,
        _ => {}
    }
    match c.general_category() {
        Category::Control | Category::Format | Category::Surrogate | Category::PrivateUse | Category::Unassigned => {
            None
        }
        Category::LineSeparator | Category::ParagraphSeparator if lines == Lines::Many => Some('\n'),
        Category::LineSeparator | Category::ParagraphSeparator | Category::SpaceSeparator => Some(' '),
        _ => Some(c),
    }
}

const ZWNJ: char = '\u{200C}';
const ZWJ: char = '\u{200D}';

/// A grapheme with few marks, and with joiners only where a script or an emoji needs them.
fn tame(grapheme: &str) -> String {
    let mut tamed = String::with_capacity(grapheme.len());
    let mut marks = 0;
    let mut before = None;
    let mut chars = grapheme.chars().take(MAX_GRAPHEME_CHARS).peekable();
    while let Some(c) = chars.next() {
        let keeps = match c {
            ZWJ => {
                let joins_emoji = before.is_some_and(is_pictograph) && chars.peek().is_some_and(|c| is_pictograph(*c));
                joins_emoji || before.is_some_and(takes_joiners)
            }
            ZWNJ => before.is_some_and(takes_joiners),
            '\u{FE0E}' | '\u{FE0F}' => before.is_some_and(|c| c != ZWJ && c != ZWNJ),
            c if is_combining_mark(c) => {
                marks += 1;
                marks <= MAX_MARKS && before.is_some()
            }
            _ => {
                marks = 0;
                true
            }
        };
        if keeps {
            tamed.push(c);
            before = Some(c);
        }
    }
    tamed
}

/// Within what emoji are joined of.
fn is_pictograph(c: char) -> bool {
    matches!(c, '\u{2190}'..='\u{2BFF}' | '\u{1F000}'..='\u{1FAFF}' | '\u{FE0F}' | '\u{20E3}')
}

/// Arabic, Syriac, Mongolian and the scripts of India and its neighbours join and part letters with them.
fn takes_joiners(c: char) -> bool {
    matches!(c, '\u{0600}'..='\u{08FF}' | '\u{0900}'..='\u{0DFF}' | '\u{0F00}'..='\u{109F}' | '\u{1780}'..='\u{18AF}'
        | '\u{1900}'..='\u{1CFF}' | '\u{A800}'..='\u{ABFF}' | '\u{FB50}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}')
}

fn is_visible(c: char) -> bool {
    !(c.is_whitespace() || is_combining_mark(c) || matches!(c, ZWJ | ZWNJ | '\u{FE0E}' | '\u{FE0F}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_as_they_are_shown() {
        let pile = format!("a{}", "\u{0335}".repeat(40));
        let tamed_pile = format!("a{}", "\u{0335}".repeat(MAX_MARKS));
        for (text, expected) in [
            (" Ann ", Ok("Ann")),
            ("天桥", Ok("天桥")),
            ("e\u{301}", Ok("é")),
            ("\u{202E}(uoy)", Ok("(uoy)")),
            ("a\u{202A}b\u{202B}c\u{202C}d\u{202D}e", Ok("abcde")),
            ("a\u{2066}b\u{2067}c\u{2068}d\u{2069}e", Ok("abcde")),
            ("a\u{200E}b\u{200F}c\u{061C}d", Ok("abcd")),
            ("a\u{200B}b\u{FEFF}c\u{2060}d\u{00AD}e", Ok("abcde")),
            ("a\0b\u{7}c\u{9F}d", Ok("abcd")),
            ("a\tb\r\nc\u{2028}d\u{A0}e", Ok("a b c d e")),
            ("a\u{E000}b\u{F0000}c\u{378}d\u{FFFE}e", Ok("abcde")),
            ("a\u{E0061}\u{E007F}b\u{E0101}c", Ok("abc")),
            // A family, a flag and a heart stay one emoji each.
            ("👩\u{200D}👩\u{200D}👧", Ok("👩\u{200D}👩\u{200D}👧")),
            (
                "🇨🇳 ❤\u{FE0F}\u{200D}🔥 1\u{FE0F}\u{20E3}",
                Ok("🇨🇳 ❤\u{FE0F}\u{200D}🔥 1\u{FE0F}\u{20E3}"),
            ),
            // Persian "mi-khaham" and Devanagari "ksha" with joiners.
            ("می\u{200C}خواهم", Ok("می\u{200C}خواهم")),
            ("क्\u{200D}ष", Ok("क्\u{200D}ष")),
            // Elsewhere joiners are only a way to look like somebody else.
            ("An\u{200D}n\u{200C}", Ok("Ann")),
            (pile.as_str(), Ok(tamed_pile.as_str())),
            ("\u{301}Ann", Ok("Ann")),
            ("\u{200B}\u{202E} \u{3164}", Err(TextError::Empty)),
            ("", Err(TextError::Empty)),
            ("一二三四五六七八九十", Ok("一二三四五六七八九十")),
            ("一二三四五六七八九十1二三四五六七八九十一", Err(TextError::TooLong)),
        ] {
            assert_eq!(
                clean(text, 20, Lines::One).as_deref().map_err(|e| *e),
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn lines_are_kept_in_chat_only() {
        assert_eq!(clean(" a\r\nb\u{2028}c ", 20, Lines::Many).as_deref(), Ok("a\nb\nc"));
        assert_eq!(clean("a\nb", 20, Lines::One).as_deref(), Ok("a b"));
    }

    #[test]
    fn what_is_clean_stays_as_it_is_and_within_its_bytes() {
        for c in (0..=0x1_0FFFF).filter_map(char::from_u32) {
            let text = format!("a{c}b\u{301}{c}");
            if let Ok(once) = clean(&text, 10, Lines::Many) {
                assert!(once.len() <= 10 * BYTES_PER_GRAPHEME, "{c:?}");
                assert_eq!(clean(&once, 10, Lines::Many).as_ref(), Ok(&once), "{c:?}");
            }
        }
    }
}
