//! Turns an answer of whois into an identity of the core, or says why there is none (design section 4). Pure.
//!
//! The order matters: what a node may never do stands before what it is, and tags stand before users.

use std::sync::Arc;

use tsidecar_localapi::{StableNodeId, WhoIs};
use tsidecar_oauth::{
    grant::Present,
    id::{DeviceId, Subject},
    identity::{Device, Identity, IdentityKind},
    rule::{Rule, RuleError, TaggedIdentity, parse_rules},
    workload::Workload,
};

use crate::config::Routers;

/// What the configuration says about whom the tailnet's answers are taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityPolicy {
    /// The capability whose values are our rules.
    pub capability: String,
    /// Whether a node that routes for others counts as its owner.
    pub routers: Routers,
}

/// Who stands in front of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// `tailscale serve`, whose word for the address is tailscaled's own.
    Serve,
    /// A proxy of the administrator's own: people sign in through it, workloads do not.
    Proxy,
}

/// What is known about an address now.
#[derive(Clone, Debug)]
pub enum Sighting {
    /// Somebody who may sign in, as far as the tailnet is concerned; an external one only where the policy allows it.
    Person(Arc<Identity>),
    /// A tagged node without an identity: nobody, but perhaps a client of its own.
    Workload(Arc<Workload>),
    /// A node that is never taken for anybody.
    Refused(RefusedNode),
    /// Nobody has the address: not of the tailnet, or gone.
    Unknown,
}

impl Sighting {
    /// Whom the tailnet sees, if it is somebody who may hold a grant.
    pub fn present(&self) -> Option<Present<'_>> {
        match self {
            Self::Person(identity) => Some(Present::Person(identity)),
            Self::Workload(workload) => Some(Present::Workload(workload)),
            Self::Refused(_) | Self::Unknown => None,
        }
    }
}

/// A workload as a rule of the configuration file lets it sign in; with the same care as by a rule of the capability.
pub fn sign_in_as(workload: &Workload, identity: TaggedIdentity, routers: Routers) -> Sighting {
    if workload.routes_for_others && routers == Routers::Deny {
        return Sighting::Refused(RefusedNode::Router);
    }
    tagged_person(identity, workload.device.clone(), workload.rules.clone())
}

/// Why a node is taken for nobody. The text is for people: what is wrong, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedNode {
    /// The machine that this server runs on.
    #[error(
        "this is the machine that the login server itself runs on, and anybody on it could be its owner; use another device"
    )]
    Itself,
    /// The node key has expired.
    #[error("the key of this device has expired; sign in to Tailscale on it again")]
    Expired,
    /// It may not open connections to this tailnet.
    #[error(
        "this device was shared into the tailnet and may not open connections to it; use one of your own"
    )]
    Jailed,
    /// Not signed under tailnet lock.
    #[error("this device is not signed under tailnet lock; ask an administrator to sign it")]
    Unsigned,
    /// A plain WireGuard peer.
    #[error("this is a plain WireGuard peer that nobody signed in to; use a device with Tailscale")]
    WireGuardOnly,
    /// Nobody's.
    #[error("the tailnet does not say whose device this is; sign in to Tailscale on it again")]
    NoProfile,
    /// Others send through it.
    #[error(
        "this device is a subnet router or exit node, and anybody behind it could be its owner; use another device, or ask the administrator of the login server for `[identity] routers = \"allow\"`"
    )]
    Router,
    /// A workload where a person is wanted.
    #[error(
        "this device is tagged, so it belongs to nobody; use a device of your own, or ask an administrator for a rule with `taggedIdentity`"
    )]
    Tagged,
}

/// Judges an answer of whois. Reports what was skipped in the rules, so that it can be logged.
///
/// `this_node` is the node that tailscaled runs on. [`Sighting::Unknown`] is never returned.
pub fn identify(
    whois: &WhoIs,
    this_node: &StableNodeId,
    via: Via,
    policy: &IdentityPolicy,
) -> (Sighting, Vec<RuleError>) {
    let (device, routes_for_others) = match judge_node(whois, this_node) {
        Ok(judged) => judged,
        Err(refused) => return (Sighting::Refused(refused), Vec::new()),
    };
    if via == Via::Proxy && whois.node.is_tagged() {
        return (Sighting::Refused(RefusedNode::Tagged), Vec::new());
    }
    let values = whois.cap_map.values(&policy.capability);
    let (rules, skipped) = parse_rules(values.iter().map(|value| value.get()));
    let may_be_somebody = !routes_for_others || policy.routers == Routers::Allow;
    let external = is_external(whois);
    // A tag of another tailnet is theirs to give: such a node needs the rule's word for both.
    let mut giving = rules.iter().filter(|rule| !external || rule.allow_external);
    let tagged = giving.find_map(|rule| rule.tagged_identity.clone());
    let sighting = match (whois.node.is_tagged(), tagged) {
        (true, None) => Sighting::Workload(Arc::new(Workload { device, rules, routes_for_others, external })),
        (_, _) if !may_be_somebody => Sighting::Refused(RefusedNode::Router),
        (true, Some(tagged)) => tagged_person(tagged, device, rules),
        (false, _) => person(whois, external, device, rules),
    };
    (sighting, skipped)
}

