//! Seconds since 1970 and lengths of time, as types: the core never reads a clock.
//!
//! Layer 0. All arithmetic saturates, and there is one rule for *expired*: the moment itself is too late.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A moment, in whole seconds since 1970-01-01T00:00:00Z (RFC 7519 §2, `NumericDate`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The moment so many seconds after 1970.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970.
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// The moment a lifetime later.
    #[must_use]
    pub const fn after(self, lifetime: Lifetime) -> Self {
        Self(self.0.saturating_add(lifetime.0))
    }

    /// The moment a lifetime earlier, at the earliest 1970.
    #[must_use]
    pub const fn before(self, lifetime: Lifetime) -> Self {
        Self(self.0.saturating_sub(lifetime.0))
    }

    /// Tells whether something that expires at this moment has expired `now`: at the second itself it has.
    pub const fn is_past(self, now: Self) -> bool {
        now.0 >= self.0
    }

    /// The time from this moment to a later one; zero when the other is earlier.
    pub const fn until(self, later: Self) -> Lifetime {
        Lifetime(later.0.saturating_sub(self.0))
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A length of time in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lifetime(u64);

impl Lifetime {
    /// A length of so many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    /// A length of so many minutes.
    pub const fn from_minutes(minutes: u64) -> Self {
        Self(minutes * 60)
    }

    /// A length of so many days.
    pub const fn from_days(days: u64) -> Self {
        Self(days * 86_400)
    }

    /// The length in seconds.
    pub const fn as_secs(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_itself_is_expired() {
        let expires = UnixTime::from_secs(100);
        assert!(!expires.is_past(UnixTime::from_secs(99)));
        assert!(expires.is_past(UnixTime::from_secs(100)));
        assert!(expires.is_past(UnixTime::from_secs(101)));
    }

    #[test]
    fn arithmetic_saturates() {
        let end = UnixTime::from_secs(u64::MAX);
        assert_eq!(end.after(Lifetime::from_days(1)), end);
        assert_eq!(UnixTime::from_secs(5).before(Lifetime::from_secs(9)), UnixTime::from_secs(0));
        assert_eq!(UnixTime::from_secs(9).until(UnixTime::from_secs(5)), Lifetime::from_secs(0));
    }
}
