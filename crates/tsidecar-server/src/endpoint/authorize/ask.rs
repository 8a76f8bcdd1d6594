//! The page *Continue as NAME on DEVICE*, and what the person answers.

use std::sync::Arc;

use hyper::Request;
use tsidecar_oauth::assurance::Assurance;
use tsidecar_oauth::authorize::{
    CONTINUE, Demand, DirectError, PAGE_LIFETIME, RedirectReason, RedirectTarget, Why, confirmed, seal_reason,
};
use tsidecar_oauth::identity::Identity;
use tsidecar_oauth::par::PushedId;
use tsidecar_oauth::params::Params;
use tsidecar_oauth::seal::SealedForm;

use super::asked::{Asked, find_client};
use super::browser::read;
use super::consent::{self, Again};
use super::visit::{Granted, Visit};
use super::{Outcome, Refused, Stay};
use crate::app::App;
use crate::peer::Caller;
use crate::snapshot::Snapshot;
use crate::web::ask::Ask;
use crate::web::inbound::Inbound;
use crate::web::{cookie, form, words};
use crate::{audit, entropy};

/// Shows the page.
///
/// # Errors
/// [`Refused`] when the request is too large to be carried by it.
pub(super) fn show(snapshot: &Snapshot, visit: &Visit<'_>, why: Why) -> Result<Outcome, Refused> {
    let Asked { client, target, .. } = &visit.asked;
    let sealed = snapshot.sealing.seal_form(&form_of(visit), entropy::nonce());
    let sealed = sealed.map_err(|error| visit.back(seal_reason(error)))?;
    audit::asked(visit.identity(), client, why);
    let checked = if visit.assurance == Assurance::Approved { "" } else { " (unverified)" };
    let page = Ask {
        action: CONTINUE,
        client: &format!("{}{checked}", words::client(client)),
        place: &place(target),
        name: name(visit.identity()),
        login: &visit.identity().login,
        device: words::device(&visit.identity().device.name),
        reason: reason(why),
        form: sealed.expose(),
    };
    let answer = page.answer(target.policy_source().as_deref());
    answer.map(Outcome::Page).ok_or_else(|| visit.back(RedirectReason::Broken))
}

/// The facts that the form of a page carries.
pub(super) fn form_of(visit: &Visit<'_>) -> SealedForm {
    let Asked { client, params, pushed, key, .. } = &visit.asked;
    SealedForm {
        subject: visit.identity().subject.clone(),
        device: visit.identity().device.id.clone(),
        client: client.id().clone(),
        request: params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        pushed: pushed.map(|id| *id.as_bytes()),
        key: *key,
        expires_at: visit.now.after(PAGE_LIFETIME),
    }
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
    let sealed = snapshot.sealing.open_form(token).map_err(|_| unreadable())?;
    let expires_at = sealed.expires_at;
    let (subject, device) = (sealed.subject.clone(), sealed.device.clone());
    let asked = restore(app, snapshot, caller, sealed).await?;
    let visit = Visit::of(app, snapshot, caller, asked, cookie.as_deref()).await?;
    let is_theirs = visit.identity().subject == subject && visit.identity().device.id == device;
    if !is_theirs || expires_at.is_past(visit.now) {
        // A page that is renewed could outlive what is remembered of a used request (RFC 9126 §7.3).
        if visit.asked.pushed.is_some() {
            return Err(visit.back(RedirectReason::Pushed));
        }
        return show(snapshot, &visit, Why::Stale);
    }
    let client = Arc::clone(&visit.asked.client);
    if decision == Decision::Cancel {
        audit::cancelled(visit.identity(), &client);
        return Err(visit.back(RedirectReason::Cancelled));
    }
    // What needs a consent by now (its metadata has changed, or the consent was withdrawn) gets it on the page that says so.
    if let Demand::Consent(why) = visit.demand() {
        if visit.asked.pushed.is_some() {
            return Err(visit.back(RedirectReason::Pushed));
        }
        return consent::show(snapshot, &visit, why, Again::Changed);
    }
    audit::confirmed(visit.identity(), &client);
    let sign_in = confirmed(&client, &visit.browser, visit.now);
    let granted: Granted = visit.sign_in(app, sign_in).await?;
    Ok(Outcome::Granted(granted))
}

