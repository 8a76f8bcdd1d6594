//! Signed request objects by value (RFC 9101, OpenID Connect Core §6.1): the parameters of an authorization request as a JWT of
//! the client.
//!
//! Layer 1. The result is a [`Params`] of the object's claims alone; what stands outside does not count (RFC 9101 §6.3).

use serde_json::{Map, Value};

use crate::assertion::SKEW;
use crate::error::ErrorCode;
use crate::id::ClientId;
use crate::jose::{ClaimType, Claims, Jws, JwsError, PublicKeys, Typ, VerifyAlgorithm};
use crate::params::{Params, ParamsError};
use crate::time::UnixTime;
use crate::uri::Issuer;

/// What `typ` may say (RFC 9101 §10.8): its own type, the general one, or nothing.
const TYPES: Typ<'_> = Typ::Optional(&["oauth-authz-req+jwt", "JWT"]);

/// Claims about the object itself, which are no parameters.
const OWN_CLAIMS: [&str; 6] = ["iss", "aud", "exp", "nbf", "iat", "jti"];

/// Why a request object is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestObjectError {
    /// Not signed. The metadata says which algorithms are served; `none` is not among them.
    #[error("the request object is not signed; sign it with a registered key of the client")]
    Unsigned,
    /// Not a JWT that we would believe.
    #[error("request object: {0}")]
    Jws(JwsError),
    /// The client has no keys (yet).
    #[error("request object: the client has no registered keys")]
    NoKeys,
    /// A claim of the wrong type.
    #[error("request object: a claim is of the wrong type")]
    Claim,
    /// `iss` is not the client.
    #[error("request object: iss must be the client_id")]
    Issuer,
    /// `aud` does not name us.
    #[error("request object: aud must be, or contain, the issuer identifier")]
    Audience,
    /// Expired, or not valid yet.
    #[error("request object: it has expired, or is not valid yet")]
    Time,
    /// It has `sub`: a client assertion, or something that could be taken for one (RFC 9101 §10.8).
    #[error("request object: it must not have sub, so that it cannot be taken for a client assertion")]
    Subject,
    /// `client_id` inside is missing, or another one than outside.
    #[error("request object: client_id must be in it, and be the client_id of the request")]
    ClientId,
    /// `request` or `request_uri` inside (RFC 9101 §4).
    #[error("request object: request and request_uri must not be in it")]
    Nested,
    /// More parameters than any request has.
    #[error("request object: it has too many parameters")]
    TooMany,
    /// A parameter that is not text, or stands twice.
    #[error("request object: a parameter is not valid text")]
    NotText,
}

impl RequestObjectError {
    /// The code sent to the client (RFC 9101 §7).
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Unsigned
            | Self::Jws(_)
            | Self::NoKeys
            | Self::Claim
            | Self::Issuer
            | Self::Audience
            | Self::Time
            | Self::Subject
            | Self::ClientId
            | Self::Nested
            | Self::TooMany
            | Self::NotText => ErrorCode::InvalidRequestObject,
        }
    }
}

impl From<JwsError> for RequestObjectError {
    fn from(error: JwsError) -> Self {
        match error {
            JwsError::Unsigned => Self::Unsigned,
            other => Self::Jws(other),
        }
    }
}

impl From<ParamsError> for RequestObjectError {
    fn from(error: ParamsError) -> Self {
        match error {
            ParamsError::TooMany => Self::TooMany,
            ParamsError::NotText | ParamsError::Repeated(_) => Self::NotText,
        }
    }
}

impl From<ClaimType> for RequestObjectError {
    fn from(ClaimType: ClaimType) -> Self {
        Self::Claim
    }
}

/// A request object as it was presented: well-formed, not verified.
#[derive(Debug)]
pub struct RequestObject(Jws);

impl RequestObject {
    /// Reads the value of `request`.
    ///
    /// # Errors
    /// [`RequestObjectError`] for an unsigned one, and for a JWT that is not well-formed.
    pub fn read(request: &str) -> Result<Self, RequestObjectError> {
        Ok(Self(Jws::parse(request)?))
    }

    /// The key id that it names, to decide whether a set of keys is worth fetching again.
    pub fn kid(&self) -> Option<&str> {
        self.0.kid()
    }

