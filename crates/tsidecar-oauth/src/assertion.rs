//! Client assertions: `private_key_jwt` (RFC 7523 §2.2 and §3, OpenID Connect Core §9, RFC 7523bis).
//!
//! Layer 1. Judged with the client's registered keys; the result is a [`Mark`] that the store must not have seen yet.

use crate::error::ErrorCode;
use crate::id::{ClientId, IdError};
use crate::jose::{ClaimType, Claims, Jws, JwsError, PublicKeys, Typ, VerifyAlgorithm};
use crate::mark::{Mark, MarkKind};
use crate::time::{Lifetime, UnixTime};
use crate::uri::Issuer;

/// The only `client_assertion_type` (RFC 7523 §2.2).
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How far a clock may differ from ours: FAPI 2.0 §5.3.2.1 wants 10 s accepted and 60 s refused.
pub const SKEW: Lifetime = Lifetime::from_secs(15);

/// The longest life of an assertion, and so of its mark: an hour is what common libraries write, their clock may be ahead.
const LONGEST_LIFE: Lifetime = Lifetime::from_secs(3_600 + 60);

/// The longest `jti`, in bytes.
pub const LONGEST_JTI: usize = 256;

/// What `typ` may say: nothing, the general type, or the one of RFC 7523bis §4.
const TYPES: Typ<'_> = Typ::Optional(&["JWT", "client-authentication+jwt"]);

/// Why a client assertion does not authenticate its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// `client_assertion_type` is missing or another one.
    #[error("client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer")]
    Type,
    /// A shared secret: `client_secret_jwt` would need it in the clear, and we keep digests only.
    #[error(
        "client_secret_jwt (HS256) is not supported: use private_key_jwt, an assertion signed with a private key \
         whose public half is registered in jwks or jwks_uri"
    )]
    SharedSecret,
    /// Not a JWT that we would believe.
    #[error("client_assertion: {0}")]
    Jws(JwsError),
    /// No `sub`, or one that is no client id.
    #[error("client_assertion: sub must be the client_id")]
    NoSubject,
    /// `iss`, `sub` and `client_id` are not the same.
    #[error("client_assertion: iss, sub and client_id must be the same")]
    OtherClient,
    /// The client has no keys (yet).
    #[error("client_assertion: the client has no registered keys")]
    NoKeys,
    /// `aud` is not the issuer as one string.
    #[error("client_assertion: aud must be the issuer identifier, as one string")]
    Audience,
    /// No `exp`.
    #[error("client_assertion: exp is missing")]
    NoExpiry,
    /// Expired.
    #[error("client_assertion: it has expired")]
    Expired,
    /// `exp` is too far away.
    #[error("client_assertion: exp must be within an hour")]
    TooFar,
    /// `nbf` or `iat` lies in the future.
    #[error("client_assertion: nbf or iat lies in the future")]
    NotYet,
    /// No `jti`, or one that is empty or longer than 256 bytes.
    #[error("client_assertion: jti must be a text of 1 to 256 bytes")]
    JwtId,
    /// A claim of the wrong type.
    #[error("client_assertion: a claim is of the wrong type")]
    Claim,
    /// Used before.
    #[error("client_assertion: it was used before (jti)")]
    Replayed,
}

impl AssertionError {
    /// The code sent to the client (RFC 7521 §4.2.1).
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Type
            | Self::SharedSecret
            | Self::Jws(_)
            | Self::NoSubject
            | Self::OtherClient
            | Self::NoKeys
            | Self::Audience
            | Self::NoExpiry
            | Self::Expired
            | Self::TooFar
            | Self::NotYet
            | Self::JwtId
            | Self::Claim
            | Self::Replayed => ErrorCode::InvalidClient,
        }
    }
}

impl From<JwsError> for AssertionError {
    fn from(error: JwsError) -> Self {
        match error {
            JwsError::Symmetric => Self::SharedSecret,
            other => Self::Jws(other),
        }
    }
}

impl From<ClaimType> for AssertionError {
    fn from(ClaimType: ClaimType) -> Self {
        Self::Claim
    }
}

impl From<IdError> for AssertionError {
    fn from(_: IdError) -> Self {
        Self::NoSubject
    }
}

