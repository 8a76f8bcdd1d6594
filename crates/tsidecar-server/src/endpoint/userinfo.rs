//! `/userinfo`: the claims of now, for an access token whose grant, client and device are alive.

use std::sync::Arc;

use hyper::header;
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use tsidecar_oauth::claims::{IdentityClaims, SignedUserInfo, UserInfo};
use tsidecar_oauth::client::Client;
use tsidecar_oauth::discovery::USERINFO;
use tsidecar_oauth::dpop::{DpopError, DpopProof};
use tsidecar_oauth::id::Thumbprint;
use tsidecar_oauth::jose::TokenType;
use tsidecar_oauth::mark::Mark;
use tsidecar_oauth::policy::ClaimsAt;
use tsidecar_oauth::time::UnixTime;
use tsidecar_oauth::token::answer::AnswerError;
use tsidecar_oauth::userinfo::{BearerError, LiveAccess, PresentedToken, Scheme};

use crate::app::App;
use crate::audit;
use crate::clients;
use crate::failure::Failure;
use crate::identity::Sighting;
use crate::lineage;
use crate::outbound::Requester;
use crate::peer::Caller;
use crate::proof::{self, Proving};
use crate::snapshot::Snapshot;
use crate::store::StoreError;
use crate::web::body;
use crate::web::error::{self, Challenge};
use crate::web::header::authorization;
use crate::web::inbound::Inbound;
use crate::web::response::{Answer, bytes, json};

/// Why there is no UserInfo.
enum Refused {
    Bearer(BearerError),
    Failure(Failure),
}

impl From<BearerError> for Refused {
    fn from(error: BearerError) -> Self {
        Self::Bearer(error)
    }
}

impl<T: Into<Failure>> From<T> for Refused {
    fn from(failure: T) -> Self {
        Self::Failure(failure.into())
    }
}

/// Answers a UserInfo request.
pub async fn handle(
    app: &Arc<App>,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Answer {
    let offers_nonce = proof::offers_nonce(snapshot, request.headers());
    let mut scheme = Scheme::Bearer;
    let answer = match userinfo(app, snapshot, request, &mut scheme).await {
        Ok(answer) => answer,
        Err(Refused::Bearer(refused)) => {
            audit::bearer_refused(caller, refused);
            let answer = error::bearer(refused, scheme, &snapshot.issuer);
            if refused == BearerError::Proof(DpopError::Nonce) {
                return proof::with_nonce(answer, snapshot, app.clock.now());
            }
            answer
        }
        Err(Refused::Failure(failure)) => error::answer(&failure, &snapshot.issuer, Challenge::None),
    };
    if offers_nonce { proof::with_nonce(answer, snapshot, app.clock.now()) } else { answer }
}

async fn userinfo(
    app: &App,
    snapshot: &Snapshot,
    request: Request<Inbound>,
    scheme: &mut Scheme,
) -> Result<Answer, Refused> {
    let (parts, presented) = read(request).await?;
    *scheme = presented.scheme;
    let (now, mut shown) = (app.clock.now(), None);
    let result =
        claims(app, snapshot, Showing { parts: &parts, presented: &presented, now }, &mut shown).await;
    // As at /token: a proof counts as shown whatever the answer is, unless the request may simply be sent again.
    if let (Some(mark), Ok(_) | Err(Refused::Bearer(_) | Refused::Failure(Failure::Refused { .. }))) =
        (shown, &result)
    {
        app.store.mark(vec![mark], now).await.map_err(|error| match error {
            StoreError::Seen(_) => Refused::Bearer(BearerError::Proof(DpopError::Replayed)),
            error => Refused::Failure(error.into()),
        })?;
    }
    result
}

/// A request, and the token that it shows.
#[derive(Clone, Copy)]
struct Showing<'a> {
    parts: &'a Parts,
    presented: &'a PresentedToken,
    now: UnixTime,
}

impl Showing<'_> {
    /// Judges the proof of the key to which the token is bound.
    fn prove(self, snapshot: &Snapshot, client: &Client, key: Thumbprint) -> Result<DpopProof, BearerError> {
        let proving = Proving {
            headers: &self.parts.headers,
            method: self.parts.method.as_str(),
            path: USERINFO,
            access_token: Some(self.presented.token.expose()),
            now: self.now,
        };
        let proof = proof::read(snapshot, client, proving).map_err(BearerError::Proof)?;
        let proof = proof.ok_or(BearerError::Bound)?;
        if proof.jkt() == key { Ok(proof) } else { Err(BearerError::WrongKey) }
    }
}

/// Judges the token, its proof, and who is on the device now.
async fn claims(
    app: &App,
    snapshot: &Snapshot,
    showing: Showing<'_>,
    shown: &mut Option<Mark>,
) -> Result<Answer, Refused> {
    let access = snapshot.sealing.open_access(&showing.presented.token).map_err(BearerError::Seal)?;
    let grant = app.store.grant(access.grant)?;
    let client = match &grant {
        Some(grant) => clients::find(app, snapshot, Requester::Daemon, grant.facts().client.as_str()).await?,
        None => None,
    };
    let live = LiveAccess::check(&access, grant.as_ref(), client.as_deref(), showing.now)?;
    let Some(client) = client else { return Err(BearerError::ClientGone.into()) };
    if let Some(grant) = &grant
        && !lineage::is_consented(app, grant)?
    {
        return Err(BearerError::GrantGone.into());
    }
    if let Some(key) = showing.presented.scheme.key_of(&access)? {
        *shown = Some(showing.prove(snapshot, &client, key)?.mark());
    }
    let (address, listener) = live.sighting();
    let identity = match snapshot.recognise(app.tailnet.identify(address, listener).await?) {
        Sighting::Person(identity) => identity,
        Sighting::Workload(_) | Sighting::Refused(_) | Sighting::Unknown => {
            return Err(BearerError::IdentityChanged.into());
        }
    };
    live.admit(&client, &identity, &snapshot.policy)?;
    let at = ClaimsAt::UserInfo;
    let (policy, named) = (&snapshot.policy, live.requested());
    let claims = IdentityClaims::select(policy, client.id(), &identity, &access.scope, named, at);
    let claims = UserInfo::new(&identity.subject, claims);
    let Some(algorithm) = client.userinfo_alg() else {
        return Ok(json(StatusCode::OK, serde_json::to_vec(&claims)?));
    };
    let claims = SignedUserInfo::new(&snapshot.issuer, client.id(), claims);
    let key = snapshot.signing.active(algorithm);
    let token = key.and_then(|key| key.sign(TokenType::UserInfo, &claims)).map_err(AnswerError::from)?;
    Ok(bytes(StatusCode::OK, "application/jwt", token.expose().to_owned()))
}

/// Reads the token: from the header, or from the form body of a POST.
async fn read(request: Request<Inbound>) -> Result<(Parts, PresentedToken), Refused> {
    let (parts, body) = request.into_parts();
    let header = authorization(&parts.headers).map_err(|_| BearerError::Malformed)?;
    if parts.method == Method::POST {
        body::check_query(parts.uri.query())?;
    }
    let has_form = parts.method == Method::POST && parts.headers.contains_key(header::CONTENT_TYPE);
    let params =
        if has_form { Some(body::form(&parts.headers, parts.uri.query(), body).await?) } else { None };
    let body = params.as_ref().and_then(|params| params.get("access_token"));
    let presented = PresentedToken::read(header, body)?;
    Ok((parts, presented))
}
