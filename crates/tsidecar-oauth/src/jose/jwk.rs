//! Public keys of others as JWK and JWK set (RFC 7517), judged before anything is verified with them.
//!
//! A key is taken apart into its few public numbers and put together again: josekit sees nothing else of it.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use josekit::jwk::Jwk;
use josekit::jws::{ES256, EdDSA, JwsVerifier, PS256, RS256};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::json::{self, JsonError};
use crate::algorithm::VerifyAlgorithm;
use crate::id::Thumbprint;

/// The most keys of one set.
pub const MOST_KEYS: usize = 32;

/// The longest text that is read as a JWK set, in bytes.
pub const LONGEST_SET: usize = 64 * 1024;

/// The longest key id, in bytes.
pub(super) const LONGEST_KEY_ID: usize = 256;

/// Lengths of RSA keys in bits: RFC 7518 §3.3 asks for 2048, and above 8192 one verification costs milliseconds.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Members that only a private or symmetric key has (RFC 7518 §6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// What is wrong with a JWK or a JWK set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// Longer than 64 KiB.
    #[error("the JWK set is longer than 65536 bytes")]
    TooLong,
    /// Not a JSON object, or one with a member that stands twice.
    #[error("the JWK set is not a JSON object, or has a member that stands twice")]
    Json(#[from] JsonError),
    /// No array `keys`, or one of the keys is no object.
    #[error("the JWK set has no array \"keys\" of objects")]
    NoSet,
    /// More than 32 keys.
    #[error("the JWK set has more than 32 keys")]
    TooMany,
    /// No key that could verify a signature of ours.
    #[error("the JWK set has no key for RS256, PS256, ES256 or EdDSA signatures")]
    NoUsableKey,
    /// Two keys of one kind with the same `kid` (RFC 7517 §4.5).
    #[error("two keys of the JWK set have the same kid")]
    DuplicateKeyId,
    /// A private or symmetric key.
    #[error(
        "the JWK holds a private or symmetric key; only the public half may leave its owner: replace the key"
    )]
    Private,
    /// A member is missing, of the wrong type, or not base64url as RFC 7518 writes it.
    #[error("a member of the JWK is missing, of the wrong type, or not in base64url")]
    Member,
    /// A type of key, a curve, a use or an algorithm that we do not verify with.
    #[error("the JWK is not for RS256, PS256, ES256 or EdDSA signatures")]
    Unsupported,
    /// An RSA modulus below 2048 or above 8192 bits.
    #[error("an RSA key needs 2048 to 8192 bits")]
    RsaBits,
    /// An RSA exponent or modulus that no RSA key has.
    #[error("the RSA key is not sound: modulus and exponent must be odd, the exponent between 3 and 2^32")]
    RsaNumbers,
    /// A point that is not on its curve.
    #[error("the key is not a point on its curve")]
    Point,
}

/// The kinds of key that we verify with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    Ed25519,
}

impl Kind {
    const fn fits(self, algorithm: VerifyAlgorithm) -> bool {
        match algorithm {
            VerifyAlgorithm::Rs256 | VerifyAlgorithm::Ps256 => matches!(self, Self::Rsa),
            VerifyAlgorithm::Es256 => matches!(self, Self::P256),
            VerifyAlgorithm::EdDsa => matches!(self, Self::Ed25519),
        }
    }
}

/// A sound public key for signatures, of somebody else.
#[derive(Clone)]
pub struct PublicKey {
    kid: Option<String>,
    kind: Kind,
    algorithm: Option<VerifyAlgorithm>,
    thumbprint: Thumbprint,
    jwk: Jwk,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?} {})", self.kind, self.thumbprint)
    }
}

