//! The audit trail: who, from which device, to which client, what was decided and why. Its own log target.
//!
//! Each record has a stable `event`, and fields with one spelling everywhere. Names only: no code, token, secret, query or header ever gets here, by the types of the arguments.

mod consent;
mod document;
mod logout;
mod registration;

use tsidecar_oauth::authorize::{RedirectReason, Why};
use tsidecar_oauth::client::Client;
use tsidecar_oauth::client_auth::ClientAuthError;
use tsidecar_oauth::device::{DeviceAnswer, DeviceRequest, FormError, Relation, Requester};
use tsidecar_oauth::dpop::DpopError;
use tsidecar_oauth::grant::Grant;
use tsidecar_oauth::id::{ClientId, GrantId, Subject, Thumbprint};
use tsidecar_oauth::identity::Identity;
use tsidecar_oauth::introspect::{Asker, Inactive};
use tsidecar_oauth::par::PushError;
use tsidecar_oauth::resource::Resource;
use tsidecar_oauth::scope::Scope;
use tsidecar_oauth::seal::SealedCode;
use tsidecar_oauth::token::TokenError;
use tsidecar_oauth::userinfo::BearerError;

pub use self::consent::{consent_asked, consent_denied, consent_given, consent_withdrawn};
pub use self::document::document_ended;
pub use self::logout::{Told, grant_withdrawn, logged_out, logout_not_queued, logout_refused, logout_told};
pub use self::registration::{
    approval, registered, registration_refused, registration_removed, registration_replaced,
};
use crate::identity::RefusedNode;
use crate::peer::Caller;

/// The target of every audit record.
pub const TARGET: &str = "tsidecar::audit";

/// A code was issued.
pub fn authorized<'a>(
    identity: &Identity,
    client: &Client,
    code: &SealedCode,
    resources: impl Iterator<Item = &'a Resource>,
) {
    let resources = resources.map(|resource| resource.uri().as_str()).collect::<Vec<_>>().join(" ");
    tracing::info!(
        target: TARGET,
        event = "authorized",
        client.id = %client.id(),
        subject = %identity.subject,
        device = %identity.device.id,
        listener = %code.listener,
        grant.id = %code.grant,
        scope = %code.scope,
        resources = (!resources.is_empty()).then_some(resources),
        "a person was signed in"
    );
}

/// A person is asked before they are signed in.
pub fn asked(identity: &Identity, client: &Client, why: Why) {
    tracing::info!(
        target: TARGET,
        event = "sign_in_asked",
        client.id = %client.id(),
        subject = %identity.subject,
        device = %identity.device.id,
        reason = ?why,
        "a person is asked to confirm a sign-in"
    );
}

/// A person confirmed a sign-in.
pub fn confirmed(identity: &Identity, client: &Client) {
    tracing::info!(
        target: TARGET,
        event = "sign_in_confirmed",
        client.id = %client.id(),
        subject = %identity.subject,
        device = %identity.device.id,
        "a person confirmed a sign-in"
    );
}

/// A person cancelled a sign-in.
pub fn cancelled(identity: &Identity, client: &Client) {
    tracing::info!(
        target: TARGET,
        event = "sign_in_cancelled",
        client.id = %client.id(),
        subject = %identity.subject,
        device = %identity.device.id,
        "a person cancelled a sign-in"
    );
}

/// The policy does not admit a person to a client.
pub fn authorization_denied(identity: &Identity, client: &Client, reason: RedirectReason) {
    tracing::warn!(
        target: TARGET,
        event = "authorization_denied",
        client.id = %client.id(),
        subject = %identity.subject,
        device = %identity.device.id,
        error.reason = %reason,
        "a person was not admitted"
    );
}

/// An authorization request was refused before, or because of, who sent it.
pub fn authorization_refused(caller: &Caller, client: &Client, reason: RedirectReason) {
    tracing::info!(
        target: TARGET,
        event = "authorization_refused",
        client.id = %client.id(),
        peer.addr = %caller.origin(),
        listener = %caller.listener(),
        error.reason = %reason,
        "an authorization was refused"
    );
}

/// A client pushed an authorization request, or had no place left for it.
pub fn pushed(caller: &Caller, client: &Client, kept: bool) {
    let event = if kept { "pushed" } else { "push_crowded" };
    tracing::info!(
        target: TARGET,
        event,
        client.id = %client.id(),
        peer.addr = %caller.origin(),
        listener = %caller.listener(),
        "a client pushed an authorization request"
    );
}

/// A client pushed an authorization request that could not be authorized.
pub fn push_refused(caller: &Caller, client: &Client, error: &PushError) {
    tracing::info!(
        target: TARGET,
        event = "push_refused",
        client.id = %client.id(),
        peer.addr = %caller.origin(),
        listener = %caller.listener(),
        error.reason = %error,
        "a pushed authorization request was refused"
    );
}

