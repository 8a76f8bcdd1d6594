//! JOSE: signing keys, JWK sets, signed JWTs. The only folder that names josekit.
//!
//! Layer 1, and the one impure place of the core: key generation, ES256 nonces and RSA blinding come from OpenSSL. Signing is
//! called only when keys are made or loaded, and at respond; verifying is pure. josekit's `Jwk` prints private keys; none
//! leaves this folder.
//!
//! | File | Owns |
//! | --- | --- |
//! | `sign.rs` | our keys: private halves, states, published set, signed tokens |
//! | `jwk.rs` | public keys of others: what is sound, what they are for, thumbprints |
//! | `verify.rs` | signed JWTs of others: strict parsing, verification, typed claims |
//! | `json.rs` | JSON objects of strangers, no member twice |
//! | `client_key.rs` | the private half of a client, for tests, fuzz targets and the demo |

mod client_key;
mod json;
mod jwk;
mod sign;
mod verify;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use client_key::ClientKey;
pub use json::JsonError;
pub(crate) use json::object as json_object;
pub use jwk::{JwkError, LONGEST_SET, MOST_KEYS, PublicKey, PublicKeys};
pub use sign::{PrivateKeyPem, SignedJwt, SigningKey, SigningKeys, TokenType};
pub use verify::{ClaimType, Claims, Jws, JwsError, LONGEST_JWS, Typ, Verified};

pub use crate::algorithm::VerifyAlgorithm;

/// A signature algorithm of JWTs (RFC 7518 §3.1, RFC 8037).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits: what every relying party can do.
    #[default]
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256: a fifth of the cost.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// Every algorithm that we can sign with.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// The registered name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl From<Algorithm> for VerifyAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Rs256 => Self::Rs256,
            Algorithm::Es256 => Self::Es256,
            Algorithm::EdDsa => Self::EdDsa,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What goes wrong with a key or a signature. The source says no key material.
#[derive(Debug, thiserror::Error)]
pub enum JoseError {
    /// The private key cannot be read.
    #[error("the private key cannot be read as {algorithm}: it is damaged or of another kind")]
    Key {
        /// What the key should be.
        algorithm: Algorithm,
    },
    /// An RSA key below 2048 bits (RFC 7518 §3.3).
    #[error("an RSA key needs at least 2048 bits, this one has {bits}")]
    TooShort {
        /// The length of the key.
        bits: u32,
    },
    /// The library could not make a key or a signature.
    #[error("OpenSSL failed to {0}")]
    Library(&'static str),
    /// No active key for an algorithm.
    #[error("there is no active {0} signing key")]
    NoKey(Algorithm),
}

/// `at_hash` (OpenID Connect Core §3.1.3.6): the left half of the hash that belongs to the algorithm of the ID token.
///
/// RS256 and ES256 hash with SHA-256. Ed25519 has no hash of its own; SHA-512 is what its implementations use.
pub fn access_token_hash(algorithm: Algorithm, access_token: &str) -> String {
    use base64ct::{Base64UrlUnpadded, Encoding};
    match algorithm {
        Algorithm::Rs256 | Algorithm::Es256 => {
            let digest = Sha256::digest(access_token.as_bytes());
            Base64UrlUnpadded::encode_string(digest.split_at(16).0)
        }
        Algorithm::EdDsa => {
            let digest = sha2::Sha512::digest(access_token.as_bytes());
            Base64UrlUnpadded::encode_string(digest.split_at(32).0)
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::LazyLock;

    use serde_json::json;

    use super::*;

    pub(crate) use super::sign::tests::key;

    /// One key of each algorithm for all tests: RSA keys take a while to make.
    pub(crate) fn client_key(algorithm: VerifyAlgorithm) -> &'static ClientKey {
        static KEYS: [LazyLock<ClientKey>; 4] = [
            LazyLock::new(|| ClientKey::generate(VerifyAlgorithm::Rs256).unwrap()),
            LazyLock::new(|| ClientKey::generate(VerifyAlgorithm::Ps256).unwrap()),
            LazyLock::new(|| ClientKey::generate(VerifyAlgorithm::Es256).unwrap()),
            LazyLock::new(|| ClientKey::generate(VerifyAlgorithm::EdDsa).unwrap()),
        ];
        &KEYS[VerifyAlgorithm::ALL.iter().position(|known| *known == algorithm).unwrap()]
    }

    /// A JWK set of these keys.
    pub(crate) fn jwks(keys: &[(&str, VerifyAlgorithm)]) -> String {
        let with_kid = |(kid, algorithm): &(&str, VerifyAlgorithm)| {
            let mut jwk = client_key(*algorithm).public_jwk().clone();
            jwk["kid"] = (*kid).into();
            jwk
        };
        json!({ "keys": keys.iter().map(with_kid).collect::<Vec<_>>() }).to_string()
    }

    /// OpenID Connect Core appendix A.3: the example's access token and `at_hash`.
    #[test]
    fn at_hash_of_the_specification() {
        let hash = access_token_hash(Algorithm::Rs256, "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y");
        assert_eq!(hash, "77QmUPtjPfzWtF2AnpK9RQ");
    }
}