impl PublicKey {
    /// Reads one JWK.
    ///
    /// # Errors
    /// [`JwkError`] when it is no sound public key for signatures of an algorithm that we verify.
    pub fn from_jwk(members: &Map<String, Value>) -> Result<Self, JwkError> {
        if PRIVATE.iter().any(|name| members.contains_key(*name)) {
            return Err(JwkError::Private);
        }
        let name = text(members, "kid")?.map(str::to_owned);
        if name.as_ref().is_some_and(|name| name.len() > LONGEST_KEY_ID) {
            return Err(JwkError::Member);
        }
        let kind = kind(members)?;
        let algorithm = purpose(members, kind)?;
        let public = match kind {
            Kind::Rsa => rsa(members)?,
            Kind::P256 => json!({
                "crv": "P-256", "kty": "EC", "x": number::<32>(members, "x")?, "y": number::<32>(members, "y")?
            }),
            Kind::Ed25519 => json!({ "crv": "Ed25519", "kty": "OKP", "x": number::<32>(members, "x")? }),
        };
        // RFC 7638 §3: the required members in the order of their names, without a space. serde_json keeps this order.
        let thumbprint = Thumbprint::from_bytes(Sha256::digest(public.to_string()).into());
        let Value::Object(public) = public else { return Err(JwkError::Member) };
        let jwk = Jwk::from_map(public).map_err(|_| JwkError::Member)?;
        let key = Self { kid: name, kind, algorithm, thumbprint, jwk };
        // OpenSSL looks whether the point is on the curve.
        let first = VerifyAlgorithm::ALL.into_iter().find(|algorithm| kind.fits(*algorithm));
        match first.and_then(|algorithm| key.verifier(algorithm)) {
            Some(_) => Ok(key),
            None => Err(JwkError::Point),
        }
    }

    /// The SHA-256 thumbprint of the key (RFC 7638).
    pub const fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// `kid`.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Tells whether the key may be used with an algorithm: by its kind, and by its `alg` when it has one.
    pub fn fits(&self, algorithm: VerifyAlgorithm) -> bool {
        self.kind.fits(algorithm) && self.algorithm.is_none_or(|only| only == algorithm)
    }

    /// Verifies a signature over a message. Every signature that this crate believes has passed here.
    pub fn verifies(&self, algorithm: VerifyAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        self.fits(algorithm)
            && self.verifier(algorithm).is_some_and(|verifier| verifier.verify(message, signature).is_ok())
    }

    fn verifier(&self, algorithm: VerifyAlgorithm) -> Option<Box<dyn JwsVerifier>> {
        Some(match algorithm {
            VerifyAlgorithm::Rs256 => Box::new(RS256.verifier_from_jwk(&self.jwk).ok()?),
            VerifyAlgorithm::Ps256 => Box::new(PS256.verifier_from_jwk(&self.jwk).ok()?),
            VerifyAlgorithm::Es256 => Box::new(ES256.verifier_from_jwk(&self.jwk).ok()?),
            VerifyAlgorithm::EdDsa => Box::new(EdDSA.verifier_from_jwk(&self.jwk).ok()?),
        })
    }
}

/// The public keys of a client: a JWK set of at most 32 keys.
#[derive(Clone, Debug)]
pub struct PublicKeys(Vec<PublicKey>);

impl PublicKeys {
    /// Reads a JWK set.
    ///
    /// Keys that are not for us (an unknown `kty`, curve or `alg`, a `use` or `key_ops` other than signatures) are left out, as
    /// RFC 7517 §5 has it. A private or unsound key makes the whole set an error, so that its owner hears of it. Two
    /// keys of one kind with the same `kid` do, too; keys of different kinds may share one (§4.5).
    ///
    /// # Errors
    /// [`JwkError`] with the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, JwkError> {
        if text.len() > LONGEST_SET {
            return Err(JwkError::TooLong);
        }
        let set = json::object(text.as_bytes())?;
        let Some(Value::Array(listed)) = set.get("keys") else { return Err(JwkError::NoSet) };
        if listed.len() > MOST_KEYS {
            return Err(JwkError::TooMany);
        }
        let mut keys: Vec<PublicKey> = Vec::new();
        for listed in listed {
            let Value::Object(members) = listed else { return Err(JwkError::NoSet) };
            let key = match PublicKey::from_jwk(members) {
                Ok(key) => key,
                Err(JwkError::Unsupported) => continue,
                Err(error) => return Err(error),
            };
            let twin = |known: &PublicKey| known.kind == key.kind && known.kid == key.kid;
            if key.kid.is_some() && keys.iter().any(twin) {
                return Err(JwkError::DuplicateKeyId);
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(JwkError::NoUsableKey) } else { Ok(Self(keys)) }
    }

