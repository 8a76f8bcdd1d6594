//! Sample grants for every test here.

use tsidecar_oauth::client::AuthMethod;
use tsidecar_oauth::fresh::FreshId;
use tsidecar_oauth::grant::{Grant, GrantFacts, Holder, Place, Seen};
use tsidecar_oauth::id::{ClientId, DeviceId, GrantId, Listener, Subject};
use tsidecar_oauth::scope::Scope;
use tsidecar_oauth::time::{Lifetime, UnixTime};

/// When everything here happens.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_795_000_000);

/// The grant with this number, redeemed now: numbers spread over 64 users.
pub(crate) fn grant(number: u64) -> Grant {
    let subject = Subject::user(i64::try_from(number % 64).unwrap());
    let device = DeviceId::parse("nALICE12CNTRL").unwrap();
    let facts = GrantFacts {
        client: ClientId::parse("grafana").unwrap(),
        subject: subject.clone(),
        holder: Holder::Person(Seen {
            device: device.clone(),
            address: "100.64.0.2".parse().unwrap(),
            listener: Listener::host(),
        }),
        consented: false,
        exchange: None,
        scope: Scope::parse("openid profile email offline_access"),
        resources: Vec::new(),
        auth_time: NOW,
        acr: tsidecar_oauth::acr::Acr::Ambient,
        session: None,
        requested: tsidecar_oauth::requested::RequestedClaims::default(),
        key: None,
        issued_at: NOW,
        method: AuthMethod::None,
        place: Some(Place::Device(device)),
        expires_at: NOW.after(Lifetime::from_days(180)),
        idle: Some(Lifetime::from_days(30)),
    };
    let mut fresh = [0; 16];
    fresh[..8].copy_from_slice(&number.to_be_bytes());
    Grant::new(GrantId::new(&subject, FreshId::from_bytes(fresh)), facts, NOW)
}

/// The number from which a grant's id was made.
pub(crate) fn number(id: GrantId) -> u64 {
    u64::from_be_bytes(id.as_bytes()[8..16].try_into().unwrap())
}

/// Numbers that look random and are the same for the same seed (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below a bound.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }
}
