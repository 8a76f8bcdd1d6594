//! Tokens of ours that come back to be introspected or revoked: what they are, and of which grant.
//!
//! Layer 2. What has no seal or signature of ours does not exist here; whether it is still good for anything is for the caller
//! to judge, on its grant.

use crate::id::{GrantId, JwtId, Thumbprint};
use crate::jose::{Claims, Jws, Typ};
use crate::scope::Scope;
use crate::seal::{RefreshToken, SealedAccess};
use crate::secret::TokenText;
use crate::time::UnixTime;
use crate::token::answer::Keys;

/// A token that we issued: its seal, signature or MAC is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuedToken {
    /// An opaque access token.
    Opaque(SealedAccess),
    /// An access token for a resource (RFC 9068).
    Jwt(JwtAccess),
    /// A refresh token, of whatever generation.
    Refresh(RefreshToken),
}

/// What an access token for a resource says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtAccess {
    /// The grant of the token.
    pub grant: GrantId,
    /// `jti`.
    pub jti: JwtId,
    /// `aud`, the resource as it was registered.
    pub audience: String,
    /// `scope`.
    pub scope: Scope,
    /// The key that must prove itself with the token (RFC 9449 §6.1, `cnf.jkt`).
    pub key: Option<Thumbprint>,
    /// The one who may act for the subject (RFC 8693 §4.4, `may_act.sub`).
    pub may_act: Option<String>,
    /// `iat`.
    pub issued_at: UnixTime,
    /// `exp`.
    pub expires_at: UnixTime,
}

impl IssuedToken {
    /// Reads a token; `None` when it is none of ours. An ID token is none (RFC 8725 §3.11, attack A20): only `at+jwt` is an access
    /// token.
    pub fn read(token: &TokenText, keys: Keys<'_>) -> Option<Self> {
        // The prefixes tell the kinds apart before anything is computed.
        if let Ok(access) = keys.sealing.open_access(token) {
            return Some(Self::Opaque(access));
        }
        if let Ok(refresh) = keys.sealing.read_refresh(token) {
            return Some(Self::Refresh(refresh));
        }
        let jws = Jws::parse(token.expose()).ok()?;
        let claims = keys.signing.verify(&jws, Typ::Required(&["at+jwt"])).ok()?.claims().ok()?;
        JwtAccess::read(&claims, keys).map(Self::Jwt)
    }

    /// The grant of the token.
    pub const fn grant(&self) -> GrantId {
        match self {
            Self::Opaque(access) => access.grant,
            Self::Jwt(access) => access.grant,
            Self::Refresh(refresh) => refresh.grant(),
        }
    }
}

