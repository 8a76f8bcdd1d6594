//! How the daemon is, without its peers.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer};

use crate::{
    id::{NodeId, StableNodeId, UserId},
    json::{nullable, time},
};

/// Tells how tailscaled is and who this node is. Asked without peers, so its size does not grow with the tailnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Status {
    /// The version in its long form, such as `1.102.3-t0123abcd`.
    #[serde(deserialize_with = "nullable")]
    pub version: String,
    /// Whether there is a kernel interface; `false` is userspace networking, where peers reach our loopback ports.
    #[serde(rename = "TUN", deserialize_with = "nullable")]
    pub tun: bool,
    /// What the daemon is doing.
    #[serde(deserialize_with = "nullable")]
    pub backend_state: BackendState,
    /// This node's own addresses.
    #[serde(rename = "TailscaleIPs", deserialize_with = "nullable")]
    pub tailscale_ips: Vec<IpAddr>,
    /// This node.
    #[serde(rename = "Self", deserialize_with = "nullable")]
    pub self_node: SelfNode,
    /// The tailnet; `None` before the first login.
    pub current_tailnet: Option<Tailnet>,
    /// The names for which the tailnet gives certificates.
    #[serde(deserialize_with = "nullable")]
    pub cert_domains: Vec<String>,
    /// What is wrong, in tailscaled's words; empty when all is well.
    #[serde(deserialize_with = "nullable")]
    pub health: Vec<String>,
}

/// Describes this node as its own daemon sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SelfNode {
    /// The stable name; empty before the first login.
    #[serde(rename = "ID", deserialize_with = "nullable")]
    pub id: StableNodeId,
    /// The control server's integer (since 1.100, otherwise zero).
    #[serde(rename = "NodeID", deserialize_with = "nullable")]
    pub node_id: NodeId,
    /// The host name as the device says it.
    #[serde(deserialize_with = "nullable")]
    pub host_name: String,
    /// The DNS name with a dot at its end.
    #[serde(rename = "DNSName", deserialize_with = "nullable")]
    pub dns_name: String,
    /// The owner.
    #[serde(rename = "UserID", deserialize_with = "nullable")]
    pub user_id: UserId,
    /// ACL tags.
    #[serde(deserialize_with = "nullable")]
    pub tags: Vec<String>,
    /// The addresses.
    #[serde(rename = "TailscaleIPs", deserialize_with = "nullable")]
    pub tailscale_ips: Vec<IpAddr>,
    /// Whether a map poll is under way: `false` means that the daemon is cut off from its control server.
    #[serde(deserialize_with = "nullable")]
    pub online: bool,
    /// When the node key expires (RFC 3339); `None` when it never does.
    #[serde(deserialize_with = "time")]
    pub key_expiry: Option<String>,
    /// The node key has expired.
    #[serde(deserialize_with = "nullable")]
    pub expired: bool,
}

/// Describes the tailnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Tailnet {
    /// Its name, such as `example.com`.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// The domain of its DNS names, such as `tail1234.ts.net`.
    #[serde(rename = "MagicDNSSuffix", deserialize_with = "nullable")]
    pub magic_dns_suffix: String,
    /// Whether those names resolve on every node.
    #[serde(rename = "MagicDNSEnabled", deserialize_with = "nullable")]
    pub magic_dns_enabled: bool,
}

/// Says what tailscaled is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BackendState {
    /// It has just started.
    #[default]
    NoState,
    /// Another user of a desktop holds it.
    InUseOtherUser,
    /// Nobody is logged in.
    NeedsLogin,
    /// An administrator must approve the node.
    NeedsMachineAuth,
    /// `tailscale down`.
    Stopped,
    /// On its way up.
    Starting,
    /// Up, which means that a network map has arrived.
    Running,
    /// A state that is unknown to us: its name, or its number on the bus.
    Other(String),
}

impl BackendState {
    /// Reads the name of a state.
    pub fn from_name(name: &str) -> Self {
        match name {
            "" | "NoState" => Self::NoState,
            "InUseOtherUser" => Self::InUseOtherUser,
            "NeedsLogin" => Self::NeedsLogin,
            "NeedsMachineAuth" => Self::NeedsMachineAuth,
            "Stopped" => Self::Stopped,
            "Starting" => Self::Starting,
            "Running" => Self::Running,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Reads the number of a state, as the bus writes it.
    pub fn from_number(number: i64) -> Self {
        match number {
            0 => Self::NoState,
            1 => Self::InUseOtherUser,
            2 => Self::NeedsLogin,
            3 => Self::NeedsMachineAuth,
            4 => Self::Stopped,
            5 => Self::Starting,
            6 => Self::Running,
            other => Self::Other(other.to_string()),
        }
    }
}

impl<'de> Deserialize<'de> for BackendState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Self::from_name(&name))
    }
}