/// What a node may never do, whoever owns it.
fn judge_node(whois: &WhoIs, this_node: &StableNodeId) -> Result<(Device, bool), RefusedNode> {
    let node = &whois.node;
    if node.stable_id == *this_node {
        return Err(RefusedNode::Itself);
    }
    if node.expired {
        return Err(RefusedNode::Expired);
    }
    if node.is_jailed {
        return Err(RefusedNode::Jailed);
    }
    if node.unsigned_peer_api_only {
        return Err(RefusedNode::Unsigned);
    }
    if node.is_wireguard_only {
        return Err(RefusedNode::WireGuardOnly);
    }
    // A node that cannot be named cannot be held to its identity later.
    let id = DeviceId::parse(node.stable_id.as_str()).map_err(|_| RefusedNode::NoProfile)?;
    let device = Device {
        id,
        node_id: node.id.0,
        name: node.name.strip_suffix('.').unwrap_or(&node.name).to_owned(),
        key: node.key.clone(),
        addresses: node.addresses.iter().map(ToString::to_string).collect(),
        tags: node.tags.clone(),
    };
    Ok((device, node.routes_for_others()))
}

/// Shared into our tailnet, or with us.
fn is_external(whois: &WhoIs) -> bool {
    whois.node.sharer.0 != 0 || whois.node.hostinfo.sharee_node
}

fn person(whois: &WhoIs, external: bool, device: Device, rules: Vec<Rule>) -> Sighting {
    let profile = &whois.user_profile;
    if profile.id.0 == 0 || profile.login_name.as_str().is_empty() {
        return Sighting::Refused(RefusedNode::NoProfile);
    }
    Sighting::Person(Arc::new(Identity {
        subject: Subject::user(profile.id.0),
        kind: if external { IdentityKind::External } else { IdentityKind::User },
        login: profile.login_name.as_str().to_owned(),
        display_name: profile.display_name.clone(),
        picture: Some(profile.profile_pic_url.clone()).filter(|url| !url.is_empty()),
        groups: profile.groups.clone(),
        device,
        rules,
    }))
}

