//! What is said of a client: plain descriptions, unvalidated, with public fields.

use serde::{Deserialize, Serialize};

use crate::algorithm::VerifyAlgorithm;
use crate::jose::Algorithm;
use crate::policy::Access;
use crate::secret::SecretDigest;
use crate::time::Lifetime;

/// Grant types that a client may use (RFC 7591 §2, `grant_types`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// The authorization code grant (RFC 6749 §4.1).
    AuthorizationCode,
    /// The refresh token grant (RFC 6749 §6).
    RefreshToken,
    /// The device authorization grant (RFC 8628 §3.4).
    #[serde(rename = "urn:ietf:params:oauth:grant-type:device_code")]
    DeviceCode,
    /// The client credentials grant (RFC 6749 §4.4): the client for itself.
    ClientCredentials,
    /// Token exchange (RFC 8693 §2.1).
    #[serde(rename = "urn:ietf:params:oauth:grant-type:token-exchange")]
    TokenExchange,
}

impl GrantType {
    /// Every grant type that we serve, in the order of the metadata.
    pub const ALL: [Self; 5] = [
        Self::AuthorizationCode,
        Self::RefreshToken,
        Self::DeviceCode,
        Self::ClientCredentials,
        Self::TokenExchange,
    ];

    /// What a client may use whose description does not say.
    pub const DEFAULT: [Self; 2] = [Self::AuthorizationCode, Self::RefreshToken];

    /// The value of the `grant_type` parameter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
            Self::ClientCredentials => "client_credentials",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }
}

/// How a client authenticates at the token endpoint (RFC 7591 §2, `token_endpoint_auth_method`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// A public client: its id alone.
    None,
    /// The secret by HTTP Basic (RFC 6749 §2.3.1).
    ClientSecretBasic,
    /// The secret in the body.
    ClientSecretPost,
    /// A JWT signed by a key of the client (RFC 7523 §2.2).
    PrivateKeyJwt,
    /// Nothing is shown: the tailnet says that the caller is a node with the tag. Of workloads alone, and no description names it.
    #[serde(skip)]
    Tailnet,
}

impl AuthMethod {
    /// Every method that a client may have, in the order of the metadata.
    pub const ALL: [Self; 4] =
        [Self::ClientSecretBasic, Self::ClientSecretPost, Self::PrivateKeyJwt, Self::None];

    /// The registered name of the method.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::Tailnet => "tailnet",
        }
    }

    /// Tells whether this method proves at least as much as the other. Basic and post prove the same.
    pub const fn at_least(self, other: Self) -> bool {
        self.strength() >= other.strength()
    }

    const fn strength(self) -> u8 {
        match self {
            Self::None => 0,
            Self::ClientSecretBasic | Self::ClientSecretPost => 1,
            Self::PrivateKeyJwt | Self::Tailnet => 2,
        }
    }
}

/// When a client must send a PKCE challenge (RFC 7636; OAuth 2.1 §7.5.1). Public clients always must.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PkceRule {
    /// Every authorization needs a challenge.
    Required,
    /// A challenge, or `openid` with a `nonce` (RFC 9700 §2.1.1): the default of confidential clients.
    #[default]
    OrNonce,
    /// Neither is needed, for applications that can do neither.
    Optional,
}

/// How a client signs people in (design section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Login {
    /// The network is the session: whois is asked at each authorization, and nobody touches anything.
    #[default]
    Ambient,
    /// A sealed cookie is the session: `prompt=none` without it fails, `auth_time` stays.
    Session,
    /// Every authorization shows the page *Continue as NAME on DEVICE*.
    Confirm,
}

/// The public keys of a client (RFC 7591 §2, `jwks` and `jwks_uri`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientKeys {
    /// It has none.
    #[default]
    None,
    /// A JWK set as JSON text.
    Inline(String),
    /// Where the JWK set is.
    Uri(String),
}

/// What a client's assertions and request objects may be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRequests {
    /// Algorithms of assertions (`token_endpoint_auth_signing_alg`; several here).
    pub assertion_algs: Vec<VerifyAlgorithm>,
    /// Whether the URL of the token endpoint, too, is an audience of assertions.
    pub token_endpoint_audience: bool,
    /// The only algorithm of request objects (`request_object_signing_alg`); `None` allows all that we know.
    pub request_object_alg: Option<VerifyAlgorithm>,
    /// `require_signed_request_object` (RFC 9101 §10.5).
    pub require_request_object: bool,
}

