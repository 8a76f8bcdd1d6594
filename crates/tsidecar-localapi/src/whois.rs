//! The answer to "who has this address", and for which destination it is asked.

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use crate::{
    id::{LoginName, NodeId, ServiceName, StableNodeId, UserId},
    json::{nullable, time},
};

/// Says for which destination the peer's capabilities are asked: a grant names destinations, and one that names a
/// service is invisible at the host, and the reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination<'a> {
    /// This node's own address, of the peer's family.
    Host,
    /// A Tailscale Service that this node hosts.
    Service(&'a ServiceName),
    /// Another address.
    Address(IpAddr),
}

/// Tells who has an address: the node, its owner, and what grants give it towards the asked destination.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct WhoIs {
    /// The device.
    #[serde(rename = "Node")]
    pub node: Node,
    /// Its owner; a placeholder when the node is tagged, so look at [`Node::is_tagged`] first.
    #[serde(rename = "UserProfile")]
    pub user_profile: UserProfile,
    /// The peer's capabilities towards the destination.
    #[serde(rename = "CapMap", default, deserialize_with = "nullable")]
    pub cap_map: CapMap,
}

/// Describes a device of the tailnet. All fields are as the control server sent them, zero when absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Node {
    /// The control server's integer.
    #[serde(rename = "ID", deserialize_with = "nullable")]
    pub id: NodeId,
    /// The stable name: the device key.
    #[serde(rename = "StableID", deserialize_with = "nullable")]
    pub stable_id: StableNodeId,
    /// DNS name with a dot at its end. An administrator can change it.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// The owner.
    #[serde(deserialize_with = "nullable")]
    pub user: UserId,
    /// Who shared this node to our tailnet; zero when nobody did.
    #[serde(deserialize_with = "nullable")]
    pub sharer: UserId,
    /// `nodekey:` and hex digits; rotates at re-authentication.
    #[serde(deserialize_with = "nullable")]
    pub key: String,
    /// When the key expires (RFC 3339); `None` when it never does.
    #[serde(deserialize_with = "time")]
    pub key_expiry: Option<String>,
    /// The node's own addresses.
    #[serde(deserialize_with = "nullable")]
    pub addresses: Vec<Prefix>,
    /// Where packets from and to this node may belong: its addresses and what it routes.
    #[serde(rename = "AllowedIPs", deserialize_with = "nullable")]
    pub allowed_ips: Vec<Prefix>,
    /// The routes for which this node is the primary router.
    #[serde(deserialize_with = "nullable")]
    pub primary_routes: Vec<Prefix>,
    /// ACL tags, such as `tag:ci`. With any of them the node belongs to no user.
    #[serde(deserialize_with = "nullable")]
    pub tags: Vec<String>,
    /// What the device says about itself.
    #[serde(deserialize_with = "nullable")]
    pub hostinfo: Hostinfo,
    /// Name for display.
    #[serde(deserialize_with = "nullable")]
    pub computed_name: String,
    /// The node key has expired.
    #[serde(deserialize_with = "nullable")]
    pub expired: bool,
    /// Not signed under tailnet lock: it may only reach peer APIs.
    #[serde(rename = "UnsignedPeerAPIOnly", deserialize_with = "nullable")]
    pub unsigned_peer_api_only: bool,
    /// It may not open connections to us.
    #[serde(deserialize_with = "nullable")]
    pub is_jailed: bool,
    /// A plain WireGuard peer, without a Tailscale client.
    #[serde(rename = "IsWireGuardOnly", deserialize_with = "nullable")]
    pub is_wireguard_only: bool,
    /// Approved by an administrator, where the tailnet asks for that.
    #[serde(deserialize_with = "nullable")]
    pub machine_authorized: bool,
    /// Whether the control server sees it; `None` when unknown.
    pub online: Option<bool>,
}

/// Holds what a device says about itself, except [`sharee_node`](Self::sharee_node), which the control server sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Hostinfo {
    /// The host name.
    #[serde(deserialize_with = "nullable")]
    pub hostname: String,
    /// The operating system, such as `linux`.
    #[serde(rename = "OS", deserialize_with = "nullable")]
    pub os: String,
    /// Its version.
    #[serde(rename = "OSVersion", deserialize_with = "nullable")]
    pub os_version: String,
    /// The program that embeds Tailscale, if any.
    #[serde(deserialize_with = "nullable")]
    pub app: String,
    /// The device of somebody outside, to whom a node of our tailnet was shared.
    #[serde(deserialize_with = "nullable")]
    pub sharee_node: bool,
    /// Whether it runs without a network interface of its own; `None` when unknown.
    pub userspace: Option<bool>,
}

/// Describes a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UserProfile {
    /// The stable subject.
    #[serde(rename = "ID", deserialize_with = "nullable")]
    pub id: UserId,
    /// The login name.
    #[serde(deserialize_with = "nullable")]
    pub login_name: LoginName,
    /// The name for display.
    #[serde(deserialize_with = "nullable")]
    pub display_name: String,
    /// A picture; empty when there is none.
    #[serde(rename = "ProfilePicURL", deserialize_with = "nullable")]
    pub profile_pic_url: String,
    /// The groups that the policy lets this node see (since 1.98), sorted.
    #[serde(deserialize_with = "nullable")]
    pub groups: Vec<String>,
}

/// Maps the names of granted capabilities to their values, which stay the raw JSON of the policy.
///
/// Values of several grants stand one after the other, duplicates included. A name may have no value at all.
#[derive(Clone, Debug, Default)]
pub struct CapMap(BTreeMap<String, Vec<Box<RawValue>>>);

/// Holds a range of addresses, such as `100.64.0.2/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

