//! Metadata (OpenID Connect Discovery §3, RFC 8414 §2, RFC 8628 §4): exactly what the code does, from the code's own tables.
//!
//! Layer 2. One document with the union of members serves both well-known paths. Absent members are left out: never
//! `null`, never an empty list.
//!
//! It is read by two ways, from the tailnet and from the internet. Both are told the same, byte for byte, but for endpoints that the
//! reader itself would call and that refuse it: a client that finds no such member looks for another way in, one that is refused
//! there gives up. Where its person's browser goes stands in both, for that browser is in the tailnet (design sections 2 and 14).

use serde::Serialize;

use crate::acr::Acr;
use crate::authorize::{RESPONSE_TYPES, ResponseMode};
use crate::claims::{SCOPES, SUBJECT_TYPES, supported};
use crate::client::{AuthMethod, GrantType};
use crate::jose::{Algorithm, VerifyAlgorithm};
use crate::pkce::CHALLENGE_METHODS;
use crate::policy::ClaimsPolicy;
use crate::uri::Issuer;

/// Path of the authorization endpoint.
pub const AUTHORIZE: &str = "/authorize";
/// Path of the token endpoint.
pub const TOKEN: &str = "/token";
/// Path of the endpoint for pushed authorization requests.
pub const PAR: &str = "/par";
/// Path of the UserInfo endpoint.
pub const USERINFO: &str = "/userinfo";
/// Path of the device authorization endpoint.
pub const DEVICE_AUTHORIZATION: &str = "/device_authorization";
/// Path of the page on which people answer device authorizations (RFC 8628 §3.3).
pub const DEVICE: &str = "/device";
/// Path of the registration endpoint; the id of a client behind it is the address of its registration (RFC 7592 §2).
pub const REGISTER: &str = "/register";
/// Path of the introspection endpoint.
pub const INTROSPECT: &str = "/introspect";
/// Path of the revocation endpoint.
pub const REVOKE: &str = "/revoke";
/// Path of the end of a session (RP-Initiated Logout §2.1).
pub const LOGOUT: &str = "/logout";
/// Path of the JWK set.
pub const JWKS: &str = "/.well-known/jwks.json";
/// Path of OpenID Connect's metadata.
pub const OPENID_CONFIGURATION: &str = "/.well-known/openid-configuration";
/// Path of OAuth's metadata.
pub const OAUTH_AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";

/// From where clients may register themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registering {
    /// From the tailnet only.
    Tailnet,
    /// From the internet, too.
    Anywhere,
}

