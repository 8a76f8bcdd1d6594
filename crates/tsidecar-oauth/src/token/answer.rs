//! The token answer (RFC 6749 §5.1): signs and seals what a grant came to, after it is durable.

use serde::Serialize;

use super::TokenError;
use super::code::chosen;
use super::exchange::{ACCESS_TOKEN, act};
use crate::claims::{AccessTokenClaims, Confirmation, Envelope, IdTokenClaims, IdentityClaims, SCOPES};
use crate::client::Client;
use crate::fresh::FreshNonce;
use crate::grant::{Generation, Grant};
use crate::id::{JwtId, Thumbprint};
use crate::identity::Identity;
use crate::jose::{JoseError, SigningKeys, TokenType, access_token_hash};
use crate::policy::{ClaimsAt, Policy};
use crate::resource::{Asking, Resource};
use crate::scope::{Scope, ScopeToken};
use crate::seal::{RefreshToken, SealError, SealedAccess, SealingKeys};
use crate::secret::TokenText;
use crate::time::{Lifetime, UnixTime};
use crate::uri::Issuer;

/// What signs and seals.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    /// `iss`.
    pub issuer: &'a Issuer,
    /// The signing keys.
    pub signing: &'a SigningKeys,
    /// The sealing keys.
    pub sealing: &'a SealingKeys,
}

/// Everything that a token answer is made from.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The client that asks.
    pub client: &'a Client,
    /// The grant, as it is durable.
    pub grant: &'a Grant,
    /// The scope of this answer.
    pub scope: &'a Scope,
    /// The resource of this answer's access token.
    pub resource: Option<&'a Resource>,
    /// The person, as whois says now; `None` when the grant is nobody's, and then there is no ID token.
    pub identity: Option<&'a Identity>,
    /// The policy of now.
    pub policy: &'a Policy,
    /// `nonce` of the authorization request; only on the first answer of a grant.
    pub nonce: Option<&'a str>,
    /// The generation of the refresh token; `None` when the client gets none.
    pub refresh: Option<Generation>,
    /// The key that proved itself, to which the access token is bound (RFC 9449 §6).
    pub key: Option<Thumbprint>,
    /// `iat`.
    pub now: UnixTime,
}

/// Why an answer could not be made although the change is durable: our own fault.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Signing failed.
    #[error(transparent)]
    Jose(#[from] JoseError),
    /// Sealing failed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// The body of a token answer.
#[derive(Debug)]
pub struct TokenResponse {
    access_token: TokenText,
    /// `issued_token_type` (RFC 8693 §2.2.1), in the answer of an exchange.
    issued_token_type: Option<&'static str>,
    token_type: &'static str,
    expires_in: u64,
    refresh_token: Option<TokenText>,
    id_token: Option<TokenText>,
    scope: String,
}

impl TokenResponse {
    /// The JSON of the answer: `token_type` is `Bearer`, or `DPoP` for a bound token; `expires_in` an integer, `scope` always there.
    ///
    /// # Errors
    /// When serde fails, which would be our own fault.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            access_token: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            issued_token_type: Option<&'static str>,
            token_type: &'static str,
            expires_in: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            refresh_token: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            id_token: Option<&'a str>,
            scope: &'a str,
        }
        // Room for a usual answer at once: growing step by step shows in the profile.
        let mut json = Vec::with_capacity(2048);
        let body = Body {
            access_token: self.access_token.expose(),
            issued_token_type: self.issued_token_type,
            token_type: self.token_type,
            expires_in: self.expires_in,
            refresh_token: self.refresh_token.as_ref().map(TokenText::expose),
            id_token: self.id_token.as_ref().map(TokenText::expose),
            scope: &self.scope,
        };
        serde_json::to_writer(&mut json, &body)?;
        Ok(json)
    }
}

/// The resource that an answer's access token is for: the one named, else the first granted; judged as of now.
///
/// # Errors
/// [`TokenError::ResourceNotGranted`]; [`TokenError::Resource`] when it is not known any more, or not for this client and person.
pub fn resource_of(
    grant: &Grant,
    named: &[String],
    asking: Asking<'_>,
) -> Result<Option<Resource>, TokenError> {
    let uri = chosen(named.iter().map(String::as_str), grant.facts().resources.iter())?;
    uri.map(|uri| asking.exact(uri)).transpose().map_err(TokenError::Resource)
}

