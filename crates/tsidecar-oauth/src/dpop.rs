//! Proofs of possession (RFC 9449): whoever sends the request holds this key, now, for this request.
//!
//! Layer 1. Pure: time, our URL, and the nonces of the moment are arguments. The result is the thumbprint of the key and a
//! [`Mark`] that the store must not have seen yet.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::Url;

use crate::assertion::{LONGEST_JTI, SKEW};
use crate::error::ErrorCode;
use crate::id::Thumbprint;
use crate::jose::{ClaimType, Claims, JwkError, Jws, JwsError, Typ, VerifyAlgorithm};
use crate::mark::{Mark, MarkKind};
use crate::time::{Lifetime, UnixTime};

/// How old a proof without a server nonce may be: a slow network and a clock that is somewhat behind.
const OLDEST: Lifetime = Lifetime::from_secs(60);

/// How long a step of server nonces is; a nonce is good in its own step and the next one.
pub const NONCE_STEP: Lifetime = Lifetime::from_secs(120);

/// The type of a proof (RFC 9449 §4.2).
const TYPE: Typ<'_> = Typ::Required(&["dpop+jwt"]);

/// Why a proof is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DpopError {
    /// Not a JWT that we would believe.
    #[error("DPoP: {0}")]
    Jws(#[from] JwsError),
    /// The `jwk` of the header is missing or no sound public key.
    #[error("DPoP: the jwk of the header: {0}")]
    Key(#[from] JwkError),
    /// A claim is missing or of the wrong type.
    #[error("DPoP: jti, htm, htu and iat must be there")]
    Claim,
    /// For another method.
    #[error("DPoP: htm is not the method of the request")]
    Method,
    /// For another URL.
    #[error("DPoP: htu is not the URL of the request")]
    Target,
    /// Too old, or from the future.
    #[error("DPoP: iat is not now; is the clock right?")]
    Time,
    /// No `jti`, or one that is empty or longer than 256 bytes.
    #[error("DPoP: jti must be a text of 1 to 256 bytes")]
    JwtId,
    /// Not for this access token.
    #[error("DPoP: ath is not the hash of the access token")]
    AccessToken,
    /// Without a nonce of ours, or with an old one: the answer carries a fresh one.
    #[error("DPoP: use the nonce of the DPoP-Nonce header")]
    Nonce,
    /// Two headers, or one that is not text.
    #[error("DPoP: the header must stand once")]
    Header,
    /// `dpop_jkt` names another key than the one that proved itself (RFC 9449 §10.1).
    #[error("DPoP: dpop_jkt is not the key of the proof")]
    OtherKey,
    /// Used before.
    #[error("DPoP: the proof was used before (jti)")]
    Replayed,
}

impl DpopError {
    /// The code sent to the client (RFC 9449 §5, §7.1, §8).
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Nonce => ErrorCode::UseDpopNonce,
            Self::Jws(_)
            | Self::Key(_)
            | Self::Claim
            | Self::Method
            | Self::Target
            | Self::Time
            | Self::JwtId
            | Self::AccessToken
            | Self::Header
            | Self::OtherKey
            | Self::Replayed => ErrorCode::InvalidDpopProof,
        }
    }
}

impl From<ClaimType> for DpopError {
    fn from(ClaimType: ClaimType) -> Self {
        Self::Claim
    }
}

/// The server nonces of a moment (RFC 9449 §8): nothing is stored, they follow from a key and the time.
#[derive(Clone, Debug)]
pub struct ServerNonces {
    current: String,
    previous: String,
    /// When the older one of them ceases to be good.
    step_ends: UnixTime,
}

impl ServerNonces {
    /// The nonces of now, by a keyed hash of our own over the number of the step.
    pub fn new(mac: impl Fn(&[u8; 8]) -> [u8; 32], now: UnixTime) -> Self {
        let step = now.as_secs() / NONCE_STEP.as_secs();
        let nonce = |step: u64| Base64UrlUnpadded::encode_string(mac(&step.to_be_bytes()).split_at(16).0);
        Self {
            current: nonce(step),
            previous: nonce(step.saturating_sub(1)),
            step_ends: UnixTime::from_secs((step + 1).saturating_mul(NONCE_STEP.as_secs())),
        }
    }

