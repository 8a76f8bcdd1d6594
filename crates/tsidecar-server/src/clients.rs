//! Finds clients by their ids, wherever they come from: what administrators wrote down is in the snapshot (clients, and tags of
//! workloads), what registered itself in the store, what has a document at its id on the web.

use std::sync::Arc;

use tsidecar_oauth::assurance::{Assurance, assess};
use tsidecar_oauth::client::Client;
use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::identity::Identity;
use tsidecar_oauth::time::UnixTime;

use crate::app::App;
use crate::failure::Failure;
use crate::outbound::{Requester, Trust};
use crate::snapshot::Snapshot;
use crate::store::{RegisteredClient, Store, StoreError};

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
    let Ok(id) = ClientId::parse(id) else { return Ok(None) };
    if is_document(&id) {
        return crate::documents::client(app, requester, &id).await;
    }
    Ok(find_here(&*app.store, snapshot, &id, app.clock.now())?)
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
    Ok(store.registered(id, now)?.and_then(made))
}

/// Ids that are URLs are those of documents.
pub fn is_document(id: &ClientId) -> bool {
    id.as_str().starts_with("https://")
}

/// The client of a record; one that is not valid by the rules of today counts as gone, and is in the log.
fn made(record: RegisteredClient) -> Option<Arc<Client>> {
    match Client::registered(record.spec, record.registration) {
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

/// Whose word it is where a client's URLs lead.
pub const fn trust(client: &Client) -> Trust {
    if client.is_by_administrator() { Trust::Administrator } else { Trust::Stranger }
}
