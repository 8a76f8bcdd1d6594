//! Signed JWTs of others: parsed strictly, believed only under an algorithm and a type that we name (RFC 8725).

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value};

use super::json::{self, JsonError};
use super::jwk::{JwkError, LONGEST_KEY_ID, PublicKey, PublicKeys};
use crate::algorithm::VerifyAlgorithm;
use crate::time::UnixTime;

/// The longest JWS that is looked at, in bytes: a large request object fits four times.
pub const LONGEST_JWS: usize = 16 * 1024;

/// How many keys are tried for a JWS that names none (RFC 8725 §3.10 asks for a bound).
const MOST_CANDIDATES: usize = 8;

/// Which `typ` a JWS may have (RFC 8725 §3.11): media types, in any case, with or without `application/`.
#[derive(Clone, Copy, Debug)]
pub enum Typ<'a> {
    /// One of these, and it must be there.
    Required(&'a [&'a str]),
    /// One of these, or none at all.
    Optional(&'a [&'a str]),
}

impl Typ<'_> {
    fn admits(self, typ: Option<&str>) -> bool {
        let (Self::Required(names) | Self::Optional(names)) = self;
        let Some(typ) = typ else { return matches!(self, Self::Optional(_)) };
        let prefix = typ.get(..12).is_some_and(|prefix| prefix.eq_ignore_ascii_case("application/"));
        let short = if prefix { typ.get(12..).unwrap_or_default() } else { typ };
        names.iter().any(|name| name.eq_ignore_ascii_case(short))
    }
}

/// Why a JWS is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Longer than 16 KiB.
    #[error("the JWT is longer than 16384 bytes")]
    TooLong,
    /// Not three parts in base64url without padding.
    #[error("the JWT is not of three parts in base64url")]
    Form,
    /// The header is not a JSON object, or has a member that stands twice.
    #[error("the header of the JWT is not a JSON object, or has a member that stands twice")]
    Header,
    /// A member of the header has the wrong type.
    #[error("a member of the JWT's header is missing or of the wrong type")]
    Member,
    /// `crit` or `b64`: we understand no extension (RFC 7515 §4.1.11, RFC 7797).
    #[error("the JWT needs an extension (crit) that is not supported")]
    Critical,
    /// `alg` is `none`.
    #[error("the JWT is not signed (alg \"none\")")]
    Unsigned,
    /// A MAC: we share no secret in the clear with anybody.
    #[error("the JWT is signed with a shared secret (HS256 and the like); a private key is needed")]
    Symmetric,
    /// An algorithm that is not acceptable here.
    #[error("the JWT is signed with an algorithm that is not acceptable here")]
    Algorithm,
    /// A JWT of another kind.
    #[error("the JWT is of another type (typ)")]
    Typ,
    /// No key of this id, or none that fits.
    #[error("no registered key fits the JWT (kid and alg)")]
    UnknownKey,
    /// The signature is not one of the key.
    #[error("the signature of the JWT is not valid")]
    Signature,
    /// The payload is not a JSON object, or has a member that stands twice.
    #[error("the payload of the JWT is not a JSON object, or has a member that stands twice")]
    Claims,
}

/// A well-formed JWS in compact form (RFC 7515 §7.1) whose signature was **not** verified.
pub struct Jws {
    /// Header and payload as they were sent.
    input: String,
    header: Map<String, Value>,
    /// What the header says; whether we want it is another matter.
    algorithm: VerifyAlgorithm,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl fmt::Debug for Jws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jws({}, unverified)", self.algorithm)
    }
}

