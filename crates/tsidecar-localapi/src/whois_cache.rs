//! Asks tailscaled about a peer once, however many requests of that peer arrive together.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout_at},
};

use crate::{
    client::Client,
    error::{Endpoint, Error, Stage},
    id::{NodeId, ServiceName},
    watch::Notify,
    whois::{Destination, Prefix, WhoIs},
};

/// Keeps whois answers for a moment, so that tailscaled is asked cheaply and never in a storm.
///
/// Answers are kept per address and destination, "nobody" too, errors never. A question under way has any number of
/// followers, and runs on when all of them are gone. An invalidation also reaches questions under way: their answers go
/// to those who already wait, are not kept, and nobody joins them any more. Cheap to clone; clones share everything.
///
/// ```no_run
/// # async fn example() -> Result<(), tsidecar_localapi::Error> {
/// use tsidecar_localapi::{CacheLimits, Client, Destination, WhoisCache};
///
/// let cache = WhoisCache::new(Client::new("/var/run/tailscale/tailscaled.sock"), CacheLimits::default());
/// let peer = "100.64.0.2".parse().unwrap();
/// let first = cache.whois(peer, Destination::Host).await?;
/// let same = cache.whois(peer, Destination::Host).await?; // asks nobody
/// cache.invalidate_address(peer);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct WhoisCache {
    shared: Arc<Shared>,
}

/// Bounds what a [`WhoisCache`] keeps and does at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// How old an answer may become, counted from its question; 2 s at most, more is cut.
    pub age: Duration,
    /// How many answers are kept.
    pub entries: usize,
    /// How many bytes of answers, as they came, are kept.
    pub bytes: usize,
    /// How many questions tailscaled gets at once; at least one.
    pub concurrency: usize,
    /// How many questions may be under way or wait for their turn; beyond that [`Error::Busy`].
    pub waiting: usize,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    limits: CacheLimits,
    turns: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: BTreeMap<Key, Kept>,
    /// What is kept, oldest first; numbers that no longer match were invalidated.
    order: VecDeque<(u64, Key)>,
    bytes: usize,
    /// The questions that may be joined.
    flights: BTreeMap<Key, Flight>,
    /// All questions under way, also those that nobody may join.
    under_way: usize,
    /// Numbers questions, so that an answer knows whether it is still the one that is awaited.
    numbers: u64,
}

/// The address first, so that all destinations of one peer stand together.
type Key = (IpAddr, Towards);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Towards {
    Host,
    Service(ServiceName),
    Address(IpAddr),
}

#[derive(Debug)]
struct Kept {
    number: u64,
    expires: Instant,
    bytes: usize,
    answer: Answer,
}

#[derive(Debug)]
struct Flight {
    number: u64,
    outcome: watch::Receiver<Option<Outcome>>,
}

type Answer = Option<Arc<WhoIs>>;
type Outcome = Result<Answer, Error>;

impl Default for CacheLimits {
    /// 2 s, 4,096 answers of together 8 MiB, 16 questions at once, 1,024 under way.
    fn default() -> Self {
        Self { age: OLDEST, entries: 4096, bytes: 8 << 20, concurrency: 16, waiting: 1024 }
    }
}

impl WhoisCache {
    /// Starts empty.
    pub fn new(client: Client, limits: CacheLimits) -> Self {
        let turns = Semaphore::new(limits.concurrency.clamp(1, Semaphore::MAX_PERMITS));
        let limits = CacheLimits { age: limits.age.min(OLDEST), ..limits };
        Self { shared: Arc::new(Shared { client, limits, turns, state: Mutex::default() }) }
    }

    /// The client that asks.
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// Tells who has an address, as [`Client::whois`] does, from an answer that is at most [`CacheLimits::age`] old.
    ///
    /// The deadline of the client covers the wait for a turn too. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// Those of [`Client::whois`], and
    /// - [`Error::Busy`] when too many questions are under way,
    /// - [`Error::Timeout`] with [`Stage::Turn`] when the turn did not come in time.
    pub async fn whois(
        &self,
        address: IpAddr,
        destination: Destination<'_>,
    ) -> Result<Option<Arc<WhoIs>>, Error> {
        let key = (address.to_canonical(), destination.into());
        let mut flight = match self.find(key)? {
            Found::Kept(answer) => return Ok(answer),
            Found::UnderWay(flight) => flight,
        };
        match flight.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            // The leader is gone without an answer: it panicked, or the runtime shuts down.
            Ok(None) | Err(_) => Err(Error::io(Endpoint::WhoIs, io::ErrorKind::Interrupted.into())),
        }
    }

    /// Drops what is known about one address, towards all destinations.
    pub fn invalidate_address(&self, address: IpAddr) {
        let address = address.to_canonical();
        let mut state = self.shared.state();
        while let Some(key) = state.kept.range((address, Towards::Host)..).next().map(|(key, _)| key.clone())
        {
            if key.0 != address {
                break;
            }
            state.drop_kept(&key);
        }
        state.flights.retain(|key, _| key.0 != address);
    }

    /// Drops what a change on the bus may have made stale.
    ///
    /// A peer that is new, replaced, patched or gone takes its answers with it, and nothing that is under way is kept.
    /// A new state, network map or self node, a changed user and a critical error drop everything: when the control
    /// server sends a whole map, tailscaled 1.102 announces the self node and the peers that are left, but not the
    /// ones that are gone. When the bus is lost, [`Self::invalidate_all`] is yours to call.
    pub fn apply(&self, change: &Notify) {
        let whole = change.net_map || change.self_change.is_some();
        let about_all =
            change.state.is_some() || change.err_message.is_some() || !change.user_profiles.is_empty();
        if whole || about_all {
            return self.invalidate_all();
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
        let mut state = self.shared.state();
        let dropped = |(key, kept): (&Key, &Kept)| {
            let about = kept.answer.as_ref().is_some_and(|whois| nodes.contains(&whois.node.id));
            (about || addresses.contains(&key.0)).then(|| key.clone())
        };
        for key in state.kept.iter().filter_map(dropped).collect::<Vec<_>>() {
            state.drop_kept(&key);
        }
        // Of those under way it is not known yet which node they are about.
        state.flights.clear();
    }

    /// Drops everything that is known.
    pub fn invalidate_all(&self) {
        let mut state = self.shared.state();
        let kept = std::mem::take(&mut *state);
        // Questions under way go on, unjoined; their count and the numbering with them.
        (state.under_way, state.numbers) = (kept.under_way, kept.numbers);
        drop(state);
    }

    fn find(&self, key: Key) -> Result<Found, Error> {
        let now = Instant::now();
        let mut state = self.shared.state();
        if let Some(kept) = state.kept.get(&key).filter(|kept| now < kept.expires) {
            return Ok(Found::Kept(kept.answer.clone()));
        }
        if let Some(flight) = state.flights.get(&key) {
            return Ok(Found::UnderWay(flight.outcome.clone()));
        }
        if state.under_way >= self.shared.limits.waiting {
            return Err(Error::Busy { waiting: state.under_way });
        }
        state.numbers += 1;
        state.under_way += 1;
        let number = state.numbers;
        let (sender, outcome) = watch::channel(None);
        state.flights.insert(key.clone(), Flight { number, outcome: outcome.clone() });
        drop(state);
        let leader = Leader { shared: Arc::clone(&self.shared), key, number };
        tokio::spawn(leader.lead(sender));
        Ok(Found::UnderWay(outcome))
    }
}

