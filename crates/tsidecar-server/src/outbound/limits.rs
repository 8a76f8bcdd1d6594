//! How much is fetched: for one requester, from one host, at one address. Nobody makes us a load on others, or on ourselves.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock as _, MonotonicClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::error::{Allowance, FetchError};
use super::{Requester, Trust};
use crate::peer::Origin;

/// Fetches that one device may cause in a minute, and at once after a pause: a person signs in to a new client now and then.
const PER_REQUESTER: (u32, u32) = (30, 10);
/// Funnel is everybody on the internet, and the clients that are hosted there.
const BY_FUNNEL: (u32, u32) = (240, 80);
/// Fetches from one host that an administrator did not name, and from one address behind it.
const PER_HOST: (u32, u32) = (30, 10);
/// The same for a host that an administrator named: a logout of many sessions comes in a burst.
const PER_NAMED_HOST: (u32, u32) = (600, 120);
/// As many requesters and hosts are counted; with more of them within a minute, new ones wait.
const MOST_KEYS: usize = 4_096;
/// After so many checks those at rest are forgotten.
const FORGET_EVERY: u32 = 256;

type Keyed<K> = RateLimiter<K, HashMapStateStore<K>, MonotonicClock>;

/// Where a fetch goes, as it is counted.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Target {
    Host(String),
    /// An IPv4 address, or the /64 of an IPv6 one: whoever has one address there has all.
    Network(IpAddr),
}

/// Counts fetches.
pub(super) struct FetchLimiter {
    devices: Keyed<IpAddr>,
    funnel: Keyed<()>,
    strangers: Keyed<Target>,
    named: Keyed<Target>,
    checks: AtomicU32,
}

impl FetchLimiter {
    pub(super) fn new() -> Self {
        Self {
            devices: keyed(PER_REQUESTER),
            funnel: keyed(BY_FUNNEL),
            strangers: keyed(PER_HOST),
            named: keyed(PER_NAMED_HOST),
            checks: AtomicU32::new(0),
        }
    }

    /// Counts a fetch before anything is looked up.
    pub(super) fn start(&self, host: &str, trust: Trust, requester: Requester) -> Result<(), FetchError> {
        if self.checks.fetch_add(1, Ordering::Relaxed).is_multiple_of(FORGET_EVERY) {
            self.forget();
        }
        match requester {
            Requester::Caller(Origin::Address(address)) => {
                check(&self.devices, &network_of(address), Allowance::Requester)?;
            }
            Requester::Caller(Origin::Funnel) => check(&self.funnel, &(), Allowance::Requester)?,
            Requester::Daemon => (),
        }
        let hosts = match trust {
            Trust::Stranger => &self.strangers,
            Trust::Administrator => &self.named,
        };
        check(hosts, &Target::Host(host.to_owned()), Allowance::Host)
    }

    /// Counts a connection to an address that is about to be dialled: many names may lead to one host.
    pub(super) fn dial(&self, address: IpAddr, trust: Trust) -> Result<(), FetchError> {
        match trust {
            Trust::Stranger => check(&self.strangers, &Target::Network(network_of(address)), Allowance::Host),
            Trust::Administrator => Ok(()),
        }
    }

    fn forget(&self) {
        self.devices.retain_recent();
        self.strangers.retain_recent();
        self.named.retain_recent();
        self.strangers.shrink_to_fit();
    }
}

fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

fn keyed<K: Hash + Eq + Clone>((rate, burst): (u32, u32)) -> Keyed<K> {
    let number = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    RateLimiter::hashmap_with_clock(
        Quota::per_minute(number(rate)).allow_burst(number(burst)),
        MonotonicClock,
    )
}

fn check<K: Hash + Eq + Clone>(keys: &Keyed<K>, key: &K, of: Allowance) -> Result<(), FetchError> {
    if keys.len() >= MOST_KEYS {
        keys.retain_recent();
        if keys.len() >= MOST_KEYS {
            return Err(FetchError::Limited { of: Allowance::Everybody, retry_after: 60 });
        }
    }
    keys.check_key(key).map_err(|not_until| {
        let wait = not_until.wait_time_from(MonotonicClock.now());
        let retry_after = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        FetchError::Limited { of, retry_after }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(last: u8) -> Requester {
        Requester::Caller(Origin::Address([100, 64, 0, last].into()))
    }

    fn limited(result: Result<(), FetchError>) -> Option<Allowance> {
        match result {
            Ok(()) => None,
            Err(FetchError::Limited { of, retry_after }) => {
                assert!((1..=60).contains(&retry_after));
                Some(of)
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_device_is_stopped_and_others_are_not() {
        let limiter = FetchLimiter::new();
        for index in 0..PER_REQUESTER.1 {
            assert!(limiter.start(&format!("{index}.test"), Trust::Stranger, device(2)).is_ok());
        }
        assert_eq!(limited(limiter.start("x.test", Trust::Stranger, device(2))), Some(Allowance::Requester));
        assert_eq!(
            limited(limiter.start("x.test", Trust::Administrator, device(2))),
            Some(Allowance::Requester)
        );
        assert!(limiter.start("x.test", Trust::Stranger, device(3)).is_ok());
        assert!(limiter.start("x.test", Trust::Stranger, Requester::Caller(Origin::Funnel)).is_ok());
        assert!(limiter.start("x.test", Trust::Stranger, Requester::Daemon).is_ok());
    }

    #[test]
    fn a_host_is_spared_whoever_asks() {
        let limiter = FetchLimiter::new();
        for index in 0..PER_HOST.1 {
            assert!(
                limiter.start("victim.test", Trust::Stranger, device(u8::try_from(index).unwrap())).is_ok()
            );
        }
        assert_eq!(limited(limiter.start("victim.test", Trust::Stranger, device(99))), Some(Allowance::Host));
        assert!(limiter.start("other.test", Trust::Stranger, device(99)).is_ok());
        assert!(
            limiter.start("victim.test", Trust::Administrator, device(98)).is_ok(),
            "what an administrator named still works"
        );
    }

    #[test]
    fn many_names_of_one_host_are_one_host() {
        let limiter = FetchLimiter::new();
        for _ in 0..PER_HOST.1 {
            assert!(limiter.dial([8, 8, 8, 8].into(), Trust::Stranger).is_ok());
        }
        assert_eq!(limited(limiter.dial([8, 8, 8, 8].into(), Trust::Stranger)), Some(Allowance::Host));
        assert!(limiter.dial([8, 8, 4, 4].into(), Trust::Stranger).is_ok());
        for last in 0..PER_HOST.1 {
            let address = Ipv6Addr::from_bits((0x2600u128 << 112) | u128::from(last));
            assert!(limiter.dial(address.into(), Trust::Stranger).is_ok());
        }
        assert_eq!(
            limited(limiter.dial("2600::99".parse().unwrap(), Trust::Stranger)),
            Some(Allowance::Host)
        );
        assert!(limiter.dial("2600:0:0:1::".parse().unwrap(), Trust::Stranger).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let limiter = FetchLimiter::new();
        let mut refused = 0;
        for index in 0..3 * MOST_KEYS {
            let result = limiter.start(&format!("{index}.test"), Trust::Stranger, Requester::Daemon);
            refused += u32::from(limited(result) == Some(Allowance::Everybody));
        }
        assert!(limiter.strangers.len() <= MOST_KEYS && refused > 0);
    }
}
