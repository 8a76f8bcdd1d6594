//! What keeps device authorizations within bounds (RFC 8628 §5.1, §5.2; attack A26): how many wait at a time, how many wrong codes
//! a device may enter, how often one may poll. In memory: a restart forgives, and all of it is about ten minutes at most.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tsidecar_oauth::device::{DeviceCodeDigest, LIFETIME, Pace, Timing};
use tsidecar_oauth::id::{ClientId, DeviceId};
use tsidecar_oauth::time::{Lifetime, UnixTime};

/// Authorizations that one node may have begun within their life.
const MOST_PER_NODE: usize = 16;

/// The same for one client.
const MOST_PER_CLIENT: usize = 512;

/// The same for all together; also the most whose pace is remembered.
const MOST_IN_ALL: usize = 4_096;

/// Wrong codes that one device may enter within ten minutes: with 4,096 codes waiting, one guess in 600,000 times ten hits.
const MOST_WRONG: usize = 10;

/// The bounds of one daemon.
#[derive(Debug, Default)]
pub struct DeviceLimits {
    begun: Mutex<Begun>,
    entered: Mutex<Recent>,
    paces: Mutex<BTreeMap<[u8; 32], Pace>>,
}

#[derive(Debug, Default)]
struct Begun {
    nodes: Recent,
    clients: Recent,
}

/// What happened within the last ten minutes, oldest first.
#[derive(Debug, Default)]
struct Recent(VecDeque<(UnixTime, String)>);

impl Recent {
    fn forget(&mut self, now: UnixTime) {
        while self.0.front().is_some_and(|(until, _)| until.is_past(now)) {
            self.0.pop_front();
        }
    }

    /// How long it takes until there are fewer than so many of one key.
    fn wait(&self, key: &str, most: usize, now: UnixTime) -> Result<(), Lifetime> {
        let of_key = || self.0.iter().filter(|(_, known)| known == key);
        let first = if of_key().count() >= most {
            of_key().next()
        } else if self.0.len() >= MOST_IN_ALL {
            self.0.front()
        } else {
            None
        };
        first.map_or(Ok(()), |(until, _)| Err(now.until(*until)))
    }

    fn add(&mut self, key: &str, now: UnixTime) {
        self.0.push_back((now.after(LIFETIME), key.to_owned()));
    }
}

impl DeviceLimits {
    /// Counts an authorization that a node begins for a client.
    ///
    /// # Errors
    /// How long to wait: too many are waiting.
    pub fn begin(&self, node: &str, client: &ClientId, now: UnixTime) -> Result<(), Lifetime> {
        let mut begun = held(&self.begun);
        begun.nodes.forget(now);
        begun.clients.forget(now);
        begun.nodes.wait(node, MOST_PER_NODE, now)?;
        begun.clients.wait(client.as_str(), MOST_PER_CLIENT, now)?;
        begun.nodes.add(node, now);
        begun.clients.add(client.as_str(), now);
        Ok(())
    }

    /// Counts a code that a device enters, before it is looked up: many at once gain nothing.
    ///
    /// # Errors
    /// How long to wait: too many were wrong.
    pub fn enter(&self, device: &DeviceId, now: UnixTime) -> Result<(), Lifetime> {
        let mut entered = held(&self.entered);
        entered.forget(now);
        entered.wait(device.as_str(), MOST_WRONG, now)?;
        entered.add(device.as_str(), now);
        Ok(())
    }

    /// Takes one entry back: the code was right.
    pub fn was_right(&self, device: &DeviceId) {
        let mut entered = held(&self.entered);
        if let Some(last) = entered.0.iter().rposition(|(_, known)| known == device.as_str()) {
            entered.0.remove(last);
        }
    }

    /// Judges the pace of a poll of an authorization that waits.
    pub fn poll(&self, code: DeviceCodeDigest, now: UnixTime) -> Timing {
        let mut paces = held(&self.paces);
        if paces.len() >= MOST_IN_ALL {
            paces.retain(|_, pace| !pace.is_over(now));
        }
        let before = paces.get(code.as_bytes()).copied();
        let (pace, timing) = Pace::poll(before, now);
        if before.is_some() || paces.len() < MOST_IN_ALL {
            paces.insert(*code.as_bytes(), pace);
        }
        timing
    }
}

/// No invariant spans two locked sections here, so a poisoned lock still guards a sound value.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_secs(seconds)
    }

    fn client(id: &str) -> ClientId {
        ClientId::parse(id).unwrap()
    }

    #[test]
    fn a_node_a_client_and_all_together_are_bounded() {
        let limits = DeviceLimits::default();
        for n in 0..MOST_PER_NODE {
            assert_eq!(limits.begin("alice", &client("cli"), at(1_000 + n as u64)), Ok(()));
        }
        assert_eq!(limits.begin("alice", &client("cli"), at(1_100)), Err(Lifetime::from_secs(500)));
        assert_eq!(limits.begin("bob", &client("cli"), at(1_100)), Ok(()));
        assert_eq!(limits.begin("alice", &client("cli"), at(1_600)), Ok(()), "the first one's time is over");
        for n in 0..MOST_PER_CLIENT {
            let _ = limits.begin(&format!("node {n}"), &client("tv"), at(2_000));
        }
        assert!(limits.begin("carol", &client("tv"), at(2_000)).is_err());
        assert!(limits.begin("carol", &client("cli"), at(2_000)).is_ok());
        for n in 0..2 * MOST_IN_ALL {
            let _ = limits.begin(&format!("n{n}"), &client(&format!("c{n}")), at(2_001));
        }
        let begun = held(&limits.begun);
        assert_eq!((begun.nodes.0.len(), begun.clients.0.len()), (MOST_IN_ALL, MOST_IN_ALL));
    }

    #[test]
    fn wrong_codes_count_and_right_ones_do_not() {
        let limits = DeviceLimits::default();
        let (alice, bob) = (DeviceId::parse("nALICE").unwrap(), DeviceId::parse("nBOB").unwrap());
        for _ in 0..100 {
            assert_eq!(limits.enter(&alice, at(1_000)), Ok(()));
            limits.was_right(&alice);
        }
        for _ in 0..MOST_WRONG {
            assert_eq!(limits.enter(&alice, at(1_000)), Ok(()));
        }
        assert_eq!(limits.enter(&alice, at(1_599)), Err(Lifetime::from_secs(1)));
        assert_eq!(limits.enter(&bob, at(1_599)), Ok(()));
        assert_eq!(limits.enter(&alice, at(1_600)), Ok(()));
    }

    #[test]
    fn the_memory_of_paces_is_bounded() {
        let limits = DeviceLimits::default();
        let code = |n: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            DeviceCodeDigest::from_bytes(bytes)
        };
        assert_eq!(
            (limits.poll(code(0), at(1_000)), limits.poll(code(0), at(1_001))),
            (Timing::InTime, Timing::TooEarly)
        );
        for n in 0..3 * MOST_IN_ALL {
            limits.poll(code(n), at(1_002));
        }
        assert_eq!(held(&limits.paces).len(), MOST_IN_ALL);
        limits.poll(code(usize::MAX), at(2_000));
        assert_eq!(held(&limits.paces).len(), 1);
    }
}
