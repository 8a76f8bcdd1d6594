//! Deletes what nothing refers to any more, and keeps the number of live grants within bounds: hourly, on a thread of its
//! own with low priority.
//!
//! The sweep only reads and proposes. Every deletion and revocation goes through the committer. A deletion is judged again
//! on the current record, so a grant that was used a moment ago is not forgotten. A revocation for the cap on live grants is
//! not: of a user's seventeenth-newest grant, one that is refreshed in the very moment of the sweep is revoked all the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, mem};

use tsidecar_oauth::grant::Grant;
use tsidecar_oauth::id::{ClientId, DeviceId, GrantId, Subject};
use tsidecar_oauth::time::UnixTime;

use crate::clock::Clock;
use crate::store::{GrantPage, Store, StoreError};

/// Time between two sweeps.
const EVERY: Duration = Duration::from_hours(1);

/// Time before the first one: a start has better things to do, and a clock that was wrong at boot is right by then.
const FIRST: Duration = Duration::from_mins(5);

/// Keys read in one step.
const STEP: usize = 1_000;

/// Grants that one change deletes at most: logins wait for no more than that.
const CHUNK: usize = 64;

/// Live grants that a user keeps per client and device: the newest by last use.
const MOST_LIVE: usize = 16;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Records that were read.
    pub seen: usize,
    /// Grants that were deleted.
    pub forgotten: usize,
    /// Records that are kept for some time (marks, ended sessions and the like) and were deleted after it.
    pub expired: usize,
    /// Live grants that were revoked, because their user has newer ones for the same client and device.
    pub revoked: usize,
    /// Records that cannot be read.
    pub unreadable: usize,
}

/// The sweeping thread. Dropping it ends the thread.
pub struct Sweep {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Sweep {
    /// Starts the thread; its first sweep is five minutes away.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(store: Arc<dyn Store>, clock: Clock) -> io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let of_thread = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("sweep".to_owned())
            .spawn(move || run(&*store, &clock, &of_thread))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Sweep {
    /// Ends the thread after its current step, which takes milliseconds. Before [`Store::close`], please.
    fn drop(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            // A panic in it was printed by its hook, and costs nothing but sweeping.
            let _ = thread.join();
        }
    }
}

#[derive(Default)]
struct Stop {
    set: Mutex<bool>,
    wake: Condvar,
}

impl Stop {
    fn set(&self) {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_all();
    }

