//! The route table: path and method to endpoint; 404, 405, CORS, readiness, rate limits.
//!
//! The whole HTTP surface of the sockets that face people and applications. `admin.sock` and `ops.sock` have routes of
//! their own and are never reached from here.

use std::sync::Arc;

use hyper::{HeaderMap, Method, Request, StatusCode};
use tsidecar_oauth::authorize::{CONSENT, CONTINUE};
use tsidecar_oauth::consent::CONSENTS;
use tsidecar_oauth::discovery;

use crate::app::App;
use crate::peer::{self, ListenerContext};
use crate::snapshot::Snapshot;
use crate::tailnet::{Unidentified, Unready};
use crate::web::error;
use crate::web::inbound::Inbound;
use crate::web::page::{Notice, unavailable as unavailable_page};
use crate::web::response::{Answer, document, preflight, with_cors};
use crate::{audit, endpoint};

/// What a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    OpenIdConfiguration,
    AuthorizationServer,
    Jwks,
    Authorize,
    Answer,
    Consent,
    Consents,
    Token,
    Par,
    UserInfo,
    DeviceAuthorization,
    Device,
    Introspect,
    Revoke,
    Register,
    Registration,
    Logout,
}

impl Route {
    /// Every path, and what it is for; beside them, what a client has registered has a path of its own.
    const TABLE: [(&'static str, Self); 16] = [
        (discovery::OPENID_CONFIGURATION, Self::OpenIdConfiguration),
        (discovery::OAUTH_AUTHORIZATION_SERVER, Self::AuthorizationServer),
        (discovery::JWKS, Self::Jwks),
        (discovery::AUTHORIZE, Self::Authorize),
        (CONTINUE, Self::Answer),
        (CONSENT, Self::Consent),
        (CONSENTS, Self::Consents),
        (discovery::TOKEN, Self::Token),
        (discovery::PAR, Self::Par),
        (discovery::USERINFO, Self::UserInfo),
        (discovery::LOGOUT, Self::Logout),
        (discovery::DEVICE_AUTHORIZATION, Self::DeviceAuthorization),
        (discovery::DEVICE, Self::Device),
        (discovery::INTROSPECT, Self::Introspect),
        (discovery::REVOKE, Self::Revoke),
        (discovery::REGISTER, Self::Register),
    ];

    fn of(path: &str) -> Option<Self> {
        let exact = Self::TABLE.iter().find(|(known, _)| *known == path).map(|(_, route)| *route);
        exact.or_else(|| endpoint::register::manage::named(path).map(|_| Self::Registration))
    }

    /// The methods of the path, as `Allow` names them.
    const fn methods(self) -> &'static str {
        match self {
            Self::OpenIdConfiguration | Self::AuthorizationServer | Self::Jwks => DOCUMENT_METHODS,
            Self::Authorize | Self::Device | Self::Logout | Self::Consents => "GET, POST",
            Self::Answer | Self::Consent | Self::DeviceAuthorization => "POST",
            Self::Token | Self::Par | Self::Introspect | Self::Revoke | Self::Register => "POST, OPTIONS",
            Self::Registration => "GET, PUT, DELETE, OPTIONS",
            Self::UserInfo => "GET, POST, OPTIONS",
        }
    }

    /// Pages are for people and never open to scripts of other origins; everything else is a machine endpoint.
    const fn is_page(self) -> bool {
        matches!(
            self,
            Self::Authorize | Self::Answer | Self::Consent | Self::Consents | Self::Device | Self::Logout
        )
    }

    /// Endpoints that scripts of other origins may use (design section 14). What a device begins, no web page does.
    const fn is_for_scripts(self) -> bool {
        !self.is_page() && !matches!(self, Self::DeviceAuthorization)
    }

    fn allows(self, method: &Method) -> bool {
        self.methods().split(", ").any(|known| known == method.as_str())
    }

    /// Documents made once per change need neither whois nor the store, and are served whatever is the matter:
    /// clients give up for good on a metadata request that ends in a 5xx.
    fn document(self, snapshot: &Snapshot, headers: &HeaderMap) -> Option<Answer> {
        let bytes = match self {
            Self::OpenIdConfiguration | Self::AuthorizationServer if peer::came_by_funnel(headers) => {
                &snapshot.metadata.for_internet
            }
            Self::OpenIdConfiguration | Self::AuthorizationServer => &snapshot.metadata.provider,
            Self::Jwks => &snapshot.metadata.jwks,
            Self::Authorize
            | Self::Answer
            | Self::Consent
            | Self::Consents
            | Self::Token
            | Self::Par
            | Self::UserInfo
            | Self::Introspect
            | Self::Revoke
            | Self::DeviceAuthorization
            | Self::Device
            | Self::Register
            | Self::Registration
            | Self::Logout => {
                return None;
            }
        };
        Some(document(bytes.clone()))
    }
}

