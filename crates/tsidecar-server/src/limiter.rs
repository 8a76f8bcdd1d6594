//! Rate limits per node, so that one device cannot keep the others waiting (design section 14).

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock as _, MonotonicClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::config::Limits;
use crate::peer::Origin;

/// Funnel's callers share one allowance of this many nodes: their addresses are only as good as the ingress relay.
const FUNNEL_SHARE: u32 = 8;

/// After so many requests the nodes at rest are forgotten. Looking through all of them is not the price of one request.
const FORGET_EVERY: u32 = 4_096;

type Keyed = RateLimiter<Option<IpAddr>, HashMapStateStore<Option<IpAddr>>, MonotonicClock>;

/// Counts requests by node; Funnel is one more node with a larger share.
pub struct Limiter {
    limits: Option<(Keyed, Keyed)>,
    checks: AtomicU32,
}

impl Limiter {
    /// A limiter by the configuration; without `node_requests_per_minute` it lets everything pass.
    pub fn new(limits: &Limits) -> Self {
        let keyed = |rate: NonZeroU32, burst: NonZeroU32| {
            let quota = Quota::per_minute(rate).allow_burst(burst);
            RateLimiter::hashmap_with_clock(quota, MonotonicClock)
        };
        let share = NonZeroU32::MIN.saturating_add(FUNNEL_SHARE - 1);
        let limits = limits.node_requests_per_minute.map(|rate| {
            let (more, burst) = (rate.saturating_mul(share), limits.node_burst.saturating_mul(share));
            (keyed(rate, limits.node_burst), keyed(more, burst))
        });
        Self { limits, checks: AtomicU32::new(0) }
    }

    /// Counts one request.
    ///
    /// # Errors
    /// The seconds after which the node may try again.
    pub fn check(&self, origin: Origin) -> Result<(), u32> {
        let Some((nodes, funnel)) = &self.limits else { return Ok(()) };
        let (limiter, key) = match origin {
            Origin::Funnel => (funnel, None),
            Origin::Address(address) => (nodes, Some(address)),
        };
        let result = limiter.check_key(&key).map_err(|not_until| {
            let wait = not_until.wait_time_from(MonotonicClock.now());
            u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1)
        });
        if self.checks.fetch_add(1, Ordering::Relaxed).is_multiple_of(FORGET_EVERY) {
            nodes.retain_recent();
            nodes.shrink_to_fit();
        }
        result
    }
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nodes = self.limits.as_ref().map_or(0, |(nodes, _)| nodes.len());
        f.debug_struct("Limiter").field("nodes", &nodes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn limiter(rate: Option<u32>) -> Limiter {
        let mut limits = Config::default().limits;
        limits.node_requests_per_minute = rate.and_then(NonZeroU32::new);
        limits.node_burst = NonZeroU32::MIN.saturating_add(1);
        Limiter::new(&limits)
    }

    #[test]
    fn a_node_is_stopped_and_others_are_not() {
        let limiter = limiter(Some(1));
        let (alice, bob) = (Origin::Address([100, 64, 0, 2].into()), Origin::Address([100, 64, 0, 3].into()));
        assert!(limiter.check(alice).is_ok() && limiter.check(alice).is_ok());
        let wait = limiter.check(alice).unwrap_err();
        assert!((1..=61).contains(&wait), "{wait}");
        assert!(limiter.check(bob).is_ok());
        for _ in 0..2 * FUNNEL_SHARE {
            assert!(limiter.check(Origin::Funnel).is_ok());
        }
        assert!(limiter.check(Origin::Funnel).is_err());
    }

    #[test]
    fn no_limit_lets_everything_pass() {
        let limiter = limiter(None);
        assert!((0..10_000).all(|_| limiter.check(Origin::Funnel).is_ok()));
    }

    #[test]
    fn memory_is_bounded() {
        let limiter = limiter(Some(60_000));
        for address in 0..20_000u32 {
            let _ = limiter.check(Origin::Address(std::net::Ipv4Addr::from(address).into()));
        }
        let (nodes, _) = limiter.limits.as_ref().unwrap();
        // Each was at rest again before the next thousands came.
        assert!(nodes.len() <= 2 * FORGET_EVERY as usize, "{}", nodes.len());
    }
}