/// What a client's assertions must be.
#[derive(Clone, Copy, Debug)]
pub struct AssertionRule<'a> {
    /// The algorithms that the client may sign with.
    pub algorithms: &'a [VerifyAlgorithm],
    /// The one audience.
    pub issuer: &'a Issuer,
    /// A second audience for older clients, by the administrator's choice: the URL of the token endpoint.
    pub token_endpoint: Option<&'a str>,
}

/// A client assertion as it was presented: well-formed, not verified.
#[derive(Debug)]
pub struct ClientAssertion {
    jws: Jws,
    client: ClientId,
}

impl ClientAssertion {
    /// Reads an assertion, and in it, unverified, which client it is about.
    ///
    /// # Errors
    /// [`AssertionError`] for another type, a JWT that is not well-formed or signed with a shared secret, and for one without
    /// `sub`.
    pub fn read(assertion_type: Option<&str>, assertion: &str) -> Result<Self, AssertionError> {
        if assertion_type != Some(ASSERTION_TYPE) {
            return Err(AssertionError::Type);
        }
        let jws = Jws::parse(assertion)?;
        let client = ClientId::parse(&jws.peek("sub").ok_or(AssertionError::NoSubject)?)?;
        Ok(Self { jws, client })
    }

    /// The client that the assertion claims to come from.
    pub const fn client_id(&self) -> &ClientId {
        &self.client
    }

    /// The key id that it names, to decide whether a set of keys is worth fetching again.
    pub fn kid(&self) -> Option<&str> {
        self.jws.kid()
    }

    /// Verifies the assertion with the keys of its client.
    ///
    /// # Errors
    /// [`AssertionError`]. With [`JwsError::UnknownKey`] a fresh set of keys may help.
    pub fn verify(
        &self,
        keys: &PublicKeys,
        rule: AssertionRule<'_>,
        now: UnixTime,
    ) -> Result<Mark, AssertionError> {
        let claims = self.jws.verify(keys, rule.algorithms, TYPES)?.claims()?;
        judge(&claims, &self.client, rule, now)
    }
}