    /// What the `DPoP-Nonce` header says.
    pub fn current(&self) -> &str {
        &self.current
    }

    /// Until when a presented nonce is good, if it is one of ours.
    fn admit(&self, presented: &str) -> Option<UnixTime> {
        let is = |nonce: &str| bool::from(nonce.as_bytes().ct_eq(presented.as_bytes()));
        if is(&self.current) {
            Some(self.step_ends.after(NONCE_STEP))
        } else {
            is(&self.previous).then_some(self.step_ends)
        }
    }
}

/// Whether a proof needs a nonce of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NonceRule {
    /// It may have one, which then must be good.
    #[serde(rename = "off")]
    Optional,
    /// It must have one.
    Required,
}

/// What a proof must be for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// Our own URL of the endpoint, never one that the request says.
    pub url: &'a str,
    /// The access token that came with it, at a resource.
    pub access_token: Option<&'a str>,
    /// The algorithms that are acceptable.
    pub algorithms: &'a [VerifyAlgorithm],
    /// Whether a nonce is needed.
    pub nonce: NonceRule,
    /// The nonces of the moment.
    pub nonces: &'a ServerNonces,
    /// The time.
    pub now: UnixTime,
}

/// A proof that was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DpopProof {
    jkt: Thumbprint,
    mark: Mark,
}

impl DpopProof {
    /// Judges the value of the one `DPoP` header (RFC 9449 §4.3).
    ///
    /// Unknown members, `nbf` and `exp` do not matter. A good nonce of ours stands in for `iat`, since the sender's clock may be
    /// wrong (§8).
    ///
    /// # Errors
    /// [`DpopError`].
    pub fn check(proof: &str, expected: &Expected<'_>) -> Result<Self, DpopError> {
        let jws = Jws::parse(proof)?;
        let key = jws.embedded_key()?;
        let claims = jws.verify_with(&key, expected.algorithms, TYPE)?.claims()?;
        let jti = claims.text("jti")?.ok_or(DpopError::Claim)?;
        if !(1..=LONGEST_JTI).contains(&jti.len()) {
            return Err(DpopError::JwtId);
        }
        if claims.text("htm")?.ok_or(DpopError::Claim)? != expected.method {
            return Err(DpopError::Method);
        }
        if !same_target(claims.text("htu")?.ok_or(DpopError::Claim)?, expected.url) {
            return Err(DpopError::Target);
        }
        if let Some(token) = expected.access_token {
            let hash = Base64UrlUnpadded::encode_string(&Sha256::digest(token.as_bytes()));
            if claims.text("ath")? != Some(&hash) {
                return Err(DpopError::AccessToken);
            }
        }
        let until = fresh_until(&claims, expected)?;
        let jkt = key.thumbprint();
        // Unique for its key and URL (§11.1); the URL as we write it.
        let mark = Mark::new(MarkKind::Proof, &jkt.to_string(), &format!("{} {jti}", expected.url), until);
        Ok(Self { jkt, mark })
    }

    /// The thumbprint of the key, as `cnf.jkt` and `dpop_jkt` say it.
    pub const fn jkt(&self) -> Thumbprint {
        self.jkt
    }

    /// What the store must not have seen yet.
    pub const fn mark(&self) -> Mark {
        self.mark
    }
}

/// Until when the same proof would be fresh again; an error when it is not now.
fn fresh_until(claims: &Claims, expected: &Expected<'_>) -> Result<UnixTime, DpopError> {
    let issued = claims.time("iat")?.ok_or(DpopError::Claim)?;
    if let Some(nonce) = claims.text("nonce")? {
        return expected.nonces.admit(nonce).ok_or(DpopError::Nonce);
    }
    if expected.nonce == NonceRule::Required {
        return Err(DpopError::Nonce);
    }
    let until = issued.after(OLDEST);
    if until.is_past(expected.now) || issued > expected.now.after(SKEW) {
        return Err(DpopError::Time);
    }
    Ok(until)
}

