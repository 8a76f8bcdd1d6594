//! The JSON of `admin.sock`, for both of its ends. Names are those of RFC 7591 and of tsidp where they have one.

mod granted;

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::Value;
use tsidecar_oauth::assurance::MetadataDigest;
use tsidecar_oauth::client::{
    AuthMethod, Client, ClientKeys, ClientSpec, GrantType, Login, LogoutSpec, PkceRule,
};
use tsidecar_oauth::jose::{Algorithm, VerifyAlgorithm};
use tsidecar_oauth::policy::Access;
use tsidecar_oauth::provenance::{Provenance, Registrar};
use tsidecar_oauth::rotation::KeyKind;
use tsidecar_oauth::secret::ClientSecret;
use tsidecar_oauth::time::UnixTime;

pub use self::granted::{
    AllowedAnswer, ConsentAnswer, ConsentKey, ConsentsAnswer, GrantAnswer, GrantsAnswer, HolderName,
    RevokeAnswer, WithdrawAnswer,
};
use super::error::AdminError;
use crate::config::{Length, spell};
use crate::keys::{Change, KeyInfo};
use crate::store::Approval;

/// A client as it is told. Secrets never are, except once, when they are made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientAnswer {
    /// `client_id`.
    pub client_id: String,
    /// The name shown to people.
    pub client_name: String,
    /// `redirect_uris`.
    pub redirect_uris: Vec<String>,
    /// `none` for a public client; another value if only that one is accepted, as `private_key_jwt` of a client with keys and no
    /// secret; absent when Basic and post are alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_method: Option<AuthMethod>,
    /// `grant_types`.
    pub grant_types: Vec<GrantType>,
    /// `response_types`: always `code`.
    pub response_types: Vec<String>,
    /// When PKCE is needed.
    pub pkce: PkceRule,
    /// Who may sign in; absent: everybody whom the tailnet lets reach us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Access>,
    /// `id_token_signed_response_alg`.
    pub id_token_signed_response_alg: Algorithm,
    /// `userinfo_signed_response_alg`; absent: plain JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userinfo_signed_response_alg: Option<Algorithm>,
    /// Whether identity claims stand in the ID token, too.
    pub claims_in_id_token: bool,
    /// As in the configuration file.
    pub id_token_lifetime: String,
    /// As in the configuration file.
    pub access_token_lifetime: String,
    /// As in the configuration file.
    pub refresh_idle_lifetime: String,
    /// As in the configuration file.
    pub refresh_absolute_lifetime: String,
    /// How it signs people in.
    pub login: Login,
    /// `jwks`: public keys that a file of the client's holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// `jwks_uri`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// As in the configuration file.
    pub assertion_algs: Vec<VerifyAlgorithm>,
    /// As in the configuration file.
    pub token_endpoint_audience: bool,
    /// `request_object_signing_alg`; absent: all that we know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_object_signing_alg: Option<VerifyAlgorithm>,
    /// `require_signed_request_object`.
    pub require_signed_request_object: bool,
    /// `require_pushed_authorization_requests`.
    pub require_pushed_authorization_requests: bool,
    /// `dpop_bound_access_tokens`.
    pub dpop_bound_access_tokens: bool,
    /// `post_logout_redirect_uris`.
    pub post_logout_redirect_uris: Vec<String>,
    /// `backchannel_logout_uri`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backchannel_logout_uri: Option<String>,
    /// `backchannel_logout_session_required`.
    pub backchannel_logout_session_required: bool,
    /// Whether it is switched off.
    pub disabled: bool,
    /// How many secrets are valid; two while one is being rotated.
    pub secrets: usize,
    /// `store`, `registration`, `document`, or the file that the client stands in.
    pub source: String,
    /// Who registered it, of one that registered itself, for people to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_by: Option<String>,
    /// When it registered itself, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_at: Option<UnixTime>,
    /// When one that registered itself was used last, to a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<UnixTime>,
    /// Whether an administrator has approved it as it is; absent for clients that need no approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<bool>,
    /// The digest of what an approval binds, as 32 hexadecimal digits; absent for clients that need no approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// The secret, in the answer to its making only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
}