/// Judges the verified claims of an assertion (RFC 7523 §3).
fn judge(
    claims: &Claims,
    client: &ClientId,
    rule: AssertionRule<'_>,
    now: UnixTime,
) -> Result<Mark, AssertionError> {
    let id = Some(client.as_str());
    if claims.text("iss")? != id || claims.text("sub")? != id {
        return Err(AssertionError::OtherClient);
    }
    // One string: an array could name somebody else, too, who then could use it here (RFC 7523bis §3).
    let audience = claims.get("aud").and_then(|aud| aud.as_str()).ok_or(AssertionError::Audience)?;
    if audience != rule.issuer.as_str() && rule.token_endpoint != Some(audience) {
        return Err(AssertionError::Audience);
    }
    let expires = claims.time("exp")?.ok_or(AssertionError::NoExpiry)?;
    let until = expires.after(SKEW);
    if until.is_past(now) {
        return Err(AssertionError::Expired);
    }
    if expires > now.after(LONGEST_LIFE) {
        return Err(AssertionError::TooFar);
    }
    for name in ["nbf", "iat"] {
        if claims.time(name)?.is_some_and(|from| from > now.after(SKEW)) {
            return Err(AssertionError::NotYet);
        }
    }
    match claims.text("jti")? {
        Some(jti) if (1..=LONGEST_JTI).contains(&jti.len()) => {
            Ok(Mark::new(MarkKind::Assertion, client.as_str(), jti, until))
        }
        _ => Err(AssertionError::JwtId),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::jose::tests::{client_key, jwks};

    const NOW: u64 = 1_800_000_000;

    fn claims() -> Value {
        json!({
            "iss": "app", "sub": "app", "aud": "https://idp.tail.test", "jti": "j1", "iat": NOW, "exp": NOW + 300
        })
    }

    /// What becomes of the good assertion with some claims replaced; `null` takes one away.
    fn changed(changes: &Value) -> Result<Mark, AssertionError> {
        let mut claims = claims();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        signed(&json!({ "alg": "ES256", "kid": "a" }), &claims)
    }

    fn signed(header: &Value, claims: &Value) -> Result<Mark, AssertionError> {
        presented(&client_key(VerifyAlgorithm::Es256).sign(header, claims.to_string().as_bytes()).unwrap())
    }

    fn presented(assertion: &str) -> Result<Mark, AssertionError> {
        attempt(assertion, &VerifyAlgorithm::ALL, None)
    }

    fn attempt(
        assertion: &str,
        algorithms: &[VerifyAlgorithm],
        token_endpoint: Option<&str>,
    ) -> Result<Mark, AssertionError> {
        let keys = PublicKeys::parse(&jwks(&[("a", VerifyAlgorithm::Es256), ("r", VerifyAlgorithm::Rs256)]))
            .unwrap();
        let issuer = Issuer::parse("https://idp.tail.test").unwrap();
        let rule = AssertionRule { algorithms, issuer: &issuer, token_endpoint };
        ClientAssertion::read(Some(ASSERTION_TYPE), assertion)?.verify(&keys, rule, UnixTime::from_secs(NOW))
    }

    #[test]
    fn a_good_assertion_leaves_a_mark() {
        let mark = changed(&json!({})).unwrap();
        assert_eq!(mark.until(), UnixTime::from_secs(NOW + 315));
        assert_eq!(changed(&json!({})).unwrap(), mark);
        assert_ne!(changed(&json!({ "jti": "j2" })).unwrap(), mark);
        // What else stands in it does not matter, nor a fraction of a second.
        assert!(changed(&json!({ "extra": [1], "iat": 1_800_000_000.5, "exp": 1_800_000_300.25 })).is_ok());
        for typ in ["JWT", "jwt", "application/jwt", "client-authentication+jwt"] {
            assert!(signed(&json!({ "alg": "ES256", "typ": typ }), &claims()).is_ok(), "{typ}");
        }
    }

    /// The rows of the FAPI 2.0 module list (reference/oauth.md 3.7) and attack A17.
    #[test]
    fn what_an_assertion_may_not_say() {
        use AssertionError as E;
        for (name, changes, error) in [
            ("no iss", json!({ "iss": null }), E::OtherClient),
            ("no sub", json!({ "sub": null }), E::NoSubject),
            ("other iss", json!({ "iss": "other" }), E::OtherClient),
            ("sub is a person", json!({ "iss": "userid:1", "sub": "userid:1" }), E::NoSubject),
            ("no aud", json!({ "aud": null }), E::Audience),
            ("other aud", json!({ "aud": "https://other.test" }), E::Audience),
            ("aud with slash", json!({ "aud": "https://idp.tail.test/" }), E::Audience),
            ("aud as array", json!({ "aud": ["https://idp.tail.test"] }), E::Audience),
            ("aud is PAR", json!({ "aud": "https://idp.tail.test/par" }), E::Audience),
            ("aud is the token endpoint", json!({ "aud": "https://idp.tail.test/token" }), E::Audience),
            ("no exp", json!({ "exp": null }), E::NoExpiry),
            ("exp as text", json!({ "exp": "1800000300" }), E::Claim),
            ("exp 5 minutes ago", json!({ "exp": NOW - 300 }), E::Expired),
            ("exp 15 seconds ago", json!({ "exp": NOW - 15 }), E::Expired),
            ("exp in two hours", json!({ "exp": NOW + 7_200 }), E::TooFar),
            ("exp far away", json!({ "exp": 1e300 }), E::Claim),
            ("nbf 61 s ahead", json!({ "nbf": NOW + 61 }), E::NotYet),
            ("iat 61 s ahead", json!({ "iat": NOW + 61 }), E::NotYet),
            ("nbf before 1970", json!({ "nbf": -1 }), E::Claim),
            ("no jti", json!({ "jti": null }), E::JwtId),
            ("jti as number", json!({ "jti": 1 }), E::Claim),
            ("empty jti", json!({ "jti": "" }), E::JwtId),
            ("long jti", json!({ "jti": "x".repeat(257) }), E::JwtId),
        ] {
            assert_eq!(changed(&changes), Err(error), "{name}");
            assert_eq!(error.code(), ErrorCode::InvalidClient);
        }
        for (name, changes) in [
            ("nbf 8 s ahead", json!({ "nbf": NOW + 8 })),
            ("iat 10 s ahead", json!({ "iat": NOW + 10 })),
            ("exp 10 s ago", json!({ "exp": NOW - 10 })),
            ("exp in an hour", json!({ "exp": NOW + 3_600 })),
            ("no iat", json!({ "iat": null })),
        ] {
            assert!(changed(&changes).is_ok(), "{name}");
        }
    }

    #[test]
    fn how_an_assertion_may_not_be_signed() {
        use AssertionError as E;
        let es = json!({ "alg": "ES256", "kid": "a" });
        for (name, header, error) in [
            ("none", json!({ "alg": "none" }), E::Jws(JwsError::Unsigned)),
            ("HS256", json!({ "alg": "HS256" }), E::SharedSecret),
            ("an unknown algorithm", json!({ "alg": "ES512" }), E::Jws(JwsError::Algorithm)),
            (
                "an algorithm of another key",
                json!({ "alg": "RS256", "kid": "a" }),
                E::Jws(JwsError::UnknownKey),
            ),
            ("another key", json!({ "alg": "ES256", "kid": "r" }), E::Jws(JwsError::UnknownKey)),
            ("an unknown kid", json!({ "alg": "ES256", "kid": "../../a" }), E::Jws(JwsError::UnknownKey)),
            ("kid as list", json!({ "alg": "ES256", "kid": ["a"] }), E::Jws(JwsError::Member)),
            ("crit", json!({ "alg": "ES256", "crit": ["exp"], "exp": 1 }), E::Jws(JwsError::Critical)),
            (
                "a request object",
                json!({ "alg": "ES256", "typ": "oauth-authz-req+jwt" }),
                E::Jws(JwsError::Typ),
            ),
            ("a proof", json!({ "alg": "ES256", "typ": "dpop+jwt" }), E::Jws(JwsError::Typ)),
        ] {
            assert_eq!(signed(&header, &claims()), Err(error), "{name}");
        }
        // A key that the sender brings along proves nothing.
        let stranger = crate::jose::ClientKey::generate(VerifyAlgorithm::Es256).unwrap();
        for header in [
            json!({ "alg": "ES256", "jwk": stranger.public_jwk() }),
            json!({ "alg": "ES256", "kid": "a", "jku": "https://evil.test", "x5u": "https://evil.test" }),
        ] {
            let forged = stranger.sign(&header, claims().to_string().as_bytes()).unwrap();
            assert_eq!(presented(&forged), Err(E::Jws(JwsError::Signature)));
        }
        let good = client_key(VerifyAlgorithm::Es256).sign(&es, claims().to_string().as_bytes()).unwrap();
        assert!(presented(&good).is_ok());
        assert_eq!(attempt(&good, &[VerifyAlgorithm::Ps256], None), Err(E::Jws(JwsError::Algorithm)));
        assert_eq!(ClientAssertion::read(None, &good).err(), Some(E::Type));
        let saml = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer";
        assert_eq!(ClientAssertion::read(Some(saml), &good).err(), Some(E::Type));
    }

    #[test]
    fn the_token_endpoint_is_an_audience_by_choice_only() {
        let mut claims = claims();
        claims["aud"] = "https://idp.tail.test/token".into();
        let header = json!({ "alg": "ES256" });
        let key = client_key(VerifyAlgorithm::Es256);
        let assertion = key.sign(&header, claims.to_string().as_bytes()).unwrap();
        let endpoint = Some("https://idp.tail.test/token");
        assert!(attempt(&assertion, &VerifyAlgorithm::ALL, endpoint).is_ok());
        assert_eq!(attempt(&assertion, &VerifyAlgorithm::ALL, None), Err(AssertionError::Audience));
        claims["aud"] = "https://idp.tail.test/par".into();
        let assertion = key.sign(&header, claims.to_string().as_bytes()).unwrap();
        assert_eq!(attempt(&assertion, &VerifyAlgorithm::ALL, endpoint), Err(AssertionError::Audience));
    }

    #[test]
    fn client_secret_jwt_is_told_what_to_do() {
        let error = signed(&json!({ "alg": "HS256" }), &claims()).unwrap_err();
        assert!(error.to_string().contains("use private_key_jwt"), "{error}");
    }
}
