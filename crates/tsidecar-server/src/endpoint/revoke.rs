//! `/revoke`: a client ends a grant of its own, by any token of it; the answer comes when that is on disk.

use std::sync::Arc;

use hyper::header;
use hyper::{Request, StatusCode};
use tsidecar_oauth::issued::IssuedToken;
use tsidecar_oauth::revoke::check;
use tsidecar_oauth::secret::TokenText;
use tsidecar_oauth::token::TokenError;
use tsidecar_oauth::token::answer::Keys;

use crate::app::App;
use crate::client_auth::{ClientRequest, authenticate};
use crate::failure::Failure;
use crate::peer::Caller;
use crate::snapshot::Snapshot;
use crate::web::error::{self, Challenge};
use crate::web::inbound::Inbound;
use crate::web::response::{Answer, empty};
use crate::{audit, web::body};

/// Answers a revocation request.
pub async fn handle(
    app: &Arc<App>,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Answer {
    let has_header = request.headers().contains_key(header::AUTHORIZATION);
    let challenge = if has_header { Challenge::Basic } else { Challenge::None };
    match revoke(app, snapshot, caller, request).await {
        Ok(()) => empty(StatusCode::OK),
        Err(failure) => error::answer(&failure, &snapshot.issuer, challenge),
    }
}

/// Whatever is no token of ours (any more) is as revoked as it can be (RFC 7009 §2.2).
async fn revoke(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Result<(), Failure> {
    let (parts, body) = request.into_parts();
    let params = body::form(&parts.headers, parts.uri.query(), body).await?;
    let now = app.clock.now();
    let request = ClientRequest { caller, headers: &parts.headers, params: &params, now };
    let client = authenticate(app, snapshot, request).await?;
    let token = params.get("token").ok_or(TokenError::MissingParameter("token"))?;
    let keys = Keys { issuer: &snapshot.issuer, signing: &snapshot.signing, sealing: &snapshot.sealing };
    let Some(token) = IssuedToken::read(&TokenText::new(token.to_owned()), keys) else { return Ok(()) };
    let Some(grant) = app.store.grant(token.grant())? else { return Ok(()) };
    check(&grant, &client).inspect_err(|error| {
        let shown = Some((grant.id(), &grant.facts().subject));
        audit::token_refused(caller, client.client(), shown, *error);
    })?;
    // Whoever wants to hear of the end is told by the same change.
    let was_live = app.store.revoke_grant(grant.id(), now).await?;
    audit::grant_revoked(&grant, "client", was_live);
    Ok(())
}
