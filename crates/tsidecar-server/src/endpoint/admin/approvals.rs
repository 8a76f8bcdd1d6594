//! `/clients/{id}/approve` and `/disapprove`: an administrator vouches for a client that nobody wrote down, as it is now.

use bytes::Bytes;
use hyper::body::Body;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use tsidecar_oauth::assurance::MetadataDigest;
use tsidecar_oauth::id::ClientId;

use super::error::AdminError;
use super::shape::{ApproveRequest, ClientAnswer};
use super::{answer, decode, read_json};
use crate::app::App;
use crate::outbound::Requester;
use crate::store::Approval;
use crate::web::response::Answer;
use crate::{audit, clients, withdraw};

/// What is wanted of an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Approve,
    Disapprove,
}

/// What is left of it.
#[derive(Serialize)]
struct Disapproved<'a> {
    client_id: &'a str,
    approved: bool,
    /// How many grants ended with it.
    ended: usize,
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

/// The client of a path that names one which is known by a document.
pub(super) fn document(path: &str) -> Option<String> {
    let id = decode(path.strip_prefix("/clients/")?)?;
    ClientId::parse(&id).is_ok_and(|id| clients::is_document(&id)).then_some(id)
}

/// Answers a request at one of these paths.
pub(super) async fn route<B>(
    app: &App,
    id: &str,
    wanted: Wanted,
    request: Request<B>,
) -> Result<Answer, AdminError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if request.method() != Method::POST {
        return Err(AdminError::Method("POST"));
    }
    let known = ClientId::parse(id).map_err(|_| AdminError::NoClient(id.to_owned()))?;
    match wanted {
        Wanted::Approve => {
            let told = approve(app, &known, read_json(request).await?).await?;
            audit::approval(&known, true);
            answer(StatusCode::OK, &told)
        }
        // Also of a client that is gone, or whose document cannot be had.
        Wanted::Disapprove => {
            let now = app.clock.now();
            if !app.store.disapprove(&known, now).await? {
                return Err(AdminError::NotApproved(known));
            }
            audit::approval(&known, false);
            // They are void already; so they are listed as what they are. What people allowed themselves is theirs.
            let ended = withdraw::end_all(&*app.store, now, |grant| {
                grant.facts().client == known && !grant.facts().survives_disapproval(now)
            });
            let ended = ended.await?;
            answer(StatusCode::OK, &Disapproved { client_id: known.as_str(), approved: false, ended })
        }
    }
}

/// Tells a client that is known by a document; such clients are not listed, only shown.
pub(super) async fn show_document(app: &App, id: &str) -> Result<Answer, AdminError> {
    let unknown = || AdminError::NoClient(id.to_owned());
    let known = ClientId::parse(id).map_err(|_| unknown())?;
    let client = clients::find(app, &app.snapshot.load_full(), Requester::Daemon, id).await?;
    let client = client.ok_or_else(unknown)?;
    answer(StatusCode::OK, &ClientAnswer::of_stranger(&client, app.store.approval(&known)?))
}

/// Binds the approval to what the client is at this moment, which has to be what the administrator looked at, if they say what that
/// was: whoever changes the client in between gains nothing. Any later change ends it (design section 6, attack A34). The whole
/// client is told, for the administrator to read.
async fn approve(app: &App, id: &ClientId, request: ApproveRequest) -> Result<ClientAnswer, AdminError> {
    let snapshot = app.snapshot.load_full();
    let client = clients::find(app, &snapshot, Requester::Daemon, id.as_str()).await?;
    let client = client.ok_or_else(|| AdminError::NoClient(id.as_str().to_owned()))?;
    if client.is_by_administrator() {
        return Err(AdminError::NeedsNoApproval(id.clone()));
    }
    let approval = Approval { digest: MetadataDigest::of(&client), at: app.clock.now() };
    if request.metadata.is_some_and(|seen| !seen.eq_ignore_ascii_case(&approval.digest.to_string())) {
        return Err(AdminError::Changed(id.clone()));
    }
    app.store.approve(id, approval).await?;
    Ok(ClientAnswer::of_stranger(&client, Some(approval)))
}