    /// Verifies the object with the keys of the client that the request names outside, and gives its parameters.
    ///
    /// # Errors
    /// [`RequestObjectError`]. With [`JwsError::UnknownKey`] a fresh set of keys may help.
    pub fn open(
        &self,
        keys: &PublicKeys,
        algorithms: &[VerifyAlgorithm],
        client: &ClientId,
        issuer: &Issuer,
        now: UnixTime,
    ) -> Result<Params, RequestObjectError> {
        let claims = self.0.verify(keys, algorithms, TYPES)?.claims()?;
        judge(&claims, client, issuer, now)?;
        Ok(Params::from_pairs(pairs(claims.into_members())?)?)
    }
}

fn judge(
    claims: &Claims,
    client: &ClientId,
    issuer: &Issuer,
    now: UnixTime,
) -> Result<(), RequestObjectError> {
    if claims.get("sub").is_some() {
        return Err(RequestObjectError::Subject);
    }
    if claims.text("iss")? != Some(client.as_str()) {
        return Err(RequestObjectError::Issuer);
    }
    let is_ours = |audience: &Value| audience == issuer.as_str();
    let addressed = match claims.get("aud") {
        Some(Value::Array(audiences)) => audiences.iter().any(is_ours),
        Some(audience) => is_ours(audience),
        None => false,
    };
    if !addressed {
        return Err(RequestObjectError::Audience);
    }
    let expired = claims.time("exp")?.is_some_and(|expires| expires.after(SKEW).is_past(now));
    let early = claims.time("nbf")?.is_some_and(|from| from > now.after(SKEW));
    if expired || early {
        return Err(RequestObjectError::Time);
    }
    if claims.text("client_id")? != Some(client.as_str()) {
        return Err(RequestObjectError::ClientId);
    }
    if claims.get("request").is_some() || claims.get("request_uri").is_some() {
        return Err(RequestObjectError::Nested);
    }
    Ok(())
}