    /// The keys, in the order of the set.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.iter()
    }
}

/// A member that is text when it is there.
fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, JwkError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(JwkError::Member),
    }
}

fn kind(members: &Map<String, Value>) -> Result<Kind, JwkError> {
    let (kty, crv) = (text(members, "kty")?, text(members, "crv")?);
    match (kty.ok_or(JwkError::Member)?, crv) {
        ("RSA", _) => Ok(Kind::Rsa),
        ("EC", Some("P-256")) => Ok(Kind::P256),
        ("OKP", Some("Ed25519")) => Ok(Kind::Ed25519),
        ("EC" | "OKP", None) => Err(JwkError::Member),
        _ => Err(JwkError::Unsupported),
    }
}

/// What the key says that it is for: `use`, `key_ops` and `alg` (RFC 7517 §4.2 to §4.4).
fn purpose(members: &Map<String, Value>, kind: Kind) -> Result<Option<VerifyAlgorithm>, JwkError> {
    if text(members, "use")?.is_some_and(|usage| usage != "sig") {
        return Err(JwkError::Unsupported);
    }
    match members.get("key_ops") {
        None => (),
        Some(Value::Array(operations)) if operations.iter().any(|one| one == "verify") => (),
        Some(Value::Array(_)) => return Err(JwkError::Unsupported),
        Some(_) => return Err(JwkError::Member),
    }
    let Some(name) = text(members, "alg")? else { return Ok(None) };
    let algorithm = VerifyAlgorithm::parse(name).filter(|algorithm| kind.fits(*algorithm));
    algorithm.map(Some).ok_or(JwkError::Unsupported)
}

/// A number of exactly so many bytes (RFC 7518 §6.2.1.2, RFC 8037 §2), as it was written.
fn number<'a, const N: usize>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str, JwkError> {
    let written = text(members, name)?.ok_or(JwkError::Member)?;
    let bytes = Base64UrlUnpadded::decode_vec(written).map_err(|_| JwkError::Member)?;
    if bytes.len() == N { Ok(written) } else { Err(JwkError::Member) }
}

