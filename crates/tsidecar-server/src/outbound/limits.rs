//! How much is fetched: for one requester, from one host, at one address. Nobody makes us a load on others, or on ourselves.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock as _, MonotonicClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::error::{Allowance, FetchError};
use super::{Errand, Requester, Standing, Trust};
use crate::peer::Origin;

/// Fetches that one device may cause in a minute, and at once after a pause: a person signs in to a new client now and then.
const PER_REQUESTER: (u32, u32) = (30, 10);
/// Funnel is everybody on the internet, and the clients that are hosted there.
const BY_FUNNEL: (u32, u32) = (240, 80);
/// Fetches from one host that an administrator did not name, and from one address behind it: so many of new things, and as many
/// of what is known already. URLs that somebody thinks of use up only the first, so that they keep no client from the second.
const PER_HOST: (u32, u32) = (30, 10);
/// New things that one requester, or all of Funnel together, may have us fetch from one such host: well below what the host is
/// asked for in all, so that no one of them uses that up alone. Few people start with more than a client or two of one host at
/// once, and each may take two: its document and its keys.
const OF_ONE_HOST: (u32, u32) = (10, 4);
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

/// Who asks for a fetch, as it is counted.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Asker {
    Device(IpAddr),
    Funnel,
}

/// Counts fetches.
pub(super) struct FetchLimiter {
    devices: Keyed<IpAddr>,
    funnel: Keyed<()>,
    /// What one requester has from one place.
    shares: Keyed<(Asker, Target)>,
    strangers: Keyed<Target>,
    known: Keyed<Target>,
    named: Keyed<Target>,
    checks: AtomicU32,
}

impl FetchLimiter {
    pub(super) fn new() -> Self {
        Self {
            devices: keyed(PER_REQUESTER),
            funnel: keyed(BY_FUNNEL),
            shares: keyed(OF_ONE_HOST),
            strangers: keyed(PER_HOST),
            known: keyed(PER_HOST),
            named: keyed(PER_NAMED_HOST),
            checks: AtomicU32::new(0),
        }
    }

    /// Counts a fetch before anything is looked up.
    pub(super) fn start(&self, host: &str, errand: Errand) -> Result<(), FetchError> {
        if self.checks.fetch_add(1, Ordering::Relaxed).is_multiple_of(FORGET_EVERY) {
            self.forget();
        }
        // Of what is known there is only so much, each fetched when it is stale; and Funnel's allowance is everybody's to use up.
        if errand.standing == Standing::New {
            match asker(errand.requester) {
                Some(Asker::Device(network)) => check(&self.devices, &network, Allowance::Requester)?,
                Some(Asker::Funnel) => check(&self.funnel, &(), Allowance::Requester)?,
                None => (),
            }
        }
        let target = Target::Host(host.to_owned());
        match errand.trust {
            Trust::Stranger => self.count(&target, errand),
            Trust::Administrator => check(&self.named, &target, Allowance::Host),
        }
    }

    /// Counts a connection to an address that is about to be dialled: many names may lead to one host.
    pub(super) fn dial(&self, address: IpAddr, errand: Errand) -> Result<(), FetchError> {
        match errand.trust {
            Trust::Stranger => self.count(&Target::Network(network_of(address)), errand),
            Trust::Administrator => Ok(()),
        }
    }

    /// Counts what no administrator named.
    fn count(&self, target: &Target, errand: Errand) -> Result<(), FetchError> {
        if errand.standing == Standing::Known {
            return check(&self.known, target, Allowance::Host);
        }
        let share = asker(errand.requester).map(|asker| (asker, target.clone()));
        if let Some(share) = share {
            check(&self.shares, &share, Allowance::Requester)?;
        }
        check(&self.strangers, target, Allowance::Host)
    }

    fn forget(&self) {
        self.devices.retain_recent();
        self.shares.retain_recent();
        self.strangers.retain_recent();
        self.known.retain_recent();
        self.named.retain_recent();
        self.shares.shrink_to_fit();
        self.strangers.shrink_to_fit();
    }
}

