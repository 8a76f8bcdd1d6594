//! Claims that a request names one by one (OpenID Connect Core §5.5, `claims`).
//!
//! Layer 0. Only claims that we have are remembered, as bits: a code and a grant carry them.

use serde::{Deserialize, Serialize};

/// A set of the claims that can be asked for by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimSet(u16);

impl ClaimSet {
    /// The claims that can be asked for by name; a bit each, in this order, which sealed codes and records rely on.
    pub const NAMES: [&str; 7] =
        ["name", "preferred_username", "picture", "email", "email_verified", "groups", "acr"];

    /// The set that these bits stand for; unknown bits are dropped.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & ((1 << Self::NAMES.len()) - 1))
    }

    /// The set as bits.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Adds a claim; one that cannot be asked for changes nothing.
    #[must_use]
    pub fn with(self, name: &str) -> Self {
        Self(self.0 | Self::bit(name))
    }

    /// Tells whether a claim is in the set.
    pub fn contains(self, name: &str) -> bool {
        self.0 & Self::bit(name) != 0
    }

    fn bit(name: &str) -> u16 {
        Self::NAMES.iter().position(|known| *known == name).map_or(0, |place| 1 << place)
    }
}

/// The claims that an authorization request names, for each place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestedClaims {
    /// For the ID token.
    pub id_token: ClaimSet,
    /// For `UserInfo`.
    pub userinfo: ClaimSet,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_we_have_and_nothing_else() {
        let set = ClaimSet::default().with("email").with("address").with("acr");
        assert!(set.contains("email") && set.contains("acr"));
        assert!(!set.contains("address") && !set.contains("name"));
        assert_eq!(
            ClaimSet::from_bits(u16::MAX),
            ClaimSet::NAMES.iter().fold(ClaimSet::default(), |s, n| s.with(n))
        );
    }
}
