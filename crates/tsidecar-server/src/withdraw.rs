//! Ends grants that nobody may use any more, so that their clients are told: a client that is removed or switched off, a person
//! who is no longer admitted, a device that has left the tailnet.
//!
//! Such a grant dies at its next use in any case (design section 2 of the promises); this is for applications that keep a
//! session of their own and ask us nothing for hours. So only grants of clients that want to be told are looked at, in pages,
//! and whois is asked as at a refresh. Nothing is believed at once: a device counts as gone, and a person as not admitted, when
//! that is still so half a minute later, with a tailscaled that was ready all the while. A tailscaled that starts again, or
//! brings a whole new map, logs nobody out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tsidecar_oauth::backchannel::is_withdrawn;
use tsidecar_oauth::grant::Grant;
use tsidecar_oauth::id::{GrantId, Listener, Subject};
use tsidecar_oauth::identity::Identity;
use tsidecar_oauth::time::{Lifetime, UnixTime};

use crate::app::App;
use crate::audit;
use crate::identity::Sighting;
use crate::snapshot::Snapshot;
use crate::store::{Store, StoreError};
use crate::tailnet::Unready;

/// Grants read at a time: a millisecond.
const PAGE: usize = 200;
/// Revocations that are queued at a time.
const CHUNK: usize = 64;
/// How long something must have been so.
const CONFIRM: Lifetime = Lifetime::from_secs(30);
/// The least time between two reviews for which there is nothing but news.
const SETTLE: Lifetime = Lifetime::from_secs(30);
/// How often a review is made without news.
const EVERY: Lifetime = Lifetime::from_minutes(10);
/// How often the clock is looked at while a review is due soon, and otherwise.
const LOOK: Duration = Duration::from_secs(1);
const RARELY: Duration = Duration::from_mins(1);
/// Grants that are under suspicion at once; more of them have their turn later.
const MOST_SUSPECTS: usize = 4096;

/// Ends every live grant that is dead by this judgement. The job for its client is part of each change.
///
/// # Errors
/// Those of the store; what was ended until then stays ended.
pub async fn end_all(
    store: &dyn Store,
    now: UnixTime,
    is_dead: impl Fn(&Grant) -> bool,
) -> Result<usize, StoreError> {
    let (mut ended, mut after) = (0, None);
    loop {
        let page = store.grants_after(after, PAGE)?;
        let dead: Vec<_> = page.grants.iter().filter(|grant| !grant.is_revoked() && is_dead(grant)).collect();
        ended += end(store, &dead, now).await?;
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(ended),
        }
        tokio::task::yield_now().await;
    }
}

/// As [`end_all`], among the grants of one person, which stand together.
///
/// # Errors
/// As [`end_all`].
pub async fn end_of(
    store: &dyn Store,
    subject: &Subject,
    now: UnixTime,
    is_dead: impl Fn(&Grant) -> bool,
) -> Result<usize, StoreError> {
    let range = GrantId::range(subject);
    let mut start = [0; 24];
    start.iter_mut().zip(range).for_each(|(to, from)| *to = from);
    let (mut ended, mut after) = (0, Some(GrantId::from_bytes(start)));
    while let Some(last) = after.filter(|id| id.as_bytes().starts_with(&range)) {
        let page = store.grants_after(Some(last), PAGE)?;
        let is_theirs = |grant: &&Grant| grant.facts().subject == *subject && !grant.is_revoked();
        let dead: Vec<_> = page.grants.iter().filter(is_theirs).filter(|grant| is_dead(grant)).collect();
        ended += end(store, &dead, now).await?;
        after = page.next;
    }
    Ok(ended)
}

async fn end(store: &dyn Store, grants: &[&Grant], now: UnixTime) -> Result<usize, StoreError> {
    let mut ended = 0;
    for chunk in grants.chunks(CHUNK) {
        let pending: Vec<_> =
            chunk.iter().map(|grant| (grant, store.revoke_grant(grant.id(), now))).collect();
        for (grant, answer) in pending {
            if answer.await? {
                ended += 1;
                audit::grant_withdrawn(grant);
            }
        }
    }
    Ok(ended)
}