impl ClientAnswer {
    /// Tells a client. `source` is the file that it stands in, if it does.
    pub fn new(client: &Client, source: Option<&std::path::Path>) -> Self {
        let (spec, lives) = (client.spec(), client.lives());
        let (jwks, jwks_uri) = match &spec.keys {
            ClientKeys::None => (None, None),
            ClientKeys::Inline(text) => (serde_json::from_str(text).ok(), None),
            ClientKeys::Uri(uri) => (None, Some(uri.clone())),
        };
        Self {
            client_id: spec.id.clone(),
            client_name: spec.name.clone(),
            redirect_uris: spec.redirect_uris.clone(),
            token_endpoint_auth_method: only_method(spec),
            grant_types: spec.grant_types.clone(),
            response_types: vec!["code".to_owned()],
            pkce: client.pkce(),
            allow: spec.allow.clone(),
            id_token_signed_response_alg: spec.id_token_alg,
            userinfo_signed_response_alg: spec.userinfo_alg,
            claims_in_id_token: spec.id_token_claims,
            id_token_lifetime: spell(lives.id_token),
            access_token_lifetime: spell(lives.access_token),
            refresh_idle_lifetime: spell(lives.refresh_idle),
            refresh_absolute_lifetime: spell(lives.refresh_absolute),
            login: spec.login,
            jwks,
            jwks_uri,
            assertion_algs: spec.signed.assertion_algs.clone(),
            token_endpoint_audience: spec.signed.token_endpoint_audience,
            request_object_signing_alg: spec.signed.request_object_alg,
            require_signed_request_object: spec.signed.require_request_object,
            require_pushed_authorization_requests: spec.require_par,
            dpop_bound_access_tokens: spec.require_dpop,
            post_logout_redirect_uris: spec.logout.post_logout_redirect_uris.clone(),
            backchannel_logout_uri: spec.logout.backchannel_uri.clone(),
            backchannel_logout_session_required: spec.logout.backchannel_session_required,
            disabled: spec.disabled,
            secrets: spec.secrets.len(),
            source: source.map_or_else(|| "store".to_owned(), |path| path.display().to_string()),
            registered_by: None,
            registered_at: None,
            last_used: None,
            approved: None,
            metadata: None,
            client_secret: None,
        }
    }

    /// Tells a client that nobody wrote down: it registered itself, or is known by a document. `approval` is what an administrator
    /// approved of it, if anything.
    pub fn of_stranger(client: &Client, approval: Option<Approval>) -> Self {
        let registration = match client.provenance() {
            Provenance::Registered(registration) => Some(registration),
            Provenance::Document | Provenance::Administrator => None,
        };
        let digest = MetadataDigest::of(client);
        Self {
            source: if registration.is_some() { "registration" } else { "document" }.to_owned(),
            registered_by: registration.map(|registration| name(&registration.by)),
            registered_at: registration.map(|registration| registration.at),
            approved: Some(approval.is_some_and(|approval| approval.digest == digest)),
            metadata: Some(digest.to_string()),
            ..Self::new(client, None)
        }
    }

    /// Adds the secret that was just made.
    #[must_use]
    pub fn with_secret(mut self, secret: Option<&ClientSecret>) -> Self {
        self.client_secret = secret.map(|secret| secret.expose().to_owned());
        self
    }
}

/// Who registered a client, for people to read.
fn name(by: &Registrar) -> String {
    match by {
        Registrar::Application(who) if who.login.is_empty() => format!("the device {}", who.device_name),
        Registrar::Application(who) => format!("{} on {}", who.login, who.device_name),
        Registrar::Workload { node } => format!("the device {node}"),
        Registrar::Page => "a web page".to_owned(),
        Registrar::Outside => "somebody in the internet".to_owned(),
    }
}

