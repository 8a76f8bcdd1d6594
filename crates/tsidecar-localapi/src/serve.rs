//! Preferences and what `tailscale serve` serves. tailscaled calls both unstable, so they are read tolerantly.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::json::nullable;

/// Holds the preferences that matter to the trust boundary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Prefs {
    /// Tailscale SSH is on: who may log in may forward to unix sockets through the daemon.
    #[serde(rename = "RunSSH", deserialize_with = "nullable")]
    pub run_ssh: bool,
    /// The local user who may change the serve config; empty when only root may.
    #[serde(deserialize_with = "nullable")]
    pub operator_user: String,
    /// The host name that the administrator asked for.
    #[serde(deserialize_with = "nullable")]
    pub hostname: String,
    /// Whether the node should be up.
    #[serde(deserialize_with = "nullable")]
    pub want_running: bool,
    /// Whether the node was logged out on purpose.
    #[serde(deserialize_with = "nullable")]
    pub logged_out: bool,
    /// Whether connections from peers are refused.
    #[serde(deserialize_with = "nullable")]
    pub shields_up: bool,
    /// The tags that the node asks for.
    #[serde(deserialize_with = "nullable")]
    pub advertise_tags: Vec<String>,
    /// The control server.
    #[serde(rename = "ControlURL", deserialize_with = "nullable")]
    pub control_url: String,
}

/// Holds what `tailscale serve` and `tailscale funnel` serve on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServeConfig {
    /// What happens on each port.
    #[serde(rename = "TCP", deserialize_with = "null_values")]
    pub tcp: BTreeMap<u16, TcpHandler>,
    /// The web servers by `host:port`.
    #[serde(deserialize_with = "null_values")]
    pub web: BTreeMap<String, WebServer>,
    /// For which `host:port` Funnel is on.
    #[serde(deserialize_with = "null_values")]
    pub allow_funnel: BTreeMap<String, bool>,
    /// The Tailscale Services that this node hosts, by name (`svc:…`).
    #[serde(deserialize_with = "null_values")]
    pub services: BTreeMap<String, ServiceConfig>,
    /// What foreground sessions of the command line serve, by session.
    #[serde(deserialize_with = "null_values")]
    pub foreground: BTreeMap<String, ServeConfig>,
}

/// Holds what is served under the address of one Tailscale Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceConfig {
    /// What happens on each port.
    #[serde(rename = "TCP", deserialize_with = "null_values")]
    pub tcp: BTreeMap<u16, TcpHandler>,
    /// The web servers by `host:port`.
    #[serde(deserialize_with = "null_values")]
    pub web: BTreeMap<String, WebServer>,
    /// Whether packets go to the host as they are.
    #[serde(deserialize_with = "nullable")]
    pub tun: bool,
}

/// Says what happens to connections on a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TcpHandler {
    /// They reach a web server over TLS.
    #[serde(rename = "HTTPS", deserialize_with = "nullable")]
    pub https: bool,
    /// They reach a web server without TLS.
    #[serde(rename = "HTTP", deserialize_with = "nullable")]
    pub http: bool,
    /// They are forwarded as they are to `host:port` or, since 1.102, `unix:PATH`; empty when they are not.
    #[serde(rename = "TCPForward", deserialize_with = "nullable")]
    pub tcp_forward: String,
    /// TLS ends at tailscaled under this name before they are forwarded; empty when it does not.
    #[serde(rename = "TerminateTLS", deserialize_with = "nullable")]
    pub terminate_tls: String,
    /// The version of the PROXY protocol that the target is told; zero for none.
    #[serde(rename = "ProxyProtocol", deserialize_with = "nullable")]
    pub proxy_protocol: i64,
}

/// Holds the handlers of one web server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct WebServer {
    /// The handlers by the path at which they are mounted.
    #[serde(deserialize_with = "null_values")]
    pub handlers: BTreeMap<String, HttpHandler>,
}