/// Whom a fetch counts for; the daemon itself asks for no more than it must.
fn asker(requester: Requester) -> Option<Asker> {
    match requester {
        Requester::Caller(Origin::Address(address)) => Some(Asker::Device(network_of(address))),
        Requester::Caller(Origin::Funnel) => Some(Asker::Funnel),
        Requester::Daemon => None,
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

    const fn new(trust: Trust, requester: Requester) -> Errand {
        Errand { trust, standing: Standing::New, requester }
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
            assert!(limiter.start(&format!("{index}.test"), new(Trust::Stranger, device(2))).is_ok());
        }
        assert_eq!(
            limited(limiter.start("x.test", new(Trust::Stranger, device(2)))),
            Some(Allowance::Requester)
        );
        assert_eq!(
            limited(limiter.start("x.test", new(Trust::Administrator, device(2)))),
            Some(Allowance::Requester)
        );
        assert!(limiter.start("x.test", new(Trust::Stranger, device(3))).is_ok());
        assert!(limiter.start("x.test", new(Trust::Stranger, Requester::Caller(Origin::Funnel))).is_ok());
        assert!(limiter.start("x.test", new(Trust::Stranger, Requester::Daemon)).is_ok());
    }

    #[test]
    fn a_host_is_spared_whoever_asks() {
        let limiter = FetchLimiter::new();
        for index in 0..PER_HOST.1 {
            assert!(
                limiter
                    .start("victim.test", new(Trust::Stranger, device(u8::try_from(index).unwrap())))
                    .is_ok()
            );
        }
        assert_eq!(
            limited(limiter.start("victim.test", new(Trust::Stranger, device(99)))),
            Some(Allowance::Host)
        );
        assert!(limiter.start("other.test", new(Trust::Stranger, device(99))).is_ok());
        assert!(
            limiter.start("victim.test", new(Trust::Administrator, device(98))).is_ok(),
            "what an administrator named still works"
        );
    }

    /// Whoever thinks of URLs of a host, by many names of it too, uses up neither the host's allowance alone nor what known things
    /// are fetched with.
    #[test]
    fn new_things_use_up_nothing_that_others_need() {
        let funnel = Requester::Caller(Origin::Funnel);
        for attacker in [device(2), funnel] {
            let limiter = FetchLimiter::new();
            let ask = |requester| limited(limiter.start("app.test", new(Trust::Stranger, requester)));
            let asked = (0..40).filter(|_| ask(attacker).is_none()).count();
            assert_eq!(asked, usize::try_from(OF_ONE_HOST.1).unwrap());
            assert_eq!(ask(attacker), Some(Allowance::Requester));
            assert_eq!(ask(device(3)), None, "the host's allowance is not used up");
            let dial =
                |requester| limited(limiter.dial([8, 8, 8, 8].into(), new(Trust::Stranger, requester)));
            let dialled = (0..40).filter(|_| dial(attacker).is_none()).count();
            assert_eq!((dialled, dial(device(3))), (asked, None));
        }
        let limiter = FetchLimiter::new();
        for last in 0..200 {
            let _ = limiter.start("app.test", new(Trust::Stranger, device(last)));
            let _ = limiter.start(&format!("{last}.test"), new(Trust::Stranger, funnel));
            let _ = limiter.dial([8, 8, 8, 8].into(), new(Trust::Stranger, device(last)));
        }
        let made_up = new(Trust::Stranger, funnel);
        let known = Errand { standing: Standing::Known, ..made_up };
        assert_eq!(limited(limiter.start("app.test", made_up)), Some(Allowance::Requester));
        assert_eq!(limited(limiter.start("app.test", known)), None);
        assert_eq!(limited(limiter.dial([8, 8, 8, 8].into(), known)), None);
        for _ in 0..PER_HOST.1 {
            let _ = limiter.start("app.test", known);
        }
        assert_eq!(limited(limiter.start("app.test", known)), Some(Allowance::Host), "and is bounded itself");
    }

    #[test]
    fn many_names_of_one_host_are_one_host() {
        let limiter = FetchLimiter::new();
        for _ in 0..PER_HOST.1 {
            assert!(limiter.dial([8, 8, 8, 8].into(), new(Trust::Stranger, Requester::Daemon)).is_ok());
        }
        assert_eq!(
            limited(limiter.dial([8, 8, 8, 8].into(), new(Trust::Stranger, Requester::Daemon))),
            Some(Allowance::Host)
        );
        assert!(limiter.dial([8, 8, 4, 4].into(), new(Trust::Stranger, Requester::Daemon)).is_ok());
        for last in 0..PER_HOST.1 {
            let address = Ipv6Addr::from_bits((0x2600u128 << 112) | u128::from(last));
            assert!(limiter.dial(address.into(), new(Trust::Stranger, Requester::Daemon)).is_ok());
        }
        assert_eq!(
            limited(limiter.dial("2600::99".parse().unwrap(), new(Trust::Stranger, Requester::Daemon))),
            Some(Allowance::Host)
        );
        assert!(
            limiter.dial("2600:0:0:1::".parse().unwrap(), new(Trust::Stranger, Requester::Daemon)).is_ok()
        );
    }

    #[test]
    fn memory_is_bounded() {
        let limiter = FetchLimiter::new();
        let mut refused = 0;
        for index in 0..3 * MOST_KEYS {
            let result = limiter.start(&format!("{index}.test"), new(Trust::Stranger, Requester::Daemon));
            refused += u32::from(limited(result) == Some(Allowance::Everybody));
        }
        assert!(limiter.strangers.len() <= MOST_KEYS && refused > 0);
    }
}
