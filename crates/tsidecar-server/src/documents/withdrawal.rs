//! Ends the grants of a client whose document was taken away (404 or 410; attack A52).
//!
//! From the first such answer on nobody gets anything for that client: its copy is dropped. That its grants are void for good,
//! even if the document comes back, is written only once the host has said so a second time, ten seconds later: a site that is
//! being published anew, or a server that starts, answers 404 for a moment, and everybody would have to sign in again. And it is
//! written only where there are grants to end, so that a stranger who names URLs leaves no records. Looking for grants is one pass over
//! them, for all suspects together and not twice in half a minute.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use tsidecar_oauth::cimd::IdUrl;
use tsidecar_oauth::grant::Grant;
use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::time::UnixTime;

use super::source_of;
use crate::app::App;
use crate::audit;
use crate::outbound::{DocumentError, GONE_AGAIN, Requester};
use crate::store::{Store, StoreError};

/// The least time between two passes over the grants.
const PAUSE: Duration = Duration::from_secs(30);
/// Grants read at a time: a millisecond.
const PAGE: usize = 200;
/// Documents that are suspected at once; more of them have their turn at their next use.
const MOST: usize = 256;

/// Documents that seem to have been taken away.
#[derive(Debug, Default)]
pub struct Suspects {
    ids: Mutex<BTreeSet<ClientId>>,
    came: Notify,
}

impl Suspects {
    /// Adds one, whose host has just said that there is none.
    pub fn add(&self, id: &ClientId) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.len() < MOST && ids.insert(id.clone()) {
            self.came.notify_one();
        }
    }

    fn take(&self) -> BTreeSet<ClientId> {
        std::mem::take(&mut *self.ids.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Looks after suspects for as long as the daemon runs.
pub async fn follow(app: Arc<App>) {
    loop {
        app.documents.suspects.came.notified().await;
        if let Err(error) = review(&app).await {
            tracing::warn!(%error, "what was issued for documents that were taken away could not be ended yet");
        }
        sleep(PAUSE).await;
    }
}

async fn review(app: &App) -> Result<(), StoreError> {
    let suspects = app.documents.suspects.take();
    let held = holders(&*app.store, &suspects, app.clock.now()).await?;
    if held.is_empty() {
        return Ok(());
    }
    sleep(GONE_AGAIN).await;
    for id in held {
        confirm(app, &id).await?;
    }
    Ok(())
}

/// Those of the suspects for which a live grant exists.
async fn holders(
    store: &dyn Store,
    suspects: &BTreeSet<ClientId>,
    now: UnixTime,
) -> Result<BTreeSet<ClientId>, StoreError> {
    let (mut held, mut after) = (BTreeSet::new(), None);
    loop {
        let page = store.grants_after(after, PAGE)?;
        for grant in &page.grants {
            let client = &grant.facts().client;
            if !held.contains(client) && suspects.contains(client) && lives(store, grant, now)? {
                held.insert(client.clone());
            }
        }
        match page.next {
            Some(next) if held.len() < suspects.len() => after = Some(next),
            Some(_) | None => return Ok(held),
        }
        tokio::task::yield_now().await;
    }
}

fn lives(store: &dyn Store, grant: &Grant, now: UnixTime) -> Result<bool, StoreError> {
    if grant.is_revoked() || grant.ends_at().is_past(now) {
        return Ok(false);
    }
    Ok(grant.facts().issued_at > store.document_gone(&grant.facts().client)?)
}

/// Looks once more, and ends the grants if the document is still not there.
async fn confirm(app: &App, id: &ClientId) -> Result<(), StoreError> {
    let snapshot = app.snapshot.load_full();
    let config = &snapshot.config().documents;
    let Ok(url) = IdUrl::parse(id.as_str()) else { return Ok(()) };
    if !config.cimd || !config.fetch || config.pinned.contains_key(id) {
        return Ok(());
    }
    let source = source_of(snapshot.config(), id, &url);
    match app.documents.fetched.document(&source, Requester::Daemon).await {
        Err(DocumentError::Gone(gone)) if gone.confirmed => {
            app.store.end_document(id, app.clock.now()).await?;
            audit::document_ended(id);
        }
        // It is used again sooner or later, and suspected again then.
        Ok(_) | Err(_) => (),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use crate::store::conformance::grant;

    /// Only where there is something to end is anything written: whoever names documents that never were good leaves no records.
    #[tokio::test]
    async fn only_suspects_with_live_grants_are_ended() {
        let store = MemoryStore::new();
        let held = grant(1);
        let (client, now) = (held.facts().client.clone(), held.facts().issued_at);
        store.redeem(held.clone(), now).await.unwrap();
        let other = ClientId::parse("https://never.test/c").unwrap();
        let suspects = BTreeSet::from([client.clone(), other.clone()]);
        let found = async |now| holders(&store, &suspects, now).await.unwrap();
        assert_eq!(found(now).await, BTreeSet::from([client.clone()]));
        assert_eq!(holders(&store, &BTreeSet::from([other]), now).await.unwrap(), BTreeSet::new());
        let long_after = held.facts().expires_at.after(tsidecar_oauth::time::Lifetime::from_secs(1));
        assert_eq!(found(long_after).await, BTreeSet::new());
        store.end_document(&client, now).await.unwrap();
        assert_eq!(found(now).await, BTreeSet::new(), "once");
    }

    #[test]
    fn suspects_are_bounded() {
        let suspects = Suspects::default();
        for index in 0..2 * MOST {
            suspects.add(&ClientId::parse(&format!("https://{index}.test/c")).unwrap());
        }
        assert_eq!((suspects.take().len(), suspects.take().len()), (MOST, 0));
    }
}