/// The methods of documents, those that are not there included.
const DOCUMENT_METHODS: &str = "GET, HEAD, OPTIONS";

/// Answers one request of a listener that faces people and applications.
pub async fn route(app: &Arc<App>, context: &ListenerContext, request: Request<Inbound>) -> Answer {
    let Some(route) = Route::of(request.uri().path()) else { return nothing_here(&request) };
    if request.method() == Method::OPTIONS && route.is_for_scripts() {
        return preflight(route.methods());
    }
    let answer = match route.allows(request.method()) {
        true => serve(app, context, route, request).await,
        false if route.is_page() => wrong_method(route.methods()),
        false => error::method_not_allowed(route.methods()),
    };
    if route.is_for_scripts() { with_cors(answer) } else { answer }
}

async fn serve(app: &Arc<App>, context: &ListenerContext, route: Route, request: Request<Inbound>) -> Answer {
    let snapshot = app.snapshot.load_full();
    if let Some(document) = route.document(&snapshot, request.headers()) {
        return document;
    }
    if let Err(unready) = app.tailnet.readiness_of(context.role()) {
        return not_ready(route, &unready);
    }
    let caller = match peer::caller(context, &snapshot.issuer, request.headers()) {
        Ok(caller) => caller,
        Err(refused) => {
            tracing::warn!(target: "tsidecar::audit", listener = %context.listener(), error.reason = %refused, "a request was refused");
            return bad_request(route, &refused.to_string());
        }
    };
    if let Err(retry_after) = app.limiter.check(caller.origin()) {
        return too_many(route, retry_after);
    }
    // Also where the name is of no use to the request: it shows that somebody other than serve speaks to us. The authorization
    // endpoint asks by itself.
    if !matches!(route, Route::Authorize | Route::Answer | Route::Consent)
        && caller.claimed_login().is_some()
        && app.tailnet.identify_caller(&caller).await.is_err_and(|error| error == Unidentified::Contradiction)
    {
        audit::contradicted(&caller);
        return bad_request(route, &Unidentified::Contradiction.to_string());
    }
    match route {
        Route::Authorize => endpoint::authorize::handle(app, &snapshot, &caller, request).await,
        Route::Answer => endpoint::authorize::handle_answer(app, &snapshot, &caller, request).await,
        Route::Consent => endpoint::authorize::handle_consent(app, &snapshot, &caller, request).await,
        Route::Consents => endpoint::consents::handle(app, &snapshot, &caller, request).await,
        Route::Token => endpoint::token::handle(app, &snapshot, &caller, request).await,
        Route::Par => endpoint::par::handle(app, &snapshot, &caller, request).await,
        Route::UserInfo => endpoint::userinfo::handle(app, &snapshot, &caller, request).await,
        Route::DeviceAuthorization => {
            endpoint::device_authorization::handle(app, &snapshot, &caller, request).await
        }
        Route::Device => endpoint::device::handle(app, &snapshot, &caller, request).await,
        Route::Introspect => endpoint::introspect::handle(app, &snapshot, &caller, request).await,
        Route::Revoke => endpoint::revoke::handle(app, &snapshot, &caller, request).await,
        Route::Register => endpoint::register::handle(app, &snapshot, &caller, request).await,
        Route::Registration => endpoint::register::manage::handle(app, &snapshot, &caller, request).await,
        Route::Logout => endpoint::logout::handle(app, &snapshot, &caller, request).await,
        Route::OpenIdConfiguration | Route::AuthorizationServer | Route::Jwks => error::not_found(),
    }
}

fn not_ready(route: Route, unready: &Unready) -> Answer {
    let mut answer = error::unavailable(NOT_READY_RETRY, &unready.to_string());
    if route.is_page() {
        let retry = answer.headers_mut().remove(hyper::header::RETRY_AFTER);
        answer = unavailable_page(&unready.to_string());
        if let Some(retry) = retry {
            answer.headers_mut().insert(hyper::header::RETRY_AFTER, retry);
        }
    }
    answer
}

/// What a person or a script gets in place of the answer of a path whose handler gave none.
pub(crate) fn in_place_of(path: &str, answer: Answer, reason: &str) -> Answer {
    match Route::of(path) {
        Some(route) if route.is_page() => unavailable_page(reason),
        Some(route) if route.is_for_scripts() => with_cors(answer),
        Some(_) | None => answer,
    }
}

