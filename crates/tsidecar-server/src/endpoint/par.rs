//! `/par`: a client leaves an authorization request here, and sends the browser with its name (RFC 9126).

use std::sync::Arc;

use hyper::{Request, StatusCode, header};
use serde::Serialize;
use tsidecar_oauth::authorize::{Carrier, RedirectReason};
use tsidecar_oauth::client::Client;
use tsidecar_oauth::discovery::PAR;
use tsidecar_oauth::id::Thumbprint;
use tsidecar_oauth::par::{self, LIFETIME, Lane, PushError, PushedId, PushedRequest};
use tsidecar_oauth::params::Params;
use tsidecar_oauth::time::UnixTime;

use crate::app::App;
use crate::client_auth::{ClientRequest, authenticate_with};
use crate::failure::Failure;
use crate::peer::{Caller, Origin};
use crate::proof::{self, Proving};
use crate::request_object::{OpenError, open};
use crate::snapshot::Snapshot;
use crate::store::{Once, StoreError};
use crate::web::error::Challenge;
use crate::web::inbound::Inbound;
use crate::web::response::{Answer, json};
use crate::web::{body, error};
use crate::{audit, entropy};

/// RFC 9126 §2.2.
#[derive(Serialize)]
struct Body {
    request_uri: String,
    expires_in: u64,
}

/// Answers a pushed authorization request.
pub async fn handle(
    app: &Arc<App>,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Answer {
    let has_header = request.headers().contains_key(header::AUTHORIZATION);
    let challenge = if has_header { Challenge::Basic } else { Challenge::None };
    let offers_nonce = proof::offers_nonce(snapshot, request.headers());
    let result = push(app, snapshot, caller, request).await.and_then(written);
    let wants_nonce = result.as_ref().is_err_and(proof::wants_nonce);
    let answer = match result {
        Ok(Some(body)) => json(StatusCode::CREATED, body),
        // Every place is free again when its request has expired.
        Ok(None) => error::crowded(u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX), CROWDED),
        Err(failure) => error::answer(&failure, &snapshot.issuer, challenge),
    };
    if offers_nonce || wants_nonce { proof::with_nonce(answer, snapshot, app.clock.now()) } else { answer }
}

fn written(id: Option<PushedId>) -> Result<Option<Vec<u8>>, Failure> {
    let body = id.map(|id| Body { request_uri: id.request_uri(), expires_in: LIFETIME.as_secs() });
    Ok(body.as_ref().map(serde_json::to_vec).transpose()?)
}

/// Keeps the request; `None` when the client has no place left for it.
async fn push(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Result<Option<PushedId>, Failure> {
    let (parts, body) = request.into_parts();
    let params = body::form(&parts.headers, parts.uri.query(), body).await?;
    let now = app.clock.now();
    let asking = ClientRequest { caller, headers: &parts.headers, params: &params, now };
    let (client, mut shown) = authenticate_with(app, snapshot, asking).await?;
    let client = client.client();
    let proving = Proving { headers: &parts.headers, method: "POST", path: PAR, access_token: None, now };
    let judged = match proof::of_client(snapshot, client, caller, proving, &mut shown) {
        Ok(key) => judge(app, snapshot, caller, client, params, now)
            .await
            .and_then(|params| validate(snapshot, caller, client, params, key)),
        Err(failure) => Err(failure),
    };
    let request = match judged {
        Ok(request) => request,
        // A request that may simply be sent again has used nothing up.
        Err(failure @ Failure::Unavailable { .. }) => return Err(failure),
        Err(failure) if proof::wants_nonce(&failure) => return Err(failure),
        Err(failure) => {
            shown.record(app, caller, now).await?;
            return Err(failure);
        }
    };
    let lane = match caller.origin() {
        Origin::Funnel => Lane::Funnel,
        Origin::Address(_) => Lane::Tailnet,
    };
    let intent = app.store.intent();
    let once = Once { marks: shown.take(), fresh: entropy::secret() };
    let pending = app.store.push(request, lane, once, now);
    drop(intent);
    match pending.await {
        Ok(id) => {
            audit::pushed(caller, client, id.is_some());
            Ok(id)
        }
        Err(StoreError::TooLarge { .. }) => Err(TOO_LARGE),
        Err(error) => Err(shown.failure(caller, error)),
    }
}

/// RFC 9126 §2.3 has 429 for it.
const CROWDED: &str = "too many pushed requests of this client are waiting; try again in a minute";

/// What does not fit in a record (design section 13).
const TOO_LARGE: Failure = Failure::Http {
    status: StatusCode::PAYLOAD_TOO_LARGE,
    description: "the pushed request is larger than 7 KiB",
};

/// The parameters of a request: its own, or those of its request object.
async fn judge(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    client: &Client,
    params: Params,
    now: UnixTime,
) -> Result<Params, Failure> {
    let refuse_for = |reason: RedirectReason| refuse(caller, client, PushError::from(reason));
    if params.get("request_uri").is_some() {
        return Err(refuse(caller, client, PushError::RequestUri));
    }
    let carrier = Carrier::of(&params).map_err(refuse_for)?;
    carrier.admit_pushing(client).map_err(refuse_for)?;
    match &carrier {
        Carrier::Object(object) => match open(app, snapshot, caller, client, object, now).await {
            Ok(params) => Ok(params),
            Err(OpenError::Refused(error)) => Err(refuse_for(RedirectReason::RequestObject(error))),
            Err(OpenError::Failed(failure)) => Err(failure),
        },
        Carrier::Plain | Carrier::Pushed(_) => Ok(params),
    }
}

/// Judges a request as `/authorize` would; its code will be bound to the key that proved itself.
fn validate(
    snapshot: &Snapshot,
    caller: &Caller,
    client: &Client,
    params: Params,
    key: Option<Thumbprint>,
) -> Result<PushedRequest, Failure> {
    par::validate(params, client, &snapshot.resources, &snapshot.issuer, key)
        .map_err(|error| refuse(caller, client, error))
}

fn refuse(caller: &Caller, client: &Client, error: PushError) -> Failure {
    audit::push_refused(caller, client, &error);
    error.into()
}
