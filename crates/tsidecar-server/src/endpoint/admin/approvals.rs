//! `/clients/{id}/approve` and `/disapprove`: an administrator vouches for a client that nobody wrote down, as it is now.

use hyper::{Method, StatusCode};
use serde::Serialize;
use tsidecar_oauth::assurance::MetadataDigest;
use tsidecar_oauth::id::ClientId;

use super::error::AdminError;
use super::{answer, decode};
use crate::app::App;
use crate::outbound::Requester;
use crate::store::Approval;
use crate::web::response::Answer;
use crate::{audit, clients};

/// What is wanted of an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Approve,
    Disapprove,
}

/// What came of it.
#[derive(Serialize)]
struct Told<'a> {
    client_id: &'a str,
    approved: bool,
    #[serde(flatten)]
    what: Option<What>,
}

/// What was approved. A client may have changed since it was looked at, so this is for the administrator to read.
#[derive(Serialize)]
struct What {
    client_name: String,
    redirect_uris: Vec<String>,
}

/// The client and what is wanted, of a path that is one of these two.
pub(super) fn named(path: &str) -> Option<(String, Wanted)> {
    let (id, wanted) = path.strip_prefix("/clients/")?.split_once('/')?;
    let wanted = match wanted {
        "approve" => Wanted::Approve,
        "disapprove" => Wanted::Disapprove,
        _ => return None,
    };
    decode(id).map(|id| (id, wanted))
}

/// Answers a request at one of these paths.
pub(super) async fn route(
    app: &App,
    id: &str,
    wanted: Wanted,
    method: &Method,
) -> Result<Answer, AdminError> {
    if method != Method::POST {
        return Err(AdminError::Method("POST"));
    }
    let unknown = || AdminError::NoClient(id.to_owned());
    let known = ClientId::parse(id).map_err(|_| unknown())?;
    let approved = wanted == Wanted::Approve;
    let what = match wanted {
        Wanted::Approve => Some(approve(app, &known).await?),
        // Also of a client that is gone, or whose document cannot be had.
        Wanted::Disapprove => {
            if !app.store.disapprove(&known, app.clock.now()).await? {
                return Err(AdminError::NotApproved(known));
            }
            None
        }
    };
    audit::approval(&known, approved);
    answer(StatusCode::OK, &Told { client_id: known.as_str(), approved, what })
}

/// Binds the approval to what the client is at this moment: any change of that ends it (design section 6).
async fn approve(app: &App, id: &ClientId) -> Result<What, AdminError> {
    let snapshot = app.snapshot.load_full();
    let client = clients::find(app, &snapshot, Requester::Daemon, id.as_str()).await?;
    let client = client.ok_or_else(|| AdminError::NoClient(id.as_str().to_owned()))?;
    if client.is_by_administrator() {
        return Err(AdminError::NeedsNoApproval(id.clone()));
    }
    let approval = Approval { digest: MetadataDigest::of(&client), at: app.clock.now() };
    app.store.approve(id, approval).await?;
    let spec = client.spec();
    Ok(What { client_name: spec.name.clone(), redirect_uris: spec.redirect_uris.clone() })
}
