//! The two codes of a device authorization: the one that a person types, and the one that only the device knows.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::fresh::{FreshId, FreshSecret};
use crate::secret::DeviceCode;

/// Letters without vowels and look-alikes, as RFC 8628 §6.1 proposes them: no words, and nothing to confuse on a screen.
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// Letters of a user code: 20^8 are 34.5 bits; with ten wrong ones per device in ten minutes that is plenty (RFC 8628 §5.1).
const LENGTH: usize = 8;

/// The longest text that is looked at for a user code: eight letters and whatever people put between them.
const LONGEST_TYPED: usize = 64;

/// Marks a device code, so that people and scanners tell what leaked.
const PREFIX: &str = "tsdc_";

/// Bytes of the secret part of a device code.
const SECRET: usize = 32;

/// The code that a person types (RFC 8628 §3.2, `user_code`), which is also the key of its record.
///
/// It has no `Display` and no letters in its `Debug`: whoever reads it in a log could answer in somebody's place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserCode([u8; LENGTH]);

impl UserCode {
    /// Draws a code from fresh bytes; of 128 bits over 20^8 codes no code is likelier than another in any way that matters.
    pub fn generate(fresh: FreshId) -> Self {
        let mut number = u128::from_be_bytes(fresh.into_bytes());
        Self([0; LENGTH].map(|_: u8| letter(&mut number)))
    }

    /// Reads what a person typed: case and everything but letters and digits are ignored.
    pub fn parse(typed: &str) -> Option<Self> {
        if typed.len() > LONGEST_TYPED {
            return None;
        }
        let mut letters =
            typed.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_uppercase());
        let mut code = [0; LENGTH];
        for letter in &mut code {
            *letter = letters.next().filter(|byte| ALPHABET.contains(byte))?;
        }
        letters.next().is_none().then_some(Self(code))
    }

    /// The code of these letters, if they are those of one.
    pub fn from_letters(letters: [u8; LENGTH]) -> Option<Self> {
        letters.iter().all(|letter| ALPHABET.contains(letter)).then_some(Self(letters))
    }

    /// The letters, as the key of a record.
    pub const fn as_bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// The code as people see it: `BCDF-GHJK`.
    pub fn shown(&self) -> String {
        let mut text = String::with_capacity(LENGTH + 1);
        for (at, letter) in self.0.iter().enumerate() {
            if at == LENGTH / 2 {
                text.push('-');
            }
            text.push(char::from(*letter));
        }
        text
    }
}

fn letter(number: &mut u128) -> u8 {
    let index = usize::try_from(*number % 20).unwrap_or(0);
    *number /= 20;
    ALPHABET.get(index).copied().unwrap_or(b'B')
}

impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserCode(..)")
    }
}

/// SHA-256 of a device code: what is stored of it, and the name of one authorization among all that ever had its user code.
#[derive(Clone, Copy)]
pub struct DeviceCodeDigest([u8; 32]);

impl DeviceCodeDigest {
    /// The digest from its bytes, as a record or a form holds them.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }
}

/// In constant time.
impl PartialEq for DeviceCodeDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for DeviceCodeDigest {}

impl fmt::Debug for DeviceCodeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, ..] = self.0;
        write!(f, "DeviceCodeDigest({})", Base64UrlUnpadded::encode_string(&[a, b, c]))
    }
}

impl DeviceCode {
    /// Makes the code of a device: 256 fresh bits, and the user code, under which its record is found.
    pub fn generate(user: UserCode, fresh: FreshSecret) -> Self {
        let mut bytes = [0; LENGTH + SECRET];
        let mut secret = fresh.into_bytes();
        bytes.iter_mut().zip(user.0.iter().chain(&secret)).for_each(|(to, from)| *to = *from);
        let text = format!("{PREFIX}{}", Base64UrlUnpadded::encode_string(&bytes));
        secret.zeroize();
        bytes.zeroize();
        Self::new(text)
    }

    /// The digest under which the code is remembered.
    pub fn digest(&self) -> DeviceCodeDigest {
        DeviceCodeDigest::of(self.expose())
    }

    /// The user code under which its record is found; `None` when it is no device code of ours. Proves nothing: the digest does.
    pub fn user_code(&self) -> Option<UserCode> {
        let mut bytes = [0; LENGTH + SECRET];
        let decoded = Base64UrlUnpadded::decode(self.expose().strip_prefix(PREFIX)?, &mut bytes).ok()?;
        let (letters, secret) = decoded.split_first_chunk::<LENGTH>()?;
        let user = UserCode::from_letters(*letters).filter(|_| secret.len() == SECRET);
        bytes.zeroize();
        user
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_user_code_is_read_as_people_write_it() {
        let code = UserCode::parse("BCDF-GHJK").unwrap();
        assert_eq!(code.shown(), "BCDF-GHJK");
        for typed in ["bcdfghjk", " bCdF ghjk ", "B.C.D.F_G/H–J K", "bcdf\u{2011}ghjk"] {
            assert_eq!(UserCode::parse(typed), Some(code), "{typed:?}");
        }
        for wrong in ["", "BCDFGHJ", "BCDFGHJKL", "ACDFGHJK", "BCDF-GHJ0", "BCDFGHJ1", "BCDF-GHJÖ"] {
            assert_eq!(UserCode::parse(wrong), None, "{wrong:?}");
        }
        assert_eq!(UserCode::parse(&format!("BCDFGHJK{}", " ".repeat(57))), None);
        assert_eq!(format!("{code:?}"), "UserCode(..)");
    }

    #[test]
    fn a_device_code_names_its_record_and_hides_itself() {
        let user = UserCode::parse("BCDF-GHJK").unwrap();
        let code = DeviceCode::generate(user, FreshSecret::from_bytes([7; 32]));
        assert_eq!(code.user_code(), Some(user));
        assert_eq!(format!("{code:?}"), "DeviceCode(..)");
        let other = DeviceCode::generate(user, FreshSecret::from_bytes([8; 32]));
        assert_ne!(code.digest(), other.digest());
        assert_eq!(code.digest(), DeviceCode::new(code.expose().to_owned()).digest());
        for wrong in ["", "tsdc_", "tsdc_AAAA", &code.expose()[1..], &format!("{}A", code.expose())] {
            assert_eq!(DeviceCode::new(wrong.to_owned()).user_code(), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_code_is_read_back(bytes: [u8; 16], secret: [u8; 32]) {
            let user = UserCode::generate(FreshId::from_bytes(bytes));
            let shown = user.shown();
            prop_assert_eq!(shown.len(), 9);
            prop_assert_eq!(UserCode::parse(&shown), Some(user));
            prop_assert_eq!(UserCode::parse(&shown.to_lowercase()), Some(user));
            let code = DeviceCode::generate(user, FreshSecret::from_bytes(secret));
            prop_assert_eq!(code.user_code(), Some(user));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _ = UserCode::parse(&text);
            let _ = DeviceCode::new(format!("tsdc_{text}")).user_code();
        }
    }
}
