//! Finds clients by their ids, wherever they come from: what administrators wrote down is in the snapshot (clients, and tags of
//! workloads), what registered itself in the store, what has a document at its id on the web.

use std::collections::BTreeSet;
use std::sync::Arc;

use tsidecar_oauth::assurance::{Assurance, assess};
use tsidecar_oauth::client::Client;
use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::identity::Identity;
use tsidecar_oauth::jose::Algorithm;
use tsidecar_oauth::provenance::Provenance;
use tsidecar_oauth::secret::ClientSecret;
use tsidecar_oauth::time::{Lifetime, UnixTime};
use tsidecar_oauth::uri::FetchUrl;

use crate::app::App;
use crate::documents::{self, NoDocument};
use crate::entropy;
use crate::failure::Failure;
use crate::outbound::{Requester, Trust};
use crate::snapshot::Snapshot;
use crate::store::{RegisteredClient, Store, StoreError};
use crate::withdraw;

/// Seconds after which a client may try again whose document cannot be used: as long as its host is left alone.
const UNUSABLE_RETRY: u32 = 30;

/// The client with this id; `None` when there is none. A disabled one is found, too.
///
/// # Errors
/// [`Failure::Unavailable`] when a document cannot be had at the moment, and those of the store: a record that cannot be read is
/// never an unknown client.
pub async fn find(
    app: &App,
    snapshot: &Snapshot,
    requester: Requester,
    id: &str,
) -> Result<Option<Arc<Client>>, Failure> {
    match look(app, snapshot, requester, id).await {
        Ok(client) => Ok(Some(client)),
        Err(NoDocument::Unknown | NoDocument::Url(_)) => Ok(None),
        // Machines are told to come back: SDKs forget a client that is refused, and it may only have been published wrongly today.
        Err(NoDocument::Unusable(why)) => Err(Failure::Unavailable {
            retry_after: UNUSABLE_RETRY,
            why: format!("the document of the client cannot be used: {why}"),
        }),
        Err(NoDocument::Failed(failure)) => Err(failure),
    }
}

/// As [`find`], and tells in detail why there is none.
///
/// # Errors
/// [`NoDocument`], for other clients, too.
pub async fn look(
    app: &App,
    snapshot: &Snapshot,
    requester: Requester,
    id: &str,
) -> Result<Arc<Client>, NoDocument> {
    let id = ClientId::parse(id).map_err(|_| NoDocument::Unknown)?;
    if is_document(&id) {
        return documents::client(app, snapshot, requester, &id).await;
    }
    find_here(&*app.store, snapshot, &id, app.clock.now())?.ok_or(NoDocument::Unknown)
}

/// As [`find`], without clients that are known by their documents: for where nothing is fetched.
///
/// # Errors
/// Those of the store.
pub fn find_here(
    store: &dyn Store,
    snapshot: &Snapshot,
    id: &ClientId,
    now: UnixTime,
) -> Result<Option<Arc<Client>>, StoreError> {
    if let Some(client) = snapshot.clients.get(id).or_else(|| snapshot.workloads.get(id.as_str())) {
        return Ok(Some(Arc::clone(client)));
    }
    if is_document(id) {
        return Ok(None);
    }
    Ok(store.registered(id, now)?.and_then(|record| made(record, snapshot)))
}

/// Ids that are URLs are those of documents.
pub fn is_document(id: &ClientId) -> bool {
    id.as_str().starts_with("https://")
}

/// The client of a record, by the configuration of today; one that is not valid any more counts as gone, and is in the log.
pub fn made(record: RegisteredClient, snapshot: &Snapshot) -> Option<Arc<Client>> {
    match Client::registered(snapshot.config().registration.over(record.spec), record.registration) {
        Ok(client) => Some(Arc::new(client)),
        Err(error) => {
            tracing::error!(client.id = %record.id, %error, "a registered client is not valid any more and is left out");
            None
        }
    }
}

/// Judges what a client is worth to a person who is to return to this redirect URI ([`assess`]).
///
/// # Errors
/// Those of the store.
pub fn assurance(
    app: &App,
    snapshot: &Snapshot,
    client: &Client,
    redirect_uri: &str,
    identity: &Identity,
) -> Result<Assurance, StoreError> {
    if client.is_by_administrator() {
        return Ok(Assurance::Approved);
    }
    let approval = app.store.approval(client.id())?.map(|approval| approval.digest);
    Ok(assess(client, redirect_uri, identity, &snapshot.config().trusted, approval))
}

/// Whose word it is where one of a client's URLs leads.
pub fn trust(snapshot: &Snapshot, client: &Client, url: &FetchUrl) -> Trust {
    match client.provenance() {
        Provenance::Administrator => Trust::Administrator,
        Provenance::Registered(_) => Trust::Stranger,
        Provenance::Document => snapshot.config().documents.trust(url.as_str()),
    }
}

/// An id of 22 letters and digits: 130 random bits, and nothing that a client must encode.
pub fn new_id() -> String {
    ClientSecret::generate(entropy::secret()).expose().chars().take(22).collect()
}

/// Removes a client that registered itself, with its approval and all its grants; `false` when there is none any more. What was
/// issued to it is void as soon as the client is gone.
///
/// # Errors
/// Those of the store; once the client is gone it stays gone.
pub async fn remove_registered(store: &dyn Store, id: &ClientId, now: UnixTime) -> Result<bool, StoreError> {
    let intent = store.intent();
    let pending = store.remove_registered(id, now);
    drop(intent);
    if !pending.await? {
        return Ok(false);
    }
    store.disapprove(id, now).await?;
    withdraw::end_all(store, now, |grant| grant.facts().client == *id).await?;
    Ok(true)
}

/// Takes note that a token was issued to a client that registered itself, so that it is kept: it must outlive what was issued to
/// it. Once a day at most, and waited for only the first time, when the client would otherwise go much sooner.
pub async fn used(app: &App, snapshot: &Snapshot, client: &Client, now: UnixTime) {
    if !matches!(client.provenance(), Provenance::Registered(_)) {
        return;
    }
    let keep_for = snapshot.config().registration.expires;
    // Whatever goes wrong here, the next use comes before the client would go.
    let Ok(Some(record)) = app.store.registered(client.id(), now) else { return };
    if record.keep_for == keep_for && !record.used_at.after(DAY).is_past(now) {
        return;
    }
    let pending = app.store.touch_registered(client.id(), keep_for, now);
    if record.keep_for != keep_for
        && let Err(error) = pending.await
    {
        tracing::warn!(client.id = %client.id(), %error, "the use of a registered client could not be noted");
    }
}

const DAY: Lifetime = Lifetime::from_days(1);

/// With what something is signed for clients that registered themselves; their records are read once, at the start.
///
/// # Errors
/// Those of the store.
pub fn signing_algorithms(store: &dyn Store) -> Result<BTreeSet<Algorithm>, StoreError> {
    let mut algorithms = BTreeSet::new();
    each_registered(store, |record| algorithms.extend(record.spec.signing_algorithms()))?;
    Ok(algorithms)
}

/// Looks at every registration, those whose time is over included.
///
/// # Errors
/// Those of the store.
pub fn each_registered(store: &dyn Store, mut look: impl FnMut(RegisteredClient)) -> Result<(), StoreError> {
    const PAGE: usize = 500;
    let mut after: Option<ClientId> = None;
    loop {
        let page = store.registered_after(after.as_ref(), PAGE)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id.clone());
        page.into_iter().for_each(&mut look);
    }
}