impl Jws {
    /// Takes a JWS apart.
    ///
    /// `jku`, `x5u`, `x5c` and `jwk` of the header are not looked at: where keys come from is not for the sender to say.
    ///
    /// # Errors
    /// [`JwsError`] when it is not well-formed, has `crit` or `b64`, is unsigned, or is signed with something else than
    /// [`VerifyAlgorithm`].
    pub fn parse(text: &str) -> Result<Self, JwsError> {
        if text.len() > LONGEST_JWS {
            return Err(JwsError::TooLong);
        }
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwsError::Form);
        };
        let decode = |part| Base64UrlUnpadded::decode_vec(part).map_err(|_| JwsError::Form);
        let header_bytes = decode(header)?;
        let members = json::object(&header_bytes).map_err(|JsonError| JwsError::Header)?;
        let algorithm = algorithm(&members)?;
        let (payload_bytes, signature) = (decode(payload)?, decode(signature)?);
        if members.contains_key("crit") || members.contains_key("b64") {
            return Err(JwsError::Critical);
        }
        let is_text = |name| matches!(members.get(name), None | Some(Value::String(_)));
        let kid = members.get("kid").and_then(Value::as_str);
        if !is_text("typ") || !is_text("kid") || kid.is_some_and(|kid| kid.len() > LONGEST_KEY_ID) {
            return Err(JwsError::Member);
        }
        let input = format!("{header}.{payload}");
        Ok(Self { input, header: members, algorithm, payload: payload_bytes, signature })
    }

    /// `alg` of the header.
    pub const fn algorithm(&self) -> VerifyAlgorithm {
        self.algorithm
    }

    /// `kid` of the header.
    pub fn kid(&self) -> Option<&str> {
        self.header.get("kid").and_then(Value::as_str)
    }

    /// A text in the payload, **unverified**: only to find out whose keys to verify with.
    pub fn peek(&self, name: &str) -> Option<String> {
        json::object(&self.payload).ok()?.get(name)?.as_str().map(str::to_owned)
    }

    /// The key in the header (`jwk`, RFC 7515 §4.1.3): whoever made the JWS has put it there, so it proves possession and
    /// nothing else. For proofs of possession (RFC 9449).
    ///
    /// # Errors
    /// [`JwkError`] when there is none, or it is no sound public key.
    pub fn embedded_key(&self) -> Result<PublicKey, JwkError> {
        match self.header.get("jwk") {
            Some(Value::Object(members)) => PublicKey::from_jwk(members),
            _ => Err(JwkError::Member),
        }
    }

    /// Verifies with the registered keys of whoever should have signed.
    ///
    /// With a `kid`, only keys of that id; without, at most eight that fit.
    ///
    /// # Errors
    /// [`JwsError::Algorithm`] when the algorithm is not among those allowed, [`JwsError::Typ`], [`JwsError::UnknownKey`] when
    /// no key fits (fetching the set again may help), [`JwsError::Signature`].
    pub fn verify(
        &self,
        keys: &PublicKeys,
        allowed: &[VerifyAlgorithm],
        typ: Typ<'_>,
    ) -> Result<Verified<'_>, JwsError> {
        self.judge(allowed, typ)?;
        let named = |key: &&PublicKey| self.kid().is_none_or(|kid| key.kid() == Some(kid));
        let mut fitting = keys.iter().filter(named).filter(|key| key.fits(self.algorithm)).peekable();
        if fitting.peek().is_none() {
            return Err(JwsError::UnknownKey);
        }
        if fitting.take(MOST_CANDIDATES).any(|key| self.is_signed_by(key)) {
            Ok(Verified { payload: &self.payload })
        } else {
            Err(JwsError::Signature)
        }
    }

    /// Verifies with one key, whatever `kid` says.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_with(
        &self,
        key: &PublicKey,
        allowed: &[VerifyAlgorithm],
        typ: Typ<'_>,
    ) -> Result<Verified<'_>, JwsError> {
        self.judge(allowed, typ)?;
        if !key.fits(self.algorithm) {
            return Err(JwsError::UnknownKey);
        }
        if self.is_signed_by(key) {
            Ok(Verified { payload: &self.payload })
        } else {
            Err(JwsError::Signature)
        }
    }

    fn judge(&self, allowed: &[VerifyAlgorithm], typ: Typ<'_>) -> Result<(), JwsError> {
        if !allowed.contains(&self.algorithm) {
            return Err(JwsError::Algorithm);
        }
        let own = self.header.get("typ").and_then(Value::as_str);
        if typ.admits(own) { Ok(()) } else { Err(JwsError::Typ) }
    }

    fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(self.algorithm, self.input.as_bytes(), &self.signature)
    }
}

fn algorithm(header: &Map<String, Value>) -> Result<VerifyAlgorithm, JwsError> {
    let Some(Value::String(name)) = header.get("alg") else { return Err(JwsError::Member) };
    match VerifyAlgorithm::parse(name) {
        Some(algorithm) => Ok(algorithm),
        None if name.eq_ignore_ascii_case("none") => Err(JwsError::Unsigned),
        None if name.get(..2).is_some_and(|family| family.eq_ignore_ascii_case("HS")) => {
            Err(JwsError::Symmetric)
        }
        None => Err(JwsError::Algorithm),
    }
}

/// The payload of a JWS whose signature was verified.
#[derive(Debug)]
pub struct Verified<'a> {
    payload: &'a [u8],
}

impl<'a> Verified<'a> {
    /// The payload as bytes.
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The payload as the claims of a JWT (RFC 7519 §4).
    ///
    /// # Errors
    /// [`JwsError::Claims`] when it is no JSON object, or one with a member that stands twice.
    pub fn claims(&self) -> Result<Claims, JwsError> {
        json::object(self.payload).map(Claims).map_err(|JsonError| JwsError::Claims)
    }
}

/// A claim is not of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a claim is of the wrong type")]
pub struct ClaimType;