/// Modulus and exponent, without leading zero bytes (RFC 7518 §6.3.1.1).
fn rsa(members: &Map<String, Value>) -> Result<Value, JwkError> {
    let read = |name| {
        let written = text(members, name)?.ok_or(JwkError::Member)?;
        let bytes = Base64UrlUnpadded::decode_vec(written).map_err(|_| JwkError::Member)?;
        match bytes.first() {
            None | Some(0) => Err(JwkError::Member),
            Some(_) => Ok((written, bytes)),
        }
    };
    let ((n, modulus), (e, exponent)) = (read("n")?, read("e")?);
    let zeros = modulus.first().map_or(0, |first| first.leading_zeros() as usize);
    if !RSA_BITS.contains(&(modulus.len() * 8 - zeros)) {
        return Err(JwkError::RsaBits);
    }
    let odd = |bytes: &[u8]| bytes.last().is_some_and(|last| last % 2 == 1);
    if !odd(&modulus) || !odd(&exponent) || exponent.len() > 4 || exponent == [1] {
        return Err(JwkError::RsaNumbers);
    }
    Ok(json!({ "e": e, "kty": "RSA", "n": n }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{client_key, jwks};
    use super::*;

    fn jwk(algorithm: VerifyAlgorithm, changes: &Value) -> Result<PublicKey, JwkError> {
        let mut jwk = client_key(algorithm).public_jwk().clone();
        for (name, value) in changes.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        PublicKey::from_jwk(jwk.as_object().unwrap())
    }

    fn base64(bytes: &[u8]) -> String {
        Base64UrlUnpadded::encode_string(bytes)
    }

    #[test]
    fn a_key_fits_its_kind_and_its_alg() {
        use VerifyAlgorithm::{EdDsa, Es256, Ps256, Rs256};
        for (algorithm, changes, fits) in [
            (Rs256, json!({}), vec![Rs256, Ps256]),
            (Rs256, json!({ "alg": "PS256", "use": "sig", "key_ops": ["verify", "sign"] }), vec![Ps256]),
            (Es256, json!({ "alg": "ES256" }), vec![Es256]),
            (EdDsa, json!({ "alg": "Ed25519" }), vec![EdDsa]),
            (EdDsa, json!({ "alg": "EdDSA" }), vec![EdDsa]),
        ] {
            let key = jwk(algorithm, &changes).unwrap();
            let fitting: Vec<_> = VerifyAlgorithm::ALL.into_iter().filter(|one| key.fits(*one)).collect();
            assert_eq!(fitting, fits, "{algorithm} {changes}");
        }
    }

    #[test]
    fn unsound_keys_are_refused() {
        use JwkError as E;
        use VerifyAlgorithm::{EdDsa, Es256, Rs256};
        for private in PRIVATE {
            assert_eq!(jwk(Es256, &json!({ private: "AAAA" })).err(), Some(E::Private), "{private}");
        }
        let modulus = |bytes: usize, first: u8, last: u8| {
            let mut n = vec![0x55; bytes];
            (n[0], n[bytes - 1]) = (first, last);
            base64(&n)
        };
        for (name, algorithm, changes, error) in [
            ("no kty", Es256, json!({ "kty": null }), E::Member),
            ("kty as number", Es256, json!({ "kty": 1 }), E::Member),
            ("an unknown kty", Es256, json!({ "kty": "AKP" }), E::Unsupported),
            ("a secret key", Es256, json!({ "kty": "oct" }), E::Unsupported),
            ("no crv", Es256, json!({ "crv": null }), E::Member),
            ("another curve", Es256, json!({ "crv": "P-384" }), E::Unsupported),
            ("a curve for encryption", EdDsa, json!({ "crv": "X25519" }), E::Unsupported),
            ("for encryption", Es256, json!({ "use": "enc" }), E::Unsupported),
            ("to sign only", Es256, json!({ "key_ops": ["sign"] }), E::Unsupported),
            ("key_ops as text", Es256, json!({ "key_ops": "verify" }), E::Member),
            ("alg of another kind", Es256, json!({ "alg": "RS256" }), E::Unsupported),
            ("an unknown alg", Rs256, json!({ "alg": "RSA-OAEP" }), E::Unsupported),
            ("kid as number", Es256, json!({ "kid": 1 }), E::Member),
            ("a long kid", Es256, json!({ "kid": "k".repeat(257) }), E::Member),
            ("no y", Es256, json!({ "y": null }), E::Member),
            ("a short x", Es256, json!({ "x": base64(&[1; 31]) }), E::Member),
            ("a long x", Es256, json!({ "x": base64(&[1; 33]) }), E::Member),
            ("padding", Es256, json!({ "x": base64(&[1; 32]) + "=" }), E::Member),
            ("not on the curve", Es256, json!({ "x": base64(&[1; 32]), "y": base64(&[1; 32]) }), E::Point),
            (
                "the point at infinity",
                Es256,
                json!({ "x": base64(&[0; 32]), "y": base64(&[0; 32]) }),
                E::Point,
            ),
            ("a short Ed25519 key", EdDsa, json!({ "x": base64(&[1; 31]) }), E::Member),
            ("no n", Rs256, json!({ "n": null }), E::Member),
            ("n of 1024 bits", Rs256, json!({ "n": modulus(128, 0xff, 1) }), E::RsaBits),
            ("n of 2047 bits", Rs256, json!({ "n": modulus(256, 0x7f, 1) }), E::RsaBits),
            ("n of 8193 bits", Rs256, json!({ "n": modulus(1025, 1, 1) }), E::RsaBits),
            ("n with a zero before it", Rs256, json!({ "n": modulus(257, 0, 1) }), E::Member),
            ("an even n", Rs256, json!({ "n": modulus(256, 0xff, 2) }), E::RsaNumbers),
            ("e = 1", Rs256, json!({ "e": "AQ" }), E::RsaNumbers),
            ("an even e", Rs256, json!({ "e": "AQAC" }), E::RsaNumbers),
            ("a huge e", Rs256, json!({ "e": base64(&[1; 5]) }), E::RsaNumbers),
            ("an empty e", Rs256, json!({ "e": "" }), E::Member),
        ] {
            assert_eq!(jwk(algorithm, &changes).err(), Some(error), "{name}");
        }
        assert!(jwk(Rs256, &json!({ "e": "Aw" })).is_ok());
    }

    #[test]
    fn a_set_keeps_what_is_for_us() {
        use VerifyAlgorithm::{EdDsa, Es256, Rs256};
        let set = jwks(&[("r", Rs256), ("e", Es256), ("d", EdDsa)]);
        assert_eq!(PublicKeys::parse(&set).unwrap().iter().count(), 3);
        let mut set: Value = serde_json::from_str(&set).unwrap();
        set["keys"][0]["use"] = "enc".into();
        set["keys"][1]["kty"] = "something new".into();
        set["keys"][2]["unknown"] = json!({ "member": 1 });
        let kept = PublicKeys::parse(&set.to_string()).unwrap();
        assert_eq!(kept.iter().map(|key| key.kid()).collect::<Vec<_>>(), [Some("d")]);
    }

    #[test]
    fn what_a_set_may_not_be() {
        use JwkError as E;
        use VerifyAlgorithm::{EdDsa, Es256};
        let one: Value = serde_json::from_str(&jwks(&[("a", Es256)])).unwrap();
        let key = &one["keys"][0];
        let set = |keys: Value| PublicKeys::parse(&json!({ "keys": keys }).to_string()).err();
        assert_eq!(set(json!([])), Some(E::NoUsableKey));
        assert_eq!(set(json!([{ "kty": "oct" }])), Some(E::NoUsableKey));
        assert_eq!(set(json!([{ "kty": "oct", "k": "AAAA" }])), Some(E::Private));
        assert_eq!(set(json!([key, key])), Some(E::DuplicateKeyId));
        assert_eq!(set(json!([key, 1])), Some(E::NoSet));
        assert_eq!(set(json!({})), Some(E::NoSet));
        assert_eq!(set(vec![json!({ "kty": "x" }); 33].into()), Some(E::TooMany));
        assert_eq!(PublicKeys::parse(&key.to_string()).err(), Some(E::NoSet));
        assert_eq!(PublicKeys::parse(r#"{"keys":[],"keys":[]}"#).err(), Some(E::Json(JsonError)));
        assert_eq!(PublicKeys::parse("").err(), Some(E::Json(JsonError)));
        assert_eq!(PublicKeys::parse(&" ".repeat(LONGEST_SET + 1)).err(), Some(E::TooLong));
        // RFC 7517 §4.5: keys of different kinds may share a kid; those without one do not collide.
        assert!(PublicKeys::parse(&jwks(&[("a", Es256), ("a", EdDsa)])).is_ok());
        let mut nameless = key.clone();
        nameless.as_object_mut().unwrap().remove("kid");
        assert_eq!(set(json!([nameless, nameless])), None);
    }

    #[test]
    fn a_key_is_printed_by_its_thumbprint() {
        let key = jwk(VerifyAlgorithm::Es256, &json!({ "kid": "k" })).unwrap();
        assert_eq!(format!("{key:?}"), format!("PublicKey(P256 {})", key.thumbprint()));
    }
}
