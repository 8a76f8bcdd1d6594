//! `/authorize`: a person comes with a browser and leaves with a code, without touching anything.

mod asked;
mod browser;
mod stay;
mod who;

use std::sync::Arc;

use hyper::{Method, Request, StatusCode};
use tsidecar_oauth::authorize::{
    AuthorizationRequest, AuthorizationResponse, DirectError, Occasion, RedirectReason, RedirectTarget,
    ResponseMode, issue, seal_reason,
};
use tsidecar_oauth::secret::AuthorizationCode;

use self::asked::{Asked, resolve};
use self::browser::{Navigation, read};
use self::stay::{Stay, page};
use self::who::{Nobody, identify};
use crate::app::App;
use crate::identity::RefusedNode;
use crate::peer::{Caller, Origin};
use crate::snapshot::Snapshot;
use crate::web::form_post;
use crate::web::inbound::Inbound;
use crate::web::response::{Answer, redirect};
use crate::{audit, entropy};

/// Where a request goes: back to the application, or nowhere.
enum Refused {
    Stay(Stay),
    Back(Box<RedirectTarget>, RedirectReason, Option<RefusedNode>),
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
fn go(status: StatusCode, response: &AuthorizationResponse<'_>) -> Answer {
    let answer = match response.mode() {
        ResponseMode::Query => redirect(status, &response.location()),
        ResponseMode::FormPost => form_post::answer(response),
    };
    answer.unwrap_or_else(|| page(&Stay::Direct(DirectError::UnregisteredRedirect)))
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
    navigation.check()?;
    let asked = resolve(app, snapshot, caller, params).await?;
    let Asked { client, params, target, .. } = &asked;
    navigation.check_frame(params)?;
    let back = |reason| Refused::Back(Box::new(target.clone()), reason, None);
    let validated = AuthorizationRequest::validate(params, client, target.clone(), &snapshot.resources);
    // A `dpop_jkt` that differs was refused at /par.
    let validated = validated.and_then(|request| match asked.key {
        Some(key) => request.bind(key).map_err(|_| RedirectReason::ProofKey),
        None => Ok(request),
    });
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
    asked.finish(app).await.map_err(|reason| {
        audit::authorization_refused(caller, client, reason);
        back(reason)
    })?;
    audit::authorized(&identity, client, &code);
    Ok((asked.target, sealed))
}