enum Found {
    Kept(Answer),
    UnderWay(watch::Receiver<Option<Outcome>>),
}

/// One question under way. However it ends, its place is given back.
struct Leader {
    shared: Arc<Shared>,
    key: Key,
    number: u64,
}

impl Leader {
    async fn lead(self, sender: watch::Sender<Option<Outcome>>) {
        let (asked, outcome) = self.ask().await;
        let outcome = match outcome {
            Ok(sized) => {
                let (answer, bytes) =
                    sized.map_or((None, 0), |(whois, bytes)| (Some(Arc::new(whois)), bytes));
                self.keep(asked, answer.clone(), bytes);
                Ok(answer)
            }
            Err(error) => Err(error),
        };
        drop(self);
        sender.send_replace(Some(outcome));
    }

    /// Waits for a turn and asks, both within one deadline. The age of the answer counts from the question.
    async fn ask(&self) -> (Instant, Result<Option<(WhoIs, usize)>, Error>) {
        let limit = self.shared.client.limits().answer;
        let deadline = Instant::now() + limit;
        let late = |stage| Error::Timeout { endpoint: Endpoint::WhoIs, stage, limit };
        let Ok(Ok(_turn)) = timeout_at(deadline, self.shared.turns.acquire()).await else {
            return (deadline, Err(late(Stage::Turn)));
        };
        let asked = Instant::now();
        let destination = match &self.key.1 {
            Towards::Host => Destination::Host,
            Towards::Service(name) => Destination::Service(name),
            Towards::Address(address) => Destination::Address(*address),
        };
        let answer = timeout_at(deadline, self.shared.client.whois_sized(self.key.0, destination)).await;
        (asked, answer.unwrap_or(Err(late(Stage::Answer))))
    }

    /// Keeps an answer, unless an invalidation came since the question.
    fn keep(&self, asked: Instant, answer: Answer, bytes: usize) {
        let mut state = self.shared.state();
        if state.flights.get(&self.key).is_none_or(|flight| flight.number != self.number) {
            return;
        }
        let bytes = bytes.saturating_add(ENTRY_BYTES);
        let kept = Kept { number: self.number, expires: asked + self.shared.limits.age, bytes, answer };
        state.drop_kept(&self.key);
        state.bytes = state.bytes.saturating_add(bytes);
        state.kept.insert(self.key.clone(), kept);
        state.order.push_back((self.number, self.key.clone()));
        state.trim(&self.shared.limits);
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.under_way = state.under_way.saturating_sub(1);
        if state.flights.get(&self.key).is_some_and(|flight| flight.number == self.number) {
            state.flights.remove(&self.key);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn drop_kept(&mut self, key: &Key) {
        if let Some(kept) = self.kept.remove(key) {
            self.bytes = self.bytes.saturating_sub(kept.bytes);
        }
    }

    /// Drops the oldest answers: all that expired, and as many more as the bounds want.
    fn trim(&mut self, limits: &CacheLimits) {
        let now = Instant::now();
        while let Some((number, key)) = self.order.front() {
            let kept = self.kept.get(key).filter(|kept| kept.number == *number);
            let full = self.order.len() > limits.entries || self.bytes > limits.bytes;
            if kept.is_some_and(|kept| now < kept.expires) && !full {
                return;
            }
            let current = kept.is_some();
            if let Some((_, key)) = self.order.pop_front()
                && current
            {
                self.drop_kept(&key);
            }
        }
    }
}

impl From<Destination<'_>> for Towards {
    fn from(destination: Destination<'_>) -> Self {
        match destination {
            Destination::Host => Self::Host,
            Destination::Service(name) => Self::Service(name.clone()),
            Destination::Address(address) => Self::Address(address.to_canonical()),
        }
    }
}

/// The design's bound on how long a removed device or grant may live on here.
const OLDEST: Duration = Duration::from_secs(2);
/// What an answer costs beside its text, roughly.
const ENTRY_BYTES: usize = 512;