/// An authorization ended on a page of ours, whose title says why.
pub fn ended_on_page(title: &str) {
    tracing::info!(target: TARGET, event = "ended_on_page", error.reason = title, "an authorization ended on a page");
}

/// A device may not sign anybody in.
pub fn device_refused(caller: &Caller, client: &Client, why: RefusedNode) {
    tracing::info!(
        target: TARGET,
        event = "device_refused",
        client.id = %client.id(),
        peer.addr = %caller.origin(),
        listener = %caller.listener(),
        error.reason = %why,
        "a device was refused"
    );
}

/// A header names another person than whois: something forwards to us that should not.
pub fn contradicted(caller: &Caller) {
    tracing::error!(
        target: TARGET,
        event = "contradicted",
        peer.addr = %caller.origin(),
        listener = %caller.listener(),
        "Tailscale-User-Login names another person than whois: is there a proxy between tailscale serve and us?"
    );
}

/// A client did not authenticate. Its id is what the request claimed.
pub fn client_refused(caller: &Caller, id: &ClientId, error: ClientAuthError) {
    tracing::warn!(
        target: TARGET,
        event = "client_refused",
        client.id = %id,
        peer.addr = %caller.origin(),
        error.reason = %error,
        "a client did not authenticate"
    );
}

/// What may be shown once only was shown again: somebody has seen a request, or a client repeats itself.
pub fn shown_again(caller: &Caller, client: Option<&ClientId>, what: &str) {
    tracing::warn!(
        target: TARGET,
        event = "shown_again",
        client.id = client.map(tracing::field::display),
        peer.addr = %caller.origin(),
        error.reason = what,
        "an assertion or proof was shown again"
    );
}

/// A code or refresh token was refused; `shown` names the grant that it belongs to, where it could be read.
pub fn token_refused(
    caller: &Caller,
    client: &Client,
    shown: Option<(GrantId, &Subject)>,
    error: TokenError,
) {
    let grant = shown.map(|(grant, _)| tracing::field::display(grant));
    let subject = shown.map(|(_, subject)| tracing::field::display(subject));
    macro_rules! record {
        ($level:ident, $alert:expr, $message:literal) => {
            tracing::$level!(
                target: TARGET,
                event = "token_refused",
                alert = $alert,
                client.id = %client.id(),
                peer.addr = %caller.origin(),
                listener = %caller.listener(),
                grant.id = grant,
                subject,
                error.reason = %error,
                $message
            )
        };
    }
    match error {
        TokenError::RefreshAhead => {
            record!(error, true, "the state folder was rolled back: a token is newer than it");
        }
        _ if error.is_alarming() => {
            record!(warn, true, "a code or token may have leaked");
        }
        _ => {
            record!(info, false, "a token request was refused");
        }
    }
}

/// Tokens were issued; `key` is the one to which they are bound.
pub fn token_issued(
    client: &Client,
    grant: &Grant,
    scope: &Scope,
    resource: Option<&Resource>,
    key: Option<Thumbprint>,
) {
    tracing::info!(
        target: TARGET,
        event = "token_issued",
        client.id = %client.id(),
        subject = %grant.facts().subject,
        device = grant.facts().device().map(tracing::field::display),
        grant.id = %grant.id(),
        scope = %scope,
        resource = resource.map(|resource| resource.uri().as_str()),
        jkt = key.map(tracing::field::display),
        "tokens were issued"
    );
}

/// A proof of possession was refused.
pub fn proof_refused(caller: &Caller, client: &Client, error: DpopError) {
    tracing::info!(
        target: TARGET,
        event = "proof_refused",
        client.id = %client.id(),
        peer.addr = %caller.origin(),
        error.reason = %error,
        "a proof of possession was refused"
    );
}

/// A token was introspected. Resource servers do so at each request, so only what somebody should look at is told by default.
pub fn introspected(caller: &Caller, asker: Asker<'_>, grant: Option<GrantId>, found: Result<(), Inactive>) {
    let grant = grant.map(tracing::field::display);
    macro_rules! record {
        ($level:ident, $active:expr, $reason:expr) => {
            tracing::$level!(
                target: TARGET,
                event = "introspected",
                asker = asker.name(),
                peer.addr = %caller.origin(),
                grant.id = grant,
                active = $active,
                error.reason = $reason,
                "a token was introspected"
            )
        };
    }
    match found {
        Ok(()) => record!(debug, true, tracing::field::Empty),
        Err(reason @ Inactive::Foreign) => record!(info, false, tracing::field::display(reason)),
        Err(reason) => record!(debug, false, tracing::field::display(reason)),
    }
}