    fn is_set(&self) -> bool {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of the time, or for the stop: `true` when it came.
    fn wait(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        while !*set {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            set = self.wake.wait_timeout(set, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *set
    }
}

fn run(store: &dyn Store, clock: &Clock, stop: &Stop) {
    // On Linux the priority of one thread. Without it sweeping still works.
    if let Err(error) = rustix::process::setpriority_process(None, 19) {
        tracing::debug!(error = %error, "the sweep runs at normal priority");
    }
    let mut wait = FIRST;
    while !stop.wait(wait) {
        wait = EVERY;
        let start = Instant::now();
        match sweep(store, clock.now(), || stop.is_set()) {
            Ok(swept) => tracing::info!(
                seen = swept.seen,
                forgotten = swept.forgotten,
                expired = swept.expired,
                revoked = swept.revoked,
                unreadable = swept.unreadable,
                duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
                "swept the store"
            ),
            Err(error) => {
                tracing::warn!(error = %error, "sweeping stopped early; the next attempt is in an hour");
            }
        }
    }
}

/// Sweeps the whole store once. Stops after the current step when `stopped` says so.
///
/// # Errors
/// The first error of the store, for instance [`StoreError::Busy`] or [`StoreError::NoSpace`]: what was done stays done.
pub fn sweep(store: &dyn Store, now: UnixTime, stopped: impl Fn() -> bool) -> Result<Swept, StoreError> {
    let (mut swept, mut live, mut after) = (Swept::default(), Live::default(), None);
    loop {
        let page = store.grants_after(after, STEP)?;
        swept.seen += page.grants.len() + page.unreadable.len();
        swept.unreadable += page.unreadable.len();
        report(&page);
        let (dead, excess) = judge(&page, &mut live, now);
        for chunk in dead.chunks(CHUNK) {
            swept.forgotten += store.forget(chunk.to_vec(), now).wait()?;
        }
        for chunk in excess.chunks(CHUNK) {
            swept.revoked += revoke(store, chunk, now)?;
        }
        after = page.next;
        if after.is_none() || stopped() {
            break;
        }
    }
    while !stopped() {
        match store.forget_expired(CHUNK, now).wait()? {
            0 => break,
            expired => swept.expired += expired,
        }
    }
    Ok(swept)
}

/// An unreadable record stays where it is: deleting it could bring a used code back to life.
fn report(page: &GrantPage) {
    for id in &page.unreadable {
        tracing::error!(grant.id = %id, "a stored grant cannot be read");
    }
}

/// Which grants of a page can go, and which live ones are too many.
fn judge(page: &GrantPage, live: &mut Live, now: UnixTime) -> (Vec<GrantId>, Vec<GrantId>) {
    let (mut dead, mut excess) = (Vec::new(), Vec::new());
    for grant in &page.grants {
        if grant.forget_at().is_past(now) {
            dead.push(grant.id());
        } else if !grant.is_revoked() && !grant.ends_at().is_past(now) && !grant.facts().is_brief() {
            // All replicas of a service share its subject, and a gateway exchanges a person's tokens all the time: they would only
            // crowd each other out, and are gone soon.
            excess.extend(live.add(grant));
        }
    }
    (dead, excess)
}

/// Queues the revocations of a chunk together, so that they share a flush.
fn revoke(store: &dyn Store, chunk: &[GrantId], now: UnixTime) -> Result<usize, StoreError> {
    let pending: Vec<_> = chunk.iter().map(|id| store.retire_grant(*id, now)).collect();
    let mut revoked = 0;
    for answer in pending {
        revoked += usize::from(answer.wait()?);
    }
    Ok(revoked)
}

/// A client on a device, if there is one.
type On = (ClientId, Option<DeviceId>);

/// The newest live grants of the user at whom the sweep is: grants of one user stand together.
#[derive(Default)]
struct Live {
    subject: Option<Subject>,
    newest: BTreeMap<On, Vec<(UnixTime, GrantId)>>,
}

impl Live {
    /// Counts a live grant in; what comes back is the oldest of too many.
    fn add(&mut self, grant: &Grant) -> Option<GrantId> {
        let facts = grant.facts();
        if self.subject.as_ref() != Some(&facts.subject) {
            self.subject = Some(facts.subject.clone());
            self.newest.clear();
        }
        let newest = self.newest.entry((facts.client.clone(), facts.device().cloned())).or_default();
        let mut candidate = (grant.state().last_used, grant.id());
        if newest.len() < MOST_LIVE {
            newest.push(candidate);
            return None;
        }
        if let Some(oldest) = newest.iter_mut().min()
            && *oldest < candidate
        {
            mem::swap(oldest, &mut candidate);
        }
        Some(candidate.1)
    }
}

#[cfg(test)]
mod tests {
    use tsidecar_oauth::client::AuthMethod;
    use tsidecar_oauth::fresh::FreshId;
    use tsidecar_oauth::grant::{Exchange, Generation, GrantFacts, Holder, Seen};
    use tsidecar_oauth::id::Listener;
    use tsidecar_oauth::scope::Scope;
    use tsidecar_oauth::settle::Redeemed;
    use tsidecar_oauth::time::Lifetime;

    use super::*;
    use crate::store::MemoryStore;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_secs(seconds)
    }

    /// A grant that lives for ten days, five of them unused.
    fn grant(user: i64, client: &str, number: u16, now: UnixTime) -> Grant {
        let subject = Subject::user(user);
        let facts = GrantFacts {
            client: ClientId::parse(client).unwrap(),
            subject: subject.clone(),
            holder: Holder::Person(Seen {
                device: DeviceId::parse("nDEVICE").unwrap(),
                address: "fd7a:115c:a1e0::2".parse().unwrap(),
                listener: Listener::host(),
            }),
            consented: false,
            exchange: None,
            scope: Scope::parse("openid"),
            resources: Vec::new(),
            auth_time: now,
            acr: tsidecar_oauth::acr::Acr::Ambient,
            session: None,
            requested: tsidecar_oauth::requested::RequestedClaims::default(),
            key: None,
            issued_at: now,
            method: AuthMethod::ClientSecretBasic,
            place: None,
            expires_at: now.after(Lifetime::from_days(10)),
            idle: Some(Lifetime::from_days(5)),
        };
        let mut fresh = [0; 16];
        fresh[..2].copy_from_slice(&number.to_be_bytes());
        fresh[15] = u8::try_from(client.len()).unwrap();
        Grant::new(GrantId::new(&subject, FreshId::from_bytes(fresh)), facts, now)
    }

    fn put(store: &dyn Store, grant: &Grant) -> GrantId {
        assert_eq!(store.redeem(grant.clone(), grant.state().last_used).wait().unwrap(), Redeemed::New);
        grant.id()
    }

    #[test]
    fn the_dead_go_and_the_living_stay() {
        let store = MemoryStore::new();
        let idle = put(&store, &grant(1, "app", 1, at(0)));
        let used = put(&store, &grant(1, "app", 2, at(0)));
        let revoked = put(&store, &grant(2, "app", 3, at(0)));
        assert!(store.revoke_grant(revoked, at(10)).wait().unwrap());
        let four_days = at(4 * 86_400);
        store.rotate(used, Generation::default(), four_days).wait().unwrap();
        let now = at(5 * 86_400 + 3_600);
        let swept = sweep(&store, now, || false).unwrap();
        assert_eq!(swept, Swept { seen: 3, forgotten: 2, expired: 0, revoked: 0, unreadable: 0 });
        assert!(store.grant(idle).unwrap().is_none() && store.grant(revoked).unwrap().is_none());
        assert!(store.grant(used).unwrap().is_some());
        assert_eq!(sweep(&store, now, || false).unwrap(), Swept { seen: 1, ..Swept::default() });
    }

    #[test]
    fn a_user_keeps_the_sixteen_grants_used_last_per_client_and_device() {
        let store = MemoryStore::new();
        // Keys and times run in different directions, so that order of keys alone cannot pass.
        let ids: Vec<_> =
            (0..20).map(|n| put(&store, &grant(1, "app", n, at(1_000 - u64::from(n) * 7 % 20)))).collect();
        let others = [put(&store, &grant(1, "other", 1, at(1))), put(&store, &grant(2, "app", 1, at(1)))];
        let oldest = put(&store, &grant(1, "app", 20, at(500)));
        store.rotate(oldest, Generation::default(), at(2_000)).wait().unwrap();
        let swept = sweep(&store, at(3_000), || false).unwrap();
        assert_eq!(swept, Swept { seen: 23, forgotten: 0, expired: 0, revoked: 5, unreadable: 0 });
        let live = |id: &GrantId| !store.grant(*id).unwrap().unwrap().is_revoked();
        assert!(live(&oldest) && others.iter().all(live));
        let mut kept: Vec<_> = ids.iter().filter(|id| live(id)).map(|id| used(&store, *id)).collect();
        let mut dropped: Vec<_> = ids.iter().filter(|id| !live(id)).map(|id| used(&store, *id)).collect();
        kept.sort_unstable();
        dropped.sort_unstable();
        assert_eq!((kept.len(), dropped.len()), (15, 5));
        assert!(dropped.last() < kept.first());
        assert_eq!(sweep(&store, at(3_001), || false).unwrap().revoked, 0);
    }

    /// All replicas of a service share one subject, and a gateway exchanges tokens at each call: more of them than a person has
    /// sign-ins must not end each other's. What they got is forgotten soon after its end.
    #[test]
    fn what_lives_as_long_as_its_token_is_not_counted() {
        let store = MemoryStore::new();
        for number in 80..100 {
            let exchanged = grant(1, "app", number, at(0));
            let exchange = Some(Exchange { parent: exchanged.id(), actors: Vec::new() });
            let facts = GrantFacts { exchange, idle: None, expires_at: at(600), ..exchanged.facts().clone() };
            put(&store, &Grant::new(exchanged.id(), facts, at(0)));
        }
        for (number, holder) in (0..40).map(|n| (n, Holder::Client)).chain((40..80).map(|n| {
            let seen = grant(1, "app", 1, at(0)).facts().seen().unwrap().clone();
            (n, Holder::Workload(seen))
        })) {
            let person = grant(1, "app", number, at(0));
            let facts = GrantFacts { holder, idle: None, expires_at: at(600), ..person.facts().clone() };
            put(&store, &Grant::new(person.id(), facts, at(0)));
        }
        assert_eq!(sweep(&store, at(500), || false).unwrap(), Swept { seen: 100, ..Swept::default() });
        let swept = sweep(&store, at(600 + 3_601), || false).unwrap();
        assert_eq!((swept.forgotten, swept.revoked), (100, 0));
    }

    fn used(store: &dyn Store, id: GrantId) -> UnixTime {
        store.grant(id).unwrap().unwrap().state().last_used
    }

    #[test]
    fn many_steps_see_every_grant_and_stop_when_told() {
        let store = MemoryStore::new();
        for number in 0..2_500 {
            put(&store, &grant(i64::from(number), "app", number, at(0)));
        }
        assert_eq!(sweep(&store, at(10), || true).unwrap().seen, 1_000);
        assert_eq!(sweep(&store, at(10), || false).unwrap().seen, 2_500);
        let gone = sweep(&store, at(6 * 86_400), || false).unwrap();
        assert_eq!(gone, Swept { seen: 2_500, forgotten: 2_500, expired: 0, revoked: 0, unreadable: 0 });
    }

    #[test]
    fn the_thread_ends_when_it_is_dropped() {
        let sweep = Sweep::start(Arc::new(MemoryStore::new()), Clock::system()).unwrap();
        drop(sweep);
    }
}