/// The verified claims of a JWT.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// The value of a claim.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A claim that is text when it is there.
    ///
    /// # Errors
    /// [`ClaimType`] when it is something else.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ClaimType> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ClaimType),
        }
    }

    /// A claim that is a moment when it is there (`NumericDate`, RFC 7519 §2): seconds since 1970; a fraction is cut off.
    ///
    /// # Errors
    /// [`ClaimType`] when it is no number, or before 1970.
    pub fn time(&self, name: &str) -> Result<Option<UnixTime>, ClaimType> {
        let number = match self.0.get(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.to_string(),
            Some(_) => return Err(ClaimType),
        };
        let whole = number.split_once('.').map_or(number.as_str(), |(whole, _)| whole);
        // An exponent is only written for numbers that are no moments.
        if number.contains(['e', 'E']) {
            return Err(ClaimType);
        }
        whole.parse().map(|seconds| Some(UnixTime::from_secs(seconds))).map_err(|_| ClaimType)
    }

    /// The claims as members.
    pub fn into_members(self) -> Map<String, Value> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{client_key, jwks};
    use super::*;

    fn keys(listed: &[(&str, VerifyAlgorithm)]) -> PublicKeys {
        PublicKeys::parse(&jwks(listed)).unwrap()
    }

    fn signed(algorithm: VerifyAlgorithm, header: &Value) -> String {
        client_key(algorithm).sign(header, br#"{"sub":"x"}"#).unwrap()
    }

    fn outcome(jws: &str, keys: &PublicKeys) -> Result<(), JwsError> {
        Jws::parse(jws)?.verify(keys, &VerifyAlgorithm::ALL, Typ::Optional(&["JWT"])).map(|_| ())
    }

    #[test]
    fn every_algorithm_verifies_what_it_signed_and_nothing_else() {
        let all = keys(&VerifyAlgorithm::ALL.map(|algorithm| (algorithm.as_str(), algorithm)));
        for algorithm in VerifyAlgorithm::ALL {
            let name = algorithm.as_str();
            for header in [
                json!({ "alg": name, "kid": name }),
                json!({ "alg": name }),
                json!({ "alg": name, "typ": "jwt" }),
            ] {
                assert_eq!(outcome(&signed(algorithm, &header), &all), Ok(()), "{header}");
            }
            for other in VerifyAlgorithm::ALL.into_iter().filter(|other| *other != algorithm) {
                // The header lies about the algorithm.
                let lie = signed(algorithm, &json!({ "alg": other.as_str() }));
                assert_eq!(outcome(&lie, &all), Err(JwsError::Signature), "{algorithm} as {other}");
                let named = signed(algorithm, &json!({ "alg": other.as_str(), "kid": name }));
                assert!(outcome(&named, &all).is_err(), "{algorithm} as {other}");
            }
            let good = signed(algorithm, &json!({ "alg": name }));
            let none: &[VerifyAlgorithm] = &[];
            let refused = Jws::parse(&good).unwrap().verify(&all, none, Typ::Optional(&[])).err();
            assert_eq!(refused, Some(JwsError::Algorithm));
        }
    }

    #[test]
    fn nothing_may_be_altered() {
        let all = keys(&[("a", VerifyAlgorithm::EdDsa)]);
        let good = signed(VerifyAlgorithm::EdDsa, &json!({ "alg": "EdDSA" }));
        assert_eq!(outcome(&good, &all), Ok(()));
        for at in 0..good.len() {
            let mut altered = good.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert!(outcome(&altered, &all).is_err(), "character {at}");
            assert!(outcome(&good[..at], &all).is_err(), "cut at {at}");
        }
        let (input, signature) = good.rsplit_once('.').unwrap();
        for other in [
            format!("{good}."),
            format!("{good}=="),
            format!(" {good}"),
            format!("{good}\n"),
            format!("{input}.{signature}A"),
            format!("{input}."),
            format!("{good}.x.y"),
            good.replace('.', ".."),
        ] {
            assert!(outcome(&other, &all).is_err(), "{other}");
        }
    }

    #[test]
    fn malformed_and_unwelcome_headers() {
        use JwsError as E;
        let all = keys(&[("a", VerifyAlgorithm::Es256)]);
        for (header, error) in [
            (json!({}), E::Member),
            (json!({ "alg": 1 }), E::Member),
            (json!({ "alg": "none" }), E::Unsigned),
            (json!({ "alg": "NoNe" }), E::Unsigned),
            (json!({ "alg": "HS256" }), E::Symmetric),
            (json!({ "alg": "hs512" }), E::Symmetric),
            (json!({ "alg": "ES512" }), E::Algorithm),
            (json!({ "alg": "es256" }), E::Algorithm),
            (json!({ "alg": "" }), E::Algorithm),
            (json!({ "alg": "ES256", "crit": [] }), E::Critical),
            (json!({ "alg": "ES256", "b64": true }), E::Critical),
            (json!({ "alg": "ES256", "typ": 1 }), E::Member),
            (json!({ "alg": "ES256", "kid": null }), E::Member),
            (json!({ "alg": "ES256", "kid": "k".repeat(257) }), E::Member),
            (json!({ "alg": "ES256", "typ": "at+jwt" }), E::Typ),
            (json!({ "alg": "ES256", "kid": "b" }), E::UnknownKey),
        ] {
            assert_eq!(outcome(&signed(VerifyAlgorithm::Es256, &header), &all), Err(error), "{header}");
        }
        let raw = |header: &[u8]| format!("{}.e30.AAAA", Base64UrlUnpadded::encode_string(header));
        assert_eq!(outcome(&raw(br#"{"alg":"ES256","alg":"none"}"#), &all), Err(E::Header));
        assert_eq!(outcome(&raw(b"[]"), &all), Err(E::Header));
        assert_eq!(outcome(&raw(b""), &all), Err(E::Header));
        assert_eq!(outcome("a.b", &all), Err(E::Form));
        assert_eq!(outcome("", &all), Err(E::Form));
        assert_eq!(outcome(&"a".repeat(LONGEST_JWS + 1), &all), Err(E::TooLong));
    }

    #[test]
    fn a_type_is_compared_as_a_media_type() {
        let at = Typ::Required(&["at+jwt"]);
        assert!(
            at.admits(Some("at+jwt"))
                && at.admits(Some("application/AT+JWT"))
                && at.admits(Some("Application/at+jwt"))
        );
        assert!(
            !at.admits(None)
                && !at.admits(Some("JWT"))
                && !at.admits(Some("text/at+jwt"))
                && !at.admits(Some(""))
        );
        assert!(
            Typ::Optional(&["JWT"]).admits(None) && !Typ::Optional(&["JWT"]).admits(Some("applicationä/JWT"))
        );
    }

    #[test]
    fn without_a_kid_at_most_eight_keys_are_tried() {
        let others =
            (0..MOST_CANDIDATES).map(|_| super::super::ClientKey::generate(VerifyAlgorithm::Es256).unwrap());
        let mut set: Vec<Value> = others.map(|key| key.public_jwk().clone()).collect();
        set.push(client_key(VerifyAlgorithm::Es256).public_jwk().clone());
        let parse = |set: &[Value]| PublicKeys::parse(&json!({ "keys": set }).to_string()).unwrap();
        let jws = signed(VerifyAlgorithm::Es256, &json!({ "alg": "ES256" }));
        assert_eq!(outcome(&jws, &parse(&set)), Err(JwsError::Signature));
        assert_eq!(outcome(&jws, &parse(&set[1..])), Ok(()));
    }

    #[test]
    fn claims_have_types() {
        let key = client_key(VerifyAlgorithm::EdDsa);
        let claims = |payload: &str| {
            let jws = Jws::parse(&key.sign(&json!({ "alg": "EdDSA" }), payload.as_bytes()).unwrap()).unwrap();
            let all = keys(&[("a", VerifyAlgorithm::EdDsa)]);
            jws.verify(&all, &VerifyAlgorithm::ALL, Typ::Optional(&[])).unwrap().claims()
        };
        let read =
            claims(r#"{"t":"x","n":17,"f":17.9,"neg":-1,"e":1e40,"big":18446744073709551616,"b":true}"#)
                .unwrap();
        assert_eq!(
            (read.text("t"), read.text("n"), read.text("?")),
            (Ok(Some("x")), Err(ClaimType), Ok(None))
        );
        let seventeen = Ok(Some(UnixTime::from_secs(17)));
        assert_eq!((read.time("n"), read.time("f"), read.time("?")), (seventeen, seventeen, Ok(None)));
        for name in ["t", "neg", "e", "big", "b"] {
            assert_eq!(read.time(name), Err(ClaimType), "{name}");
        }
        assert_eq!(claims(r#"{"a":1,"a":2}"#), Err(JwsError::Claims));
        assert_eq!(claims("Payload"), Err(JwsError::Claims));
    }

    #[test]
    fn our_own_tokens_verify_with_what_we_publish() {
        use crate::jose::tests::key;
        use crate::jose::{Algorithm, SigningKeys, TokenType};
        use crate::key::KeyState;
        for algorithm in Algorithm::ALL {
            let own = SigningKeys::new(vec![(key(algorithm), KeyState::Active)]);
            let token =
                own.active(algorithm).unwrap().sign(TokenType::IdToken, &json!({ "sub": "x" })).unwrap();
            let published = PublicKeys::parse(&own.jwks().to_string()).unwrap();
            assert_eq!(outcome(token.expose(), &published), Ok(()), "{algorithm}");
            assert_eq!(Jws::parse(token.expose()).unwrap().peek("sub").as_deref(), Some("x"));
        }
    }
}
