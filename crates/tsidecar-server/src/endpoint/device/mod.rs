//! `/device` (RFC 8628 §3.3): a person types the code that a device shows, sees what they are about to allow, and answers.

mod page;

pub(super) use self::page::leading_to;

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, StatusCode};
use tsidecar_oauth::assurance::{Assurance, MetadataDigest};
use tsidecar_oauth::client::{Client, GrantType};
use tsidecar_oauth::consent::{Remembered, Wish};
use tsidecar_oauth::device::{
    AnswerForm, Approval, Decided, DeviceAnswer, DeviceAuthorization, DeviceRequest, FormError, Relation,
    UserCode, Vouched, may_approve,
};
use tsidecar_oauth::identity::Identity;
use tsidecar_oauth::params::Params;
use tsidecar_oauth::time::UnixTime;

use self::page::Shown;
use super::stay::{self, Words, visitor};
use crate::app::App;
use crate::clients;
use crate::failure::Failure;
use crate::outbound::Requester;
use crate::peer::{Caller, Origin};
use crate::snapshot::Snapshot;
use crate::web::inbound::Inbound;
use crate::web::response::Answer;
use crate::web::{body, form};
use crate::{audit, entropy};

/// What every wrong, old and answered code is told alike.
const NOT_OPEN: &str = "This code is not waiting for an answer. Compare it with the one on the device, or start again there: a code works once, for ten minutes.";

/// What a form is told that was shown too long ago, or to somebody else.
const STALE: &str = "This page was too old. Enter the code again.";

/// A person at the page.
struct Visit<'a> {
    app: &'a App,
    snapshot: &'a Snapshot,
    caller: &'a Caller,
    address: IpAddr,
    identity: Arc<Identity>,
    now: UnixTime,
}

/// Why a visit ends that no other page has.
enum Own {
    /// The policy, or whose device it is, says no; the sentence says which.
    Denied(String),
    /// Too many wrong codes; the seconds to wait.
    TooMany(u64),
}

type Stay = stay::Stay<Own>;

