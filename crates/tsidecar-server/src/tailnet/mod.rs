//! Follows tailscaled: who has an address now, and whether what is said can be believed (design section 4).
//!
//! One task reads the bus, one reads status, preferences and serve config: at each reconnect, when the bus says something
//! about them, and every 30 s. What they learn is one value of `Facts`; everything else is a pure function of it.
//! tailscaled away is never an answer about a person.

mod exposure;
mod facts;
mod follow;
mod sightings;
mod unready;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinHandle};
use tsidecar_localapi::{CacheLimits, Client, Destination, ServiceName, StableNodeId, WhoIs, WhoisCache};
use tsidecar_oauth::{
    grant::Place,
    id::{DeviceId, Listener},
    rule::RuleError,
};

pub use self::{exposure::Boundary, unready::Unready};
use self::{
    facts::{Facts, Limits},
    sightings::{Judged, Moment, Sightings},
};
use crate::{
    identity::{IdentityPolicy, Sighting, Via, identify},
    peer::{Caller, Gate, Origin, PROXY, Role},
};

/// What tailscaled says. Dropping it ends the tasks that listen.
#[derive(Debug)]
pub struct Tailnet {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
    going_down: AtomicBool,
}

/// What [`Tailnet::start`] needs to know.
#[derive(Debug)]
pub struct Settings {
    /// The daemon to follow.
    pub client: Client,
    /// Told which process it is after each reconnect.
    pub gate: Arc<Gate>,
    /// What must not be exposed.
    pub boundary: Boundary,
    /// Whom the tailnet's answers are taken for.
    pub identity: IdentityPolicy,
    /// How long tailscaled may have been cut off from its control server; `None` is for ever.
    pub max_stale: Option<Duration>,
}

/// Why a sender is not identified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unidentified {
    /// Nobody can be identified now: 503.
    #[error(transparent)]
    Unready(#[from] Unready),
    /// `Tailscale-User-Login` and whois disagree, so somebody other than serve stands in front: 400, and an alert.
    #[error(
        "Tailscale-User-Login names another person than the tailnet does; something between `tailscale serve` and this server sends headers of its own"
    )]
    Contradiction,
}

struct Shared {
    cache: WhoisCache,
    gate: Arc<Gate>,
    boundary: Boundary,
    policy: IdentityPolicy,
    limits: Limits,
    facts: watch::Sender<Facts>,
    /// Asks the surveyor to read everything again.
    wanted: tokio::sync::Notify,
    /// Wakes whoever wants to know that other nodes have changed.
    peers: Arc<tokio::sync::Notify>,
    sightings: Sightings,
    /// What was said about rules.
    reported: Mutex<BTreeSet<String>>,
}

/// An answer of whois.
struct Answer {
    whois: Arc<WhoIs>,
    this_node: StableNodeId,
    /// What had been heard before it was asked for.
    asked: Moment,
}

impl Tailnet {
    /// Starts to follow tailscaled. Must be called on a tokio runtime.
    pub fn start(settings: Settings) -> Arc<Self> {
        let shared = Arc::new(Shared {
            cache: WhoisCache::new(settings.client, CacheLimits::default()),
            gate: settings.gate,
            boundary: settings.boundary,
            policy: settings.identity,
            limits: Limits { max_stale: settings.max_stale },
            facts: watch::Sender::new(Facts::new()),
            wanted: tokio::sync::Notify::new(),
            peers: Arc::default(),
            sightings: Sightings::default(),
            reported: Mutex::default(),
        });
        let tasks = vec![
            tokio::spawn(follow::follow_bus(Arc::clone(&shared))),
            tokio::spawn(follow::survey(Arc::clone(&shared))),
        ];
        Arc::new(Self { shared, tasks, going_down: AtomicBool::new(false) })
    }

    /// The client that asks tailscaled.
    pub fn client(&self) -> &Client {
        self.shared.cache.client()
    }

    /// Tells who has an address now, with the capabilities towards a listener; one whois, from an answer at most 2 s old.
    ///
    /// "Nobody" is believed only while a map of the tailnet has arrived since the bus was opened, before the question and
    /// after it.
    ///
    /// # Errors
    /// [`Unready`] when tailscaled cannot tell.
    pub async fn identify(&self, address: IpAddr, listener: &Listener) -> Result<Sighting, Unready> {
        match self.ask(address, listener).await? {
            Some(answer) => Ok(self.shared.judge(address, listener, answer)),
            None => Ok(self.shared.nobody(address)),
        }
    }

