//! `/userinfo`: the claims of now, for an access token whose grant, client and device are alive.

use std::sync::Arc;

use hyper::header;
use hyper::{Method, Request, StatusCode};
use tsidecar_oauth::claims::{IdentityClaims, SignedUserInfo, UserInfo};
use tsidecar_oauth::jose::TokenType;
use tsidecar_oauth::policy::ClaimsAt;
use tsidecar_oauth::secret::TokenText;
use tsidecar_oauth::token::answer::AnswerError;
use tsidecar_oauth::userinfo::{BearerError, LiveAccess, bearer};

use crate::app::App;
use crate::audit;
use crate::failure::Failure;
use crate::identity::Sighting;
use crate::peer::Caller;
use crate::snapshot::Snapshot;
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
    match userinfo(app, snapshot, request).await {
        Ok(answer) => answer,
        Err(Refused::Bearer(refused)) => {
            audit::bearer_refused(caller, refused);
            error::bearer(refused, &snapshot.issuer)
        }
        Err(Refused::Failure(failure)) => error::answer(&failure, &snapshot.issuer, Challenge::None),
    }
}

async fn userinfo(app: &App, snapshot: &Snapshot, request: Request<Inbound>) -> Result<Answer, Refused> {
    let token = read(request).await?;
    let access = snapshot.sealing.open_access(&token).map_err(BearerError::Seal)?;
    let grant = app.store.grant(access.grant)?;
    let client = grant.as_ref().and_then(|grant| snapshot.client(grant.facts().client.as_str()));
    let live = LiveAccess::check(&access, grant.as_ref(), client.map(AsRef::as_ref), app.clock.now())?;
    let Some(client) = client else { return Err(BearerError::ClientGone.into()) };
    let (address, listener) = live.sighting();
    let identity = match snapshot.recognise(app.tailnet.identify(address, listener).await?) {
        Sighting::Person(identity) => identity,
        Sighting::Workload(_) | Sighting::Refused(_) | Sighting::Unknown => {
            return Err(BearerError::IdentityChanged.into());
        }
    };
    live.admit(client, &identity, &snapshot.policy)?;
    let at = ClaimsAt::UserInfo;
    let claims = IdentityClaims::select(&snapshot.policy, client.id(), &identity, &access.scope, at);
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
async fn read(request: Request<Inbound>) -> Result<TokenText, Refused> {
    let (parts, body) = request.into_parts();
    let header = authorization(&parts.headers).map_err(|_| BearerError::Malformed)?;
    if parts.method == Method::POST {
        body::check_query(parts.uri.query())?;
    }
    let has_form = parts.method == Method::POST && parts.headers.contains_key(header::CONTENT_TYPE);
    let params =
        if has_form { Some(body::form(&parts.headers, parts.uri.query(), body).await?) } else { None };
    Ok(bearer(header, params.as_ref().and_then(|params| params.get("access_token")))?)
}