/// Why a review was not made.
#[derive(Debug, thiserror::Error)]
enum ReviewError {
    #[error(transparent)]
    Unready(#[from] Unready),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Since when a grant looks dead.
type Suspects = BTreeMap<GrantId, UnixTime>;

/// Reviews grants for as long as the daemon runs: when peers change, after a reload, and now and then.
pub async fn follow(app: Arc<App>) {
    let changes = app.tailnet.peer_changes();
    let mut suspects = Suspects::new();
    let (mut last, mut wanted) = (None::<UnixTime>, true);
    loop {
        let now = app.clock.now();
        let over = |since: UnixTime, life| since.after(life).is_past(now);
        let news = wanted && last.is_none_or(|last| over(last, SETTLE));
        let confirm = suspects.values().any(|since| over(*since, CONFIRM));
        if news || confirm || last.is_none_or(|last| over(last, EVERY)) {
            match review(&app, &mut suspects, now).await {
                Ok(()) => (last, wanted) = (Some(now), false),
                Err(ReviewError::Unready(_)) => {
                    suspects.clear();
                    wanted = true;
                }
                Err(ReviewError::Store(error)) => {
                    tracing::warn!(%error, "grants could not be reviewed; the next attempt is in a moment");
                    (last, wanted) = (Some(now), true);
                }
            }
        }
        let look = if wanted || !suspects.is_empty() { LOOK } else { RARELY };
        tokio::select! {
            () = changes.notified() => wanted = true,
            () = tokio::time::sleep(look) => (),
        }
    }
}

/// Looks at every live grant of the clients that want to be told, and ends those that have looked dead for long enough.
async fn review(app: &App, suspects: &mut Suspects, now: UnixTime) -> Result<(), ReviewError> {
    app.tailnet.readiness_of(&crate::peer::Role::Host)?;
    let snapshot = app.snapshot.load_full();
    if crate::backchannel::targets(&snapshot).is_empty() {
        suspects.clear();
        return Ok(());
    }
    let mut seen = Seen::new();
    let (mut still, mut after) = (Suspects::new(), None);
    loop {
        let page = app.store.grants_after(after, PAGE)?;
        for grant in &page.grants {
            let told = snapshot.clients.get(&grant.facts().client).is_some_and(|c| c.backchannel().is_some());
            let told = told && grant.facts().is_of_a_person();
            if told && !grant.is_revoked() && !grant.ends_at().is_past(now) && still.len() < MOST_SUSPECTS {
                let identity = seen.identity(app, &snapshot, grant).await?;
                if is_dead(&snapshot, grant, identity.as_deref()) {
                    still.insert(grant.id(), suspects.get(&grant.id()).copied().unwrap_or(now));
                }
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Still ready, or nothing of this counts.
    app.tailnet.readiness_of(&crate::peer::Role::Host)?;
    *suspects = still;
    let certain: Vec<GrantId> =
        suspects.iter().filter(|(_, since)| since.after(CONFIRM).is_past(now)).map(|(id, _)| *id).collect();
    for id in certain {
        if let Some(grant) = app.store.grant(id)? {
            end(&*app.store, &[&grant], now).await?;
        }
        suspects.remove(&id);
    }
    Ok(())
}

fn is_dead(snapshot: &Snapshot, grant: &Grant, identity: Option<&Identity>) -> bool {
    let client = snapshot.clients.get(&grant.facts().client);
    is_withdrawn(grant.facts(), client.map(AsRef::as_ref), identity, &snapshot.policy)
}

/// Whom whois named in one review; grants of one person stand together, so it need not remember many.
struct Seen(BTreeMap<(IpAddr, Listener), Option<Arc<Identity>>>);

impl Seen {
    const MOST: usize = 256;

    const fn new() -> Self {
        Self(BTreeMap::new())
    }

    async fn identity(
        &mut self,
        app: &App,
        snapshot: &Snapshot,
        grant: &Grant,
    ) -> Result<Option<Arc<Identity>>, Unready> {
        let Some(seen) = grant.facts().seen() else { return Ok(None) };
        let key = (seen.address, seen.listener.clone());
        if let Some(known) = self.0.get(&key) {
            return Ok(known.clone());
        }
        let identity = match snapshot.recognise(app.tailnet.identify(key.0, &key.1).await?) {
            Sighting::Person(identity) => Some(identity),
            Sighting::Workload(_) | Sighting::Refused(_) | Sighting::Unknown => None,
        };
        if self.0.len() >= Self::MOST {
            self.0.clear();
        }
        self.0.insert(key, identity.clone());
        Ok(identity)
    }
}