/// The only method by which a client may authenticate, if there is one.
const fn only_method(spec: &ClientSpec) -> Option<AuthMethod> {
    match spec.strict_auth_method {
        _ if spec.public => Some(AuthMethod::None),
        None if spec.secrets.is_empty() => Some(AuthMethod::PrivateKeyJwt),
        method => method,
    }
}

/// What an administrator approves.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApproveRequest {
    /// The digest that was told of what was looked at; absent: whatever the client is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

/// A client as it is asked for. What [`ClientAnswer`] tells can be sent back; members that only tell are not looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientRequest {
    pub(super) client_id: Option<String>,
    client_name: Option<String>,
    redirect_uris: Vec<String>,
    token_endpoint_auth_method: Option<AuthMethod>,
    grant_types: Option<Vec<GrantType>>,
    pkce: Option<PkceRule>,
    allow: Option<Access>,
    id_token_signed_response_alg: Option<Algorithm>,
    userinfo_signed_response_alg: Option<Algorithm>,
    claims_in_id_token: Option<bool>,
    id_token_lifetime: Option<Length>,
    access_token_lifetime: Option<Length>,
    refresh_idle_lifetime: Option<Length>,
    refresh_absolute_lifetime: Option<Length>,
    login: Login,
    jwks: Option<Value>,
    jwks_uri: Option<String>,
    assertion_algs: Option<Vec<VerifyAlgorithm>>,
    token_endpoint_audience: bool,
    request_object_signing_alg: Option<VerifyAlgorithm>,
    require_signed_request_object: bool,
    require_pushed_authorization_requests: bool,
    dpop_bound_access_tokens: bool,
    post_logout_redirect_uris: Vec<String>,
    backchannel_logout_uri: Option<String>,
    backchannel_logout_session_required: bool,
    disabled: bool,
    #[serde(rename = "response_types")]
    _response_types: IgnoredAny,
    #[serde(rename = "secrets")]
    _secrets: IgnoredAny,
    #[serde(rename = "source")]
    _source: IgnoredAny,
}

impl ClientRequest {
    /// Tells whether a client without a secret is asked for.
    pub fn is_public(&self) -> bool {
        self.token_endpoint_auth_method == Some(AuthMethod::None)
    }

    /// Tells whether its own keys are all that the client authenticates with: no secret is made for it.
    pub fn proves_by_keys(&self) -> bool {
        let by_keys =
            self.token_endpoint_auth_method.is_none_or(|method| method == AuthMethod::PrivateKeyJwt);
        by_keys && (self.jwks.is_some() || self.jwks_uri.is_some())
    }

    /// Where the client's keys are.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] when they are at two places.
    fn keys(&self) -> Result<ClientKeys, AdminError> {
        match (&self.jwks, &self.jwks_uri) {
            (None, None) => Ok(ClientKeys::None),
            (Some(jwks), None) => Ok(ClientKeys::Inline(jwks.to_string())),
            (None, Some(uri)) => Ok(ClientKeys::Uri(uri.clone())),
            (Some(_), Some(_)) => {
                Err(AdminError::Invalid("a client has its keys in one place: jwks or jwks_uri".to_owned()))
            }
        }
    }

