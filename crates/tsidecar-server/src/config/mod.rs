//! The configuration: raw TOML (private, `deny_unknown_fields`) becomes a validated [`Config`] or one readable error.
//!
//! Every default stands in the one `impl Default` below; `config/tsidecar.toml` says the same to people, by test. Nothing
//! here opens a socket, and nothing outside this folder reads the file.

mod build;
mod clients;
mod documents;
mod exchange;
mod outbound;
mod policy;
mod raw;
mod registration;
mod resource;
mod source;
mod value;
mod workloads;

#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tsidecar_localapi::ServiceName;
use tsidecar_oauth::assurance::Trusted;
use tsidecar_oauth::client::ClientSpec;
use tsidecar_oauth::dpop::NonceRule;
use tsidecar_oauth::jose::Algorithm;
use tsidecar_oauth::policy::FileRule;
use tsidecar_oauth::resource::Entry;
use tsidecar_oauth::rotation::{self, Demand};
use tsidecar_oauth::session;
use tsidecar_oauth::time::Lifetime;
use tsidecar_oauth::token::exchange::ExchangeRule;
use tsidecar_oauth::uri::Issuer;
use tsidecar_oauth::workload::WorkloadRule;

use self::source::Source;

pub use self::documents::{DocumentsConfig, Pinned};
pub use self::outbound::{OutboundConfig, TestHost};
pub use self::registration::{RegistrationConfig, RegistrationLimits};
pub use self::source::ConfigError;
pub(crate) use self::value::{Length, spell};

/// Where the configuration lies when the command line does not say.
pub const DEFAULT_PATH: &str = "/etc/tsidecar/tsidecar.toml";

/// The validated configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that this was read from.
    pub file: PathBuf,
    /// `issuer`; `None` is the pinned one, at first start made from tailscaled's DNS name.
    pub issuer: Option<Issuer>,
    /// `[tailscale]`.
    pub tailscale: TailscaleConfig,
    /// `[listen]`.
    pub listen: ListenConfig,
    /// `[identity]`.
    pub identity: IdentityConfig,
    /// `[claims]` and `[compat]`.
    pub claims: ClaimsConfig,
    /// `[limits]`.
    pub limits: Limits,
    /// `[registration]`.
    pub registration: RegistrationConfig,
    /// `[keys]`.
    pub keys: KeysConfig,
    /// `[dpop]`.
    pub dpop: DpopConfig,
    /// `[session] lifetime`: how long the session of a browser lasts.
    pub session_lifetime: Lifetime,
    /// `[outbound]`.
    pub outbound: OutboundConfig,
    /// `[state] dir`.
    pub state_dir: PathBuf,
    /// `[log]`.
    pub log: LogConfig,
    /// `[[rule]]`, in order.
    pub rules: Vec<FileRule>,
    /// `[[client]]` of this file and of `clients.d/*.toml`, each with the file it stands in; validated, ids unique.
    pub clients: Vec<(ClientSpec, PathBuf)>,
    /// `[[exchange]]`, in order.
    pub exchanges: Vec<ExchangeRule>,
    /// `[[resource]]`, in order.
    pub resources: Vec<Entry>,
    /// `[[workload]]`, in order; tags unique.
    pub workloads: Vec<WorkloadRule>,
    /// `[clients] trusted`: documents that need no consent.
    pub trusted: Trusted,
    /// The rest of `[clients]`, and `documents.d/*.json`.
    pub documents: DocumentsConfig,
    /// What works but deserves a look; each names file, line and key.
    pub warnings: Vec<String>,
}

/// `[tailscale]`: the daemon beside us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailscaleConfig {
    /// Its LocalAPI socket.
    pub socket: PathBuf,
}

