//! The life of a key: next, active, retired (design section 12).
//!
//! Layer 0. *Gone* is not a state of a key: a key that is gone is not there.

use serde::{Deserialize, Serialize};

/// Where a signing or sealing key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Published, not used yet: relying parties and replicas learn it in time.
    Next,
    /// In use for everything new.
    Active,
    /// Not used for anything new; what it made is still accepted.
    Retired,
}

impl KeyState {
    /// The name of the state.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}