/// Which button was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Continue,
    Cancel,
}

impl Decision {
    fn of(params: &Params) -> Option<Self> {
        match params.get("decision") {
            Some("continue") => Some(Self::Continue),
            Some("cancel") => Some(Self::Cancel),
            _ => None,
        }
    }
}

/// The request of a form: its client as it is now, its target proven anew.
pub(super) async fn restore(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    form: SealedForm,
) -> Result<Asked, Refused> {
    let client = find_client(app, snapshot, caller, form.client.as_str()).await?;
    if client.requires_push() && form.pushed.is_none() {
        return Err(DirectError::NoTarget(RedirectReason::PushRequired).into());
    }
    let params = Params::from_pairs(form.request).map_err(DirectError::from)?;
    let target = RedirectTarget::prove(&params, Some(&client), &snapshot.issuer)?;
    Ok(Asked { client, params, target, pushed: form.pushed.map(PushedId::from_bytes), key: form.key })
}

/// What a person is called: by display name, else by login, else by subject.
pub(super) fn name(identity: &Identity) -> &str {
    let names = [identity.display_name.as_str(), identity.login.as_str()];
    names.into_iter().find(|name| !name.is_empty()).unwrap_or(identity.subject.as_str())
}

/// Where the person goes, in words: the host, or the application on this device.
fn place(target: &RedirectTarget) -> String {
    let source = target.policy_source().unwrap_or_default();
    let host = source.split_once("://").map(|(_, host)| host);
    let is_loopback = |host: &str| {
        ["127.0.0.1", "localhost"]
            .iter()
            .any(|name| host.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':')))
    };
    match host {
        Some(host) if is_loopback(host) => format!("an application on this device ({host})"),
        Some(host) => host.to_owned(),
        // An IPv6 address: only the one of this device is anybody's redirect URI without a name.
        None if source == "http:" || source == "https:" => {
            target.redirect_uri().split('/').nth(2).unwrap_or_default().to_owned()
        }
        None => format!("an application on this device ({source})"),
    }
}

/// Why the page is shown, in words.
pub(super) const fn reason(why: Why) -> &'static str {
    match why {
        Why::SignedOut => "You signed out in this browser.",
        Why::Asked => "The application wants to be sure that it is you.",
        Why::TooOld => "You signed in longer ago than the application accepts.",
        Why::Account => {
            "The application lets you choose an account. There is one: the one this device belongs to."
        }
        Why::Confirmation => "The application wants you to confirm this sign-in.",
        Why::Always => "This application asks each time.",
        Why::Stale => "The page before was too old, or it was shown to somebody else.",
    }
}

#[cfg(test)]
mod tests {
    use tsidecar_oauth::client::{Client, ClientSpec};
    use tsidecar_oauth::time::UnixTime;
    use tsidecar_oauth::uri::Issuer;

    use super::*;

    #[test]
    fn a_place_is_a_host_or_this_device() {
        for (uri, expected) in [
            ("https://grafana.test/cb", "grafana.test"),
            ("https://grafana.test:8443/cb?x=1", "grafana.test:8443"),
            ("http://127.0.0.1:8123/cb", "an application on this device (127.0.0.1:8123)"),
            ("http://localhost/cb", "an application on this device (localhost)"),
            ("http://[::1]:7/cb", "[::1]:7"),
            ("com.example.app:/cb", "an application on this device (com.example.app:)"),
            ("https://localhost.evil.test/cb", "localhost.evil.test"),
        ] {
            let spec = ClientSpec {
                id: "a".into(),
                name: "A".into(),
                public: true,
                redirect_uris: vec![uri.into()],
                ..ClientSpec::default()
            };
            let client = Client::new(spec, UnixTime::default()).unwrap();
            let params = Params::from_pairs(vec![("redirect_uri".into(), uri.into())]).unwrap();
            let issuer = Issuer::parse("https://idp.tail.test").unwrap();
            let target = RedirectTarget::prove(&params, Some(&client), &issuer).unwrap();
            assert_eq!(place(&target), expected);
        }
    }
}
