//! What the answers of whois were judged to mean, and whether that still holds: until the bus says something that may concern it.
//!
//! Rules are parsed once per answer, not once per request; and introspection, which comes with every request to a resource server,
//! asks tailscaled only about devices of which something was heard.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tsidecar_localapi::{NodeId, Notify, Prefix, StableNodeId, WhoIs};
use tsidecar_oauth::id::Listener;

use crate::identity::Sighting;

/// Judgements by address and listener.
#[derive(Default)]
pub(super) struct Sightings(Mutex<State>);

#[derive(Default)]
struct State {
    judged: BTreeMap<IpAddr, Vec<Judged>>,
    /// Counts what was heard: an answer that was asked for before the last of it is not kept.
    heard: u64,
}

/// How many things had been heard when a question was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(u64);

/// What a whois answer was judged to mean.
pub(super) struct Judged {
    pub(super) listener: Listener,
    /// The same answer means the same; holding it keeps its place in memory from being used for another.
    pub(super) whois: Arc<WhoIs>,
    pub(super) this_node: StableNodeId,
    pub(super) sighting: Sighting,
    pub(super) at: Instant,
}

impl Sightings {
    /// The moment before a question.
    pub(super) fn now(&self) -> Moment {
        Moment(self.state().heard)
    }

    /// What exactly this answer was judged to mean.
    pub(super) fn of_answer(
        &self,
        address: IpAddr,
        listener: &Listener,
        whois: &Arc<WhoIs>,
        this_node: &StableNodeId,
    ) -> Option<Sighting> {
        self.find(address, listener, this_node, |known| Arc::ptr_eq(&known.whois, whois))
    }

    /// Who has an address, as far as the bus has said nothing since: at most a minute old, in case it is not told something.
    pub(super) fn standing(
        &self,
        address: IpAddr,
        listener: &Listener,
        this_node: &StableNodeId,
        now: Instant,
    ) -> Option<Sighting> {
        self.find(address, listener, this_node, |known| now.saturating_duration_since(known.at) < STANDS)
    }

    fn find(
        &self,
        address: IpAddr,
        listener: &Listener,
        this_node: &StableNodeId,
        fits: impl Fn(&Judged) -> bool,
    ) -> Option<Sighting> {
        let state = self.state();
        let of_address = state.judged.get(&address).into_iter().flatten();
        let mut of_listener =
            of_address.filter(|known| known.listener == *listener && known.this_node == *this_node);
        of_listener.find(|known| fits(known)).map(|known| known.sighting.clone())
    }

    /// Keeps a judgement, unless something was heard since the question.
    pub(super) fn keep(&self, address: IpAddr, judged: Judged, asked: Moment) {
        let mut state = self.state();
        if state.heard != asked.0 {
            return;
        }
        if state.judged.len() >= MOST {
            state.judged.clear();
        }
        let of_address = state.judged.entry(address).or_default();
        of_address.retain(|known| known.listener != judged.listener);
        of_address.push(judged);
    }

    /// Forgets what was judged of an address: somebody else, or nobody, was seen there.
    pub(super) fn forget_address(&self, address: IpAddr) {
        self.state().judged.remove(&address);
    }

    /// Forgets everything.
    pub(super) fn forget_all(&self) {
        let mut state = self.state();
        state.heard += 1;
        state.judged.clear();
    }

