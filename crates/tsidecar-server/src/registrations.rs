//! How many clients a node may register in an hour, and how many the internet may, all callers together (attack list: a new client
//! per connect). In memory: a restart forgives. What is stored is bounded by time, never by a number that locks everybody out.

use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock as _, MonotonicClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::config::RegistrationLimits;

/// After so many registrations the nodes at rest are forgotten.
const FORGET_EVERY: u32 = 1_024;

/// A node by its stable id; the internet is nobody.
type Node = Option<String>;

type Keyed = RateLimiter<Node, HashMapStateStore<Node>, MonotonicClock>;

/// Counts registrations.
pub struct Registrations {
    nodes: Keyed,
    funnel: Keyed,
    checks: AtomicU32,
}

impl Registrations {
    /// Counters by the configuration.
    pub fn new(limits: RegistrationLimits) -> Self {
        let keyed = |number| {
            RateLimiter::hashmap_with_clock(Quota::per_hour(number).allow_burst(number), MonotonicClock)
        };
        Self { nodes: keyed(limits.node), funnel: keyed(limits.funnel), checks: AtomicU32::new(0) }
    }

    /// Counts one registration of a node, or of the internet.
    ///
    /// # Errors
    /// The seconds after which to try again.
    pub fn check(&self, node: Option<&str>) -> Result<(), u32> {
        let limiter = if node.is_some() { &self.nodes } else { &self.funnel };
        let result = limiter.check_key(&node.map(str::to_owned)).map_err(|not_until| {
            let wait = not_until.wait_time_from(MonotonicClock.now());
            u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1)
        });
        if self.checks.fetch_add(1, Ordering::Relaxed).is_multiple_of(FORGET_EVERY) {
            self.nodes.retain_recent();
            self.nodes.shrink_to_fit();
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
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn a_node_is_stopped_and_others_are_not() {
        let two = NonZeroU32::MIN.saturating_add(1);
        let registrations = Registrations::new(RegistrationLimits { node: two, funnel: NonZeroU32::MIN });
        assert!(registrations.check(Some("nALICE")).is_ok() && registrations.check(Some("nALICE")).is_ok());
        let wait = registrations.check(Some("nALICE")).unwrap_err();
        assert!((1..=1_801).contains(&wait), "{wait}");
        assert!(registrations.check(Some("nBOB")).is_ok() && registrations.check(None).is_ok());
        let wait = registrations.check(None).unwrap_err();
        assert!((1..=3_601).contains(&wait), "{wait}");
        assert!(registrations.check(Some("nBOB")).is_ok());
    }
}
