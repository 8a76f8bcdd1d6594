//! How a person was authenticated (OpenID Connect Core §2, `acr`; RFC 9470).
//!
//! Layer 0. The network authenticates everybody; what differs is whether somebody answered a page.

use serde::{Deserialize, Serialize};

/// The authentication context class of a sign-in, the weaker first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Acr {
    /// The tailnet says who it is; nobody touched anything.
    #[default]
    Ambient,
    /// The person answered a page of ours on that device.
    Confirmed,
}

impl Acr {
    /// Every class, in the order of the metadata (`acr_values_supported`).
    pub const ALL: [Self; 2] = [Self::Ambient, Self::Confirmed];

    /// The value of the claim `acr`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ambient => "urn:tsidecar:acr:ambient",
            Self::Confirmed => "urn:tsidecar:acr:confirmed",
        }
    }
}
