//! Proof Key for Code Exchange (RFC 7636), method S256 only.
//!
//! Layer 0.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The challenge methods that we serve (RFC 7636 §4.2); `plain` is none of them.
pub const CHALLENGE_METHODS: [&str; 1] = ["S256"];

/// An S256 code challenge: the SHA-256 digest of the verifier (RFC 7636 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CodeChallenge([u8; 32]);

impl CodeChallenge {
    /// Reads the `code_challenge` parameter: 43 characters of base64url. `None` when it is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let decoded = Base64UrlUnpadded::decode(text, &mut bytes).ok()?;
        (decoded.len() == 32).then_some(Self(bytes))
    }
}

/// A code verifier (RFC 7636 §4.1): 43 to 128 unreserved characters.
pub struct CodeVerifier<'a>(&'a str);

impl<'a> CodeVerifier<'a> {
    /// Reads the `code_verifier` parameter; `None` when length or alphabet is wrong.
    pub fn parse(text: &'a str) -> Option<Self> {
        let fits = (43..=128).contains(&text.len());
        let clean = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
        (fits && clean).then_some(Self(text))
    }

    /// Tells whether the challenge was made from this verifier (RFC 7636 §4.6), in constant time.
    pub fn proves(&self, challenge: &CodeChallenge) -> bool {
        Sha256::digest(self.0.as_bytes()).as_slice().ct_eq(&challenge.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_7636_appendix_b() {
        let verifier = CodeVerifier::parse("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").unwrap();
        let challenge = CodeChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM").unwrap();
        assert!(verifier.proves(&challenge));
        let other = CodeVerifier::parse("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl").unwrap();
        assert!(!other.proves(&challenge));
    }

    #[test]
    fn length_and_alphabet_are_checked() {
        assert!(CodeVerifier::parse(&"a".repeat(42)).is_none());
        assert!(CodeVerifier::parse(&"a".repeat(128)).is_some());
        assert!(CodeVerifier::parse(&"a".repeat(129)).is_none());
        assert!(CodeVerifier::parse(&format!("{}+", "a".repeat(42))).is_none());
        assert!(CodeChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM=").is_none());
        assert!(CodeChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-c").is_none());
        assert!(CodeChallenge::parse(&"a".repeat(128)).is_none());
    }
}
