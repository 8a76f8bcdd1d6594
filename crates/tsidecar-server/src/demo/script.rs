//! What the stand-in for tailscaled says: nodes, users, grants and the state of the daemon, in the JSON of tailscaled 1.102.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::{Map, Value, json};

/// The destination of grants that hold at the host itself, beside the names of Services (`svc:…`).
pub const HOST: &str = "host";

/// A tailnet as its identity provider's daemon sees it. Everything is public: a script is written by hand.
#[derive(Clone, Debug)]
pub struct Script {
    /// The node on which the stand-in runs.
    pub this_node: Node,
    /// All other nodes.
    pub peers: Vec<Node>,
    /// What `BackendState` says: `Running` means that a network map has arrived.
    pub state: String,
    /// Whether Tailscale SSH is on.
    pub run_ssh: bool,
    /// The answer to `serve-config`.
    pub serve_config: Value,
    /// `Tailscale-Cap`; 142 is tailscaled 1.102.
    pub capability: u32,
    /// `Tailscale-Version`.
    pub version: String,
    /// Whether there is a kernel interface.
    pub tun: bool,
    /// The name of the tailnet.
    pub tailnet: String,
    /// The domain of the nodes' DNS names.
    pub domain: String,
    /// Whether a map poll is under way.
    pub online: bool,
}

/// A node of the tailnet.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// The control server's integer.
    pub id: i64,
    /// The stable name.
    pub stable_id: String,
    /// The first label of the DNS name.
    pub name: String,
    /// The addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// The owner.
    pub user: User,
    /// ACL tags; with any of them the owner is a placeholder.
    pub tags: Vec<String>,
    /// Grants: destination ([`HOST`] or `svc:…`), capability, values.
    pub grants: BTreeMap<String, BTreeMap<String, Vec<Value>>>,
    /// The node key has expired.
    pub expired: bool,
    /// It may not open connections to us.
    pub jailed: bool,
    /// Not signed under tailnet lock.
    pub unsigned: bool,
    /// A plain WireGuard peer.
    pub wireguard_only: bool,
    /// Who shared the node to this tailnet; zero for nobody.
    pub sharer: i64,
    /// The device of somebody to whom a node of this tailnet was shared.
    pub sharee: bool,
    /// Prefixes that the node routes for others.
    pub routes: Vec<String>,
    /// Whether the owner's profile is missing, which makes whois answer 404.
    pub no_profile: bool,
}

/// A user of the tailnet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The stable subject.
    pub id: i64,
    /// The login name.
    pub login: String,
    /// The name for display.
    pub name: String,
    /// URL of a picture; may be empty.
    pub picture: String,
    /// Groups that whois reports.
    pub groups: Vec<String>,
}

impl User {
    /// A user without picture and groups.
    pub fn new(id: i64, login: &str, name: &str) -> Self {
        Self { id, login: login.to_owned(), name: name.to_owned(), ..Self::default() }
    }
}

impl Node {
    /// A user's own device.
    pub fn of(user: User, id: i64, name: &str, addresses: &[IpAddr]) -> Self {
        Self {
            id,
            stable_id: format!("n{}CNTRL", name.to_ascii_uppercase().replace('-', "")),
            name: name.to_owned(),
            addresses: addresses.to_vec(),
            user,
            ..Self::default()
        }
    }

    /// A tagged node. The owner is tailscaled's placeholder.
    pub fn tagged(tag: &str, id: i64, name: &str, addresses: &[IpAddr]) -> Self {
        let placeholder = User::new(2_147_455_555, "tagged-devices", "Tagged Devices");
        Self { tags: vec![tag.to_owned()], ..Self::of(placeholder, id, name, addresses) }
    }

    /// Adds a value of a capability towards a destination.
    pub fn grant(&mut self, destination: &str, capability: &str, value: Value) {
        let capabilities = self.grants.entry(destination.to_owned()).or_default();
        capabilities.entry(capability.to_owned()).or_default().push(value);
    }

    /// The node as whois and the bus show it: zero values are absent.
    pub fn json(&self, domain: &str) -> Value {
        let prefixes = |addresses: &[IpAddr]| -> Vec<String> { addresses.iter().map(host_prefix).collect() };
        let own = prefixes(&self.addresses);
        let allowed: Vec<String> = own.iter().chain(&self.routes).cloned().collect();
        let mut hostinfo = json!({ "OS": "linux", "Hostname": self.name });
        if self.sharee {
            set(&mut hostinfo, "ShareeNode", json!(true));
        }
        let mut node = json!({
            "ID": self.id,
            "StableID": self.stable_id,
            "Name": format!("{}.{domain}.", self.name),
            "User": self.user.id,
            "Key": format!("nodekey:{:064x}", self.id),
            "Machine": format!("mkey:{:064x}", self.id),
            "Addresses": own,
            "AllowedIPs": allowed,
            "Hostinfo": hostinfo,
            "Created": "2026-01-02T03:04:05Z",
            "MachineAuthorized": true,
            "Online": true,
            "ComputedName": self.name,
            "ComputedNameWithHost": self.name,
        });
        let flags = [
            ("Expired", self.expired),
            ("IsJailed", self.jailed),
            ("UnsignedPeerAPIOnly", self.unsigned),
            ("IsWireGuardOnly", self.wireguard_only),
        ];
        for (name, _) in flags.iter().filter(|(_, value)| *value) {
            set(&mut node, name, json!(true));
        }
        if self.sharer != 0 {
            set(&mut node, "Sharer", json!(self.sharer));
        }
        if !self.tags.is_empty() {
            set(&mut node, "Tags", json!(self.tags));
        }
        node
    }

