//! Identifiers: one newtype per kind of name, so that a device is never taken for a subject or a client.
//!
//! Layer 0. Parsing only; nothing here knows what an identifier stands for.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::fresh::FreshId;

/// The prefix that only subjects of people carry (RFC 9700 §4.15: a client must never look like a user).
const USER_PREFIX: &str = "userid:";

/// The prefix of the subjects of workloads, which are tags.
const TAG_PREFIX: &str = "tag:";

/// What is wrong with the text of an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Longer than the limit, which is named in bytes.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    /// A character outside printable ASCII (RFC 6749 appendix A.1).
    #[error("has a character outside printable ASCII")]
    Character,
    /// Starts with `userid:` or `tag:`, which are kept for the subjects of people and workloads.
    #[error("starts with \"userid:\" or \"tag:\", which are kept for people and workloads")]
    Reserved,
}

fn printable(text: &str, limit: usize) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > limit {
        return Err(IdError::TooLong(limit));
    }
    if text.bytes().all(|b| (0x20..=0x7e).contains(&b)) { Ok(()) } else { Err(IdError::Character) }
}

/// Names an OAuth client (RFC 6749 §2.2): 1 to 256 characters of printable ASCII, never `userid:…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(String);

impl ClientId {
    /// Checks the text of a client identifier.
    ///
    /// # Errors
    /// [`IdError`] when the text is empty, longer than 256 bytes, not printable ASCII, or starts with `userid:`.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        printable(text, 256)?;
        if text.starts_with(USER_PREFIX) {
            return Err(IdError::Reserved);
        }
        Ok(Self(text.to_owned()))
    }

    /// The identifier as it travels.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names an end-user or workload towards relying parties (OpenID Connect Core §2, `sub`): stable, at most 255 ASCII bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subject(String);

impl Subject {
    /// The subject of a person: `userid:` and the numeric id of the user profile, tsidp's format.
    pub fn user(id: i64) -> Self {
        Self(format!("{USER_PREFIX}{id}"))
    }

    /// The subject of a client that acts for itself (RFC 9068 §2.2): its id. No [`ClientId`] looks like a person's subject
    /// (RFC 9068 §5, RFC 9700 §4.15).
    pub fn client(id: &ClientId) -> Self {
        Self(id.0.clone())
    }

    /// The subject that a rule gives to a tagged node (`taggedIdentity`).
    ///
    /// # Errors
    /// [`IdError`] when the text is empty, longer than 255 bytes, not printable ASCII, or starts with `userid:` or `tag:`.
    pub fn tagged(text: &str) -> Result<Self, IdError> {
        printable(text, 255)?;
        if text.starts_with(USER_PREFIX) || text.starts_with(TAG_PREFIX) {
            return Err(IdError::Reserved);
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads a subject as it travels: of a person, or one that a rule gives to a tagged node.
    ///
    /// # Errors
    /// As [`tagged`](Self::tagged); [`IdError::Reserved`] when what follows `userid:` is no number.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        match text.strip_prefix(USER_PREFIX) {
            Some(id) => id.parse().map(Self::user).map_err(|_| IdError::Reserved),
            None if text.starts_with(TAG_PREFIX) => ClientId::parse(text).map(|tag| Self::client(&tag)),
            None => Self::tagged(text),
        }
    }

    /// The subject as it travels.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a device by its stable identifier (Tailscale's StableID), never by its renewable key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceId(String);

impl DeviceId {
    /// Checks the text of a device identifier.
    ///
    /// # Errors
    /// [`IdError`] when the text is empty, longer than 128 bytes, or not printable ASCII.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        printable(text, 128)?;
        Ok(Self(text.to_owned()))
    }

    /// The identifier as Tailscale spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names the way in by which a request reached us: capabilities are per destination, so it belongs to the identity.
///
/// `host` is the host's own serve, `svc:NAME` a Tailscale Service, `proxy:PATH` a reverse proxy of the user's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Listener(String);

impl Listener {
    /// The host's own `tailscale serve`.
    pub fn host() -> Self {
        Self("host".to_owned())
    }

    /// Checks the name of a listener.
    ///
    /// # Errors
    /// [`IdError`] when the text is empty, longer than 128 bytes, or not printable ASCII.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        printable(text, 128)?;
        Ok(Self(text.to_owned()))
    }

    /// The name of the listener.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a signing key (RFC 7517 §4.5, `kid`): 1 to 64 characters of printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    /// Checks the text of a key identifier.
    ///
    /// # Errors
    /// [`IdError`] when the text is empty, longer than 64 bytes, or not printable ASCII.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        printable(text, 64)?;
        Ok(Self(text.to_owned()))
    }

    /// The identifier as it stands in a JOSE header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a public key by the SHA-256 of its required members (RFC 7638): `jkt` of `DPoP` (RFC 9449 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// The thumbprint from its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the thumbprint.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads a thumbprint as `dpop_jkt` has it: 43 characters of base64url, strictly.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let read = Base64UrlUnpadded::decode(text, &mut bytes).ok()?.len();
        (read == 32).then_some(Self(bytes))
    }
}

/// Prints the thumbprint as `jkt` has it: 43 characters of base64url.
impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base64UrlUnpadded::encode_string(&self.0))
    }
}

/// Names one issued JWT (RFC 7519 §4.1.7, `jti`): 128 random bits; of an access token the id of its grant, then 96 random bits, in
/// 48 characters of base64url.
///
/// So the grant is found again at introspection and revocation without a claim of our own, and nothing is stored per token. A grant
/// id is no secret, and tells a resource server nothing that `sub` does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct JwtId(String);

