//! `/consents`: what a person has allowed applications that nobody has checked, and its end by their own hand.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::{Method, Request, StatusCode};
use tsidecar_oauth::consent::{Allowed, CONSENTS, DEVICE_CODE, WithdrawalForm};
use tsidecar_oauth::device::FormError;
use tsidecar_oauth::identity::Identity;
use tsidecar_oauth::time::UnixTime;

use super::stay::{self, Words, visitor};
use crate::app::App;
use crate::peer::Caller;
use crate::snapshot::Snapshot;
use crate::web::consent::{App as Entry, Apps};
use crate::web::inbound::Inbound;
use crate::web::response::Answer;
use crate::web::{body, form, words};
use crate::{audit, clients, consents, entropy};

/// Applications that are shown at a time; hardly anybody has pressed *Allow* for more of them.
const MOST: usize = 200;

/// What a form is told that was shown too long ago, or to somebody else.
const STALE: &str = "The page was too old, or it was shown to somebody else. Nothing was done.";

type Stay = stay::Stay<Infallible>;

/// Answers a person.
pub async fn handle(
    app: &Arc<App>,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Answer {
    visit(app, snapshot, caller, request).await.unwrap_or_else(|stay| stay.page(&WORDS, |own| match own {}))
}

async fn visit(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Result<Answer, Stay> {
    let identity = visitor(app, snapshot, caller, request.headers()).await?;
    let now = app.clock.now();
    if request.method() == Method::GET {
        return list(app, snapshot, &identity, StatusCode::OK, "", now);
    }
    let (parts, body) = request.into_parts();
    if !form::is_our_own(&parts.headers, &snapshot.issuer) {
        audit::form_forged(caller, &identity);
        return Err(Stay::Forged);
    }
    let params = body::form(&parts.headers, parts.uri.query(), body).await?;
    let form = snapshot.sealing.open_withdrawal(params.get("form").unwrap_or_default());
    let client = match form.map_err(FormError::Seal).and_then(|form| form.check(&identity, now)) {
        Ok(client) => client,
        Err(error) => {
            audit::form_refused(caller, &identity, error);
            return list(app, snapshot, &identity, StatusCode::BAD_REQUEST, STALE, now);
        }
    };
    consents::withdraw(&*app.store, &identity.subject, &client, "person", now).await?;
    let done = format!("{client} can do nothing as you any more. It has to ask you again.");
    list(app, snapshot, &identity, StatusCode::OK, &done, now)
}

/// The page.
fn list(
    app: &App,
    snapshot: &Snapshot,
    identity: &Identity,
    status: StatusCode,
    done: &str,
    now: UnixTime,
) -> Result<Answer, Stay> {
    let standing = app.store.consents_of(&identity.subject, MOST)?;
    let mut apps = Vec::new();
    for consent in &standing.consents {
        let form = WithdrawalForm::new(identity, &consent.client, now);
        let form = snapshot.sealing.seal_withdrawal(&form, entropy::nonce());
        let form = form.map_err(|error| Stay::Broken(error.to_string()))?;
        // Nothing is fetched for a list: an application with a document is called by its address.
        let known = clients::find_here(&*app.store, snapshot, &consent.client, now)?;
        let name = known.map(|client| words::client(&client));
        apps.push(Entry {
            client: name.unwrap_or_else(|| consent.client.to_string()),
            client_id: consent.client.as_str(),
            allowed: consent.allowed.iter().rev().map(|allowed| line(allowed, now)).collect(),
            form: form.expose().to_owned(),
        });
    }
    let names = [identity.display_name.as_str(), identity.login.as_str()];
    let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or(identity.subject.as_str());
    let page = Apps { action: CONSENTS, name, apps, more: standing.more, done };
    page.answer(status).ok_or_else(|| Stay::Broken("the page cannot be made".to_owned()))
}

/// Where it returns to, what it may, and since when.
fn line(allowed: &Allowed, now: UnixTime) -> [String; 3] {
    let place = match (allowed.redirect_host.as_str(), &allowed.device) {
        (DEVICE_CODE, _) => "By a code".to_owned(),
        (host, None) => host.to_owned(),
        (host, Some(_)) => format!("A program ({host})"),
    };
    let scopes = allowed.scope.iter().map(|token| words::meaning(token.as_str()));
    let resources = allowed.resources.iter().map(|uri| format!("access to {uri}"));
    let gets: Vec<_> = scopes.chain(resources).collect();
    [place, gets.join(", "), words::ago(allowed.at, now)]
}

const WORDS: Words = Words {
    outside: [
        "Open this from your tailnet",
        "What somebody has allowed is shown only to them, and this device is not connected to the tailnet.",
        "Connect Tailscale on this device, then load this page again.",
    ],
    not_window: [
        "This page was not opened by you",
        "A web page tried to open it inside itself or in the background.",
        "Open it in a tab of its own.",
    ],
    forged: [
        "This was not sent by you",
        "Another web page, or a program, tried to answer in your name. Nothing was done.",
        "If you meant it, open this page anew.",
    ],
    refused: [
        "Nobody can be signed in from this device",
        "The tailnet does not say reliably whose device this is.",
        "Use another device of yours.",
    ],
    unusable: [
        "This request cannot be read",
        "What arrived is not what our page sends.",
        "Open this page anew.",
    ],
    broken: [
        "An error on our side",
        "The service could not do what you asked.",
        "Try again; if it stays like this, tell the person who runs this service.",
    ],
};