/// The metadata of this provider.
#[derive(Clone, Debug, Serialize)]
pub struct ProviderMetadata<'a> {
    issuer: &'a Issuer,
    authorization_endpoint: String,
    token_endpoint: String,
    pushed_authorization_request_endpoint: String,
    userinfo_endpoint: String,
    end_session_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_authorization_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_endpoint: Option<String>,
    jwks_uri: String,
    scopes_supported: [&'static str; SCOPES.len()],
    response_types_supported: [&'static str; RESPONSE_TYPES.len()],
    response_modes_supported: [&'static str; ResponseMode::ALL.len()],
    grant_types_supported: [&'static str; GrantType::ALL.len()],
    subject_types_supported: [&'static str; SUBJECT_TYPES.len()],
    id_token_signing_alg_values_supported: Vec<&'static str>,
    userinfo_signing_alg_values_supported: Vec<&'static str>,
    token_endpoint_auth_methods_supported: [&'static str; AuthMethod::ALL.len()],
    token_endpoint_auth_signing_alg_values_supported: [&'static str; VerifyAlgorithm::NAMES.len()],
    introspection_endpoint: String,
    introspection_endpoint_auth_methods_supported: Vec<&'static str>,
    introspection_endpoint_auth_signing_alg_values_supported: [&'static str; VerifyAlgorithm::NAMES.len()],
    revocation_endpoint: String,
    revocation_endpoint_auth_methods_supported: [&'static str; AuthMethod::ALL.len()],
    revocation_endpoint_auth_signing_alg_values_supported: [&'static str; VerifyAlgorithm::NAMES.len()],
    code_challenge_methods_supported: [&'static str; CHALLENGE_METHODS.len()],
    dpop_signing_alg_values_supported: [&'static str; VerifyAlgorithm::NAMES.len()],
    claims_supported: Vec<&'static str>,
    acr_values_supported: [&'static str; Acr::ALL.len()],
    authorization_response_iss_parameter_supported: bool,
    backchannel_logout_supported: bool,
    backchannel_logout_session_supported: bool,
    claims_parameter_supported: bool,
    request_parameter_supported: bool,
    request_object_signing_alg_values_supported: [&'static str; VerifyAlgorithm::NAMES.len()],
    request_uri_parameter_supported: bool,
    require_pushed_authorization_requests: bool,
    client_id_metadata_document_supported: bool,
}

impl<'a> ProviderMetadata<'a> {
    /// The metadata of an issuer whose keys can sign with these algorithms, and whose claims are made so.
    pub fn new(issuer: &'a Issuer, algorithms: &[Algorithm], claims: &ClaimsPolicy) -> Self {
        let names: Vec<_> = algorithms.iter().map(|algorithm| algorithm.as_str()).collect();
        Self {
            issuer,
            authorization_endpoint: issuer.endpoint(AUTHORIZE),
            token_endpoint: issuer.endpoint(TOKEN),
            pushed_authorization_request_endpoint: issuer.endpoint(PAR),
            userinfo_endpoint: issuer.endpoint(USERINFO),
            end_session_endpoint: issuer.endpoint(LOGOUT),
            device_authorization_endpoint: Some(issuer.endpoint(DEVICE_AUTHORIZATION)),
            registration_endpoint: Some(issuer.endpoint(REGISTER)),
            jwks_uri: issuer.endpoint(JWKS),
            scopes_supported: SCOPES,
            response_types_supported: RESPONSE_TYPES,
            response_modes_supported: ResponseMode::ALL.map(ResponseMode::as_str),
            grant_types_supported: GrantType::ALL.map(GrantType::as_str),
            subject_types_supported: SUBJECT_TYPES,
            id_token_signing_alg_values_supported: names.clone(),
            userinfo_signing_alg_values_supported: names,
            token_endpoint_auth_methods_supported: AuthMethod::ALL.map(AuthMethod::as_str),
            token_endpoint_auth_signing_alg_values_supported: VerifyAlgorithm::NAMES,
            introspection_endpoint: issuer.endpoint(INTROSPECT),
            introspection_endpoint_auth_methods_supported: proofs(),
            introspection_endpoint_auth_signing_alg_values_supported: VerifyAlgorithm::NAMES,
            revocation_endpoint: issuer.endpoint(REVOKE),
            revocation_endpoint_auth_methods_supported: AuthMethod::ALL.map(AuthMethod::as_str),
            revocation_endpoint_auth_signing_alg_values_supported: VerifyAlgorithm::NAMES,
            code_challenge_methods_supported: CHALLENGE_METHODS,
            dpop_signing_alg_values_supported: VerifyAlgorithm::NAMES,
            claims_supported: supported(claims).collect(),
            acr_values_supported: Acr::ALL.map(Acr::as_str),
            authorization_response_iss_parameter_supported: true,
            backchannel_logout_supported: true,
            backchannel_logout_session_supported: true,
            claims_parameter_supported: true,
            request_parameter_supported: true,
            request_object_signing_alg_values_supported: VerifyAlgorithm::NAMES,
            // A name of ours is for pushed requests; we fetch none.
            request_uri_parameter_supported: false,
            require_pushed_authorization_requests: false,
            client_id_metadata_document_supported: false,
        }
    }

    /// What somebody in the internet is told: nothing of endpoints that are for the tailnet only. The grant of a device stays: a
    /// client redeems from anywhere what a device of the tailnet began.
    #[must_use]
    pub fn for_internet(self, registering: Registering) -> Self {
        let registration_endpoint = match registering {
            Registering::Tailnet => None,
            Registering::Anywhere => self.registration_endpoint,
        };
        Self { device_authorization_endpoint: None, registration_endpoint, ..self }
    }

    /// Says whether clients may be known by a document at their id (Client ID Metadata Document §5).
    #[must_use]
    pub fn with_documents(mut self, supported: bool) -> Self {
        self.client_id_metadata_document_supported = supported;
        self
    }

    /// The document as it is served.
    ///
    /// # Errors
    /// When serde fails, which would be our own fault.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

/// The methods by which a client proves something; an id alone proves nothing (RFC 7662 §2.1).
fn proofs() -> Vec<&'static str> {
    AuthMethod::ALL.into_iter().filter(|method| *method != AuthMethod::None).map(AuthMethod::as_str).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_whole_document() {
        let issuer = Issuer::parse("https://idp.tail.test").unwrap();
        let metadata =
            ProviderMetadata::new(&issuer, &[Algorithm::Rs256, Algorithm::Es256], &ClaimsPolicy::default())
                .with_documents(true);
        let document: Value = serde_json::from_slice(&metadata.to_json().unwrap()).unwrap();
        assert_eq!(
            document,
            json!({
                "issuer": "https://idp.tail.test",
                "authorization_endpoint": "https://idp.tail.test/authorize",
                "token_endpoint": "https://idp.tail.test/token",
                "pushed_authorization_request_endpoint": "https://idp.tail.test/par",
                "userinfo_endpoint": "https://idp.tail.test/userinfo",
                "end_session_endpoint": "https://idp.tail.test/logout",
                "device_authorization_endpoint": "https://idp.tail.test/device_authorization",
                "registration_endpoint": "https://idp.tail.test/register",
                "jwks_uri": "https://idp.tail.test/.well-known/jwks.json",
                "scopes_supported": ["openid", "profile", "email", "groups"],
                "response_types_supported": ["code"],
                "response_modes_supported": ["query", "form_post"],
                "grant_types_supported": ["authorization_code", "refresh_token",
                    "urn:ietf:params:oauth:grant-type:device_code", "client_credentials",
                    "urn:ietf:params:oauth:grant-type:token-exchange"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256", "ES256"],
                "userinfo_signing_alg_values_supported": ["RS256", "ES256"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
                "token_endpoint_auth_signing_alg_values_supported": ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"],
                "introspection_endpoint": "https://idp.tail.test/introspect",
                "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt"],
                "introspection_endpoint_auth_signing_alg_values_supported": ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"],
                "revocation_endpoint": "https://idp.tail.test/revoke",
                "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
                "revocation_endpoint_auth_signing_alg_values_supported": ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"],
                "code_challenge_methods_supported": ["S256"],
                "dpop_signing_alg_values_supported": ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"],
                "claims_supported": ["iss", "sub", "aud", "exp", "iat", "nbf", "auth_time", "acr", "sid", "nonce", "at_hash", "name",
                    "preferred_username", "picture", "email", "email_verified", "groups"],
                "acr_values_supported": ["urn:tsidecar:acr:ambient", "urn:tsidecar:acr:confirmed"],
                "authorization_response_iss_parameter_supported": true,
                "backchannel_logout_supported": true,
                "backchannel_logout_session_supported": true,
                "claims_parameter_supported": true,
                "request_parameter_supported": true,
                "request_object_signing_alg_values_supported": ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"],
                "request_uri_parameter_supported": false,
                "require_pushed_authorization_requests": false,
                "client_id_metadata_document_supported": true
            })
        );
    }

    #[test]
    fn the_internet_is_told_the_same_but_for_what_refuses_it() {
        let issuer = Issuer::parse("https://idp.tail.test").unwrap();
        let metadata = ProviderMetadata::new(&issuer, &[Algorithm::Rs256], &ClaimsPolicy::default());
        let document = String::from_utf8(metadata.to_json().unwrap()).unwrap();
        let outside = |registering| {
            let metadata = ProviderMetadata::new(&issuer, &[Algorithm::Rs256], &ClaimsPolicy::default());
            String::from_utf8(metadata.for_internet(registering).to_json().unwrap()).unwrap()
        };
        let device = r#""device_authorization_endpoint":"https://idp.tail.test/device_authorization","#;
        let register = r#""registration_endpoint":"https://idp.tail.test/register","#;
        let open = document.replacen(device, "", 1);
        assert_eq!(outside(Registering::Anywhere), open);
        assert_eq!(outside(Registering::Tailnet), open.replacen(register, "", 1));
        assert!(document.contains(device) && document.contains(register));
    }
}