    /// Tells who has an address as [`Self::identify`] does, but believes an earlier answer until the bus says something that may
    /// concern it (for at most a minute). For introspection, which takes no decision of its own about a person.
    ///
    /// # Errors
    /// [`Unready`] when tailscaled cannot tell.
    pub async fn last_seen(&self, address: IpAddr, listener: &Listener) -> Result<Sighting, Unready> {
        let (_, this_node) = self.shared.trusted()?;
        match self.shared.sightings.standing(address, listener, &this_node, Instant::now()) {
            Some(sighting) => Ok(sighting),
            None => self.identify(address, listener).await,
        }
    }

    /// Tells who sent a request: as [`Self::identify`], and what serve says of the sender must agree.
    /// [`Sighting::Unknown`] for whoever came by Funnel, without asking.
    ///
    /// # Errors
    /// - [`Unidentified::Unready`] when tailscaled cannot tell,
    /// - [`Unidentified::Contradiction`] when the request claims another login; logged as an alert.
    pub async fn identify_caller(&self, caller: &Caller) -> Result<Sighting, Unidentified> {
        let Origin::Address(address) = caller.origin() else { return Ok(Sighting::Unknown) };
        let mut answer = self.ask(address, caller.listener()).await?;
        if contradicts(caller, answer.as_ref()) {
            // Ours may be 2 s old, serve's is of now.
            self.shared.cache.invalidate_address(address);
            self.shared.sightings.forget_address(address);
            answer = self.ask(address, caller.listener()).await?;
        }
        if contradicts(caller, answer.as_ref()) {
            tracing::error!(
                alert = true, %address, listener = %caller.listener(),
                "Tailscale-User-Login differs from whois: something else than `tailscale serve` sends requests here"
            );
            return Err(Unidentified::Contradiction);
        }
        match answer {
            Some(answer) => Ok(self.shared.judge(address, caller.listener(), answer)),
            None => Ok(self.shared.nobody(address)),
        }
    }

    /// Names the device that sent a request, whoever may sign in on it; `None` through Funnel and for an unknown address.
    ///
    /// # Errors
    /// [`Unready`] when tailscaled cannot tell.
    pub async fn device_of(&self, caller: &Caller) -> Result<Option<DeviceId>, Unready> {
        let Origin::Address(address) = caller.origin() else { return Ok(None) };
        let answer = self.ask(address, caller.listener()).await?;
        Ok(answer.and_then(|answer| DeviceId::parse(answer.whois.node.stable_id.as_str()).ok()))
    }

    /// Where a request comes from: it binds the refresh tokens of public clients. A web page has no authority of its person
    /// (design section 4), so its tokens and those of applications on the same device do not work for each other.
    ///
    /// # Errors
    /// [`Unready`] when tailscaled cannot tell.
    pub async fn place_of(&self, caller: &Caller) -> Result<Place, Unready> {
        Ok(match self.device_of(caller).await? {
            None => Place::Outside,
            Some(device) if caller.is_from_web_page() => Place::Page(device),
            Some(device) => Place::Device(device),
        })
    }

    /// Woken when other nodes, or what they may do, have changed; one waits for it, and may also be woken by [`Notify::notify_one`].
    ///
    /// [`Notify::notify_one`]: tokio::sync::Notify::notify_one
    pub fn peer_changes(&self) -> Arc<tokio::sync::Notify> {
        Arc::clone(&self.shared.peers)
    }

    /// Whether requests on a socket of this role may be answered now; a stop does not change it.
    ///
    /// # Errors
    /// [`Unready`], the reason why not.
    pub fn readiness_of(&self, role: &Role) -> Result<(), Unready> {
        self.shared.facts.borrow().readiness(role, &self.shared.limits, Instant::now())
    }

    /// Whether the host's own socket is ready, for whoever decides where to send new requests: a stop shows here.
    ///
    /// # Errors
    /// [`Unready`], the reason why not.
    pub fn readiness(&self) -> Result<(), Unready> {
        if self.going_down.load(Ordering::Relaxed) {
            return Err(Unready::GoingDown);
        }
        self.readiness_of(&Role::Host)
    }

    /// Says that the stop has begun.
    pub fn going_down(&self) {
        self.going_down.store(true, Ordering::Relaxed);
    }

