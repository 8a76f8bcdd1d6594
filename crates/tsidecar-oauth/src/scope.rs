//! Scopes (RFC 6749 §3.3): parse, print, intersect.
//!
//! Layer 0.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One scope token: printable ASCII without space, quote and backslash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScopeToken(String);

/// The longest scope token that is taken for one.
const LONGEST_TOKEN: usize = 128;

impl ScopeToken {
    /// Reads one scope token; `None` when it breaks the syntax or is longer than 128 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= LONGEST_TOKEN;
        let clean = text.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
        (fits && clean).then(|| Self(text.to_owned()))
    }

    /// The token as it travels.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ScopeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of scope tokens in the order in which they were named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scope(Vec<ScopeToken>);

impl Scope {
    /// Reads a scope parameter; tokens that break the syntax are dropped like every scope that is not granted, and a
    /// token named twice counts once.
    pub fn parse(text: &str) -> Self {
        text.split_ascii_whitespace().filter_map(ScopeToken::parse).collect()
    }

    /// Tells whether no token is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether a token is in the set.
    pub fn contains(&self, token: &str) -> bool {
        self.0.iter().any(|known| known.0 == token)
    }

    /// Tells whether every token of this set is in the other.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.0.iter().all(|token| other.contains(&token.0))
    }

    /// The tokens for which the test holds, in the same order.
    #[must_use]
    pub fn filter(&self, keep: impl Fn(&ScopeToken) -> bool) -> Self {
        Self(self.0.iter().filter(|token| keep(token)).cloned().collect())
    }

    /// The tokens in order.
    pub fn iter(&self) -> impl Iterator<Item = &ScopeToken> {
        self.0.iter()
    }
}

impl FromIterator<ScopeToken> for Scope {
    fn from_iter<I: IntoIterator<Item = ScopeToken>>(tokens: I) -> Self {
        let mut scope = Self::default();
        for token in tokens {
            if !scope.contains(&token.0) {
                scope.0.push(token);
            }
        }
        scope
    }
}

/// Prints the scope as it travels: tokens separated by one space.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, token) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&token.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bad_tokens_and_duplicates_are_dropped() {
        assert_eq!(Scope::parse("openid  email openid ä \"x\" a\\b").to_string(), "openid email");
        assert!(Scope::parse(" ").is_empty());
        assert!(Scope::parse(&"x".repeat(129)).is_empty());
    }

    proptest! {
        #[test]
        fn printing_and_parsing_agree(text in "[ -~]{0,200}") {
            let scope = Scope::parse(&text);
            prop_assert_eq!(Scope::parse(&scope.to_string()), scope);
        }

        #[test]
        fn a_filtered_scope_is_a_subset(text in "[a-e ]{0,40}") {
            let scope = Scope::parse(&text);
            let some = scope.filter(|t| t.as_str() != "a");
            prop_assert!(some.is_subset_of(&scope));
            prop_assert!(!some.contains("a"));
        }
    }
}
