//! `/device_authorization` (RFC 8628 §3.1): a device without a browser asks for a code that a person answers elsewhere.

use std::sync::Arc;

use hyper::header;
use hyper::{Request, StatusCode};
use serde::Serialize;
use tsidecar_oauth::client_auth::AuthenticatedClient;
use tsidecar_oauth::device::{Begun, DeviceError, DeviceScope, INTERVAL, LIFETIME, Requester, UserCode};
use tsidecar_oauth::discovery;
use tsidecar_oauth::secret::DeviceCode;

use crate::app::App;
use crate::client_auth::{ClientRequest, authenticate};
use crate::failure::Failure;
use crate::identity::Sighting;
use crate::peer::Caller;
use crate::snapshot::Snapshot;
use crate::web::body;
use crate::web::error::{self, Challenge};
use crate::web::inbound::Inbound;
use crate::web::response::{Answer, json};
use crate::{audit, entropy};

/// How often another user code is drawn when one is taken: with the most codes waiting that may, one in six million is.
const DRAWS: usize = 4;

/// The answer (RFC 8628 §3.2).
#[derive(Serialize)]
struct Body<'a> {
    device_code: &'a str,
    user_code: &'a str,
    verification_uri: &'a str,
    verification_uri_complete: String,
    expires_in: u64,
    interval: u64,
}

/// Why nothing is begun.
enum Refused {
    /// Whom whois does not know gets what Funnel gets (design section 4).
    Outside,
    /// Too many wait.
    TooMany(u32),
    Failure(Failure),
}

impl<E: Into<Failure>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Failure(error.into())
    }
}

/// Answers a device authorization request.
pub async fn handle(
    app: &Arc<App>,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Answer {
    let has_header = request.headers().contains_key(header::AUTHORIZATION);
    let challenge = if has_header { Challenge::Basic } else { Challenge::None };
    match begin(app, snapshot, caller, request).await {
        Ok(body) => json(StatusCode::OK, body),
        Err(Refused::Outside) => error::outside(),
        Err(Refused::TooMany(retry_after)) => error::too_many(retry_after),
        Err(Refused::Failure(failure)) => error::answer(&failure, &snapshot.issuer, challenge),
    }
}

async fn begin(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Result<Vec<u8>, Refused> {
    let requester = requester(app, snapshot, caller).await?;
    let (parts, body) = request.into_parts();
    let params = body::form(&parts.headers, parts.uri.query(), body).await?;
    let now = app.clock.now();
    let request = ClientRequest { caller, headers: &parts.headers, params: &params, now };
    let client = authenticate(app, snapshot, request).await?;
    let scope = DeviceScope::validate(&params, client.client(), &snapshot.resources);
    let scope = scope.inspect_err(|error| audit::device_not_begun(caller, client.client(), *error))?;
    let node = requester.as_ref().map_or_else(|| caller.origin().to_string(), |of| of.device.to_string());
    app.devices.begin(&node, client.client().id(), now).map_err(|wait| {
        audit::device_not_begun(caller, client.client(), "too many are waiting");
        Refused::TooMany(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).max(1))
    })?;
    put(app, snapshot, caller, &client, scope, requester).await
}

/// Begins the authorization under a user code that is free, durably.
async fn put(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    client: &AuthenticatedClient,
    scope: DeviceScope,
    requester: Option<Requester>,
) -> Result<Vec<u8>, Refused> {
    let (client, now) = (client.client(), app.clock.now());
    let place = app.tailnet.place_of(caller).await?;
    for _ in 0..DRAWS {
        let user = UserCode::generate(entropy::id());
        let code = DeviceCode::generate(user, entropy::secret());
        let draft = scope.clone().begin(client, code.digest(), requester.clone(), place.clone(), now);
        match app.store.put_device(user, draft, now).await? {
            Begun::New => {
                audit::device_begun(caller, client, requester.as_ref());
                return Ok(answer(snapshot, user, &code)?);
            }
            Begun::Taken => (),
        }
    }
    Err(Failure::Broken { why: "no user code is free".to_owned() }.into())
}

fn answer(snapshot: &Snapshot, user: UserCode, code: &DeviceCode) -> Result<Vec<u8>, Failure> {
    let page = snapshot.issuer.endpoint(discovery::DEVICE);
    let user_code = user.shown();
    let body = Body {
        device_code: code.expose(),
        verification_uri_complete: format!("{page}?user_code={user_code}"),
        verification_uri: &page,
        user_code: &user_code,
        expires_in: LIFETIME.as_secs(),
        interval: INTERVAL.as_secs(),
    };
    Ok(serde_json::to_vec(&body)?)
}

/// The device that asks. A web page is not the person whose browser shows it (design section 4): what it begins is nobody's.
async fn requester(app: &App, snapshot: &Snapshot, caller: &Caller) -> Result<Option<Requester>, Refused> {
    let sighting = snapshot.recognise(app.tailnet.identify_caller(caller).await?);
    Ok(match sighting {
        Sighting::Unknown => {
            audit::device_outside(caller);
            return Err(Refused::Outside);
        }
        _ if caller.is_from_web_page() => None,
        Sighting::Person(identity) => Some(Requester::of_person(&identity)),
        Sighting::Workload(workload) => Some(Requester::tagged(&workload.device)),
        Sighting::Refused(_) => None,
    })
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        Self::refused(error.code(), error.to_string())
    }
}