/// The claims as parameters: text as it is, numbers and truth values as their text, objects and arrays as JSON, as `claims`
/// stands in a query; `resource` may be an array of texts (RFC 8707 §2.1).
fn pairs(claims: Map<String, Value>) -> Result<Vec<(String, String)>, RequestObjectError> {
    let mut pairs = Vec::new();
    for (name, value) in claims {
        if OWN_CLAIMS.contains(&name.as_str()) {
            continue;
        }
        match value {
            Value::String(text) => pairs.push((name, text)),
            Value::Array(values) if name == "resource" => {
                for value in values {
                    let Value::String(text) = value else { return Err(RequestObjectError::Claim) };
                    pairs.push((name.clone(), text));
                }
            }
            Value::Null => return Err(RequestObjectError::Claim),
            other => pairs.push((name, other.to_string())),
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jose::tests::{client_key, jwks};

    const NOW: u64 = 1_800_000_000;

    fn claims() -> Value {
        json!({
            "iss": "app", "aud": "https://idp.tail.test", "iat": NOW, "nbf": NOW, "exp": NOW + 60, "jti": "j",
            "client_id": "app", "response_type": "code", "redirect_uri": "https://app.test/cb", "state": "s",
            "max_age": 300, "claims": { "userinfo": { "name": { "essential": true } } },
            "resource": ["https://a.test", "https://b.test"], "scope": "openid"
        })
    }

    fn changed(changes: &Value) -> Result<Params, RequestObjectError> {
        let mut claims = claims();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        opened(&json!({ "alg": "ES256", "typ": "oauth-authz-req+jwt" }), &claims)
    }

    fn opened(header: &Value, claims: &Value) -> Result<Params, RequestObjectError> {
        let key = client_key(VerifyAlgorithm::Es256);
        open(&key.sign(header, claims.to_string().as_bytes()).unwrap())
    }

    fn open(object: &str) -> Result<Params, RequestObjectError> {
        let keys = PublicKeys::parse(&jwks(&[("a", VerifyAlgorithm::Es256)])).unwrap();
        let (client, issuer) =
            (ClientId::parse("app").unwrap(), Issuer::parse("https://idp.tail.test").unwrap());
        let now = UnixTime::from_secs(NOW);
        RequestObject::read(object)?.open(&keys, &VerifyAlgorithm::ALL, &client, &issuer, now)
    }

    #[test]
    fn its_claims_are_the_parameters() {
        let params = changed(&json!({})).unwrap();
        let texts = ["client_id", "response_type", "redirect_uri", "state", "max_age", "claims", "scope"];
        assert_eq!(
            texts.map(|name| params.get(name).unwrap()),
            [
                "app",
                "code",
                "https://app.test/cb",
                "s",
                "300",
                r#"{"userinfo":{"name":{"essential":true}}}"#,
                "openid"
            ]
        );
        assert_eq!(params.all("resource").collect::<Vec<_>>(), ["https://a.test", "https://b.test"]);
        assert!(!params.names_any(&OWN_CLAIMS));
        let params = changed(
            &json!({ "resource": "https://a.test", "x": [1, "a"], "y": true, "aud": ["x", "https://idp.tail.test"] }),
        );
        let params = params.unwrap();
        assert_eq!(
            [params.get("resource"), params.get("x"), params.get("y")],
            [Some("https://a.test"), Some(r#"[1,"a"]"#), Some("true")]
        );
        for typ in [json!({ "alg": "ES256" }), json!({ "alg": "ES256", "typ": "JWT" })] {
            assert!(opened(&typ, &claims()).is_ok());
        }
        assert!(changed(&json!({ "exp": null, "nbf": null, "iat": null, "jti": null })).is_ok());
        assert!(changed(&json!({ "nbf": NOW + 8 })).is_ok());
    }

    #[test]
    fn what_a_request_object_may_not_say() {
        use RequestObjectError as E;
        for (name, changes, error) in [
            ("sub", json!({ "sub": "app" }), E::Subject),
            ("another sub", json!({ "sub": 1 }), E::Subject),
            ("no iss", json!({ "iss": null }), E::Issuer),
            ("another iss", json!({ "iss": "other" }), E::Issuer),
            ("no aud", json!({ "aud": null }), E::Audience),
            ("another aud", json!({ "aud": "https://other.test" }), E::Audience),
            ("other auds", json!({ "aud": ["https://idp.tail.test/"] }), E::Audience),
            ("no client_id", json!({ "client_id": null }), E::ClientId),
            ("another client_id", json!({ "client_id": "other" }), E::ClientId),
            ("expired", json!({ "exp": NOW - 300 }), E::Time),
            ("not yet", json!({ "nbf": NOW + 61 }), E::Time),
            ("exp as text", json!({ "exp": "soon" }), E::Claim),
            ("request inside", json!({ "request": "x" }), E::Nested),
            ("request_uri inside", json!({ "request_uri": "urn:x" }), E::Nested),
            ("resource of numbers", json!({ "resource": [1] }), E::Claim),
            ("a NUL", json!({ "state": "a\0b" }), E::NotText),
        ] {
            let refused = changed(&changes).err();
            assert_eq!(refused, Some(error), "{name}");
            assert_eq!(refused.unwrap().code(), ErrorCode::InvalidRequestObject);
        }
        let many: Value = (0..65).map(|n| (format!("p{n}"), json!("x"))).collect::<Map<_, _>>().into();
        assert_eq!(changed(&many).err(), Some(E::TooMany));
        let with_null =
            json!({ "iss": "app", "aud": "https://idp.tail.test", "client_id": "app", "state": null });
        assert_eq!(opened(&json!({ "alg": "ES256" }), &with_null).err(), Some(E::Claim));
    }

    #[test]
    fn how_a_request_object_may_not_be_signed() {
        use RequestObjectError as E;
        let refused = |header: Value| opened(&header, &claims()).err();
        assert_eq!(refused(json!({ "alg": "none" })), Some(E::Unsigned));
        assert_eq!(refused(json!({ "alg": "HS256" })), Some(E::Jws(JwsError::Symmetric)));
        assert_eq!(refused(json!({ "alg": "ES256", "typ": "dpop+jwt" })), Some(E::Jws(JwsError::Typ)));
        let assertion = json!({ "alg": "ES256", "typ": "client-authentication+jwt" });
        assert_eq!(refused(assertion), Some(E::Jws(JwsError::Typ)));
        let stranger = crate::jose::ClientKey::generate(VerifyAlgorithm::Es256).unwrap();
        let forged = stranger.sign(&json!({ "alg": "ES256" }), claims().to_string().as_bytes()).unwrap();
        assert_eq!(open(&forged).err(), Some(E::Jws(JwsError::Signature)));
        // RFC 7515 §6: no signature at all.
        assert_eq!(open("eyJhbGciOiJub25lIn0.e30.").err(), Some(E::Unsigned));
        assert_eq!(open("https://app.test/object").err(), Some(E::Jws(JwsError::Form)));
    }
}
