//! The end-user as the core sees one: subject, device, names, rules. No type of Tailscale's is in here.
//!
//! Layer 1. The server makes an identity from a whois answer after the trust boundary's rules; it lives for one request.

use crate::id::{DeviceId, Subject};
use crate::rule::{Rule, TaggedIdentity};

/// Whom the tailnet says is calling.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `sub`.
    pub subject: Subject,
    /// What sort of node the person is on.
    pub kind: IdentityKind,
    /// The login name, "emailish": `alice@example.com`, `bob@github`. Empty for a tagged node.
    pub login: String,
    /// The display name; may be empty.
    pub display_name: String,
    /// URL of a picture.
    pub picture: Option<String>,
    /// Groups that the tailnet reports.
    pub groups: Vec<String>,
    /// The device.
    pub device: Device,
    /// The rules of the capability, parsed.
    pub rules: Vec<Rule>,
}

/// What sort of node an identity stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityKind {
    /// A user of this tailnet on a device of their own.
    User,
    /// A user of another tailnet, on a node shared in or out.
    External,
    /// A tagged node to which a rule gives an identity.
    Tagged(TaggedIdentity),
}

/// The device of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The stable identifier.
    pub id: DeviceId,
    /// The numeric node id, which may exceed 2^53.
    pub node_id: i64,
    /// The full name without trailing dot.
    pub name: String,
    /// The current node key, `nodekey:…`.
    pub key: String,
    /// Its addresses as prefixes.
    pub addresses: Vec<String>,
    /// Its tags.
    pub tags: Vec<String>,
}

impl Device {
    /// The tailnet's DNS suffix: the name after its first dot.
    pub fn tailnet(&self) -> &str {
        self.name.split_once('.').map_or("", |(_, suffix)| suffix)
    }
}

impl Identity {
    /// The numeric user id behind a `userid:` subject.
    pub fn uid(&self) -> Option<i64> {
        self.subject.as_str().strip_prefix("userid:")?.parse().ok()
    }

    /// Local part and domain of the login name, at the last `@`.
    pub fn login_parts(&self) -> Option<(&str, &str)> {
        self.login.rsplit_once('@').filter(|(local, domain)| !local.is_empty() && !domain.is_empty())
    }
}