impl JwtAccess {
    /// Reads verified claims; `None` for what this server does not write into its access tokens.
    fn read(claims: &Claims, keys: Keys<'_>) -> Option<Self> {
        let text = |name| claims.text(name).ok().flatten();
        if text("iss") != Some(keys.issuer.as_str()) {
            return None;
        }
        let jti = JwtId::parse(text("jti")?)?;
        let key = match claims.get("cnf") {
            Some(cnf) => Some(Thumbprint::parse(cnf.get("jkt")?.as_str()?)?),
            None => None,
        };
        let may_act = match claims.get("may_act") {
            Some(may_act) => Some(may_act.get("sub")?.as_str()?.to_owned()),
            None => None,
        };
        Some(Self {
            grant: jti.grant()?,
            jti,
            audience: text("aud")?.to_owned(),
            scope: Scope::parse(text("scope").unwrap_or_default()),
            key,
            may_act,
            issued_at: claims.time("iat").ok()??,
            expires_at: claims.time("exp").ok()??,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fresh::{FreshId, FreshNonce};
    use crate::grant::Generation;
    use crate::jose::tests::key;
    use crate::jose::{Algorithm, SigningKey, SigningKeys, TokenType};
    use crate::key::KeyState;
    use crate::seal::SealingKeys;
    use crate::seal::tests::keys as sealing_keys;
    use crate::settle::tests::{at, grant};
    use crate::uri::Issuer;

    /// Keys that made some tokens.
    pub(crate) struct Ring {
        issuer: Issuer,
        signing: SigningKeys,
        sealing: SealingKeys,
    }

    impl Ring {
        pub(crate) fn new() -> Self {
            Self::of(key(Algorithm::Es256))
        }

        fn of(key: SigningKey) -> Self {
            Self {
                issuer: Issuer::parse("https://idp.tail.test").unwrap(),
                signing: SigningKeys::new(vec![(key, KeyState::Active)]),
                sealing: sealing_keys("https://idp.tail.test", 9, 0),
            }
        }

        pub(crate) fn keys(&self) -> Keys<'_> {
            Keys { issuer: &self.issuer, signing: &self.signing, sealing: &self.sealing }
        }

        fn sign(&self, typ: TokenType, claims: &Value) -> TokenText {
            let key = self.signing.active(Algorithm::Es256).unwrap();
            TokenText::new(key.sign(typ, claims).unwrap().expose().to_owned())
        }

        fn read(&self, token: &TokenText) -> Option<IssuedToken> {
            IssuedToken::read(token, self.keys())
        }
    }

    pub(crate) fn opaque(scope: &str) -> SealedAccess {
        SealedAccess {
            grant: grant().id(),
            scope: Scope::parse(scope),
            key: None,
            issued_at: at(1_000),
            expires_at: at(1_600),
        }
    }

    pub(crate) fn jwt(audience: &str) -> JwtAccess {
        JwtAccess {
            grant: grant().id(),
            jti: JwtId::of(grant().id(), FreshId::from_bytes([3; 16])),
            audience: audience.to_owned(),
            scope: Scope::parse("read"),
            key: None,
            may_act: None,
            issued_at: at(1_000),
            expires_at: at(1_600),
        }
    }

    fn claims() -> Value {
        let jti = jwt("").jti;
        json!({ "iss": "https://idp.tail.test", "sub": "userid:1001", "aud": "https://mcp.test/mcp", "client_id": "cli",
            "exp": 1600, "iat": 1000, "auth_time": 990, "jti": jti, "scope": "read" })
    }

    #[test]
    fn every_kind_is_known_again() {
        let ring = Ring::new();
        let sealed = ring.sealing.seal_access(&opaque("openid"), FreshNonce::from_bytes([1; 24])).unwrap();
        assert_eq!(ring.read(&sealed), Some(IssuedToken::Opaque(opaque("openid"))));
        let refresh = RefreshToken::new(grant().id(), Generation::from_number(3));
        let text = ring.sealing.write_refresh(refresh).unwrap();
        assert_eq!(ring.read(&text), Some(IssuedToken::Refresh(refresh)));
        let signed = ring.sign(TokenType::AccessToken, &claims());
        let read = ring.read(&signed);
        assert_eq!(read, Some(IssuedToken::Jwt(jwt("https://mcp.test/mcp"))));
        assert_eq!(read.map(|token| token.grant()), Some(grant().id()));
    }

    #[test]
    fn a_bound_token_names_its_key() {
        let jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
        let mut bound = claims();
        bound["cnf"] = json!({ "jkt": jkt });
        let ring = Ring::new();
        let Some(IssuedToken::Jwt(access)) = ring.read(&ring.sign(TokenType::AccessToken, &bound)) else {
            panic!("not read")
        };
        assert_eq!(access.key, Thumbprint::parse(jkt));
    }

    /// A19, A20, A45: nothing else is a token of ours, not even an ID token or what another key signed.
    #[test]
    fn nothing_else_is_one() {
        let ring = Ring::new();
        assert_eq!(ring.read(&ring.sign(TokenType::IdToken, &claims())), None);
        assert_eq!(ring.read(&ring.sign(TokenType::UserInfo, &claims())), None);
        assert_eq!(ring.read(&Ring::new().sign(TokenType::AccessToken, &claims())), None, "another key");
        for (name, value) in [
            ("iss", json!("https://other.test")),
            ("iss", json!(null)),
            ("jti", json!("AQEBAQEBAQEBAQEBAQEBAQ")),
            ("jti", json!(null)),
            ("aud", json!(["https://mcp.test/mcp", "https://other.test"])),
            ("exp", json!("1600")),
            ("iat", json!(null)),
            ("cnf", json!({ "x5t#S256": "x" })),
            ("cnf", json!({ "jkt": "short" })),
        ] {
            let mut changed = claims();
            changed[name] = value.clone();
            assert_eq!(ring.read(&ring.sign(TokenType::AccessToken, &changed)), None, "{name} {value}");
        }
        let sealed = ring.sealing.seal_access(&opaque("openid"), FreshNonce::from_bytes([1; 24])).unwrap();
        let signed = ring.sign(TokenType::AccessToken, &claims());
        for token in [&sealed, &signed] {
            let text = token.expose();
            let cut = &text[..text.len() - 1];
            for bad in
                [cut, &format!("{text}="), &format!("{text} "), &text.to_uppercase(), &text.to_lowercase()]
            {
                assert_eq!(ring.read(&TokenText::new(bad.to_owned())), None, "{bad}");
            }
        }
        for bad in ["", "x", "tsat_", "tsrt_", "tsat_x", "..", "a.b.c"] {
            assert_eq!(ring.read(&TokenText::new(bad.to_owned())), None, "{bad}");
        }
    }
}