/// A grant was revoked by somebody who may; `was_live` tells whether it was until now.
pub fn grant_revoked(grant: &Grant, by: &str, was_live: bool) {
    tracing::info!(
        target: TARGET,
        event = "grant_revoked",
        client.id = %grant.facts().client,
        subject = %grant.facts().subject,
        device = grant.facts().device().map(tracing::field::display),
        grant.id = %grant.id(),
        by,
        was_live,
        "a grant was revoked"
    );
}

/// A bearer token was refused.
pub fn bearer_refused(caller: &Caller, error: BearerError) {
    tracing::info!(target: TARGET, event = "bearer_refused", peer.addr = %caller.origin(), error.reason = %error, "an access token was refused");
}

/// A device began an authorization that waits for a person.
pub fn device_begun(caller: &Caller, client: &Client, requester: Option<&Requester>) {
    tracing::info!(
        target: TARGET,
        event = "device_begun",
        client.id = %client.id(),
        peer.addr = %caller.origin(),
        listener = %caller.listener(),
        device = requester.map(|requester| tracing::field::display(&requester.device)),
        "a device asks to be signed in"
    );
}

/// A device authorization was not begun.
pub fn device_not_begun(caller: &Caller, client: &Client, reason: impl std::fmt::Display) {
    tracing::info!(
        target: TARGET,
        event = "device_not_begun",
        client.id = %client.id(),
        peer.addr = %caller.origin(),
        listener = %caller.listener(),
        error.reason = %reason,
        "a device authorization was refused"
    );
}

/// Somebody outside of the tailnet tried to begin a device authorization.
pub fn device_outside(caller: &Caller) {
    tracing::info!(target: TARGET, event = "device_not_begun", peer.addr = %caller.origin(), listener = %caller.listener(), error.reason = "outside", "a device authorization was refused");
}

/// A person answered a device authorization.
pub fn device_answered(
    caller: &Caller,
    client: &Client,
    identity: &Identity,
    request: &DeviceRequest,
    answer: &DeviceAnswer,
) {
    let (event, grant) = match answer {
        DeviceAnswer::Approved(approval) => ("device_approved", Some(approval.grant)),
        DeviceAnswer::Denied => ("device_denied", None),
    };
    let requester = request.requester.as_ref();
    tracing::info!(
        target: TARGET,
        event,
        client.id = %client.id(),
        subject = %identity.subject,
        device = %identity.device.id,
        peer.addr = %caller.origin(),
        listener = %caller.listener(),
        requester.device = requester.map(|requester| tracing::field::display(&requester.device)),
        alien = Relation::of(requester, identity).is_alien(),
        grant.id = grant.map(tracing::field::display),
        scope = %request.scope,
        "a person answered a device authorization"
    );
}

/// A person may not answer a device authorization with yes.
pub fn device_not_admitted(caller: &Caller, client: &Client, identity: &Identity, reason: &str) {
    tracing::warn!(
        target: TARGET,
        event = "device_not_admitted",
        client.id = %client.id(),
        subject = %identity.subject,
        device = %identity.device.id,
        peer.addr = %caller.origin(),
        error.reason = reason,
        "a person was not admitted"
    );
}

/// A code was entered that is not waiting. The code itself is nobody's business.
pub fn device_code_wrong(caller: &Caller, identity: &Identity) {
    tracing::info!(
        target: TARGET,
        event = "device_code_wrong",
        subject = %identity.subject,
        device = %identity.device.id,
        peer.addr = %caller.origin(),
        "a code was entered that is not waiting"
    );
}

/// A device entered too many wrong codes.
pub fn device_codes_guessed(caller: &Caller, identity: &Identity) {
    tracing::warn!(
        target: TARGET,
        event = "device_codes_guessed",
        alert = true,
        subject = %identity.subject,
        device = %identity.device.id,
        peer.addr = %caller.origin(),
        "a device entered too many wrong codes"
    );
}

/// A form came that no page of ours has sent.
pub fn form_forged(caller: &Caller, identity: &Identity) {
    tracing::warn!(
        target: TARGET,
        event = "form_forged",
        subject = %identity.subject,
        device = %identity.device.id,
        peer.addr = %caller.origin(),
        "a form was sent by something other than a page of ours"
    );
}

/// A form of ours does not count.
pub fn form_refused(caller: &Caller, identity: &Identity, error: FormError) {
    tracing::info!(
        target: TARGET,
        event = "form_refused",
        subject = %identity.subject,
        device = %identity.device.id,
        peer.addr = %caller.origin(),
        error.reason = %error,
        "a form was refused"
    );
}
