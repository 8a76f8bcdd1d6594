//! The page that asks a person whether they allow a stranger, and what they answer.
//!
//! Allowing is remembered, durably, before the code is given out. Each page takes one answer: a replay and a second submit are
//! refused, whatever they say. It gives nothing again that was withdrawn since it was shown, and nothing that the page did not say.

use std::sync::Arc;

use hyper::Request;
use tsidecar_oauth::assurance::Assurance;
use tsidecar_oauth::authorize::{CONSENT, Demand, RedirectReason, Why, confirmed, seal_reason};
use tsidecar_oauth::client::Client;
use tsidecar_oauth::consent::{Remembered, leads_to_program};
use tsidecar_oauth::identity::Identity;
use tsidecar_oauth::mark::{Mark, MarkKind};
use tsidecar_oauth::params::Params;
use tsidecar_oauth::provenance::{Provenance, Registrar};
use tsidecar_oauth::seal::SealedConsent;
use tsidecar_oauth::time::UnixTime;
use tsidecar_oauth::uri::{RedirectUri, ResourceIndicator, redirect_host};

use super::ask::{self, form_of, name, restore};
use super::asked::unstored;
use super::browser::read;
use super::visit::Visit;
use super::{Outcome, Refused, Stay};
use crate::app::App;
use crate::peer::Caller;
use crate::snapshot::Snapshot;
use crate::store::StoreError;
use crate::web::consent::{Consent, Origin, Place};
use crate::web::inbound::Inbound;
use crate::web::{cookie, form, words};
use crate::{audit, entropy};

/// Whether the page comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It does not.
    No,
    /// The one before was too old, or was shown to somebody else.
    Stale,
    /// Something of what it asks has changed.
    Changed,
}

/// Shows the page. `why` is set when the sign-in would have been asked for in any case.
///
/// # Errors
/// [`Refused`] when the request is too large to be carried by it.
pub(super) fn show(
    snapshot: &Snapshot,
    visit: &Visit<'_>,
    why: Option<Why>,
    again: Again,
) -> Result<Outcome, Refused> {
    let (identity, client, wish) = (visit.identity(), &visit.asked.client, visit.wish());
    let form = SealedConsent { form: form_of(visit), wish: wish.clone(), shown_at: visit.now };
    let sealed = snapshot.sealing.seal_consent(&form, entropy::nonce());
    let sealed = sealed.map_err(|error| visit.back(seal_reason(error)))?;
    audit::consent_asked(identity, client, &wish);
    let redirect_uri = visit.asked.target.redirect_uri();
    let page = Consent {
        action: CONSENT,
        client: words::client(client),
        client_id: client.id().as_str(),
        origin: origin(client, identity, visit.now),
        place: place(redirect_uri),
        resources: wish.resources.iter().map(ResourceIndicator::as_str).collect(),
        gets: wish.scope.iter().map(|token| words::meaning(token.as_str())).collect(),
        name: name(identity),
        login: &identity.login,
        device: words::device(&identity.device.name),
        warning: warning(client, identity, redirect_uri),
        reason: reason(why, again),
        form: sealed.expose(),
    };
    let answer = page.answer(visit.asked.target.policy_source().as_deref());
    answer.map(Outcome::Page).ok_or_else(|| visit.back(RedirectReason::Broken))
}