impl JwtId {
    /// Makes the identifier from fresh bytes.
    pub fn new(fresh: FreshId) -> Self {
        Self(Base64UrlUnpadded::encode_string(&fresh.into_bytes()))
    }

    /// Makes the identifier of an access token of a grant from fresh bytes.
    pub fn of(grant: GrantId, fresh: FreshId) -> Self {
        let mut bytes = [0; Self::LENGTH];
        let parts = grant.0.into_iter().chain(fresh.into_bytes());
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        Self(Base64UrlUnpadded::encode_string(&bytes))
    }

    /// Reads the identifier of an access token whose signature was verified.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; Self::LENGTH];
        let read = Base64UrlUnpadded::decode(text, &mut bytes).ok()?.len();
        (read == Self::LENGTH).then(|| Self(text.to_owned()))
    }

    /// The grant of an access token; `None` of another JWT.
    pub fn grant(&self) -> Option<GrantId> {
        let mut bytes = [0; Self::LENGTH];
        let bytes = Base64UrlUnpadded::decode(&self.0, &mut bytes).ok()?;
        bytes.first_chunk().copied().map(GrantId).filter(|_| bytes.len() == Self::LENGTH)
    }

    /// The identifier as it stands in the token.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Bytes: the grant id and half of a nonce.
    const LENGTH: usize = 36;
}

/// Names a grant and is its key in the store: the first 8 bytes of SHA-256 of the subject, then 16 random bytes.
///
/// So all grants of one subject are one range of keys, and a grant id tells nothing about the person to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantId([u8; 24]);

impl GrantId {
    /// Makes the id of a new grant of this subject.
    pub fn new(subject: &Subject, fresh: FreshId) -> Self {
        let mut bytes = [0; 24];
        let (range, random) = bytes.split_at_mut(8);
        range.copy_from_slice(&Self::range(subject));
        random.copy_from_slice(&fresh.into_bytes());
        Self(bytes)
    }

    /// The key prefix that all grants of this subject share.
    pub fn range(subject: &Subject) -> [u8; 8] {
        let digest = Sha256::digest(subject.as_str().as_bytes());
        let mut range = [0; 8];
        range.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        range
    }

    /// Reads an id as logs and commands have it: 32 characters of base64url, strictly.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 24];
        let read = Base64UrlUnpadded::decode(text, &mut bytes).ok()?.len();
        (read == 24).then_some(Self(bytes))
    }

    /// The id from its stored or sealed bytes.
    pub const fn from_bytes(bytes: [u8; 24]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id, which are the key in the store.
    pub const fn as_bytes(&self) -> &[u8; 24] {
        &self.0
    }
}

/// Names one session of a browser (OpenID Connect Back-Channel Logout §2.1, `sid`): 128 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// Makes the id of a new session.
    pub fn new(fresh: FreshId) -> Self {
        Self(fresh.into_bytes())
    }

    /// The id from its stored or sealed bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id, which are the key in the store.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Prints the id as `sid` has it: 22 characters of base64url.
impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base64UrlUnpadded::encode_string(&self.0))
    }
}

/// Prints the id as logs and commands name a grant: 32 characters of base64url.
impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base64UrlUnpadded::encode_string(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_never_looks_like_a_user() {
        assert_eq!(ClientId::parse("userid:5"), Err(IdError::Reserved));
        assert_eq!(Subject::tagged("userid:5"), Err(IdError::Reserved));
        assert_eq!(Subject::client(&ClientId::parse("robot").unwrap()).as_str(), "robot");
        assert_eq!(Subject::user(5).as_str(), "userid:5");
    }

    #[test]
    fn identifiers_are_printable_and_bounded() {
        assert_eq!(ClientId::parse(""), Err(IdError::Empty));
        assert_eq!(ClientId::parse("a\nb"), Err(IdError::Character));
        assert_eq!(ClientId::parse("ä"), Err(IdError::Character));
        assert_eq!(ClientId::parse(&"x".repeat(257)), Err(IdError::TooLong(256)));
        assert!(ClientId::parse(&"x".repeat(256)).is_ok());
        assert_eq!(DeviceId::parse(&"x".repeat(129)), Err(IdError::TooLong(128)));
    }

    #[test]
    fn grants_of_one_subject_share_a_range() {
        let alice = Subject::user(1);
        let one = GrantId::new(&alice, FreshId::from_bytes([1; 16]));
        let two = GrantId::new(&alice, FreshId::from_bytes([2; 16]));
        assert_ne!(one, two);
        assert_eq!(one.as_bytes().get(..8), Some(&GrantId::range(&alice)[..]));
        assert_ne!(GrantId::range(&alice), GrantId::range(&Subject::user(2)));
        assert_eq!((one.to_string().len(), GrantId::parse(&one.to_string())), (32, Some(one)));
        for bad in ["", "x", &"A".repeat(31), &"A".repeat(33), &"A".repeat(36), &"=".repeat(32)] {
            assert_eq!(GrantId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_jwt_names_its_grant() {
        let grant = GrantId::new(&Subject::user(1), FreshId::from_bytes([1; 16]));
        let one = JwtId::of(grant, FreshId::from_bytes([2; 16]));
        assert_eq!((one.as_str().len(), one.grant()), (48, Some(grant)));
        assert_ne!(one, JwtId::of(grant, FreshId::from_bytes([3; 16])));
        assert_eq!(JwtId::parse(one.as_str()), Some(one));
        assert_eq!(JwtId::new(FreshId::from_bytes([2; 16])).grant(), None);
        for bad in ["", "x", &"A".repeat(47), &"A".repeat(49), &"=".repeat(48)] {
            assert_eq!(JwtId::parse(bad), None, "{bad}");
        }
    }
}
