//! How many clients a node may register in an hour, and how many the internet may, all callers together (attack list: a new client
//! per connect). In memory: a restart forgives. What is stored is bounded by time, never by a number that locks everybody out.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock as _, MonotonicClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::config::RegistrationLimits;

/// After so many registrations the nodes at rest are forgotten.
const FORGET_EVERY: u32 = 1_024;

/// A node by its stable id; the internet is nobody.
type Node = Option<String>;

/// Registrations in an hour that web pages in the browsers of one node may make, all of them together.
const PAGES: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);

/// Whose registrations are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lot<'a> {
    /// The programs of a node, by its stable id.
    Node(&'a str),
    /// The web pages in the browsers of a node: any page can have its visitor send registrations, and must not use up theirs.
    Pages(&'a str),
    /// The internet.
    Outside,
}

type Keyed = RateLimiter<Node, HashMapStateStore<Node>, MonotonicClock>;

/// Counts registrations.
pub struct Registrations {
    nodes: Keyed,
    pages: Keyed,
    funnel: Keyed,
    checks: AtomicU32,
}

impl Registrations {
    /// Counters by the configuration.
    pub fn new(limits: RegistrationLimits) -> Self {
        let keyed = |number| {
            RateLimiter::hashmap_with_clock(Quota::per_hour(number).allow_burst(number), MonotonicClock)
        };
        Self {
            nodes: keyed(limits.node),
            pages: keyed(limits.node.min(PAGES)),
            funnel: keyed(limits.funnel),
            checks: AtomicU32::new(0),
        }
    }

    /// Counts one registration.
    ///
    /// # Errors
    /// The seconds after which to try again.
    pub fn check(&self, lot: Lot<'_>) -> Result<(), u32> {
        let (limiter, node) = match lot {
            Lot::Node(node) => (&self.nodes, Some(node.to_owned())),
            Lot::Pages(node) => (&self.pages, Some(node.to_owned())),
            Lot::Outside => (&self.funnel, None),
        };
        let result = limiter.check_key(&node).map_err(|not_until| {
            let wait = not_until.wait_time_from(MonotonicClock.now());
            u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1)
        });
        if self.checks.fetch_add(1, Ordering::Relaxed).is_multiple_of(FORGET_EVERY) {
            for limiter in [&self.nodes, &self.pages] {
                limiter.retain_recent();
                limiter.shrink_to_fit();
            }
        }
        result
    }
}

impl std::fmt::Debug for Registrations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registrations").field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_stopped_and_others_are_not() {
        let two = NonZeroU32::MIN.saturating_add(1);
        let registrations = Registrations::new(RegistrationLimits { node: two, funnel: NonZeroU32::MIN });
        let check = |lot| registrations.check(lot);
        let alice = Lot::Node("nALICE");
        assert!(check(alice).is_ok() && check(alice).is_ok());
        let wait = check(alice).unwrap_err();
        assert!((1..=1_801).contains(&wait), "{wait}");
        assert!(check(Lot::Node("nBOB")).is_ok() && check(Lot::Outside).is_ok());
        let wait = check(Lot::Outside).unwrap_err();
        assert!((1..=3_601).contains(&wait), "{wait}");
        assert!(check(Lot::Node("nBOB")).is_ok());
    }

    /// Pages have few, of their own, and never more than programs.
    #[test]
    fn pages_use_up_nothing_of_their_visitors() {
        let many = NonZeroU32::MIN.saturating_add(119);
        let registrations = Registrations::new(RegistrationLimits { node: many, funnel: many });
        let count = |lot| (0..200).filter(|_| registrations.check(lot).is_ok()).count();
        assert_eq!((count(Lot::Pages("nALICE")), count(Lot::Pages("nBOB"))), (20, 20));
        assert_eq!(count(Lot::Node("nALICE")), 120);
        let one = Registrations::new(RegistrationLimits { node: NonZeroU32::MIN, funnel: many });
        assert!(one.check(Lot::Pages("n")).is_ok() && one.check(Lot::Pages("n")).is_err());
    }
}
