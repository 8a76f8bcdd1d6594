//! Secrets as types: they cannot be printed, compared by accident, serialised or stored; only their digests can.
//!
//! Layer 0.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::fresh::FreshSecret;

macro_rules! secret_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Zeroize, ZeroizeOnDrop)]
        pub struct $name(String);

        impl $name {
            /// Takes a secret as it came in or is about to go out.
            pub fn new(text: String) -> Self {
                Self(text)
            }

            /// The secret itself. Every use of this is a place to review.
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

secret_text! {
    /// An authorization code as it travels (RFC 6749 §1.3.1).
    AuthorizationCode
}

secret_text! {
    /// A device code as it travels (RFC 8628 §3.2).
    DeviceCode
}

secret_text! {
    /// An access token, refresh token or ID token as it travels.
    TokenText
}

secret_text! {
    /// A PKCE code verifier as it travels (RFC 7636 §4.5), unchecked.
    VerifierText
}

secret_text! {
    /// A client secret as it is presented (RFC 6749 §2.3.1).
    ClientSecret
}

/// The shortest secret that an administrator may choose; generated ones have 43 characters.
pub const SHORTEST_CHOSEN_SECRET: usize = 32;

impl ClientSecret {
    /// Makes a secret of 256 random bits, written in `[A-Za-z0-9]` only: many clients do not percent-encode what they
    /// put into HTTP Basic, and 43 characters of this alphabet need no encoding.
    pub fn generate(fresh: FreshSecret) -> Self {
        const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let mut number = fresh.into_bytes();
        let mut text = String::with_capacity(43);
        for _ in 0..43 {
            let mut rest = 0u32;
            for byte in &mut number {
                let value = (rest << 8) | u32::from(*byte);
                *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
                rest = value % 62;
            }
            text.push(char::from(ALPHABET.get(rest as usize).copied().unwrap_or(b'A')));
        }
        number.zeroize();
        Self(text)
    }

    /// The digest under which the secret is stored.
    pub fn digest(&self) -> SecretDigest {
        SecretDigest(Sha256::digest(self.0.as_bytes()).into())
    }
}

/// SHA-256 of a client secret of full entropy; what the store and the configuration hold.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// The digest from its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads a digest written in 64 hexadecimal characters.
    pub fn parse_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        read_hex(text, &mut bytes)?;
        Some(Self(bytes))
    }

    /// The 32 bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Compares with a presented secret, in constant time.
    pub fn matches(&self, presented: &ClientSecret) -> bool {
        self.0.ct_eq(&presented.digest().0).into()
    }
}

/// Prints the first characters of the digest only, enough to tell two apart.
impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, ..] = self.0;
        write!(f, "SecretDigest({}..)", Base64UrlUnpadded::encode_string(&[a, b, c]))
    }
}

/// Reads exactly as many hexadecimal digit pairs as the target has bytes.
fn read_hex(text: &str, into: &mut [u8; 32]) -> Option<()> {
    if text.len() != into.len() * 2 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let digits = text.as_bytes().chunks_exact(2);
    for (byte, pair) in into.iter_mut().zip(digits) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_cannot_be_printed() {
        let secret = ClientSecret::new("hunter2hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "ClientSecret(..)");
        assert_eq!(format!("{:?}", TokenText::new("tsrt_x".to_owned())), "TokenText(..)");
        assert_eq!(format!("{:?}", AuthorizationCode::new("abc".to_owned())), "AuthorizationCode(..)");
        assert!(format!("{:?}", secret.digest()).len() < 24);
    }

    #[test]
    fn a_generated_secret_needs_no_encoding() {
        let secret = ClientSecret::generate(FreshSecret::from_bytes([0xa7; 32]));
        assert_eq!(secret.expose().len(), 43);
        assert!(secret.expose().bytes().all(|b| b.is_ascii_alphanumeric()));
        let other = ClientSecret::generate(FreshSecret::from_bytes([0xa8; 32]));
        assert_ne!(secret.expose(), other.expose());
    }

    #[test]
    fn a_digest_matches_its_secret_only() {
        let secret = ClientSecret::new("correct".to_owned());
        assert!(secret.digest().matches(&secret));
        assert!(!secret.digest().matches(&ClientSecret::new("correct ".to_owned())));
        let abc = SecretDigest::parse_hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
            .unwrap();
        assert!(abc.matches(&ClientSecret::new("abc".to_owned())));
        assert!(SecretDigest::parse_hex("ba78").is_none());
        assert!(SecretDigest::parse_hex(&"+1".repeat(32)).is_none());
    }
}
