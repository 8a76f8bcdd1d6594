//! The files as TOML spells them: every key there is, nothing validated. Only this folder sees these types.

use serde::Deserialize;
use serde_json::{Map, Value};
use tsidecar_oauth::algorithm::VerifyAlgorithm;
use tsidecar_oauth::client::{AuthMethod, GrantType, Login, PkceRule};
use tsidecar_oauth::dpop::NonceRule;
use tsidecar_oauth::jose::Algorithm;
use tsidecar_oauth::rule::TaggedIdentity;

use super::value::{Account, Length, LengthOrOff};
use super::{LogFormat, LogLevel, Routers, TailscaleSsh};

/// `tsidecar.toml`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub issuer: Option<String>,
    pub tailscale: Tailscale,
    pub listen: Listen,
    pub identity: Identity,
    pub claims: Claims,
    pub compat: Compat,
    pub limits: Limits,
    pub registration: Registration,
    pub keys: Keys,
    pub dpop: Dpop,
    pub session: Session,
    pub outbound: Outbound,
    pub clients: Clients,
    pub state: State,
    pub log: Log,
    pub rule: Vec<Rule>,
    pub client: Vec<Client>,
    pub resource: Vec<Resource>,
    pub exchange: Vec<Exchange>,
    pub workload: Vec<Workload>,
}

/// `[[exchange]]`: who may turn tokens for these into tokens for those (RFC 8693).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exchange {
    pub callers: Vec<String>,
    #[serde(default)]
    pub from: Vec<String>,
    pub to: Vec<String>,
    #[serde(default)]
    pub users: Vec<String>,
    #[serde(default)]
    pub groups: Vec<String>,
    pub scopes: Option<Vec<String>>,
}

/// `clients.d/*.toml`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ClientsFile {
    pub client: Vec<Client>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tailscale {
    pub socket: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Listen {
    pub socket: Option<String>,
    pub admin_socket: Option<String>,
    pub ops_socket: Option<String>,
    pub tailscale_ssh: Option<TailscaleSsh>,
    pub allow_unsafe_path: Option<bool>,
    pub tailscaled_uid: Option<u32>,
    pub admin_uid: Option<u32>,
    pub service: Vec<Service>,
    pub proxy: Vec<Proxy>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub name: String,
    pub socket: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Proxy {
    pub socket: String,
    pub uid: Account,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Identity {
    pub routers: Option<Routers>,
    pub max_stale: Option<LengthOrOff>,
    pub capability: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Claims {
    pub local_domains: Option<Vec<String>>,
    pub verified_domains: Option<Vec<String>>,
    pub email_suffix: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Compat {
    pub tsidp_claims: Option<bool>,
    pub introspect_any_client: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    pub requests_in_flight: Option<usize>,
    pub connections: Option<usize>,
    pub node_requests_per_minute: Option<u32>,
    pub node_burst: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Registration {
    pub funnel: Option<bool>,
    pub require_pkce: Option<bool>,
    pub login: Option<Login>,
    pub claims_in_id_token: Option<bool>,
    pub expires: Option<Length>,
    pub expires_unused: Option<Length>,
    pub node_per_hour: Option<u32>,
    pub funnel_per_hour: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Keys {
    pub rotate_every: Option<LengthOrOff>,
    pub publish_ahead: Option<Length>,
    pub algorithms: Option<Vec<Algorithm>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Dpop {
    pub nonce: Option<NonceRule>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Session {
    pub lifetime: Option<Length>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Outbound {
    pub ca_file: Option<String>,
    pub test_host: Option<String>,
    pub test_ca: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Clients {
    pub trusted: Vec<String>,
    pub cimd: Option<bool>,
    pub fetch_documents: Option<bool>,
    pub local_documents: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct State {
    pub dir: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    pub format: Option<LogFormat>,
    pub level: Option<LogLevel>,
}

/// `[[client]]`; the names are those of RFC 7591 where it has one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Client {
    pub id: String,
    pub name: Option<String>,
    pub secret_file: Option<String>,
    pub secret_sha256: Option<String>,
    #[serde(default)]
    pub public: bool,
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    pub token_endpoint_auth_method: Option<AuthMethod>,
    /// A file with a JWK set.
    pub jwks_file: Option<String>,
    pub jwks_uri: Option<String>,
    pub assertion_algs: Option<Vec<VerifyAlgorithm>>,
    #[serde(default)]
    pub token_endpoint_audience: bool,
    pub request_object_signing_alg: Option<VerifyAlgorithm>,
    #[serde(default)]
    pub require_signed_request_object: bool,
    #[serde(default)]
    pub require_pushed_authorization_requests: bool,
    #[serde(default)]
    pub dpop_bound_access_tokens: bool,
    #[serde(default)]
    pub post_logout_redirect_uris: Vec<String>,
    pub backchannel_logout_uri: Option<String>,
    #[serde(default)]
    pub backchannel_logout_session_required: bool,
    pub userinfo_signed_response_alg: Option<Algorithm>,
    pub grant_types: Option<Vec<GrantType>>,
    pub pkce: Option<PkceRule>,
    pub allow: Option<Allow>,
    pub id_token_signed_response_alg: Option<Algorithm>,
    pub claims_in_id_token: Option<bool>,
    pub id_token_lifetime: Option<Length>,
    pub access_token_lifetime: Option<Length>,
    pub refresh_idle_lifetime: Option<Length>,
    pub refresh_absolute_lifetime: Option<Length>,
    #[serde(default)]
    pub disabled: bool,
    #[serde(default)]
    pub login: Login,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Allow {
    pub users: Vec<String>,
    pub groups: Vec<String>,
    pub tags: Vec<String>,
    pub capability: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resource {
    pub uri: String,
    pub name: Option<String>,
    #[serde(default)]
    pub aliases: Vec<String>,
    #[serde(default)]
    pub scopes: Vec<String>,
    pub default_scopes: Option<Vec<String>>,
    pub clients: Vec<String>,
    #[serde(default)]
    pub servers: Vec<String>,
    pub may_act: Option<String>,
    pub signing_alg: Option<Algorithm>,
    pub access_token_lifetime: Option<Length>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Workload {
    pub tag: String,
    #[serde(default)]
    pub nodes: Vec<String>,
    #[serde(default)]
    pub routes: bool,
    pub scopes: Option<Vec<String>>,
    pub access_token_lifetime: Option<Length>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Rule {
    pub users: Vec<String>,
    pub groups: Vec<String>,
    pub tags: Vec<String>,
    pub clients: Vec<String>,
    pub add_groups: Vec<String>,
    pub resources: Vec<String>,
    pub scopes: Vec<String>,
    pub claims: Map<String, Value>,
    pub claims_in_userinfo: Option<bool>,
    pub allow_external: bool,
    pub allow_dcr: bool,
    pub tagged_identity: Option<TaggedIdentity>,
}