/// Seconds after which to try again while we are not ready.
const NOT_READY_RETRY: u32 = 5;

fn bad_request(route: Route, reason: &str) -> Answer {
    if !route.is_page() {
        return error::oauth(
            StatusCode::BAD_REQUEST,
            tsidecar_oauth::error::ErrorCode::InvalidRequest,
            reason,
        );
    }
    let notice = Notice {
        title: "This request cannot be trusted",
        what: "Something between you and this service changed the request on its way.",
        cure: "Open the application again from a device on the tailnet, without a proxy in between.",
        detail: reason,
    };
    notice.answer(StatusCode::BAD_REQUEST)
}

fn too_many(route: Route, retry_after: u32) -> Answer {
    let mut answer = error::too_many(retry_after);
    if route.is_page() {
        let notice = Notice {
            title: "Too many requests",
            what: "This device has asked to sign in very often in a short time.",
            cure: "Wait a moment and try again.",
            detail: "",
        };
        answer = notice.answer(StatusCode::TOO_MANY_REQUESTS);
        answer.headers_mut().insert(hyper::header::RETRY_AFTER, retry_after.into());
    }
    answer
}

fn wrong_method(methods: &'static str) -> Answer {
    let notice = Notice {
        title: "This page cannot be reached like this",
        what: "The application sent its request in a way that does not exist.",
        cure: "Go back to the application and start again.",
        detail: &format!("this page answers {methods}"),
    };
    let mut answer = notice.answer(StatusCode::METHOD_NOT_ALLOWED);
    answer.headers_mut().insert(hyper::header::ALLOW, hyper::header::HeaderValue::from_static(methods));
    answer
}

/// 404: JSON for machines and all well-known paths, a page for a person with a browser.
///
/// Clients try every well-known path that some specification ever had, with and without the path of an issuer, and go on after a
/// 404 (reference/oauth.md 1.3). A script must be allowed to read it: its preflight succeeds.
fn nothing_here(request: &Request<Inbound>) -> Answer {
    let is_well_known = request.uri().path().split('/').any(|segment| segment == ".well-known");
    if is_well_known && request.method() == Method::OPTIONS {
        return preflight(DOCUMENT_METHODS);
    }
    let accept = request.headers().get(hyper::header::ACCEPT).and_then(|value| value.to_str().ok());
    let visits = request.method() == Method::GET && accept.is_some_and(|accept| accept.contains("text/html"));
    if !visits || is_well_known {
        return with_cors(error::not_found());
    }
    let notice = Notice {
        title: "There is no page here",
        what: "This address belongs to a sign-in service. Applications send people here to sign in.",
        cure: "Open the application that you want to use; it will bring you here by itself.",
        detail: "",
    };
    notice.answer(StatusCode::NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tsidecar_oauth::jose::Algorithm;
    use tsidecar_oauth::policy::ClaimsPolicy;
    use tsidecar_oauth::uri::Issuer;

    use super::*;

    /// Every endpoint has its member of the metadata, and every such member an endpoint. The documents themselves are found by
    /// their well-known paths, and what people are led to by us has no member: the pages of devices and consents, and the forms' answers.
    #[test]
    fn the_metadata_names_every_endpoint() {
        let issuer = Issuer::parse("https://idp.tail.test").unwrap();
        let metadata =
            discovery::ProviderMetadata::new(&issuer, &[Algorithm::Rs256], &ClaimsPolicy::default());
        let document: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&metadata.to_json().unwrap()).unwrap();
        let is_endpoint = |name: &str| name.ends_with("_endpoint") || name.ends_with("_uri");
        let members: Vec<_> = document.iter().filter(|(name, _)| is_endpoint(name)).collect();
        let named: BTreeSet<_> = members
            .iter()
            .map(|(_, url)| url.as_str().unwrap().strip_prefix("https://idp.tail.test").unwrap())
            .collect();
        assert_eq!(named.len(), members.len(), "two members for one endpoint");
        let unnamed = [
            Route::OpenIdConfiguration,
            Route::AuthorizationServer,
            Route::Answer,
            Route::Device,
            Route::Consent,
            Route::Consents,
        ];
        let served: BTreeSet<_> = Route::TABLE
            .iter()
            .filter(|(_, route)| !unnamed.contains(route))
            .map(|(path, _)| *path)
            .collect();
        assert_eq!(named, served);
    }
}