/// Answers a person.
pub async fn handle(
    app: &Arc<App>,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Answer {
    visit(app, snapshot, caller, request).await.unwrap_or_else(ended)
}

async fn visit(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Result<Answer, Stay> {
    let identity = visitor(app, snapshot, caller, request.headers()).await?;
    let Origin::Address(address) = caller.origin() else { return Err(Stay::Outside) };
    let (parts, body) = request.into_parts();
    if parts.method == Method::GET {
        let query = Params::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let query = query.map_err(Failure::from)?;
        return Ok(page::entry(&identity, query.get("user_code").and_then(UserCode::parse)));
    }
    check_form(&parts.headers, snapshot, caller, &identity)?;
    let params = body::form(&parts.headers, parts.uri.query(), body).await?;
    let now = app.clock.now();
    let visit = Visit { app, snapshot, caller, address, identity, now };
    match params.get("form") {
        None => visit.enter(params.get("user_code").unwrap_or_default()).await,
        Some(form) => visit.answer(form, params.get("answer")).await,
    }
}

fn check_form(
    headers: &HeaderMap,
    snapshot: &Snapshot,
    caller: &Caller,
    identity: &Identity,
) -> Result<(), Stay> {
    if form::is_our_own(headers, &snapshot.issuer) {
        return Ok(());
    }
    audit::form_forged(caller, identity);
    Err(Stay::Forged)
}

impl Visit<'_> {
    /// A code was entered: shows what waits under it.
    async fn enter(&self, typed: &str) -> Result<Answer, Stay> {
        let device = &self.identity.device.id;
        self.app.devices.enter(device, self.now).map_err(|wait| {
            audit::device_codes_guessed(self.caller, &self.identity);
            Stay::Own(Own::TooMany(wait.as_secs()))
        })?;
        let Some(user) = UserCode::parse(typed) else { return Ok(self.not_open()) };
        let open = self.app.store.device_by_user_code(user)?;
        let Some((request, client)) = self.waiting(open).await? else {
            return Ok(self.not_open());
        };
        let client = &*client;
        self.app.devices.was_right(device);
        let vouched = self.admit(&request, client)?;
        let form = AnswerForm::new(&self.identity, user, request.code, self.now);
        let form = self.snapshot.sealing.seal_answer(&form, entropy::nonce());
        let form = form.map_err(|error| Stay::Broken(error.to_string()))?;
        Ok(self.shown(client, &request, user).question(vouched, &form))
    }

    /// One of the buttons was pressed.
    async fn answer(&self, form: &str, answer: Option<&str>) -> Result<Answer, Stay> {
        let opened = self.snapshot.sealing.open_answer(form).map_err(FormError::Seal);
        let (user, code, shown_at) = match opened.and_then(|form| form.answers(&self.identity, self.now)) {
            Ok(shown) => shown,
            Err(error) => {
                audit::form_refused(self.caller, &self.identity, error);
                return Ok(page::entry_again(&self.identity, StatusCode::BAD_REQUEST, STALE));
            }
        };
        let stored = self.app.store.device_by_user_code(user)?.filter(|known| known.request.code == code);
        let Some((request, client)) = self.waiting(stored).await? else {
            return Ok(self.not_open());
        };
        let client = &*client;
        let said = match answer {
            Some("allow") => {
                let vouched = self.admit(&request, client)?;
                if vouched == Vouched::ByNobody
                    && self.remember(&request, client, shown_at).await? == Remembered::Withdrawn
                {
                    return Ok(page::entry_again(&self.identity, StatusCode::BAD_REQUEST, STALE));
                }
                let (listener, fresh) = (self.caller.listener(), entropy::id());
                let approval = Approval::of(&self.identity, self.address, listener, vouched, fresh, self.now);
                DeviceAnswer::Approved(approval)
            }
            Some("deny") => DeviceAnswer::Denied,
            _ => return Err(Stay::Unusable(StatusCode::BAD_REQUEST, "no button was pressed".to_owned())),
        };
        match self.app.store.decide_device(user, code, said.clone(), self.now).await? {
            Decided::Closed => Ok(self.not_open()),
            Decided::Now => {
                audit::device_answered(self.caller, client, &self.identity, &request, &said);
                Ok(match said {
                    DeviceAnswer::Approved(_) => self.shown(client, &request, user).allowed(),
                    DeviceAnswer::Denied => page::denied(),
                })
            }
        }
    }

    /// An authorization that a person may still answer, and its client.
    async fn waiting(
        &self,
        open: Option<DeviceAuthorization>,
    ) -> Result<Option<(DeviceRequest, Arc<Client>)>, Stay> {
        let Some(open) = open else { return Ok(None) };
        let requester = Requester::Caller(self.caller.origin());
        let client = clients::find(self.app, self.snapshot, requester, open.request.client.as_str()).await?;
        let Some(client) = client else { return Ok(None) };
        let serves = !client.is_disabled() && client.may_use(GrantType::DeviceCode);
        let stands = open.is_open(self.now) && open.request.started_at > client.not_before();
        Ok((serves && stands).then_some((open.request, client)))
    }

    /// Remembers what the person allows a client that nobody vouches for, durably, before its device gets anything: they see it among
    /// what they have allowed and may take it back. It spares them no page: this one always asks, and one that was shown before they
    /// took it back gives nothing.
    async fn remember(
        &self,
        request: &DeviceRequest,
        client: &Client,
        shown_at: UnixTime,
    ) -> Result<Remembered, Stay> {
        let wish = Wish::of_device(MetadataDigest::of(client), &request.resources, &request.scope);
        let subject = &self.identity.subject;
        let remembered =
            self.app.store.remember_consent(subject, client.id(), wish.clone(), shown_at, self.now).await?;
        if remembered == Remembered::Now {
            audit::consent_given(&self.identity, client, &wish);
        }
        Ok(remembered)
    }

    /// Judges whether this person may say yes at all, and tells who vouches for the client: an administrator, who wrote it down or has
    /// approved what it is now, or nobody. There is no redirect by which a document could be trusted.
    fn admit(&self, request: &DeviceRequest, client: &Client) -> Result<Vouched, Stay> {
        let refused = |reason: String| {
            audit::device_not_admitted(self.caller, client, &self.identity, &reason);
            Stay::Own(Own::Denied(reason))
        };
        self.snapshot.policy.admit(client, &self.identity).map_err(|denied| refused(denied.to_string()))?;
        let relation = Relation::of(request.requester.as_ref(), &self.identity);
        let vouched = match clients::assurance(self.app, self.snapshot, client, "", &self.identity)? {
            Assurance::Approved => Vouched::ByAdministrator,
            Assurance::Here | Assurance::Stranger => Vouched::ByNobody,
        };
        may_approve(vouched, relation).map_err(|foreign| refused(foreign.to_string()))?;
        Ok(vouched)
    }

    fn not_open(&self) -> Answer {
        audit::device_code_wrong(self.caller, &self.identity);
        page::entry_again(&self.identity, StatusCode::BAD_REQUEST, NOT_OPEN)
    }

    fn shown<'s>(&'s self, client: &'s Client, request: &'s DeviceRequest, user: UserCode) -> Shown<'s> {
        Shown { identity: &self.identity, client, request, user, now: self.now }
    }
}

/// The page on which a visit ends.
fn ended(stay: Stay) -> Answer {
    let wait = if let Stay::Own(Own::TooMany(seconds)) = &stay { Some((*seconds).max(1)) } else { None };
    let mut answer = stay.page(&WORDS, |own| match own {
        Own::Denied(reason) => (StatusCode::FORBIDDEN, DENIED, reason),
        Own::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, TOO_MANY, String::new()),
    });
    if let Some(seconds) = wait {
        answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    answer
}

const DENIED: [&str; 3] = [
    "You may not sign in to this application",
    "The other device gets nothing.",
    "Ask the person who runs this service, if you think that you should.",
];
const TOO_MANY: [&str; 3] = [
    "Too many wrong codes",
    "This device has entered wrong codes very often in a short time.",
    "Wait ten minutes and try again.",
];

const WORDS: Words = Words {
    outside: [
        "Open this from your tailnet",
        "Devices are signed in only by somebody who is connected to the tailnet, and this device is not.",
        "Connect Tailscale on this device, then load this page again.",
    ],
    not_window: [
        "This page was not opened by you",
        "A web page tried to open it inside itself or in the background.",
        "Open it in a tab of its own.",
    ],
    forged: [
        "This was not sent by you",
        "Another web page, or a program, tried to answer in your name.",
        "If you meant to answer, open this page anew and enter the code again.",
    ],
    refused: [
        "Nobody can be signed in from this device",
        "The tailnet does not say reliably whose device this is.",
        "Use another device of yours.",
    ],
    unusable: [
        "This request cannot be read",
        "What arrived is not what our page sends.",
        "Open this page anew and enter the code again.",
    ],
    broken: [
        "An error on our side",
        "The sign-in service could not do what you asked.",
        "Try again; if it stays like this, tell the person who runs this service.",
    ],
};
