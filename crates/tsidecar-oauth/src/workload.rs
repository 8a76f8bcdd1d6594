//! Workloads: tagged nodes that are clients of their own, by the network's word alone (design section 11).
//!
//! Layer 1. Every process on such a node, and whatever it forwards, is the workload; so an administrator names tag and nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::client::Client;
use crate::id::DeviceId;
use crate::identity::Device;
use crate::rule::Rule;
use crate::scope::ScopeToken;
use crate::time::Lifetime;

/// A tagged node, as the tailnet tells of it now.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The node; its tags are in it.
    pub device: Device,
    /// The rules of the capability.
    pub rules: Vec<Rule>,
    /// Whether it routes for others, so that anybody behind it would be this workload.
    pub routes_for_others: bool,
    /// Whether it is of another tailnet: its tags are theirs, whatever they are called.
    pub external: bool,
}

/// What an administrator says of the nodes with a tag (`[[workload]]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadRule {
    /// The tag, which is also the client id: `tag:NAME`.
    pub tag: String,
    /// The only nodes that count; empty for every node with the tag.
    pub nodes: Vec<DeviceId>,
    /// Whether a node counts that routes for others: then everybody behind it is this workload, too.
    pub routes: bool,
    /// The only scopes that it may have; `None` for all of a resource.
    pub scopes: Option<Vec<ScopeToken>>,
    /// How long its access tokens live, where the resource does not say.
    pub access_token: Lifetime,
}

/// Why a node is not a workload. The text is for administrators; who asks for a token is not told which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// It has not the tag.
    #[error("the node has not this tag")]
    Tag,
    /// The tag is one of another tailnet.
    #[error("the node is of another tailnet, whose tags are not ours")]
    External,
    /// The rule names other nodes.
    #[error("the node is not among the nodes of the [[workload]]")]
    Node,
    /// Others send through it.
    #[error(
        "the node routes for others, who would all be this workload; the [[workload]] would have to say routes = true"
    )]
    Router,
}

impl WorkloadRule {
    /// Judges whether a node is this workload: it has the tag in this tailnet, is one of the nodes, and nobody else sends through it
    /// (attack A47).
    ///
    /// # Errors
    /// [`NotAdmitted`].
    pub fn judge(&self, node: &Workload) -> Result<(), NotAdmitted> {
        if !node.device.tags.contains(&self.tag) {
            return Err(NotAdmitted::Tag);
        }
        if node.external {
            return Err(NotAdmitted::External);
        }
        if !self.nodes.is_empty() && !self.nodes.contains(&node.device.id) {
            return Err(NotAdmitted::Node);
        }
        if node.routes_for_others && !self.routes { Err(NotAdmitted::Router) } else { Ok(()) }
    }

    /// As [`Self::judge`], in one word.
    pub fn admits(&self, node: &Workload) -> bool {
        self.judge(node).is_ok()
    }
}

/// Every workload that an administrator named, by its tag.
#[derive(Clone, Debug, Default)]
pub struct Workloads(BTreeMap<String, Arc<Client>>);

impl Workloads {
    /// The workloads of some rules; of two with the same tag the last one counts.
    pub fn new(clients: impl IntoIterator<Item = Arc<Client>>) -> Self {
        let by_tag = |client: Arc<Client>| (client.id().as_str().to_owned(), client);
        Self(clients.into_iter().map(by_tag).collect())
    }

    /// The client that a tag is.
    pub fn get(&self, tag: &str) -> Option<&Arc<Client>> {
        self.0.get(tag)
    }

    /// The clients that a node is, in the order of their tags.
    pub fn of<'a>(&'a self, node: &'a Workload) -> impl Iterator<Item = &'a Arc<Client>> {
        self.0.values().filter(|client| client.workload().is_some_and(|rule| rule.admits(node)))
    }

    /// Tells whether a node may speak for a tag: by the rule of that tag, and without one if it has the tag, is of this tailnet and
    /// nobody else sends through it.
    pub fn admit(&self, tag: &str, node: &Workload) -> bool {
        match self.get(tag).and_then(|client| client.workload()) {
            Some(rule) => rule.admits(node),
            None => {
                !node.external && !node.routes_for_others && node.device.tags.iter().any(|known| known == tag)
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A node with these tags, of this tailnet, that routes for nobody.
    pub(crate) fn node(id: &str, tags: &[&str]) -> Workload {
        let device = Device {
            id: DeviceId::parse(id).unwrap(),
            node_id: 4,
            name: "ci.tail.test".into(),
            key: "nodekey:00".into(),
            addresses: Vec::new(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        };
        Workload { device, rules: Vec::new(), routes_for_others: false, external: false }
    }

    pub(crate) fn rule(tag: &str) -> WorkloadRule {
        let access_token = Lifetime::from_minutes(10);
        WorkloadRule { tag: tag.to_owned(), nodes: Vec::new(), routes: false, scopes: None, access_token }
    }

    pub(crate) fn workloads(rules: impl IntoIterator<Item = WorkloadRule>) -> Workloads {
        Workloads::new(rules.into_iter().map(|rule| Arc::new(Client::of_workload(rule).unwrap())))
    }

    /// A47, and tags of other tailnets.
    #[test]
    fn a_node_is_what_the_rule_says() {
        let ci = rule("tag:ci");
        assert_eq!(ci.judge(&node("nCI", &["tag:x"])), Err(NotAdmitted::Tag));
        assert!(ci.admits(&node("nCI", &["tag:other", "tag:ci"])));
        assert!(!ci.admits(&node("nCI", &["tag:other"])) && !ci.admits(&node("nCI", &[])));
        let router = Workload { routes_for_others: true, ..node("nHUB", &["tag:ci"]) };
        assert!(!ci.admits(&router) && WorkloadRule { routes: true, ..rule("tag:ci") }.admits(&router));
        let shared = Workload { external: true, ..node("nEVE", &["tag:ci"]) };
        assert!(!WorkloadRule { routes: true, ..rule("tag:ci") }.admits(&shared));
        let only = WorkloadRule { nodes: vec![DeviceId::parse("nCI").unwrap()], ..rule("tag:ci") };
        assert!(only.admits(&node("nCI", &["tag:ci"])) && !only.admits(&node("nOTHER", &["tag:ci"])));
    }

    #[test]
    fn a_tag_without_a_rule_speaks_for_itself_alone() {
        let only = WorkloadRule { nodes: vec![DeviceId::parse("nCI").unwrap()], ..rule("tag:ci") };
        let all = workloads([only, rule("tag:mcp")]);
        let both = node("nMCP", &["tag:ci", "tag:mcp", "tag:other"]);
        let ids = |node: &Workload| all.of(node).map(|client| client.id().to_string()).collect::<Vec<_>>();
        assert_eq!(
            (ids(&both), ids(&node("nCI", &["tag:ci"]))),
            (vec!["tag:mcp".into()], vec!["tag:ci".into()])
        );
        assert!(all.admit("tag:mcp", &both) && !all.admit("tag:ci", &both) && all.admit("tag:other", &both));
        assert!(!all.admit("tag:none", &both));
        let router = Workload { routes_for_others: true, ..both.clone() };
        assert!(!all.admit("tag:other", &router));
        assert!(!all.admit("tag:other", &Workload { external: true, ..both }));
    }
}
