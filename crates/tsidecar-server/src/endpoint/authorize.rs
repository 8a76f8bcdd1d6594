//! `/authorize`: a person comes with a browser and leaves with a code, without touching anything.

use std::sync::Arc;

use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode};
use tsidecar_oauth::authorize::{
    AuthorizationRequest, DirectError, Occasion, RedirectReason, RedirectTarget, client_id, issue,
    seal_reason,
};
use tsidecar_oauth::client::Client;
use tsidecar_oauth::identity::Identity;
use tsidecar_oauth::params::Params;
use tsidecar_oauth::secret::AuthorizationCode;

use crate::app::App;
use crate::failure::Failure;
use crate::identity::{RefusedNode, Sighting};
use crate::peer::{Caller, Origin};
use crate::snapshot::Snapshot;
use crate::tailnet::Unidentified;
use crate::web::body;
use crate::web::inbound::Inbound;
use crate::web::page::Notice;
use crate::web::response::{Answer, redirect};
use crate::{audit, entropy};

/// Why a request ends on a page of ours instead of a redirect.
#[derive(Debug)]
enum Stay {
    /// Through Funnel, or from an address that whois does not know.
    Outside,
    /// Not a navigation of the browser's own window.
    NotNavigation,
    /// Nobody may be redirected.
    Direct(DirectError),
    /// The request is unusable as HTTP.
    Unusable(StatusCode, String),
    /// The headers contradict what whois says.
    Contradiction,
}

/// Where a request goes: back to the application, or nowhere.
enum Refused {
    Stay(Stay),
    Back(Box<RedirectTarget>, RedirectReason, Option<RefusedNode>),
}

/// Why nobody was recognised.
enum Nobody {
    Stay(Stay),
    Back(RedirectReason, Option<RefusedNode>),
}

impl From<Stay> for Refused {
    fn from(stay: Stay) -> Self {
        Self::Stay(stay)
    }
}

impl From<DirectError> for Refused {
    fn from(error: DirectError) -> Self {
        Self::Stay(Stay::Direct(error))
    }
}