    /// Forgets what a change may concern, as the cache of answers does ([`tsidecar_localapi::WhoisCache::apply`]).
    pub(super) fn forget(&self, change: &Notify) {
        let whole = change.net_map || change.self_change.is_some() || change.state.is_some();
        if whole || change.err_message.is_some() || !change.user_profiles.is_empty() {
            return self.forget_all();
        }
        let changed = change.peers_changed.iter();
        let addresses: BTreeSet<IpAddr> =
            changed.clone().flat_map(|node| &node.addresses).map(Prefix::address).collect();
        let mut nodes: BTreeSet<NodeId> = changed.map(|node| node.id).collect();
        nodes.extend(&change.peers_removed);
        nodes.extend(change.peer_changed_patch.iter().map(|patch| patch.node_id));
        if nodes.is_empty() {
            return;
        }
        let mut state = self.state();
        state.heard += 1;
        state.judged.retain(|address, judged| {
            judged.retain(|known| !nodes.contains(&known.whois.node.id));
            !judged.is_empty() && !addresses.contains(address)
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For how many addresses a judgement is kept; each entry is one whois answer and what was made of it.
const MOST: usize = 1024;
/// How long a judgement stands while nothing is heard.
const STANDS: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::identity::RefusedNode;

    fn this_node() -> StableNodeId {
        StableNodeId("nIDP".to_owned())
    }

    fn address(last: u8) -> IpAddr {
        [100, 64, 0, last].into()
    }

    fn judged(node: i64) -> Judged {
        let whois: WhoIs = serde_json::from_value(json!({"Node": {"ID": node}, "UserProfile": {}})).unwrap();
        Judged {
            listener: Listener::host(),
            whois: Arc::new(whois),
            this_node: this_node(),
            sighting: Sighting::Refused(RefusedNode::Tagged),
            at: Instant::now(),
        }
    }

    /// Nodes 2 and 3 at the addresses of the same number.
    fn two() -> Sightings {
        let sightings = Sightings::default();
        for node in [2, 3] {
            let asked = sightings.now();
            sightings.keep(address(node), judged(node.into()), asked);
        }
        sightings
    }

    fn stands(sightings: &Sightings) -> [bool; 2] {
        let standing = |last| {
            sightings.standing(address(last), &Listener::host(), &this_node(), Instant::now()).is_some()
        };
        [standing(2), standing(3)]
    }

    #[test]
    fn a_judgement_stands_for_its_listener_and_a_minute() {
        let sightings = two();
        let now = Instant::now();
        let seen = |listener: &str, node: &str, now| {
            let listener = Listener::parse(listener).unwrap();
            sightings.standing(address(2), &listener, &StableNodeId(node.to_owned()), now).is_some()
        };
        assert!(seen("host", "nIDP", now) && seen("host", "nIDP", now + STANDS / 2));
        assert!(!seen("svc:login", "nIDP", now) && !seen("host", "nOTHER", now));
        assert!(!seen("host", "nIDP", now + STANDS));
    }

    #[test]
    fn what_is_heard_ends_what_it_may_concern() {
        let after = |change: Value| {
            let sightings = two();
            sightings.forget(&serde_json::from_value(change).unwrap());
            stands(&sightings)
        };
        assert_eq!(after(json!({})), [true, true]);
        assert_eq!(after(json!({"PeersRemoved": [2]})), [false, true]);
        assert_eq!(after(json!({"PeerChangedPatch": [{"NodeID": 3}]})), [true, false]);
        assert_eq!(
            after(json!({"PeersChanged": [{"ID": 9, "Addresses": ["100.64.0.3/32"]}]})),
            [true, false]
        );
        for whole in [
            json!({"NetMap": {}}),
            json!({"SelfChange": {}}),
            json!({"State": 6}),
            json!({"ErrMessage": "x"}),
            json!({"UserProfiles": {"1": {}}}),
        ] {
            assert_eq!(after(whole.clone()), [false, false], "{whole}");
        }
    }

    /// An answer that was under way when the news came is not believed for longer than its own request.
    #[test]
    fn an_answer_from_before_the_news_is_not_kept() {
        let sightings = two();
        let asked = sightings.now();
        sightings.forget(&serde_json::from_value(json!({"PeersRemoved": [2]})).unwrap());
        sightings.keep(address(2), judged(2), asked);
        assert_eq!(stands(&sightings), [false, true]);
        sightings.keep(address(2), judged(2), sightings.now());
        assert_eq!(stands(&sightings), [true, true]);
        sightings.forget_address(address(3));
        assert_eq!(stands(&sightings), [true, false]);
    }

    #[test]
    fn memory_is_bounded() {
        let sightings = Sightings::default();
        for number in 0..5_000_u32 {
            let address = std::net::Ipv4Addr::from(number).into();
            sightings.keep(address, judged(i64::from(number)), sightings.now());
        }
        assert!(sightings.state().judged.len() <= MOST);
    }
}
