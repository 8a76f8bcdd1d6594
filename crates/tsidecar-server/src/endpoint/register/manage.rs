//! `/register/{id}`: a client reads, replaces and removes its registration, by the token that it got with it (RFC 7592).

use std::sync::Arc;

use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode};
use tsidecar_oauth::discovery::REGISTER;
use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::secret::ClientSecret;
use tsidecar_oauth::time::UnixTime;

use super::refused::Refused;
use super::{Judged, read, tell, too_large, who};
use crate::app::App;
use crate::clients;
use crate::failure::Failure;
use crate::identity::Sighting;
use crate::peer::Caller;
use crate::snapshot::Snapshot;
use crate::store::RegisteredClient;
use crate::web::header::authorization;
use crate::web::inbound::Inbound;
use crate::web::response::{Answer, empty, json};
use crate::{audit, entropy};

/// Answers a request at the address of one registration.
pub async fn handle(
    app: &Arc<App>,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Answer {
    let id = named(request.uri().path()).map(str::to_owned);
    let result = match *request.method() {
        Method::PUT => replace(app, snapshot, caller, request).await.map(|body| json(StatusCode::OK, body)),
        Method::DELETE => {
            remove(app, snapshot, caller, request).await.map(|()| empty(StatusCode::NO_CONTENT))
        }
        _ => show(app, snapshot, caller, request).await.map(|body| json(StatusCode::OK, body)),
    };
    result.unwrap_or_else(|refused| {
        audit::registration_refused(caller, id.as_deref(), &refused);
        refused.answer(&snapshot.issuer)
    })
}

/// The client id in a path; `None` when the path is none of these.
pub fn named(path: &str) -> Option<&str> {
    let id = path.strip_prefix(REGISTER)?.strip_prefix('/')?;
    (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(id)
}

/// What is registered, and the token with which it was asked for: the token is stored as a digest only.
async fn show(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Result<Vec<u8>, Refused> {
    let (record, token) = authenticate(app, snapshot, caller, &request, app.clock.now()).await?;
    Ok(tell(&record, &snapshot.issuer, None, &token)?)
}

/// Replaces the whole metadata (RFC 7592 §2.2). Id, token, and who registered the client stay; whoever approved or allowed it did
/// so for what it was (attack A34). A secret is made where one is needed for the first time, and dropped where none is.
async fn replace(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Result<Vec<u8>, Refused> {
    let now = app.clock.now();
    let (record, token) = authenticate(app, snapshot, caller, &request, now).await?;
    let metadata = read(request).await?;
    if metadata.claimed_id().is_some_and(|claimed| claimed != record.id.as_str()) {
        return Err(Refused::metadata("client_id is another one than that of this registration"));
    }
    let is_ours = |claimed: &ClientSecret| record.spec.secrets.iter().any(|digest| digest.matches(claimed));
    if metadata.claimed_secret().is_some_and(|claimed| !is_ours(claimed)) {
        return Err(Refused::metadata("client_secret is not that of this registration; leave it out"));
    }
    let needs_new = metadata.needs_secret() && record.spec.secrets.is_empty();
    let secret = needs_new.then(|| ClientSecret::generate(entropy::secret()));
    let secrets = match (metadata.needs_secret(), &secret) {
        (false, _) => Vec::new(),
        (true, None) => record.spec.secrets.clone(),
        (true, Some(secret)) => vec![secret.digest()],
    };
    let owner = (&record.id, secrets, &record.registration);
    let (spec, beside) = Judged::of(snapshot, metadata, owner)?.provide(app, caller).await?;
    let record = RegisteredClient { spec, metadata: beside, ..record };
    let told = tell(&record, &snapshot.issuer, secret.as_ref(), &token)?;
    let intent = app.store.intent();
    let pending = app.store.replace_registered(record.clone(), now);
    drop(intent);
    if !pending.await.map_err(too_large)? {
        return Err(Refused::DeadToken);
    }
    audit::registration_replaced(caller, &record);
    Ok(told)
}

/// Removes the client; everything that was issued to it is void from then on.
async fn remove(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Result<(), Refused> {
    let now = app.clock.now();
    let (record, _) = authenticate(app, snapshot, caller, &request, now).await?;
    if !clients::remove_registered(&*app.store, &record.id, now).await? {
        return Err(Refused::DeadToken);
    }
    audit::registration_removed(caller, &record);
    Ok(())
}

/// The registration that a request names, if its token opens it. The token counts wherever it comes from in the tailnet: whoever
/// has it is the client.
async fn authenticate(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    request: &Request<Inbound>,
    now: UnixTime,
) -> Result<(RegisteredClient, ClientSecret), Refused> {
    if matches!(app.tailnet.identify_caller(caller).await?, Sighting::Unknown) {
        who::outside(snapshot)?;
    }
    let token = bearer(request.headers())?.ok_or(Refused::NoToken)?;
    let id = named(request.uri().path()).and_then(|id| ClientId::parse(id).ok()).ok_or(Refused::DeadToken)?;
    match app.store.registered(&id, now)? {
        Some(record) if record.token.matches(&token) => Ok((record, token)),
        Some(_) | None => Err(Refused::DeadToken),
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<ClientSecret>, Failure> {
    let header = authorization(headers).map_err(|error| Failure::invalid_request(error.to_string()))?;
    let token = header.and_then(|header| {
        let (scheme, token) = header.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| ClientSecret::new(token.trim().to_owned()))
    });
    Ok(token)
}