/// Answers an authorization request.
pub async fn handle(
    app: &Arc<App>,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Answer {
    // After a POST the browser must go on with GET (RFC 9700 §4.12).
    let status = if request.method() == Method::POST { StatusCode::SEE_OTHER } else { StatusCode::FOUND };
    match authorize(app, snapshot, caller, request).await {
        Ok((target, code)) => go(status, &target.with_code(&code)),
        Err(Refused::Back(target, reason, None)) => go(status, &target.with_error(reason)),
        Err(Refused::Back(target, reason, Some(node))) => {
            go(status, &target.with_detail(reason, &node.to_string()))
        }
        Err(Refused::Stay(stay)) => page(&stay),
    }
}

/// A location that cannot be a header value cannot have come out of a registered redirect URI.
fn go(status: StatusCode, location: &str) -> Answer {
    redirect(status, location).unwrap_or_else(|| page(&Stay::Direct(DirectError::UnregisteredRedirect)))
}

async fn authorize(
    app: &Arc<App>,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Result<(RedirectTarget, AuthorizationCode), Refused> {
    let Origin::Address(address) = caller.origin() else { return Err(Stay::Outside.into()) };
    let navigation = Navigation::of(request.headers());
    let params = read(request).await?;
    navigation.check(&params)?;
    let client = snapshot.client(client_id(&params)?.as_str());
    let target = RedirectTarget::prove(&params, client.map(AsRef::as_ref), &snapshot.issuer)?;
    let Some(client) = client else { return Err(DirectError::UnknownClient.into()) };
    let back = |reason| Refused::Back(Box::new(target.clone()), reason, None);
    let validated = AuthorizationRequest::validate(&params, client, target.clone(), &snapshot.resources);
    let validated = validated.map_err(|reason| {
        audit::authorization_refused(caller, client, reason);
        back(reason)
    })?;
    let identity = identify(app, snapshot, caller, client).await.map_err(|nobody| match nobody {
        Nobody::Stay(stay) => Refused::Stay(stay),
        Nobody::Back(reason, why) => Refused::Back(Box::new(target.clone()), reason, why),
    })?;
    let occasion = Occasion { listener: caller.listener(), address, now: app.clock.now() };
    let code = issue(&validated, client, &identity, &snapshot.policy, occasion, entropy::id()).map_err(
        |reason| {
            audit::authorization_denied(&identity, client, reason);
            back(reason)
        },
    )?;
    let sealed =
        snapshot.sealing.seal_code(&code, entropy::nonce()).map_err(|error| back(seal_reason(error)))?;
    audit::authorized(&identity, client, &code);
    Ok((target, sealed))
}

/// Asks who is calling, now.
async fn identify(
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

/// Reads the parameters: from the query of a GET, from the body of a POST.
async fn read(request: Request<Inbound>) -> Result<Params, Refused> {
    if request.method() == Method::GET {
        let query = request.uri().query().unwrap_or_default();
        return Ok(Params::parse(query.as_bytes()).map_err(DirectError::from)?);
    }
    let (parts, body) = request.into_parts();
    body::form(&parts.headers, parts.uri.query(), body).await.map_err(|failure| match failure {
        Failure::Refused { description, .. } => Stay::Unusable(StatusCode::BAD_REQUEST, description).into(),
        Failure::Http { status, description } => Stay::Unusable(status, description.to_owned()).into(),
        Failure::Unavailable { why, .. } | Failure::Broken { why } => {
            Stay::Unusable(StatusCode::BAD_REQUEST, why).into()
        }
    })
}

/// What a browser says of its request.
struct Navigation {
    names_site: bool,
    navigates: bool,
    framed: bool,
}

impl Navigation {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            names_site: headers.contains_key("sec-fetch-site"),
            navigates: text("sec-fetch-mode") == Some("navigate"),
            framed: !matches!(text("sec-fetch-dest"), None | Some("document")),
        }
    }

    /// A browser that names the kind of its request must be navigating; inside a frame only `prompt=none` goes on, since
    /// nothing is shown then (design section 5, attacks A23 and A49). Clients without these headers are no browsers.
    fn check(&self, params: &Params) -> Result<(), Refused> {
        if self.names_site && !self.navigates {
            return Err(Stay::NotNavigation.into());
        }
        let silent = params.get("prompt") == Some("none");
        if self.names_site && self.framed && !silent { Err(Stay::NotNavigation.into()) } else { Ok(()) }
    }
}

fn page(stay: &Stay) -> Answer {
    let (status, notice, detail) = match stay {
        Stay::Outside => (StatusCode::FORBIDDEN, OUTSIDE, String::new()),
        Stay::NotNavigation => (StatusCode::FORBIDDEN, NOT_NAVIGATION, String::new()),
        Stay::Contradiction => (StatusCode::BAD_REQUEST, CONTRADICTION, String::new()),
        Stay::Direct(error) => (StatusCode::BAD_REQUEST, notice_for(error), error.to_string()),
        Stay::Unusable(status, why) => (*status, UNUSABLE, why.clone()),
    };
    let [title, what, cure] = notice;
    audit::ended_on_page(title);
    Notice { title, what, cure, detail: &detail }.answer(status)
}

const OUTSIDE: [&str; 3] = [
    "Open this from your tailnet",
    "Signing in works only from a device that is connected to the tailnet, and this one is not.",
    "Connect Tailscale on this device, then go back to the application and sign in again.",
];
const NOT_NAVIGATION: [&str; 3] = [
    "This sign-in was not started by you",
    "A web page tried to sign you in inside itself or in the background.",
    "Open the application in a tab of its own and sign in there.",
];
const CONTRADICTION: [&str; 3] = [
    "This request cannot be trusted",
    "It names a person other than the one the tailnet knows for this device.",
    "Remove any proxy between Tailscale and this service, then try again.",
];
const UNUSABLE: [&str; 3] = [
    "The application sent a request that cannot be read",
    "The sign-in request is not in the form that applications use.",
    "Go back to the application and start again; if it happens again, tell the person who runs it.",
];
const UNKNOWN_CLIENT: [&str; 3] = [
    "This application is not known here",
    "The application that sent you is not registered with this sign-in service, or no longer.",
    "If the application remembers an old registration, remove it there and sign in again; otherwise ask the person who runs this service to add it.",
];
const BAD_REDIRECT: [&str; 3] = [
    "The application asked to return to an unknown address",
    "For your safety nobody is sent to an address that is not registered for the application.",
    "Ask the person who runs this service to add the application's redirect URI, letter for letter.",
];

const fn notice_for(error: &DirectError) -> [&'static str; 3] {
    match error {
        DirectError::UnknownClient | DirectError::MissingClient | DirectError::ClientId(_) => UNKNOWN_CLIENT,
        DirectError::MissingRedirect | DirectError::UnregisteredRedirect => BAD_REDIRECT,
        DirectError::Params(_) => UNUSABLE,
    }
}