    /// Calls back with the readiness of the host's socket, now and whenever it changes; never returns.
    pub async fn on_change(&self, mut tell: impl FnMut(&Result<(), Unready>)) {
        let mut facts = self.shared.facts.subscribe();
        let mut told = None;
        loop {
            facts.mark_unchanged();
            let now = self.readiness_of(&Role::Host);
            if told.as_ref() != Some(&now) {
                tell(&now);
                told = Some(now);
            }
            if facts.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn ask(&self, address: IpAddr, listener: &Listener) -> Result<Option<Answer>, Unready> {
        let Some(destination) = Towards::of(listener) else { return Ok(None) };
        for _ in 0..ATTEMPTS {
            let asked = self.shared.sightings.now();
            let (epoch, this_node) = self.shared.trusted()?;
            let answer = self.shared.cache.whois(address, destination.as_destination()).await?;
            if let Some(whois) = answer {
                return Ok(Some(Answer { whois, this_node, asked }));
            }
            if self.shared.trusted()?.0 == epoch {
                return Ok(None);
            }
        }
        Err(Unready::Starting)
    }
}

impl Drop for Tailnet {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    /// The current epoch and this node's name, while whois can be believed.
    fn trusted(&self) -> Result<(u64, StableNodeId), Unready> {
        let facts = self.facts.borrow();
        let reading = facts.trusted(&self.limits, Instant::now())?;
        Ok((facts.epoch(), reading.this_node.clone()))
    }

    fn judge(&self, address: IpAddr, listener: &Listener, answer: Answer) -> Sighting {
        let Answer { whois, this_node, asked } = answer;
        if let Some(known) = self.sightings.of_answer(address, listener, &whois, &this_node) {
            return known;
        }
        let via = if listener.as_str().starts_with(PROXY) { Via::Proxy } else { Via::Serve };
        let (sighting, skipped) = identify(&whois, &this_node, via, &self.policy);
        self.report(&whois, skipped);
        let (listener, at) = (listener.clone(), Instant::now());
        let judged = Judged { listener, whois, this_node, sighting: sighting.clone(), at };
        self.sightings.keep(address, judged, asked);
        sighting
    }

    /// Nobody has the address now, whoever had it before.
    fn nobody(&self, address: IpAddr) -> Sighting {
        self.sightings.forget_address(address);
        Sighting::Unknown
    }

    /// Forgets every answer and what it was judged to mean.
    fn forget_all(&self) {
        self.cache.invalidate_all();
        self.sightings.forget_all();
    }
}

impl Shared {
    /// Says once what of the capability's rules does not count: the same answer comes again and again.
    fn report(&self, whois: &WhoIs, skipped: Vec<RuleError>) {
        for error in skipped {
            let text = error.to_string();
            let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
            if reported.len() < REPORTED && reported.insert(text) {
                tracing::warn!(
                    capability = %self.policy.capability, device = %whois.node.stable_id, %error,
                    "a rule in the tailnet policy, or a part of it, was skipped"
                );
            }
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("facts", &*self.facts.borrow()).finish_non_exhaustive()
    }
}

/// The destination that a listener stands for.
enum Towards {
    Host,
    Service(ServiceName),
}

impl Towards {
    /// `None` for a name that no socket of ours has: it comes from a code or grant, so its owner has nothing there.
    fn of(listener: &Listener) -> Option<Self> {
        let name = listener.as_str();
        if *listener == Listener::host() || name.starts_with(PROXY) {
            return Some(Self::Host);
        }
        name.parse().ok().map(Self::Service)
    }

    const fn as_destination(&self) -> Destination<'_> {
        match self {
            Self::Host => Destination::Host,
            Self::Service(name) => Destination::Service(name),
        }
    }
}

/// serve names no login for tagged nodes, and none for whom it does not know.
fn contradicts(caller: &Caller, answer: Option<&Answer>) -> bool {
    let Some(claimed) = caller.claimed_login() else { return false };
    let whois = answer.map(|answer| &answer.whois).filter(|whois| !whois.node.is_tagged());
    !whois.is_some_and(|whois| claimed.is(whois.user_profile.login_name.as_str()))
}

/// How often "nobody" is asked again because tailscaled changed under the question.
const ATTEMPTS: usize = 3;
/// How many different complaints about rules are made; whoever has more has read the first ones.
const REPORTED: usize = 256;

#[cfg(test)]
mod tests;