/// `[listen]`: our sockets, one per role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenConfig {
    /// Where `tailscale serve` of this host connects.
    pub socket: PathBuf,
    /// Where the command line connects.
    pub admin_socket: PathBuf,
    /// Health and readiness.
    pub ops_socket: PathBuf,
    /// Whether we serve while Tailscale SSH is on.
    pub tailscale_ssh: TailscaleSsh,
    /// Admits folders that others may enter by way of tailscaled; for tests.
    pub allow_unsafe_path: bool,
    /// The uid that tailscaled runs under; never 65534.
    pub tailscaled_uid: u32,
    /// The uid that may use the admin and ops sockets; never 65534.
    pub admin_uid: u32,
    /// `[[listen.service]]`.
    pub services: Vec<ServiceListener>,
    /// `[[listen.proxy]]`.
    pub proxies: Vec<ProxyListener>,
}

/// Whether we serve while Tailscale SSH is on (design section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TailscaleSsh {
    /// Not ready while it is on.
    Refuse,
    /// Whoever may forward through this host may be anyone, and that is accepted.
    Trusted,
}

/// `[[listen.service]]`: the socket of one Tailscale Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceListener {
    /// `svc:NAME`.
    pub name: ServiceName,
    /// Where serve of this service connects.
    pub socket: PathBuf,
}

/// `[[listen.proxy]]`: the socket of a reverse proxy of the administrator's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyListener {
    /// Where the proxy connects.
    pub socket: PathBuf,
    /// The uid of the proxy, its alone; never 0 and never 65534.
    pub uid: u32,
}

/// `[identity]`: whom the tailnet's answers are taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityConfig {
    /// Whether a node that routes for others counts as its owner.
    pub routers: Routers,
    /// How long tailscaled may have been cut off from its control server; `None` is for ever.
    pub max_stale: Option<Lifetime>,
    /// The capability whose values are our rules.
    pub capability: String,
}

/// Whether a user-owned node that routes for others is taken for its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Routers {
    /// It is refused: anybody behind it would be its owner.
    Deny,
    /// It is its owner.
    Allow,
}

/// `[claims]` and `[compat]`: how claims are made from names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimsConfig {
    /// Domains whose users get a bare `preferred_username`; `None` is the pinned one of the tailnet.
    pub local_domains: Option<Vec<String>>,
    /// Domains whose addresses count as verified; `*` is every one.
    pub verified_domains: Vec<String>,
    /// What makes an address of `bob@github`; `None` is the pinned one, at first start the issuer's host.
    pub email_suffix: Option<String>,
    /// `[compat] tsidp_claims`: issue tsidp's device claims.
    pub tsidp_claims: bool,
    /// `[compat] introspect_any_client`: every confidential client may introspect every access token, as at tsidp.
    pub introspect_any_client: bool,
}

/// `[limits]`: bounds of what is done at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that are worked on at once; more wait.
    pub requests_in_flight: usize,
    /// Connections that are open at once on each socket; more wait to be accepted.
    pub connections: usize,
    /// Requests that one node may make in a minute; `None` is unlimited.
    pub node_requests_per_minute: Option<NonZeroU32>,
    /// Requests that one node may make at once after a pause.
    pub node_burst: NonZeroU32,
}

/// `[keys]`: when keys are rotated, and which there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysConfig {
    /// How long a key is in use; `None` until a command rotates it.
    pub rotate_every: Option<Lifetime>,
    /// How long a key is published before it is used.
    pub publish_ahead: Lifetime,
    /// Algorithms with a key in any case; those that a client or resource asks for have one, too.
    pub algorithms: Vec<Algorithm>,
}

impl KeysConfig {
    /// With what is asked of the keys.
    pub const fn policy(&self, demand: Demand) -> rotation::Policy {
        rotation::Policy { every: self.rotate_every, ahead: self.publish_ahead, demand }
    }
}

/// `[dpop]`: proofs of possession.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DpopConfig {
    /// Whether every proof needs a nonce of ours.
    pub nonce: NonceRule,
}

/// `[log]`: what is written to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The form of a line.
    pub format: LogFormat,
    /// The least level that is written.
    pub level: LogLevel,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The least level that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// A person must act.
    Error,
    /// Something is not as it should be.
    Warn,
    /// Each decision.
    Info,
    /// Why each decision.
    Debug,
    /// Everything, dependencies included.
    Trace,
}