impl Default for SignedRequests {
    fn default() -> Self {
        Self {
            assertion_algs: VerifyAlgorithm::ALL.to_vec(),
            token_endpoint_audience: false,
            request_object_alg: None,
            require_request_object: false,
        }
    }
}

/// Where a client is told, and where it sends people, when a session ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogoutSpec {
    /// `post_logout_redirect_uris` (OpenID Connect RP-Initiated Logout §3.1).
    pub post_logout_redirect_uris: Vec<String>,
    /// `backchannel_logout_uri` (OpenID Connect Back-Channel Logout §2.2).
    pub backchannel_uri: Option<String>,
    /// `backchannel_logout_session_required`.
    pub backchannel_session_required: bool,
}

/// What an administrator says of a client: unvalidated, with public fields; the form of files and records.
#[derive(Clone, Debug)]
pub struct ClientSpec {
    /// `client_id`.
    pub id: String,
    /// The name shown to people.
    pub name: String,
    /// `true` for a client without a secret.
    pub public: bool,
    /// Digests of the secret; two while one is being rotated.
    pub secrets: Vec<SecretDigest>,
    /// The client's own public keys, in place of a secret or beside `none`.
    pub keys: ClientKeys,
    /// What it signs.
    pub signed: SignedRequests,
    /// `redirect_uris`.
    pub redirect_uris: Vec<String>,
    /// When set, only this method is accepted; otherwise Basic and post stand in for each other.
    pub strict_auth_method: Option<AuthMethod>,
    /// `grant_types`.
    pub grant_types: Vec<GrantType>,
    /// When PKCE is needed.
    pub pkce: PkceRule,
    /// Who may sign in; `None` is everybody whom the tailnet lets reach us.
    pub allow: Option<Access>,
    /// `id_token_signed_response_alg`.
    pub id_token_alg: Algorithm,
    /// Whether identity claims also stand in the ID token.
    pub id_token_claims: bool,
    /// `userinfo_signed_response_alg`; `None` answers plain JSON.
    pub userinfo_alg: Option<Algorithm>,
    /// How it signs people in.
    pub login: Login,
    /// `require_pushed_authorization_requests` (RFC 9126 §6).
    pub require_par: bool,
    /// `dpop_bound_access_tokens` (RFC 9449 §5.2).
    pub require_dpop: bool,
    /// What happens when a session ends.
    pub logout: LogoutSpec,
    /// Lives of what is issued.
    pub lives: Lives,
    /// A disabled client gets nothing, and what it got stops working.
    pub disabled: bool,
}

impl ClientSpec {
    /// The algorithms with which something is signed for this client.
    pub fn signing_algorithms(&self) -> impl Iterator<Item = Algorithm> {
        [self.id_token_alg].into_iter().chain(self.userinfo_alg)
    }
}

/// How long what is issued to a client lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lives {
    /// ID tokens.
    pub id_token: Lifetime,
    /// Access tokens, opaque or JWT.
    pub access_token: Lifetime,
    /// A refresh token that is not used.
    pub refresh_idle: Lifetime,
    /// A grant, however often it is refreshed.
    pub refresh_absolute: Lifetime,
}

impl Default for Lives {
    /// The lives of design section 8.
    fn default() -> Self {
        Self {
            id_token: Lifetime::from_minutes(5),
            access_token: Lifetime::from_minutes(10),
            refresh_idle: Lifetime::from_days(30),
            refresh_absolute: Lifetime::from_days(180),
        }
    }
}

impl Default for ClientSpec {
    fn default() -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            public: false,
            secrets: Vec::new(),
            keys: ClientKeys::None,
            signed: SignedRequests::default(),
            redirect_uris: Vec::new(),
            strict_auth_method: None,
            grant_types: GrantType::DEFAULT.to_vec(),
            pkce: PkceRule::default(),
            allow: None,
            id_token_alg: Algorithm::Rs256,
            id_token_claims: true,
            userinfo_alg: None,
            login: Login::Ambient,
            require_par: false,
            require_dpop: false,
            logout: LogoutSpec::default(),
            lives: Lives::default(),
            disabled: false,
        }
    }
}