impl Answer<'_> {
    /// Signs and seals the answer; the fresh bytes seal an opaque access token, or make the `jti` of a JWT.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn sign(&self, keys: Keys<'_>, fresh: FreshNonce) -> Result<TokenResponse, AnswerError> {
        let access_token = self.access_token(keys, fresh)?;
        let person = self.identity.filter(|_| self.scope.contains("openid"));
        let id_token = person.map(|person| self.id_token(person, keys, &access_token)).transpose()?;
        let refresh = self.refresh.map(|generation| RefreshToken::new(self.grant.id(), generation));
        let refresh_token = refresh.map(|token| keys.sealing.write_refresh(token)).transpose()?;
        let scope = self.said_scope().to_string();
        Ok(TokenResponse {
            access_token,
            issued_token_type: self.grant.facts().exchange.as_ref().map(|_| ACCESS_TOKEN),
            token_type: if self.key.is_some() { "DPoP" } else { "Bearer" },
            expires_in: self.access_life().as_secs(),
            refresh_token,
            id_token,
            scope,
        })
    }

    /// The life of the access token: the resource's own, else the client's. What an exchange gives ends with its grant, which
    /// ends with the subject token.
    fn access_life(&self) -> Lifetime {
        let of_resource = self.resource.and_then(|resource| resource.spec().access_token);
        let life = of_resource.unwrap_or(self.client.lives().access_token);
        let facts = self.grant.facts();
        if facts.exchange.is_some() { life.min(self.now.until(facts.expires_at)) } else { life }
    }

    /// What the answer calls its scope: OpenID Connect's part, and of the rest what the access token carries (RFC 6749
    /// §5.1). With several resources granted, the scopes of the others are not this token's.
    fn said_scope(&self) -> Scope {
        let Some(resource) = self.resource else { return self.scope.clone() };
        let of_identity =
            |token: &ScopeToken| SCOPES.contains(&token.as_str()) || token.as_str() == "offline_access";
        self.scope.filter(|token| of_identity(token) || resource.knows(token))
    }

    fn envelope<'a>(&'a self, issuer: &'a Issuer) -> Envelope<'a> {
        Envelope {
            issuer,
            subject: &self.grant.facts().subject,
            client: self.client.id(),
            authentication: self.grant.facts().authentication(),
            session: self.grant.facts().session,
            now: self.now,
            lifetime: self.access_life(),
        }
    }

    fn access_token(&self, keys: Keys<'_>, fresh: FreshNonce) -> Result<TokenText, AnswerError> {
        let Some(resource) = self.resource else {
            let access = SealedAccess {
                grant: self.grant.id(),
                scope: self.scope.clone(),
                key: self.key,
                issued_at: self.now,
                expires_at: self.now.after(self.access_life()),
            };
            return Ok(keys.sealing.seal_access(&access, fresh)?);
        };
        let scope = resource.part_of(self.scope);
        let jti = JwtId::of(self.grant.id(), fresh.into_id());
        let exchange = self.grant.facts().exchange.as_ref();
        let acting = exchange.and_then(|exchange| act(&exchange.actors));
        let claims = AccessTokenClaims::new(self.envelope(keys.issuer), resource.uri().as_str(), &scope, jti)
            .acting(acting, resource.spec().may_act.as_deref())
            .bound_to(self.key.map(Confirmation));
        let token = keys.signing.active(resource.spec().alg)?.sign(TokenType::AccessToken, &claims)?;
        Ok(TokenText::new(token.expose().to_owned()))
    }

    fn id_token(
        &self,
        person: &Identity,
        keys: Keys<'_>,
        access_token: &TokenText,
    ) -> Result<TokenText, AnswerError> {
        let algorithm = self.client.id_token_alg();
        let at_hash = access_token_hash(algorithm, access_token.expose());
        let (client, named, at) =
            (self.client.id(), self.grant.facts().requested.id_token, ClaimsAt::IdToken);
        let identity = if self.client.id_token_claims() {
            IdentityClaims::select(self.policy, client, person, self.scope, named, at)
        } else {
            IdentityClaims::named_only(self.policy, client, person, named, at)
        };
        let envelope = Envelope { lifetime: self.client.lives().id_token, ..self.envelope(keys.issuer) };
        let claims = IdTokenClaims::new(envelope, self.nonce, at_hash, identity);
        let token = keys.signing.active(algorithm)?.sign(TokenType::IdToken, &claims)?;
        Ok(TokenText::new(token.expose().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64UrlUnpadded, Encoding};
    use serde_json::{Value, json};

    use super::*;
    use crate::authorize::tests::resources;
    use crate::client::ClientSpec;
    use crate::client::tests::public;
    use crate::grant::{GrantFacts, Holder};
    use crate::id::Subject;
    use crate::jose::{Algorithm, tests::key as signing_key};
    use crate::key::KeyState;
    use crate::policy::tests::alice;
    use crate::resource::{Entry, ResourceSpec, Resources};
    use crate::seal::tests::keys as sealing_keys;
    use crate::settle::tests::{at, grant};

    const MCP: &str = "https://mcp.test/mcp";

    fn part(token: &str, place: usize) -> Value {
        let bytes = Base64UrlUnpadded::decode_vec(token.split('.').nth(place).unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    fn sign(scope: &str, resource: Option<&Resource>, spec: ClientSpec) -> (Value, SealingKeys) {
        sign_for(None, scope, resource, spec)
    }

    fn sign_for(
        key: Option<Thumbprint>,
        scope: &str,
        resource: Option<&Resource>,
        spec: ClientSpec,
    ) -> (Value, SealingKeys) {
        sign_of(&grant(), Some(&alice()), key, scope, resource, spec)
    }

    fn sign_of(
        grant: &Grant,
        identity: Option<&Identity>,
        key: Option<Thumbprint>,
        scope: &str,
        resource: Option<&Resource>,
        spec: ClientSpec,
    ) -> (Value, SealingKeys) {
        let client = Client::new(spec, UnixTime::default()).unwrap();
        let (scope, policy) = (Scope::parse(scope), Policy::default());
        let issuer = Issuer::parse("https://idp.tail.test").unwrap();
        let signing = SigningKeys::new(vec![(signing_key(Algorithm::Es256), KeyState::Active)]);
        let sealing = sealing_keys(issuer.as_str(), 9, 0);
        let answer = Answer {
            client: &client,
            grant,
            scope: &scope,
            resource,
            identity,
            policy: &policy,
            nonce: Some("n"),
            refresh: grant.facts().idle.map(|_| Generation::from_number(4)),
            key,
            now: at(2_000),
        };
        let keys = Keys { issuer: &issuer, signing: &signing, sealing: &sealing };
        let fresh = FreshNonce::from_bytes([1; 24]);
        let body = answer.sign(keys, fresh).unwrap().to_json().unwrap();
        (serde_json::from_slice(&body).unwrap(), sealing)
    }

    fn es256() -> ClientSpec {
        ClientSpec { id_token_alg: Algorithm::Es256, ..public() }
    }

    #[test]
    fn an_answer_without_resource() {
        let (body, sealing) = sign("openid email", None, es256());
        assert_eq!(
            (&body["token_type"], &body["expires_in"], &body["scope"]),
            (&json!("Bearer"), &json!(600), &json!("openid email"))
        );
        let access =
            sealing.open_access(&TokenText::new(body["access_token"].as_str().unwrap().into())).unwrap();
        assert_eq!((access.grant, access.expires_at), (grant().id(), at(2_600)));
        let refresh =
            sealing.read_refresh(&TokenText::new(body["refresh_token"].as_str().unwrap().into())).unwrap();
        assert_eq!(refresh, RefreshToken::new(grant().id(), Generation::from_number(4)));
        let id_token = body["id_token"].as_str().unwrap();
        assert_eq!(part(id_token, 0), json!({"typ": "JWT", "alg": "ES256", "kid": "k1"}));
        let at_hash = access_token_hash(Algorithm::Es256, body["access_token"].as_str().unwrap());
        assert_eq!(
            part(id_token, 1),
            json!({"iss": "https://idp.tail.test", "sub": "userid:1001", "aud": "cli", "exp": 2300, "iat": 2000,
                "nbf": 1700, "auth_time": 990, "acr": "urn:tsidecar:acr:ambient", "nonce": "n", "at_hash": at_hash, "email": "alice@example.com",
                "email_verified": false})
        );
    }

    /// RFC 9068: its own `typ`, one audience as registered, that resource's part of the scope only.
    #[test]
    fn an_access_token_for_a_resource() {
        let resources = resources();
        let (body, _) = sign("openid read admin", resources.lookup(MCP).as_ref(), es256());
        let token = body["access_token"].as_str().unwrap();
        assert_eq!(body["scope"], "openid read", "nothing of another resource");
        assert_eq!(part(token, 0)["typ"], "at+jwt");
        let jti = JwtId::of(grant().id(), crate::fresh::FreshId::from_bytes([1; 16]));
        assert_eq!(
            part(token, 1),
            json!({"iss": "https://idp.tail.test", "sub": "userid:1001", "aud": "https://mcp.test/mcp", "client_id": "cli",
                "exp": 2600, "iat": 2000, "auth_time": 990, "acr": "urn:tsidecar:acr:ambient", "jti": jti, "scope": "read"})
        );
    }

    /// RFC 9068 §2.2: the client is the subject, and nothing is said of an authentication that did not happen.
    #[test]
    fn a_client_for_itself() {
        let client = crate::id::ClientId::parse("cli").unwrap();
        let facts = GrantFacts {
            subject: Subject::client(&client),
            holder: Holder::Client,
            idle: None,
            ..grant().facts().clone()
        };
        let own = Grant::new(grant().id(), facts, at(2_000));
        let resources = resources();
        let (body, _) = sign_of(&own, None, None, "read", resources.lookup(MCP).as_ref(), es256());
        let token = body["access_token"].as_str().unwrap();
        assert_eq!(
            body,
            json!({"access_token": token, "token_type": "Bearer", "expires_in": 600, "scope": "read"})
        );
        let jti = JwtId::of(grant().id(), crate::fresh::FreshId::from_bytes([1; 16]));
        assert_eq!(
            part(token, 1),
            json!({"iss": "https://idp.tail.test", "sub": "cli", "aud": "https://mcp.test/mcp", "client_id": "cli",
                "exp": 2600, "iat": 2000, "jti": jti, "scope": "read"})
        );
        let (body, _) = sign_of(&own, None, None, "openid", None, es256());
        assert!(body.get("id_token").is_none(), "there is nobody to name");
    }

    /// RFC 9449 §5, §6.1: `token_type`, and the key in both forms of access token.
    #[test]
    fn a_token_bound_to_a_key() {
        let key = Thumbprint::parse("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
        let (body, sealing) = sign_for(key, "openid", None, es256());
        assert_eq!(body["token_type"], "DPoP");
        let access = TokenText::new(body["access_token"].as_str().unwrap().into());
        assert_eq!(sealing.open_access(&access).unwrap().key, key);
        let resources = resources();
        let (body, _) = sign_for(key, "read", resources.lookup(MCP).as_ref(), es256());
        let claims = part(body["access_token"].as_str().unwrap(), 1);
        assert_eq!(claims["cnf"], json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" }));
    }

    #[test]
    fn a_resource_may_have_its_own_life() {
        let access_token = Some(Lifetime::from_secs(120));
        let spec = ResourceSpec { access_token, alg: Algorithm::Es256, ..ResourceSpec::default() };
        let short = Resources::new(vec![Entry::new(MCP, &[], spec).unwrap()]).lookup(MCP);
        let (body, _) = sign("openid read", short.as_ref(), es256());
        assert_eq!(body["expires_in"], 120);
        assert_eq!(part(body["access_token"].as_str().unwrap(), 1)["exp"], 2_120);
        assert_eq!(part(body["id_token"].as_str().unwrap(), 1)["exp"], 2_300);
    }

    #[test]
    fn no_openid_no_id_token_and_claims_by_switch() {
        let (body, _) = sign("email", None, es256());
        assert!(body.get("id_token").is_none());
        let (body, _) = sign("openid email", None, ClientSpec { id_token_claims: false, ..es256() });
        assert!(part(body["id_token"].as_str().unwrap(), 1).get("email").is_none());
    }
}
