//! Tagged nodes that speak for themselves: who sent a request without credentials, by the tailnet's word (design section 11).
//!
//! A web page has none of its node's authority, and neither a proxy nor Funnel brings a workload.

use std::sync::Arc;

use tsidecar_oauth::client_auth::{AuthenticatedClient, ClientAuthError};
use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::workload::Workload;

use crate::app::App;
use crate::audit;
use crate::failure::Failure;
use crate::identity::Sighting;
use crate::peer::{Caller, Origin};
use crate::snapshot::Snapshot;

/// The client that the caller's node is; `named` is the tag that the request names, if it does.
///
/// # Errors
/// [`Failure`]: the node is no workload, which is in the audit trail when it claims to be one, or tailscaled cannot tell.
pub async fn client(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    named: Option<&str>,
) -> Result<AuthenticatedClient, Failure> {
    let node = node(app, caller).await?;
    let proven = match caller.origin() {
        Origin::Address(address) => {
            let place = (address, caller.listener());
            AuthenticatedClient::workload(&snapshot.workloads, node.as_deref(), named, place)
        }
        Origin::Funnel => Err(named.map_or(ClientAuthError::Missing, |_| ClientAuthError::NoWorkload)),
    };
    proven.map_err(|error| {
        if let Some(id) = named.and_then(|named| ClientId::parse(named).ok()) {
            audit::client_refused(caller, &id, error);
        }
        error.into()
    })
}

/// The tags for which the caller's node may speak, of those that the request names, or of all.
///
/// # Errors
/// [`Failure`] when tailscaled cannot tell.
pub async fn tags(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    named: Option<&str>,
) -> Result<Vec<String>, Failure> {
    let Some(node) = node(app, caller).await? else { return Ok(Vec::new()) };
    let fits =
        |tag: &&String| named.is_none_or(|named| named == *tag) && snapshot.workloads.admit(tag, &node);
    Ok(node.device.tags.iter().filter(fits).cloned().collect())
}

async fn node(app: &App, caller: &Caller) -> Result<Option<Arc<Workload>>, Failure> {
    if caller.is_from_web_page() {
        return Ok(None);
    }
    Ok(match app.tailnet.identify_caller(caller).await? {
        Sighting::Workload(workload) => Some(workload),
        Sighting::Person(_) | Sighting::Refused(_) | Sighting::Unknown => None,
    })
}