/// Tells that a text is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address range such as 100.64.0.2/32")]
pub struct InvalidPrefix;

impl Node {
    /// Whether the node is a workload that belongs to no user.
    pub fn is_tagged(&self) -> bool {
        !self.tags.is_empty()
    }

    /// Whether traffic of others may come from this node: it may send from addresses beyond its own, as a subnet
    /// router or an exit node does.
    pub fn routes_for_others(&self) -> bool {
        let own = |allowed: &Prefix| self.addresses.iter().any(|address| address.covers(allowed));
        !self.allowed_ips.iter().all(own)
    }
}

impl CapMap {
    /// The values of one capability; none when it was not granted.
    ///
    /// ```
    /// let map: tsidecar_localapi::CapMap = serde_json::from_str(r#"{"example.com/cap/x": [{"role": "admin"}]}"#).unwrap();
    /// assert_eq!(map.values("example.com/cap/x")[0].get(), r#"{"role": "admin"}"#);
    /// assert!(map.values("example.com/cap/y").is_empty());
    /// ```
    pub fn values(&self, capability: &str) -> &[Box<RawValue>] {
        self.0.get(capability).map_or(&[], Vec::as_slice)
    }

    /// Whether the capability was granted, with or without values.
    pub fn contains(&self, capability: &str) -> bool {
        self.0.contains_key(capability)
    }

    /// Whether nothing was granted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All capabilities with their values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[Box<RawValue>])> {
        self.0.iter().map(|(name, values)| (name.as_str(), values.as_slice()))
    }
}

impl PartialEq for CapMap {
    /// Compares the raw text of the values.
    fn eq(&self, other: &Self) -> bool {
        let text =
            |values: &[Box<RawValue>]| values.iter().map(|value| value.get().to_owned()).collect::<Vec<_>>();
        self.0.len() == other.0.len()
            && self
                .iter()
                .zip(other.iter())
                .all(|(left, right)| left.0 == right.0 && text(left.1) == text(right.1))
    }
}

impl<'de> Deserialize<'de> for CapMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, Option<Vec<Box<RawValue>>>>::deserialize(deserializer)?;
        Ok(Self(map.into_iter().map(|(name, values)| (name, values.unwrap_or_default())).collect()))
    }
}

impl Prefix {
    /// The address as written, bits beyond the range included.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits are fixed.
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether the range holds exactly one address.
    pub const fn is_single(&self) -> bool {
        self.bits == width(self.address)
    }

    /// Whether the address lies in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        let free = u32::from(width(self.address).saturating_sub(self.bits));
        match (self.address, address) {
            (IpAddr::V4(left), IpAddr::V4(right)) => {
                (left.to_bits() ^ right.to_bits()).checked_shr(free).unwrap_or(0) == 0
            }
            (IpAddr::V6(left), IpAddr::V6(right)) => {
                (left.to_bits() ^ right.to_bits()).checked_shr(free).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// Whether the whole other range lies in this one.
    pub fn covers(&self, other: &Self) -> bool {
        self.bits <= other.bits && self.contains(other.address)
    }
}

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let (address, bits) = text.split_once('/').ok_or(InvalidPrefix)?;
        let address: IpAddr = address.parse().map_err(|_| InvalidPrefix)?;
        let bits: u8 = bits.parse().map_err(|_| InvalidPrefix)?;
        if bits > width(address) {
            return Err(InvalidPrefix);
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The number of bits of an address.
const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes_are_read_and_written() {
        for text in ["100.64.0.2/32", "0.0.0.0/0", "::/0", "fd7a:115c:a1e0::2/128", "10.1.2.3/8"] {
            assert_eq!(prefix(text).to_string(), text);
        }
        assert!(prefix("100.64.0.2/32").is_single() && prefix("::1/128").is_single());
        assert!(!prefix("100.64.0.2/31").is_single() && !prefix("::1/32").is_single());
        for bad in [
            "",
            "/",
            "100.64.0.2",
            "100.64.0.2/",
            "100.64.0.2/33",
            "::/129",
            "::/-1",
            "::/256",
            "x/1",
            "::1%lo/128",
        ] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }

    #[test]
    fn prefixes_contain_addresses() {
        let cases = [
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::", false),
            ("::/0", "ffff::", true),
            ("::/0", "0.0.0.0", false),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("128.0.0.0/1", "127.255.255.255", false),
            ("100.64.0.2/32", "100.64.0.2", true),
            ("100.64.0.2/32", "100.64.0.3", false),
            ("fd7a::/16", "fd7a:1::", true),
            ("fd7a::/16", "fd7b::", false),
            ("::2/128", "::2", true),
            ("::2/128", "::3", false),
        ];
        for (range, address, inside) in cases {
            assert_eq!(prefix(range).contains(address.parse().unwrap()), inside, "{range} {address}");
        }
    }

    #[test]
    fn routers_allow_more_than_their_addresses() {
        let node = |addresses: &[&str], allowed: &[&str]| Node {
            addresses: addresses.iter().map(|text| prefix(text)).collect(),
            allowed_ips: allowed.iter().map(|text| prefix(text)).collect(),
            ..Node::default()
        };
        let own = ["100.64.0.2/32", "fd7a::2/128"];
        for allowed in [&[][..], &own, &own[1..]] {
            assert!(!node(&own, allowed).routes_for_others(), "{allowed:?}");
        }
        for route in ["100.64.0.3/32", "100.64.0.2/31", "100.64.0.0/24", "0.0.0.0/0", "fd7a::/64", "::/0"] {
            assert!(node(&own, &[own[0], route]).routes_for_others(), "{route}");
        }
        assert!(node(&[], &own).routes_for_others(), "a node without addresses routes whatever it may send");
    }
}