    fn profile(&self) -> Value {
        let mut profile = json!({
            "ID": self.user.id,
            "LoginName": self.user.login,
            "DisplayName": self.user.name,
        });
        if !self.user.picture.is_empty() {
            set(&mut profile, "ProfilePicURL", json!(self.user.picture));
        }
        if !self.user.groups.is_empty() {
            set(&mut profile, "Groups", json!(self.user.groups));
        }
        profile
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = object {
        members.insert(name.to_owned(), value);
    }
}

fn host_prefix(address: &IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

impl Script {
    /// A running tailnet without peers whose identity provider is `idp`, a tagged node at 100.64.0.1.
    pub fn new(tailnet: &str, domain: &str) -> Self {
        let addresses = [IpAddr::from([100, 64, 0, 1]), ip6(1)];
        Self {
            this_node: Node::tagged("tag:idp", 1, "idp", &addresses),
            peers: Vec::new(),
            state: "Running".to_owned(),
            run_ssh: false,
            serve_config: Value::Null,
            capability: 142,
            version: "1.102.3-t0123456789".to_owned(),
            tun: true,
            tailnet: tailnet.to_owned(),
            domain: domain.to_owned(),
            online: true,
        }
    }

    /// Says that serve gives HTTPS on the node's own name to a backend, and nothing else.
    pub fn serve(&mut self, backend: &str) {
        let host = format!("{}.{}:443", self.this_node.name, self.domain);
        self.serve_config = json!({
            "TCP": { "443": { "HTTPS": true } },
            "Web": { host: { "Handlers": { "/": { "Proxy": backend } } } },
        });
    }

    /// The peer with an address, this node included.
    pub fn node(&self, address: IpAddr) -> Option<&Node> {
        self.nodes().find(|node| node.addresses.contains(&address))
    }

    /// The peer with an address, to change it.
    pub fn peer_mut(&mut self, address: IpAddr) -> Option<&mut Node> {
        self.peers.iter_mut().find(|node| node.addresses.contains(&address))
    }

    /// The answer to whois; `None` is 404.
    pub(crate) fn whois(&self, address: IpAddr, service: Option<&str>) -> Option<Value> {
        let found = self.state == "Running" && self.node(address).is_some_and(|node| !node.no_profile);
        let node = self.node(address).filter(|_| found)?;
        let destination = service.filter(|_| self.capability >= 141).unwrap_or(HOST);
        let capabilities = node.grants.get(destination);
        Some(json!({
            "Node": node.json(&self.domain),
            "UserProfile": node.profile(),
            "CapMap": capabilities.map_or(Value::Null, |map| json!(map)),
        }))
    }

    /// The answer to status without peers.
    pub(crate) fn status(&self) -> Value {
        let node = &self.this_node;
        json!({
            "Version": self.version,
            "TUN": self.tun,
            "BackendState": self.state,
            "TailscaleIPs": node.addresses,
            "Self": {
                "ID": node.stable_id,
                "NodeID": node.id,
                "HostName": node.name,
                "DNSName": format!("{}.{}.", node.name, self.domain),
                "UserID": node.user.id,
                "Tags": node.tags,
                "TailscaleIPs": node.addresses,
                "Online": self.online,
            },
            "CurrentTailnet": { "Name": self.tailnet, "MagicDNSSuffix": self.domain, "MagicDNSEnabled": true },
            "CertDomains": [format!("{}.{}", node.name, self.domain)],
            "Health": [],
            "Peer": null,
            "User": null,
        })
    }

    /// The answer to prefs.
    pub(crate) fn prefs(&self) -> Value {
        json!({ "ControlURL": "https://control.test", "WantRunning": true, "LoggedOut": false, "RunSSH": self.run_ssh,
            "Hostname": self.this_node.name, "ShieldsUp": false, "OperatorUser": "", "AdvertiseTags": null })
    }

    /// The first message of the bus.
    pub(crate) fn hello(&self, session: u64) -> Value {
        json!({ "Version": self.version, "SessionID": format!("{session:016x}"), "State": self.state_number(),
            "Prefs": self.prefs() })
    }

    /// What the bus says when the tailnet changed from `before` to this. Grants are part of the packet filter, of which
    /// tailscaled tells nothing.
    pub(crate) fn changes(&self, before: &Self) -> Vec<Value> {
        let mut messages = Vec::new();
        let profiles: Map<String, Value> = self
            .nodes()
            .filter(|node| !before.nodes().any(|old| old.user == node.user))
            .map(|node| (node.user.id.to_string(), node.profile()))
            .collect();
        if !profiles.is_empty() {
            messages.push(json!({ "UserProfiles": profiles }));
        }
        let known: Vec<Value> = before.nodes().map(|node| node.json(&before.domain)).collect();
        let changed: Vec<Value> = self
            .peers
            .iter()
            .map(|node| node.json(&self.domain))
            .filter(|node| !known.contains(node))
            .collect();
        if !changed.is_empty() {
            messages.push(json!({ "PeersChanged": changed }));
        }
        let gone = |old: &&Node| !self.peers.iter().any(|node| node.id == old.id);
        let removed: Vec<i64> = before.peers.iter().filter(gone).map(|node| node.id).collect();
        if !removed.is_empty() {
            messages.push(json!({ "PeersRemoved": removed }));
        }
        let this_node = self.this_node.json(&self.domain);
        if !known.contains(&this_node) {
            messages.push(json!({ "SelfChange": this_node }));
        }
        if self.prefs() != before.prefs() {
            messages.push(json!({ "Prefs": self.prefs() }));
        }
        if self.state != before.state {
            messages.push(json!({ "State": self.state_number() }));
        }
        messages
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        std::iter::once(&self.this_node).chain(&self.peers)
    }

    fn state_number(&self) -> u8 {
        match self.state.as_str() {
            "InUseOtherUser" => 1,
            "NeedsLogin" => 2,
            "NeedsMachineAuth" => 3,
            "Stopped" => 4,
            "Starting" => 5,
            "Running" => 6,
            _ => 0,
        }
    }
}

/// An IPv6 address of the tailnet.
pub(crate) fn ip6(last: u16) -> IpAddr {
    IpAddr::from([0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, last])
}

#[cfg(test)]
mod tests {
    use tsidecar_localapi::{Notify, Status, WhoIs};

    use super::*;

    fn script() -> Script {
        let mut script = Script::new("example.com", "tail.test");
        let alice = User::new(1001, "alice@example.com", "Alice Ä");
        let mut node = Node::of(alice, 2, "alice-laptop", &[IpAddr::from([100, 64, 0, 2]), ip6(2)]);
        node.grant(HOST, "example.com/cap/x", json!({"a": 1}));
        node.grant("svc:login", "example.com/cap/x", json!({"a": 2}));
        script.peers.push(node);
        script
    }

    #[test]
    fn our_own_client_reads_every_answer() {
        let script = script();
        let whois = script.whois(ip6(2), None).unwrap();
        let whois: WhoIs = serde_json::from_value(whois).unwrap();
        assert_eq!(whois.node.stable_id.to_string(), "nALICELAPTOPCNTRL");
        assert!(!whois.node.is_tagged() && !whois.node.routes_for_others());
        assert_eq!(whois.cap_map.values("example.com/cap/x")[0].get(), r#"{"a":1}"#);
        let status: Status = serde_json::from_value(script.status()).unwrap();
        assert_eq!(status.self_node.dns_name, "idp.tail.test.");
        let hello: Notify = serde_json::from_value(script.hello(1)).unwrap();
        assert!(hello.state.is_some() && hello.prefs.is_some());
    }

    #[test]
    fn grants_belong_to_a_destination_that_old_daemons_do_not_know() {
        let mut script = script();
        let value = |script: &Script, service| script.whois(ip6(2), service).unwrap()["CapMap"].clone();
        assert_eq!(value(&script, Some("svc:login"))["example.com/cap/x"][0]["a"], 2);
        assert_eq!(value(&script, Some("svc:other")), Value::Null);
        script.capability = 138;
        assert_eq!(value(&script, Some("svc:login"))["example.com/cap/x"][0]["a"], 1);
    }

    #[test]
    fn the_bus_tells_what_changed_but_not_grants() {
        let before = script();
        let mut after = before.clone();
        after.peers[0].grant(HOST, "example.com/cap/y", json!({}));
        assert!(after.changes(&before).is_empty());
        after.peers[0].expired = true;
        after.run_ssh = true;
        let names: Vec<String> = after
            .changes(&before)
            .iter()
            .flat_map(|m| m.as_object().unwrap().keys().cloned().collect::<Vec<_>>())
            .collect();
        assert_eq!(names, ["PeersChanged", "Prefs"]);
        after.peers.clear();
        assert!(after.changes(&before).contains(&json!({ "PeersRemoved": [2] })));
    }

    #[test]
    fn nobody_is_known_before_the_first_map() {
        let mut script = script();
        script.state = "Starting".to_owned();
        assert_eq!(script.whois(ip6(2), None), None);
    }
}