/// Takes the answer of a person.
///
/// # Errors
/// [`Refused`].
pub(super) async fn answered(
    app: &Arc<App>,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Result<Outcome, Refused> {
    if !form::is_our_own(request.headers(), &snapshot.issuer) {
        return Err(Stay::Elsewhere.into());
    }
    let cookie = cookie::session(request.headers()).map(str::to_owned);
    let params = read(request).await?;
    let unreadable = || Refused::from(Stay::Unreadable);
    let decision = Decision::of(&params).ok_or_else(unreadable)?;
    let token = params.get("form").ok_or_else(unreadable)?;
    let shown = snapshot.sealing.open_consent(token).map_err(|_| unreadable())?;
    let asked = restore(app, snapshot, caller, shown.form.clone()).await?;
    let mut visit = Visit::of(app, snapshot, caller, asked, cookie.as_deref()).await?;
    if let Some(again) = outdated(&visit, &shown, decision) {
        return ask_again(snapshot, &visit, again);
    }
    // One answer for each page: a second one, be it the same, is no answer (attack A49).
    let mark = Mark::new(MarkKind::Form, shown.form.subject.as_str(), token, shown.form.expires_at);
    match app.store.mark(vec![mark], visit.now).await {
        Ok(()) => (),
        Err(StoreError::Seen(_)) => return Err(Stay::Answered.into()),
        Err(error) => return Err(visit.back(unstored(&error))),
    }
    let client = Arc::clone(&visit.asked.client);
    if decision == Decision::Deny {
        audit::consent_denied(visit.identity(), &client);
        return Err(visit.back(RedirectReason::ConsentDenied));
    }
    if visit.assurance == Assurance::Stranger && remember(app, &visit, shown).await? == Remembered::Withdrawn
    {
        // Between the read and the write; what was read speaks no more.
        visit.consent = None;
        return ask_again(snapshot, &visit, Again::Changed);
    }
    let sign_in = match visit.demand_of_sign_in() {
        Demand::Go(sign_in) => sign_in,
        // The page said who they are, and on which device: the tap confirms that, too.
        Demand::Ask(_) | Demand::Consent(_) => {
            audit::confirmed(visit.identity(), &client);
            confirmed(&client, &visit.browser, visit.now)
        }
        Demand::Refuse(reason) => return Err(visit.back(reason)),
    };
    visit.sign_in(app, sign_in).await.map(Outcome::Granted)
}

/// Remembers what was allowed, durably, unless it was withdrawn since the page was shown.
async fn remember(app: &App, visit: &Visit<'_>, shown: SealedConsent) -> Result<Remembered, Refused> {
    let (identity, client) = (visit.identity(), &visit.asked.client);
    let SealedConsent { wish, shown_at, .. } = shown;
    let remembered =
        app.store.remember_consent(&identity.subject, client.id(), wish.clone(), shown_at, visit.now).await;
    let remembered = remembered.map_err(|error| visit.back(unstored(&error)))?;
    if remembered == Remembered::Now {
        audit::consent_given(identity, client, &wish);
    }
    Ok(remembered)
}

/// Whether the answer is not to what would be asked now. *Deny* gives nothing, so it counts after a withdrawal, too.
fn outdated(visit: &Visit<'_>, shown: &SealedConsent, decision: Decision) -> Option<Again> {
    let (identity, form) = (visit.identity(), &shown.form);
    let is_theirs = identity.subject == form.subject && identity.device.id == form.device;
    if !is_theirs || form.expires_at.is_past(visit.now) {
        return Some(Again::Stale);
    }
    let is_stranger = visit.assurance == Assurance::Stranger;
    let withdrawn = visit.consent.as_ref().is_some_and(|consent| consent.withdrawn_since(shown.shown_at));
    let withdrawn = withdrawn && decision == Decision::Allow;
    (is_stranger && (withdrawn || visit.wish() != shown.wish)).then_some(Again::Changed)
}

fn ask_again(snapshot: &Snapshot, visit: &Visit<'_>, again: Again) -> Result<Outcome, Refused> {
    // A page that is renewed could outlive what is remembered of a used request (RFC 9126 §7.3).
    if visit.asked.pushed.is_some() {
        return Err(visit.back(RedirectReason::Pushed));
    }
    match visit.demand() {
        Demand::Consent(why) => show(snapshot, visit, why, again),
        // Allowed by now, or a person that has allowed it before: there is nothing to allow, but somebody wants an answer.
        Demand::Go(_) | Demand::Ask(_) | Demand::Refuse(_) => ask::show(snapshot, visit, Why::Stale),
    }
}

/// Which button was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Allow,
    Deny,
}

impl Decision {
    fn of(params: &Params) -> Option<Self> {
        match params.get("decision") {
            Some("allow") => Some(Self::Allow),
            Some("deny") => Some(Self::Deny),
            _ => None,
        }
    }
}

fn place(redirect_uri: &str) -> Place {
    let host = redirect_host(redirect_uri);
    match (leads_to_program(redirect_uri), RedirectUri::is_loopback(redirect_uri)) {
        (false, _) => Place::Host(host),
        (true, true) => Place::Loopback(host),
        (true, false) => Place::Scheme(host),
    }
}

/// Where the application comes from, in words.
fn origin(client: &Client, identity: &Identity, now: UnixTime) -> Origin {
    let Provenance::Registered(registration) = client.provenance() else {
        // An administrator's client is no stranger, so this is a document.
        return Origin::Published(redirect_host(client.id().as_str()));
    };
    let ago = words::ago(registration.at, now);
    let how = match &registration.by {
        Registrar::Application(who) => {
            let (name, device) = (words::name(&who.login), words::device(&who.device_name));
            let by = if who.subject == identity.subject { "you" } else { &name };
            format!("by {by}, on {device}, {ago}")
        }
        Registrar::Workload { node } => {
            format!("by {}, a machine without an owner, {ago}", words::device(node))
        }
        Registrar::Page => format!("by a web page in somebody\u{2019}s browser, {ago}"),
        Registrar::Outside => format!("by somebody on the internet, {ago}"),
    };
    Origin::Registered(how)
}

/// What is worth a sentence beside that nobody has checked the application.
fn warning(client: &Client, identity: &Identity, redirect_uri: &str) -> String {
    let device = words::device(&identity.device.name);
    let mut sentences = Vec::new();
    if let Provenance::Registered(registration) = client.provenance()
        && let Registrar::Application(who) = &registration.by
    {
        if who.subject != identity.subject {
            sentences.push(format!("{} registered it, not you.", words::name(&who.login)));
        } else if who.device != identity.device.id {
            sentences.push(format!(
                "It was registered on {}, another device of yours.",
                words::device(&who.device_name)
            ));
        }
    }
    if leads_to_program(redirect_uri) {
        sentences.push(format!("Any program on {device} can pretend to be this application."));
    }
    sentences.join(" ")
}

/// Why the page comes again, or why they would have been asked in any case.
const fn reason(why: Option<Why>, again: Again) -> &'static str {
    match (again, why) {
        (Again::Changed, _) => "Something has changed since you were asked before.",
        (Again::Stale, _) => ask::reason(Why::Stale),
        (Again::No, Some(why)) => ask::reason(why),
        (Again::No, None) => "",
    }
}