/// Compares `htu` with our URL (RFC 9449 §4.3 no. 9): without query and fragment, after the normalisation of RFC 3986 §6.2.2 and
/// §6.2.3 (case of scheme and host, default port, dot segments).
fn same_target(htu: &str, ours: &str) -> bool {
    let read = |text: &str| {
        // The parser forgives what no URL has: white space, backslashes.
        let clean = text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
        let mut url = clean.then(|| Url::parse(text).ok())??;
        url.set_query(None);
        url.set_fragment(None);
        Some(url)
    };
    matches!((read(htu), read(ours)), (Some(one), Some(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::jose::ClientKey;
    use crate::jose::tests::client_key;

    const NOW: u64 = 1_800_000_000;
    const URL: &str = "https://idp.tail.test/token";
    const TOKEN: &str = "tsat_abc";

    fn nonces(now: u64) -> ServerNonces {
        ServerNonces::new(
            |step| Sha256::digest([&step[..], b"key"].concat()).into(),
            UnixTime::from_secs(now),
        )
    }

    fn expected(nonces: &ServerNonces) -> Expected<'_> {
        Expected {
            method: "POST",
            url: URL,
            access_token: None,
            algorithms: &VerifyAlgorithm::ALL,
            nonce: NonceRule::Optional,
            nonces,
            now: UnixTime::from_secs(NOW),
        }
    }

    fn claims() -> Value {
        let ath = Base64UrlUnpadded::encode_string(&Sha256::digest(TOKEN));
        json!({ "jti": "j1", "htm": "POST", "htu": URL, "iat": NOW, "ath": ath })
    }

    fn header(key: &ClientKey) -> Value {
        json!({ "typ": "dpop+jwt", "alg": key.algorithm().as_str(), "jwk": key.public_jwk() })
    }

    fn with(mut object: Value, changes: &Value) -> Value {
        for (name, value) in changes.as_object().unwrap() {
            object[name] = value.clone();
        }
        object.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        object
    }

    fn proof(header_changes: &Value, claim_changes: &Value) -> String {
        let key = client_key(VerifyAlgorithm::Es256);
        key.sign(&with(header(key), header_changes), with(claims(), claim_changes).to_string().as_bytes())
            .unwrap()
    }

    fn check(proof: &str, change: impl FnOnce(&mut Expected<'_>)) -> Result<DpopProof, DpopError> {
        let nonces = nonces(NOW);
        let mut expected = expected(&nonces);
        change(&mut expected);
        DpopProof::check(proof, &expected)
    }

    fn at_resource(header_changes: &Value, claim_changes: &Value) -> Result<DpopProof, DpopError> {
        check(&proof(header_changes, claim_changes), |expected| expected.access_token = Some(TOKEN))
    }

    #[test]
    fn a_good_proof_gives_its_key_and_a_mark() {
        let none = json!({});
        let good = at_resource(&none, &none).unwrap();
        assert_eq!(good, at_resource(&none, &none).unwrap());
        assert_eq!(good.mark().until(), UnixTime::from_secs(NOW + 60));
        assert_ne!(good.mark(), at_resource(&none, &json!({ "jti": "j2" })).unwrap().mark());
        for algorithm in VerifyAlgorithm::ALL {
            let key = client_key(algorithm);
            let proof = key.sign(&header(key), claims().to_string().as_bytes()).unwrap();
            let checked = check(&proof, |_| ()).unwrap();
            let Value::Object(jwk) = key.public_jwk() else { panic!("an object") };
            assert_eq!(checked.jkt(), crate::jose::PublicKey::from_jwk(jwk).unwrap().thumbprint());
        }
        // A key may say what it is for, and the name `Ed25519` is as good as `EdDSA`.
        let key = client_key(VerifyAlgorithm::EdDsa);
        let jwk = with(key.public_jwk().clone(), &json!({ "use": "sig", "alg": "Ed25519", "kid": "x" }));
        let header = json!({ "typ": "dpop+jwt", "alg": "Ed25519", "jwk": jwk });
        assert!(check(&key.sign(&header, claims().to_string().as_bytes()).unwrap(), |_| ()).is_ok());
    }

    /// The rows of reference/oauth.md 3.8 that are refused.
    #[test]
    fn what_a_proof_may_not_be() {
        use DpopError as E;
        let (none, member) = (json!({}), E::Jws(JwsError::Member));
        for (name, header, error) in [
            ("no typ", json!({ "typ": null }), E::Jws(JwsError::Typ)),
            ("another typ", json!({ "typ": "JWT" }), E::Jws(JwsError::Typ)),
            ("no alg", json!({ "alg": null }), member),
            ("alg none", json!({ "alg": "none" }), E::Jws(JwsError::Unsigned)),
            ("alg HS256", json!({ "alg": "HS256" }), E::Jws(JwsError::Symmetric)),
            ("no jwk", json!({ "jwk": null }), E::Key(JwkError::Member)),
            ("jwk as text", json!({ "jwk": "{}" }), E::Key(JwkError::Member)),
            ("jwk of another kind", json!({ "alg": "EdDSA" }), E::Jws(JwsError::UnknownKey)),
            ("crit", json!({ "crit": ["x"] }), E::Jws(JwsError::Critical)),
        ] {
            assert_eq!(at_resource(&header, &none), Err(error), "{name}");
        }
        for (name, claims, error) in [
            ("no jti", json!({ "jti": null }), E::Claim),
            ("empty jti", json!({ "jti": "" }), E::JwtId),
            ("long jti", json!({ "jti": "x".repeat(257) }), E::JwtId),
            ("no htm", json!({ "htm": null }), E::Claim),
            ("wrong htm", json!({ "htm": "GET" }), E::Method),
            ("htm in small letters", json!({ "htm": "post" }), E::Method),
            ("no htu", json!({ "htu": null }), E::Claim),
            ("another path", json!({ "htu": "https://idp.tail.test/par" }), E::Target),
            ("another host", json!({ "htu": "https://evil.test/token" }), E::Target),
            ("another scheme", json!({ "htu": "http://idp.tail.test/token" }), E::Target),
            ("another port", json!({ "htu": "https://idp.tail.test:444/token" }), E::Target),
            ("a user before the host", json!({ "htu": "https://a@idp.tail.test/token" }), E::Target),
            ("no URL", json!({ "htu": "/token" }), E::Target),
            ("white space", json!({ "htu": "https://idp.tail.test/to\nken" }), E::Target),
            ("backslashes", json!({ "htu": "https:\\\\idp.tail.test\\token" }), E::Target),
            ("no iat", json!({ "iat": null }), E::Claim),
            ("iat as text", json!({ "iat": "now" }), E::Claim),
            ("iat an hour ago", json!({ "iat": NOW - 3_600 }), E::Time),
            ("iat in an hour", json!({ "iat": NOW + 3_600 }), E::Time),
            ("no ath", json!({ "ath": null }), E::AccessToken),
            ("wrong ath", json!({ "ath": "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo" }), E::AccessToken),
        ] {
            assert_eq!(at_resource(&none, &claims), Err(error), "{name}");
        }
        assert_eq!(check("x.y", |_| ()), Err(E::Jws(JwsError::Form)));
        let fapi = client_key(VerifyAlgorithm::Rs256);
        let rs256 = fapi.sign(&header(fapi), claims().to_string().as_bytes()).unwrap();
        let refused = check(&rs256, |expected| expected.algorithms = &VerifyAlgorithm::FAPI);
        assert_eq!(refused, Err(E::Jws(JwsError::Algorithm)));
    }

    #[test]
    fn a_proof_needs_the_private_key_and_must_not_show_it() {
        let (key, other) =
            (client_key(VerifyAlgorithm::Es256), ClientKey::generate(VerifyAlgorithm::Es256).unwrap());
        let forged = other.sign(&header(key), claims().to_string().as_bytes()).unwrap();
        assert_eq!(check(&forged, |_| ()), Err(DpopError::Jws(JwsError::Signature)));
        let jwk = with(key.public_jwk().clone(), &json!({ "d": "AAAA" }));
        let shown = at_resource(&json!({ "jwk": jwk }), &json!({}));
        assert_eq!(shown, Err(DpopError::Key(JwkError::Private)));
    }

    /// The rows of reference/oauth.md 3.7 and 3.8 that are accepted.
    #[test]
    fn what_a_proof_may_say() {
        for (name, claims) in [
            ("iat 10 s ago", json!({ "iat": NOW - 10 })),
            ("iat in 10 s", json!({ "iat": NOW + 10 })),
            ("iat with a fraction", json!({ "iat": 1_800_000_000.75 })),
            ("nbf and exp", json!({ "nbf": NOW + 50, "exp": NOW - 50 })),
            ("a query", json!({ "htu": "https://idp.tail.test/token?a=b" })),
            ("a fragment", json!({ "htu": "https://idp.tail.test/token#x" })),
            ("capitals", json!({ "htu": "HTTPS://IDP.Tail.Test/token" })),
            ("the default port", json!({ "htu": "https://idp.tail.test:443/token" })),
            ("dot segments", json!({ "htu": "https://idp.tail.test/x/../token" })),
            ("unknown members", json!({ "x": { "y": 1 } })),
        ] {
            assert!(at_resource(&json!({}), &claims).is_ok(), "{name}");
        }
        assert!(at_resource(&json!({ "x": 1, "kid": "any" }), &json!({})).is_ok());
        assert!(check(&proof(&json!({}), &json!({ "ath": null })), |_| ()).is_ok());
        let queried = "https://idp.tail.test/token?own=query";
        assert!(check(&proof(&json!({}), &json!({})), |expected| expected.url = queried).is_ok());
    }

    #[test]
    fn a_nonce_of_ours_is_good_for_two_steps_and_stands_in_for_iat() {
        let ours = nonces(NOW);
        let with_nonce = |nonce: &str| proof(&json!({}), &json!({ "nonce": nonce, "iat": 5 }));
        let at = |seconds: u64, proof: &str| {
            let nonces = nonces(seconds);
            let now = UnixTime::from_secs(seconds);
            DpopProof::check(proof, &Expected { nonce: NonceRule::Required, now, ..expected(&nonces) })
        };
        let proof_with = with_nonce(ours.current());
        // NOW is the first second of a step.
        assert_eq!(NOW % NONCE_STEP.as_secs(), 0);
        let ends = NOW + 2 * NONCE_STEP.as_secs();
        for seconds in [NOW, NOW + 119, NOW + 120, ends - 1] {
            assert_eq!(
                at(seconds, &proof_with).unwrap().mark().until(),
                UnixTime::from_secs(ends),
                "{seconds}"
            );
        }
        assert_eq!(at(ends, &proof_with), Err(DpopError::Nonce));
        assert_eq!(at(NOW - 1, &proof_with), Err(DpopError::Nonce));
        assert_eq!(at(NOW, &with_nonce("made-up")), Err(DpopError::Nonce));
        assert_eq!(at(NOW, &with_nonce("")), Err(DpopError::Nonce));
        assert_eq!(at(NOW, &proof(&json!({}), &json!({}))), Err(DpopError::Nonce));
        assert_eq!(DpopError::Nonce.code(), ErrorCode::UseDpopNonce);
        // Without the duty an old nonce is still told of.
        assert_eq!(check(&with_nonce("old"), |_| ()), Err(DpopError::Nonce));
        assert_eq!(ours.current().len(), 22);
        assert_ne!(ours.current(), nonces(NOW + 120).current());
    }
}