    /// The description of the client, without secrets.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] when its keys are at two places.
    pub(super) fn into_spec(self, id: String) -> Result<ClientSpec, AdminError> {
        let (public, keys) = (self.is_public(), self.keys()?);
        let mut spec = ClientSpec {
            name: self.client_name.unwrap_or_else(|| id.clone()),
            id,
            public,
            redirect_uris: self.redirect_uris,
            strict_auth_method: self.token_endpoint_auth_method.filter(|_| !public),
            allow: self.allow,
            disabled: self.disabled,
            userinfo_alg: self.userinfo_signed_response_alg,
            keys,
            login: self.login,
            require_par: self.require_pushed_authorization_requests,
            require_dpop: self.dpop_bound_access_tokens,
            logout: LogoutSpec {
                post_logout_redirect_uris: self.post_logout_redirect_uris,
                backchannel_uri: self.backchannel_logout_uri,
                backchannel_session_required: self.backchannel_logout_session_required,
            },
            ..ClientSpec::default()
        };
        spec.signed.token_endpoint_audience = self.token_endpoint_audience;
        spec.signed.request_object_alg = self.request_object_signing_alg;
        spec.signed.require_request_object = self.require_signed_request_object;
        spec.signed.assertion_algs = self.assertion_algs.unwrap_or(spec.signed.assertion_algs);
        let set = |life: &mut _, length: Option<Length>| {
            if let Some(Length(length)) = length {
                *life = length;
            }
        };
        set(&mut spec.lives.id_token, self.id_token_lifetime);
        set(&mut spec.lives.access_token, self.access_token_lifetime);
        set(&mut spec.lives.refresh_idle, self.refresh_idle_lifetime);
        set(&mut spec.lives.refresh_absolute, self.refresh_absolute_lifetime);
        spec.grant_types = self.grant_types.unwrap_or(spec.grant_types);
        spec.pkce = self.pkce.unwrap_or(spec.pkce);
        spec.id_token_alg = self.id_token_signed_response_alg.unwrap_or(spec.id_token_alg);
        spec.id_token_claims = self.claims_in_id_token.unwrap_or(spec.id_token_claims);
        Ok(spec)
    }
}

/// What becomes of the secrets of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rotation {
    /// A new one; the newest of the old ones stays valid beside it.
    #[default]
    Overlap,
    /// A new one; the old ones are void at once.
    Now,
    /// No new one; of two the older is void. Ends an overlap.
    Finish,
}

/// The body of `POST /clients/{id}/rotate-secret`; an empty one is the default.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RotateRequest {
    /// What to do.
    pub mode: Rotation,
}

/// The body of `POST /admin/keys/rotate`; an empty one rotates every kind in time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeysRequest {
    /// The kind to rotate; absent: all.
    pub kind: Option<KeyKind>,
    /// Whether the new key is used at once, before relying parties know it.
    pub now: bool,
    /// The id of a key that somebody else may hold: it goes at once.
    pub compromised: Option<String>,
}

/// The answer to `POST /admin/keys/rotate`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeysAnswer {
    /// What changed; nothing where a next key was there already.
    pub changes: Vec<Change>,
    /// The keys as they are now.
    pub keys: Vec<KeyInfo>,
}

/// The answer to `GET /admin/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// Our version.
    pub version: String,
    /// The issuer.
    pub issuer: String,
    /// Whether requests are answered.
    pub ready: bool,
    /// Why not, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many clients there are.
    pub clients: usize,
    /// The time as this daemon reads it, in seconds since 1970.
    pub now: u64,
    /// The configuration file.
    pub config: String,
    /// The state folder.
    pub state_dir: String,
}

/// The answer to `GET /admin/whois`: for whom a request from an address would be taken.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WhoisAnswer {
    /// The address.
    pub address: String,
    /// `person`, `external`, `tagged`, `workload`, `refused`, `unknown`.
    pub kind: String,
    /// Why nobody, and what to do; only for `refused` and `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `sub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The login name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// The display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Groups that the tailnet reports.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceAnswer>,
    /// How many rules of the capability hold for this peer.
    #[serde(default)]
    pub rules: usize,
    /// For each client `allowed`, or why not; of a tagged node for each of its tags that is a workload.
    #[serde(default)]
    pub clients: std::collections::BTreeMap<String, String>,
}

/// A device in [`WhoisAnswer`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceAnswer {
    /// The stable identifier.
    pub id: String,
    /// The full name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Its tags.
    pub tags: Vec<String>,
}

/// Every error of `admin.sock`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// A code.
    pub error: String,
    /// A sentence for people.
    pub error_description: String,
}