/// The profile of a tagged node is a placeholder that all of them share: nothing of it is used.
fn tagged_person(tagged: TaggedIdentity, device: Device, rules: Vec<Rule>) -> Sighting {
    let Ok(subject) = tagged.subject() else {
        // `parse_rules` takes such an identity out of its rule.
        return Sighting::Refused(RefusedNode::Tagged);
    };
    Sighting::Person(Arc::new(Identity {
        subject,
        login: String::new(),
        display_name: tagged.name.clone().unwrap_or_default(),
        kind: IdentityKind::Tagged(tagged),
        picture: None,
        groups: Vec::new(),
        device,
        rules,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn alice() -> Value {
        json!({
            "Node": {
                "ID": 9_007_199_254_740_993_i64, "StableID": "nALICE", "Name": "alice.tail.test.", "User": 1001,
                "Key": "nodekey:aa", "Addresses": ["100.64.0.2/32", "fd7a:115c:a1e0::2/128"],
                "AllowedIPs": ["100.64.0.2/32", "fd7a:115c:a1e0::2/128"], "Hostinfo": {"OS": "linux"},
            },
            "UserProfile": {
                "ID": 1001, "LoginName": "alice@example.com", "DisplayName": "Alice Ä",
                "ProfilePicURL": "https://pics.test/a", "Groups": ["group:eng"],
            },
            "CapMap": {"tailscale.com/cap/tsidp": [{"groups": ["ops"]}, 5], "other": [{"groups": ["no"]}]},
        })
    }

    fn judge_by(whois: Value, routers: Routers) -> Sighting {
        judge_via(whois, Via::Serve, routers)
    }

    fn judge_via(whois: Value, via: Via, routers: Routers) -> Sighting {
        let whois: WhoIs = serde_json::from_value(whois).unwrap();
        let policy = IdentityPolicy { capability: "tailscale.com/cap/tsidp".into(), routers };
        identify(&whois, &StableNodeId("nIDP".into()), via, &policy).0
    }

    fn judge(whois: Value) -> Sighting {
        judge_by(whois, Routers::Deny)
    }

    fn with(path: &str, value: Value) -> Value {
        let mut whois = alice();
        let (parent, name) = path.rsplit_once('/').unwrap();
        whois.pointer_mut(parent).unwrap()[name] = value;
        whois
    }

    #[track_caller]
    fn refused(whois: Value) -> RefusedNode {
        match judge(whois) {
            Sighting::Refused(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn someone(sighting: Sighting) -> Arc<Identity> {
        match sighting {
            Sighting::Person(identity) => identity,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_user_on_a_device_is_somebody() {
        let identity = someone(judge(alice()));
        assert_eq!(identity.subject.as_str(), "userid:1001");
        assert_eq!(identity.kind, IdentityKind::User);
        assert_eq!(identity.login, "alice@example.com");
        assert_eq!(identity.picture.as_deref(), Some("https://pics.test/a"));
        assert_eq!(identity.groups, ["group:eng"]);
        assert_eq!(identity.device.id.as_str(), "nALICE");
        assert_eq!(identity.device.node_id, 9_007_199_254_740_993);
        assert_eq!(identity.device.name, "alice.tail.test");
        assert_eq!(identity.device.addresses, ["100.64.0.2/32", "fd7a:115c:a1e0::2/128"]);
        assert_eq!(identity.rules.len(), 1, "only the configured capability counts");
        assert_eq!(identity.rules[0].groups, ["ops"]);
    }

    #[test]
    fn skipped_rules_are_reported_and_lock_nobody_out() {
        let whois: WhoIs = serde_json::from_value(alice()).unwrap();
        let policy = IdentityPolicy { capability: "tailscale.com/cap/tsidp".into(), routers: Routers::Deny };
        let (sighting, skipped) = identify(&whois, &StableNodeId("nIDP".into()), Via::Serve, &policy);
        assert_eq!(skipped.len(), 1);
        someone(sighting);
    }

    #[test]
    fn some_nodes_are_never_anybody() {
        assert_eq!(refused(with("/Node/StableID", json!("nIDP"))), RefusedNode::Itself);
        assert_eq!(refused(with("/Node/Expired", json!(true))), RefusedNode::Expired);
        assert_eq!(refused(with("/Node/IsJailed", json!(true))), RefusedNode::Jailed);
        assert_eq!(refused(with("/Node/UnsignedPeerAPIOnly", json!(true))), RefusedNode::Unsigned);
        assert_eq!(refused(with("/Node/IsWireGuardOnly", json!(true))), RefusedNode::WireGuardOnly);
        assert_eq!(refused(with("/Node/StableID", json!(""))), RefusedNode::NoProfile);
        assert_eq!(refused(with("/UserProfile/ID", json!(0))), RefusedNode::NoProfile);
        assert_eq!(refused(with("/UserProfile/LoginName", json!(""))), RefusedNode::NoProfile);
    }

    /// Neither a tag nor a rule lifts what a node may never do.
    #[test]
    fn nothing_lifts_a_refusal() {
        let generous = json!({"tailscale.com/cap/tsidp": [{
            "taggedIdentity": {"subject": "robot"}, "allowExternal": true, "allow_admin_ui": true,
        }]});
        for (field, value) in [
            ("StableID", json!("nIDP")),
            ("Expired", json!(true)),
            ("IsJailed", json!(true)),
            ("UnsignedPeerAPIOnly", json!(true)),
            ("IsWireGuardOnly", json!(true)),
        ] {
            let mut whois = with(&format!("/Node/{field}"), value);
            whois["Node"]["Tags"] = json!(["tag:ci"]);
            whois["CapMap"] = generous.clone();
            refused(whois);
        }
    }

    /// A32: what comes through a router is not its owner, unless the administrator says so.
    #[test]
    fn routers_follow_the_configuration() {
        let router =
            with("/Node/AllowedIPs", json!(["100.64.0.2/32", "fd7a:115c:a1e0::2/128", "10.0.0.0/8"]));
        assert_eq!(refused(router.clone()), RefusedNode::Router);
        someone(judge_by(router, Routers::Allow));
        let exit_node = with("/Node/AllowedIPs", json!(["100.64.0.2/32", "0.0.0.0/0", "::/0"]));
        assert_eq!(refused(exit_node), RefusedNode::Router);
        someone(judge(with("/Node/AllowedIPs", json!(null))));
    }

    /// A32: tags stand before users; the placeholder profile is never anybody.
    #[test]
    fn tagged_nodes_are_workloads_unless_a_rule_names_them() {
        let mut whois = with("/Node/Tags", json!(["tag:ci"]));
        whois["Node"]["AllowedIPs"] = json!(["100.64.0.2/32", "10.0.0.0/8"]);
        match judge(whois.clone()) {
            Sighting::Workload(workload) => {
                assert_eq!(workload.device.tags, ["tag:ci"]);
                assert!(workload.routes_for_others);
                assert_eq!(workload.rules.len(), 1);
            }
            other => panic!("{other:?}"),
        }
        whois["CapMap"] = json!({"tailscale.com/cap/tsidp": [
            {"taggedIdentity": {"subject": "userid:1001"}},
            {"taggedIdentity": {"subject": "ci-robot", "email": "ci@example.com", "name": "CI"}},
        ]});
        assert!(matches!(judge(whois.clone()), Sighting::Refused(RefusedNode::Router)));
        whois["Node"]["AllowedIPs"] = json!(null);
        let identity = someone(judge(whois));
        assert_eq!(identity.subject.as_str(), "ci-robot", "a subject of people is skipped");
        assert!(matches!(identity.kind, IdentityKind::Tagged(_)));
        assert_eq!((identity.login.as_str(), identity.display_name.as_str()), ("", "CI"));
        assert!(identity.groups.is_empty() && identity.picture.is_none());
    }

    /// A37: whoever controls what a proxy forwards is no workload.
    #[test]
    fn a_proxy_brings_people_only() {
        someone(judge_via(alice(), Via::Proxy, Routers::Deny));
        let mut tagged = with("/Node/Tags", json!(["tag:ci"]));
        let refused = |whois| judge_via(whois, Via::Proxy, Routers::Allow);
        assert!(matches!(refused(tagged.clone()), Sighting::Refused(RefusedNode::Tagged)));
        tagged["CapMap"] = json!({"tailscale.com/cap/tsidp": [{"taggedIdentity": {"subject": "ci-robot"}}]});
        assert!(matches!(refused(tagged), Sighting::Refused(RefusedNode::Tagged)));
    }

    #[test]
    fn a_rule_for_tagged_nodes_changes_no_user() {
        let rule = json!({"tailscale.com/cap/tsidp": [{"taggedIdentity": {"subject": "robot"}}]});
        let identity = someone(judge(with("/CapMap", rule)));
        assert_eq!((identity.subject.as_str(), &identity.kind), ("userid:1001", &IdentityKind::User));
    }

    /// A tag of another tailnet is not ours, unless the rule says so.
    #[test]
    fn a_shared_tagged_node_needs_a_rule_for_both() {
        let shared = [("Sharer", json!(7)), ("Hostinfo", json!({"ShareeNode": true}))];
        for (field, value) in shared {
            let mut whois = with("/Node/Tags", json!(["tag:ci"]));
            whois["Node"][field] = value;
            let mut rule = json!({"taggedIdentity": {"subject": "ci-robot"}});
            let other = json!({"allowExternal": true});
            whois["CapMap"] = json!({"tailscale.com/cap/tsidp": [rule, other]});
            match judge(whois.clone()) {
                Sighting::Workload(workload) => assert!(workload.external, "{field}"),
                other => panic!("{other:?}"),
            }
            rule["allowExternal"] = json!(true);
            whois["CapMap"] = json!({"tailscale.com/cap/tsidp": [rule]});
            assert_eq!(someone(judge(whois)).subject.as_str(), "ci-robot");
        }
    }

    /// Shared in and shared out: of another tailnet, whatever the login domain says.
    #[test]
    fn shared_nodes_are_external() {
        let shared_in = someone(judge(with("/Node/Sharer", json!(7))));
        assert_eq!(shared_in.kind, IdentityKind::External);
        let shared_out = someone(judge(with("/Node/Hostinfo", json!({"ShareeNode": true}))));
        assert_eq!(shared_out.kind, IdentityKind::External);
    }
}
