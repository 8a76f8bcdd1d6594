//! Who is calling, now.

use std::sync::Arc;

use tsidecar_oauth::authorize::RedirectReason;
use tsidecar_oauth::client::Client;
use tsidecar_oauth::identity::Identity;

use super::stay::Stay;
use crate::app::App;
use crate::audit;
use crate::identity::{RefusedNode, Sighting};
use crate::peer::Caller;
use crate::snapshot::Snapshot;
use crate::tailnet::Unidentified;

/// Why nobody was recognised.
pub(super) enum Nobody {
    Stay(Stay),
    Back(RedirectReason, Option<RefusedNode>),
}

/// Asks who is calling, now.
pub(super) async fn identify(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    client: &Client,
) -> Result<Arc<Identity>, Nobody> {
    let sighting = match app.tailnet.identify_caller(caller).await {
        Ok(sighting) => snapshot.recognise(sighting),
        Err(Unidentified::Contradiction) => {
            audit::contradicted(caller);
            return Err(Nobody::Stay(Stay::Contradiction));
        }
        Err(Unidentified::Unready(unready)) => {
            tracing::warn!(error.reason = %unready, "an authorization met a tailscaled that does not answer");
            return Err(Nobody::Back(RedirectReason::Unavailable, None));
        }
    };
    let refused = match sighting {
        Sighting::Person(identity) => return Ok(identity),
        Sighting::Unknown => return Err(Nobody::Stay(Stay::Outside)),
        Sighting::Workload(_) => RefusedNode::Tagged,
        Sighting::Refused(refused) => refused,
    };
    audit::device_refused(caller, client, refused);
    Err(Nobody::Back(RedirectReason::Device, Some(refused)))
}
