//! ID tokens of ours that come back as a hint (`id_token_hint`: OpenID Connect Core §3.1.2.1, RP-Initiated Logout §2).
//!
//! Layer 1. A hint proves that we once signed it, nothing more: it may have expired long ago.

use crate::algorithm::VerifyAlgorithm;
use crate::jose::{Jws, JwsError, SigningKeys, Typ};
use crate::uri::Issuer;

/// What an ID token of ours said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdTokenHint {
    /// `sub`.
    pub subject: String,
    /// `aud`: the client to which it was issued.
    pub client: String,
    /// `sid`.
    pub session: Option<String>,
}

/// Why a hint is not one of our ID tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HintError {
    /// No JWS, or not one of our keys' (of those that are still published).
    #[error("{0}")]
    Jws(#[from] JwsError),
    /// Signed by us, but no ID token, or one of another issuer.
    #[error("the hint is not an ID token of this issuer")]
    NotIdToken,
}

/// Reads a hint: signed with one of our keys, in whatever state, by our issuer, an ID token; expired or not.
///
/// # Errors
/// [`HintError`].
pub fn read(text: &str, signing: &SigningKeys, issuer: &Issuer) -> Result<IdTokenHint, HintError> {
    let jws = Jws::parse(text)?;
    let named = signing.iter().map(|(key, _)| key).find(|key| jws.kid() == Some(key.id().as_str()));
    let key = named.and_then(|key| key.public_key().ok()).ok_or(JwsError::UnknownKey)?;
    // Access tokens have a type of their own; signed UserInfo answers have no `exp`.
    let claims = jws.verify_with(&key, &VerifyAlgorithm::ALL, Typ::Required(&["JWT"]))?.claims()?;
    let text = |name| claims.text(name).ok().flatten().map(str::to_owned);
    let is_ours = text("iss").is_some_and(|iss| iss == issuer.as_str());
    let is_id_token = claims.get("exp").is_some() && claims.get("auth_time").is_some();
    match (text("sub"), text("aud")) {
        (Some(subject), Some(client)) if is_ours && is_id_token => {
            Ok(IdTokenHint { subject, client, session: text("sid") })
        }
        _ => Err(HintError::NotIdToken),
    }
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64UrlUnpadded, Encoding};
    use serde_json::{Value, json};

    use super::*;
    use crate::jose::tests::key;
    use crate::jose::{Algorithm, TokenType};
    use crate::key::KeyState;

    fn issuer() -> Issuer {
        Issuer::parse("https://idp.tail.test").unwrap()
    }

    fn claims() -> Value {
        json!({"iss": "https://idp.tail.test", "sub": "userid:1001", "aud": "cli", "exp": 5, "iat": 1, "auth_time": 1,
            "sid": "AAAA"})
    }

    fn signed(keys: &SigningKeys, typ: TokenType, claims: &Value) -> String {
        let key = keys.iter().next().unwrap().0;
        key.sign(typ, claims).unwrap().expose().to_owned()
    }

    #[test]
    fn our_id_tokens_are_hints_in_every_state_of_their_key() {
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
            let keys = SigningKeys::new(vec![(key(algorithm), KeyState::Retired)]);
            let hint = read(&signed(&keys, TokenType::IdToken, &claims()), &keys, &issuer()).unwrap();
            assert_eq!((hint.subject.as_str(), hint.client.as_str()), ("userid:1001", "cli"));
            assert_eq!(hint.session.as_deref(), Some("AAAA"));
        }
    }

    /// OpenID suite: `modified-id-token-hint` (alg `none`), `bad-id-token-hint` (signed by a stranger).
    #[test]
    fn everything_else_is_none() {
        let keys = SigningKeys::new(vec![(key(Algorithm::Es256), KeyState::Active)]);
        let strangers = SigningKeys::new(vec![(key(Algorithm::Es256), KeyState::Active)]);
        let own = |typ, claims: &Value| read(&signed(&keys, typ, claims), &keys, &issuer());
        let without = |name: &str| {
            let mut claims = claims();
            claims.as_object_mut().unwrap().remove(name);
            claims
        };
        let foreign = signed(&strangers, TokenType::IdToken, &claims());
        assert_eq!(read(&foreign, &keys, &issuer()), Err(HintError::Jws(JwsError::Signature)));
        let encode = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
        let unsigned = format!("{}.{}.", encode(&json!({"alg": "none", "typ": "JWT"})), encode(&claims()));
        assert_eq!(read(&unsigned, &keys, &issuer()), Err(HintError::Jws(JwsError::Unsigned)));
        assert_eq!(own(TokenType::AccessToken, &claims()), Err(HintError::Jws(JwsError::Typ)));
        for name in ["iss", "sub", "aud", "exp", "auth_time"] {
            assert_eq!(own(TokenType::IdToken, &without(name)), Err(HintError::NotIdToken), "{name}");
        }
        let other = Issuer::parse("https://other.tail.test").unwrap();
        let text = signed(&keys, TokenType::IdToken, &claims());
        assert_eq!(read(&text, &keys, &other), Err(HintError::NotIdToken));
        assert!(read("", &keys, &issuer()).is_err() && read("a.b.c", &keys, &issuer()).is_err());
    }
}
