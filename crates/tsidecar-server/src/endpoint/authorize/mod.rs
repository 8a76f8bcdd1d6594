//! `/authorize`: a person comes with a browser and leaves with a code, without touching anything unless asked to.

mod ask;
mod asked;
mod browser;
mod consent;
mod stay;
mod stranger;
mod visit;
mod who;

use std::sync::Arc;

use hyper::header::SET_COOKIE;
use hyper::{Method, Request, StatusCode};
use tsidecar_oauth::authorize::{
    AuthorizationResponse, Demand, DirectError, RedirectReason, RedirectTarget, ResponseMode,
};
use tsidecar_oauth::client::Client;

use self::asked::resolve;
use self::browser::{check, check_frame, elsewhere, read};
use self::consent::Again;
use self::stay::{Stay, page};
use self::visit::{Granted, Visit};
use crate::app::App;
use crate::audit;
use crate::identity::RefusedNode;
use crate::peer::{Caller, Origin};
use crate::snapshot::Snapshot;
use crate::web::inbound::Inbound;
use crate::web::navigation::Navigation;
use crate::web::response::{Answer, redirect};
use crate::web::{cookie, form_post};

/// Where a request goes: back to the application, or nowhere.
enum Refused {
    Stay(Stay),
    Back(Box<Back>),
}

/// A request that is refused at the application, if it may be led there ([`stranger::release`]).
struct Back {
    client: Arc<Client>,
    target: RedirectTarget,
    reason: RedirectReason,
    node: Option<RefusedNode>,
}

impl Refused {
    fn back(client: &Arc<Client>, target: &RedirectTarget, reason: RedirectReason) -> Self {
        let (client, target) = (Arc::clone(client), target.clone());
        Self::Back(Box::new(Back { client, target, reason, node: None }))
    }
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

/// How a request ends that is not refused.
enum Outcome {
    /// With a code.
    Granted(Granted),
    /// With a page that asks the person.
    Page(Answer),
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
    let navigation = Navigation::of(request.headers());
    let outcome = authorize(app, snapshot, caller, request).await;
    answer(status, stranger::release(app, snapshot, caller, navigation, outcome).await)
}

/// Takes the answer of a person who was shown the page.
pub async fn handle_answer(
    app: &Arc<App>,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Answer {
    let navigation = Navigation::of(request.headers());
    let outcome = ask::answered(app, snapshot, caller, request).await;
    answer(StatusCode::SEE_OTHER, stranger::release(app, snapshot, caller, navigation, outcome).await)
}

/// Takes the answer of a person who was asked whether they allow a stranger.
pub async fn handle_consent(
    app: &Arc<App>,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Answer {
    let navigation = Navigation::of(request.headers());
    let outcome = consent::answered(app, snapshot, caller, request).await;
    answer(StatusCode::SEE_OTHER, stranger::release(app, snapshot, caller, navigation, outcome).await)
}

fn answer(status: StatusCode, outcome: Result<Outcome, Refused>) -> Answer {
    match outcome {
        Ok(Outcome::Granted(Granted { target, code, cookie })) => {
            let mut answer = go(status, &target.with_code(&code));
            answer.headers_mut().extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
            answer
        }
        Ok(Outcome::Page(answer)) => answer,
        Err(Refused::Back(back)) => match back.node {
            None => go(status, &back.target.with_error(back.reason)),
            Some(node) => go(status, &back.target.with_detail(back.reason, &node.to_string())),
        },
        Err(Refused::Stay(stay)) => page(&stay),
    }
}

/// A location that cannot be a header value cannot have come out of a registered redirect URI.
fn go(status: StatusCode, response: &AuthorizationResponse<'_>) -> Answer {
    let answer = match response.mode() {
        ResponseMode::Query => redirect(status, &response.location()),
        ResponseMode::FormPost => form_post::answer(response),
    };
    answer.unwrap_or_else(|| page(&Stay::Direct(DirectError::NoTarget(RedirectReason::Broken))))
}

async fn authorize(
    app: &Arc<App>,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Result<Outcome, Refused> {
    let Origin::Address(_) = caller.origin() else { return Err(Stay::Outside.into()) };
    let navigation = Navigation::of(request.headers());
    let cookie = cookie::session(request.headers()).map(str::to_owned);
    let posted = request.method() == Method::POST;
    let params = read(request).await?;
    check(navigation)?;
    if let Some(location) = elsewhere(posted && navigation.crosses_sites() && cookie.is_none(), &params) {
        let answer = redirect(StatusCode::SEE_OTHER, &location);
        return answer.map(Outcome::Page).ok_or_else(|| Stay::Unreadable.into());
    }
    let asked = resolve(app, snapshot, caller, params).await?;
    check_frame(navigation, &asked.params)?;
    if navigation.hides_cookies() && cookie.is_none() && asked.client.keeps_sessions() {
        let reason = RedirectReason::SignInNeeded;
        audit::authorization_refused(caller, &asked.client, reason);
        return Err(Refused::back(&asked.client, &asked.target, reason));
    }
    let visit = Visit::of(app, snapshot, caller, asked, cookie.as_deref()).await?;
    match visit.demand() {
        Demand::Go(sign_in) => visit.sign_in(app, sign_in).await.map(Outcome::Granted),
        Demand::Ask(why) => ask::show(snapshot, &visit, why),
        Demand::Consent(why) => consent::show(snapshot, &visit, why, Again::No),
        Demand::Refuse(reason) => {
            audit::authorization_refused(caller, &visit.asked.client, reason);
            Err(visit.back(reason))
        }
    }
}
