//! What somebody sent, in a form that may be shown to them again.
//!
//! Layer 0.

use std::fmt;

/// The longest excerpt, in bytes: most resource indicators fit whole.
const LONGEST: usize = 79;

/// The beginning of a text from outside, as it may stand in `error_description` (RFC 6749 §5.2): everything but printable ASCII,
/// and quotes and backslashes, is a question mark. Small and without allocation, so that reasons of refusal stay `Copy`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Excerpt {
    bytes: [u8; LONGEST],
    length: u8,
}

impl Excerpt {
    /// The excerpt of a text; one that is cut ends in three dots.
    pub fn of(text: &str) -> Self {
        let mut excerpt = Self { bytes: [b'.'; LONGEST], length: 0 };
        let is_cut = text.chars().nth(LONGEST).is_some();
        let room = if is_cut { LONGEST - 3 } else { LONGEST };
        let shown = text.chars().take(room).map(|c| match u8::try_from(c) {
            Ok(byte @ (0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) => byte,
            Ok(_) | Err(_) => b'?',
        });
        let mut length = 0;
        for (to, byte) in excerpt.bytes.iter_mut().zip(shown) {
            *to = byte;
            length += 1;
        }
        excerpt.length = if is_cut { length + 3 } else { length };
        excerpt
    }

    /// The text of the excerpt.
    pub fn as_str(&self) -> &str {
        let shown = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        // Printable ASCII by construction.
        std::str::from_utf8(shown).unwrap_or_default()
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Excerpt({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_cannot_be_shown_is_a_question_mark() {
        assert_eq!(Excerpt::of("https://mcp.test/mcp").as_str(), "https://mcp.test/mcp");
        assert_eq!(Excerpt::of("a\"b\\c\nd\u{e4}\u{202e}\u{7f}").as_str(), "a?b?c?d???");
        assert_eq!(Excerpt::of("").as_str(), "");
        let (whole, cut) = ("x".repeat(79), "x".repeat(80));
        assert_eq!(Excerpt::of(&whole).as_str(), whole);
        assert_eq!(Excerpt::of(&cut).as_str(), format!("{}...", "x".repeat(76)));
    }

    proptest! {
        #[test]
        fn every_excerpt_may_stand_in_a_description(text in "\\PC{0,200}") {
            let excerpt = Excerpt::of(&text);
            prop_assert!(excerpt.as_str().bytes().all(|b| matches!(b, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e)));
            prop_assert_eq!(excerpt.as_str().len(), text.chars().count().min(79));
        }
    }
}
