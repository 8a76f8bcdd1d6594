//! `/introspect`: facts of a token for its client and for the resource that it is for, while everything that it rests on is alive.

use std::sync::Arc;

use hyper::header;
use hyper::{Request, StatusCode};
use tsidecar_oauth::client_auth::ClientAuthError;
use tsidecar_oauth::grant::Holder;
use tsidecar_oauth::introspect::{Asker, INACTIVE, Inactive, LiveToken, Standing};
use tsidecar_oauth::issued::IssuedToken;
use tsidecar_oauth::secret::TokenText;
use tsidecar_oauth::time::UnixTime;
use tsidecar_oauth::token::TokenError;
use tsidecar_oauth::token::answer::Keys;

use crate::app::App;
use crate::client_auth::{ClientRequest, authenticate, shows_credentials};
use crate::clients;
use crate::failure::Failure;
use crate::identity::Sighting;
use crate::lineage;
use crate::outbound::Requester;
use crate::peer::Caller;
use crate::snapshot::Snapshot;
use crate::web::error::{self, Challenge};
use crate::web::inbound::Inbound;
use crate::web::response::{Answer, json};
use crate::{audit, web::body, workload};

/// Answers an introspection request.
pub async fn handle(
    app: &Arc<App>,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Answer {
    let has_header = request.headers().contains_key(header::AUTHORIZATION);
    let challenge = if has_header { Challenge::Basic } else { Challenge::None };
    match introspect(app, snapshot, caller, request).await {
        Ok(body) => json(StatusCode::OK, body),
        Err(failure) => error::answer(&failure, &snapshot.issuer, challenge),
    }
}

async fn introspect(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Result<Vec<u8>, Failure> {
    let (parts, body) = request.into_parts();
    let params = body::form(&parts.headers, parts.uri.query(), body).await?;
    let now = app.clock.now();
    let (client, tags);
    let asker = if shows_credentials(&parts.headers, &params) {
        let request = ClientRequest { caller, headers: &parts.headers, params: &params, now };
        client = authenticate(app, snapshot, request).await?;
        let refused = |error: &ClientAuthError| audit::client_refused(caller, client.client().id(), *error);
        Asker::client(&client).inspect_err(refused)?
    } else {
        tags = workload::tags(app, snapshot, caller, params.get("client_id")).await?;
        Asker::workload(&tags, &snapshot.resources, &snapshot.workloads)?
    };
    let token = params.get("token").ok_or(TokenError::MissingParameter("token"))?;
    let keys = Keys { issuer: &snapshot.issuer, signing: &snapshot.signing, sealing: &snapshot.sealing };
    let token = IssuedToken::read(&TokenText::new(token.to_owned()), keys);
    let found = match &token {
        Some(token) => describe(app, snapshot, token, asker, now).await?,
        None => Err(Inactive::Unknown),
    };
    let grant = token.as_ref().map(IssuedToken::grant);
    audit::introspected(caller, asker, grant, found.as_ref().map(drop).map_err(|inactive| *inactive));
    Ok(found.unwrap_or_else(|_| INACTIVE.as_bytes().to_vec()))
}

async fn describe(
    app: &App,
    snapshot: &Snapshot,
    token: &IssuedToken,
    asker: Asker<'_>,
    now: UnixTime,
) -> Result<Result<Vec<u8>, Inactive>, Failure> {
    let grant = app.store.grant(token.grant())?;
    let client = match &grant {
        Some(grant) => clients::find(app, snapshot, Requester::Daemon, grant.facts().client.as_str()).await?,
        None => None,
    };
    let standing = Standing {
        grant: grant.as_ref(),
        client: client.as_deref(),
        resources: &snapshot.resources,
        workloads: &snapshot.workloads,
        any_client: snapshot.config().claims.introspect_any_client,
        now,
    };
    let live = match LiveToken::check(token, standing, asker) {
        Ok(live) => live,
        Err(inactive) => return Ok(Err(inactive)),
    };
    if let Some(grant) = &grant
        && lineage::stands(app, snapshot, grant).await?.is_err()
    {
        return Ok(Err(Inactive::GrantGone));
    }
    let sighting = match live.holder() {
        holder @ (Holder::Person(seen) | Holder::Workload(seen)) => {
            let sighting = app.tailnet.last_seen(seen.address, &seen.listener).await?;
            Some(snapshot.recognise_for(holder, sighting))
        }
        Holder::Client => None,
    };
    match live.answer(sighting.as_ref().and_then(Sighting::present), &snapshot.issuer) {
        Ok(answer) => Ok(Ok(serde_json::to_vec(&answer)?)),
        Err(inactive) => Ok(Err(inactive)),
    }
}