impl LogLevel {
    /// The name of the level, which is also a directive of `tracing-subscriber`'s filter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Default for Config {
    /// Every default of the configuration.
    fn default() -> Self {
        Self {
            file: DEFAULT_PATH.into(),
            issuer: None,
            tailscale: TailscaleConfig { socket: "/run/tailscale/tailscaled.sock".into() },
            listen: ListenConfig {
                socket: "/run/tsidecar/serve.sock".into(),
                admin_socket: "/run/tsidecar/admin.sock".into(),
                ops_socket: "/run/tsidecar/ops.sock".into(),
                tailscale_ssh: TailscaleSsh::Refuse,
                allow_unsafe_path: false,
                tailscaled_uid: 0,
                admin_uid: 0,
                services: Vec::new(),
                proxies: Vec::new(),
            },
            identity: IdentityConfig {
                routers: Routers::Deny,
                max_stale: None,
                capability: "tailscale.com/cap/tsidp".to_owned(),
            },
            claims: ClaimsConfig {
                local_domains: None,
                verified_domains: vec!["*".to_owned()],
                email_suffix: None,
                tsidp_claims: false,
                introspect_any_client: false,
            },
            limits: Limits {
                requests_in_flight: 512,
                connections: 1024,
                node_requests_per_minute: NonZeroU32::new(1200),
                node_burst: NonZeroU32::MIN.saturating_add(199),
            },
            registration: RegistrationConfig::default(),
            keys: KeysConfig {
                rotate_every: Some(Lifetime::from_days(90)),
                publish_ahead: Lifetime::from_days(1),
                algorithms: vec![Algorithm::Rs256, Algorithm::Es256],
            },
            dpop: DpopConfig { nonce: NonceRule::Optional },
            session_lifetime: session::LIFETIME,
            outbound: OutboundConfig::default(),
            state_dir: "/var/lib/tsidecar".into(),
            log: LogConfig { format: LogFormat::Text, level: LogLevel::Info },
            rules: Vec::new(),
            clients: Vec::new(),
            exchanges: Vec::new(),
            resources: Vec::new(),
            workloads: Vec::new(),
            trusted: Trusted::default(),
            documents: DocumentsConfig::default(),
            warnings: Vec::new(),
        }
    }
}

impl Config {
    /// Reads and validates the configuration, `clients.d/*.toml` and `documents.d/*.json` beside it included, with every secret it names.
    ///
    /// # Errors
    /// [`ConfigError`] with the first thing that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with(path, true)
    }

    /// As [`Self::load`], from outside the unit: systemd credentials are reported instead of read.
    ///
    /// The result is to be looked at, never to be served: a client whose secret was not read has a digest of nothing.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn check(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with(path, false)
    }

    /// Reads everything but the clients: what commands need to find the daemon. Secrets stay unread.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn options(path: &Path) -> Result<Self, ConfigError> {
        let source = Source::read(path)?;
        build::options(&source, &mut source.parse()?)
    }

    /// Reads and validates the text of one file, as [`Self::check`] does; what [`Self::load`] reads beside it is left out.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_text(path: &str, text: &str) -> Result<Self, ConfigError> {
        let credentials = clients::Credentials { folder: None, required: false };
        Self::from_source(&Source::from_text(path, text), &credentials)
    }

    fn load_with(path: &Path, required: bool) -> Result<Self, ConfigError> {
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let credentials = clients::Credentials { folder, required };
        let main = Source::read(path)?;
        let mut config = Self::from_source(&main, &credentials)?;
        let beside = path.parent().unwrap_or(Path::new("."));
        for path in clients::files(&beside.join("clients.d"), "toml")? {
            let source = Source::read(&path)?;
            let file: raw::ClientsFile = source.parse()?;
            clients::add(&source, file.client, &credentials, &mut config)?;
        }
        for path in clients::files(&beside.join("documents.d"), "json")? {
            let source = Source::read(&path)?;
            documents::pin(source.path(), source.text(), &mut config)?;
        }
        Ok(config)
    }

    fn from_source(source: &Source, credentials: &clients::Credentials) -> Result<Self, ConfigError> {
        let mut file: raw::File = source.parse()?;
        let mut config = build::options(source, &mut file)?;
        clients::add(source, file.client, credentials, &mut config)?;
        Ok(config)
    }
}