/// Says what answers requests below a mount; one of the texts is not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HttpHandler {
    /// A backend: URL, `host:port`, port, or `unix:PATH`.
    #[serde(deserialize_with = "nullable")]
    pub proxy: String,
    /// A file or folder.
    #[serde(deserialize_with = "nullable")]
    pub path: String,
    /// A fixed text.
    #[serde(deserialize_with = "nullable")]
    pub text: String,
    /// A redirect.
    #[serde(deserialize_with = "nullable")]
    pub redirect: String,
    /// The capabilities that the backend is told in a header.
    #[serde(deserialize_with = "nullable")]
    pub accept_app_caps: Vec<String>,
}

/// Says in which part of the config a target stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place<'a> {
    /// The foreground session, if it is one.
    pub session: Option<&'a str>,
    /// The Tailscale Service, if it is one.
    pub service: Option<&'a str>,
}

/// Names one thing that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Where it stands.
    pub place: Place<'a>,
    /// What it is.
    pub kind: TargetKind<'a>,
}

/// Tells forwards of plain connections from handlers of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind<'a> {
    /// Connections to a port are forwarded with whatever the client sends: no header in them can be believed.
    TcpForward {
        /// The port.
        port: u16,
        /// The handler; its `tcp_forward` is not empty.
        handler: &'a TcpHandler,
    },
    /// Requests below a mount are answered.
    Web {
        /// The web server's `host:port`.
        host_port: &'a str,
        /// The mount.
        mount: &'a str,
        /// The handler.
        handler: &'a HttpHandler,
    },
}

impl ServeConfig {
    /// Every TCP forward and every web handler: of the node, of its services and of all foreground sessions.
    ///
    /// ```
    /// use tsidecar_localapi::{ServeConfig, TargetKind};
    ///
    /// let config: ServeConfig = serde_json::from_str(r#"{"TCP": {"22": {"TCPForward": "127.0.0.1:22"}}}"#).unwrap();
    /// let forwards = config.targets().filter(|target| matches!(target.kind, TargetKind::TcpForward { .. }));
    /// assert_eq!(forwards.count(), 1);
    /// ```
    pub fn targets(&self) -> impl Iterator<Item = Target<'_>> {
        let mut targets = Vec::new();
        self.collect(None, &mut targets);
        targets.into_iter()
    }

    /// Whether nothing is served.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn collect<'a>(&'a self, session: Option<&'a str>, targets: &mut Vec<Target<'a>>) {
        collect_ports(&self.tcp, Place { session, service: None }, targets);
        collect_web(&self.web, Place { session, service: None }, targets);
        for (name, service) in &self.services {
            collect_ports(&service.tcp, Place { session, service: Some(name) }, targets);
            collect_web(&service.web, Place { session, service: Some(name) }, targets);
        }
        for (session, config) in &self.foreground {
            config.collect(Some(session), targets);
        }
    }
}

fn collect_ports<'a>(ports: &'a BTreeMap<u16, TcpHandler>, place: Place<'a>, targets: &mut Vec<Target<'a>>) {
    let forwards = ports.iter().filter(|(_, handler)| !handler.tcp_forward.is_empty());
    targets.extend(
        forwards
            .map(|(port, handler)| Target { place, kind: TargetKind::TcpForward { port: *port, handler } }),
    );
}

fn collect_web<'a>(
    servers: &'a BTreeMap<String, WebServer>,
    place: Place<'a>,
    targets: &mut Vec<Target<'a>>,
) {
    for (host_port, server) in servers {
        targets.extend(
            server.handlers.iter().map(|(mount, handler)| Target {
                place,
                kind: TargetKind::Web { host_port, mount, handler },
            }),
        );
    }
}

/// Reads a map that may be `null` and whose values may be `null`.
fn null_values<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de> + Default,
{
    let map = Option::<BTreeMap<K, Option<V>>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(map.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect())
}
