//! Strangers that nobody has allowed anything are led to no one by us (RFC 9700 §4.11, attack A51).

use tsidecar_oauth::assurance::{Assurance, MetadataDigest};
use tsidecar_oauth::authorize::RedirectReason;
use tsidecar_oauth::client::Client;
use tsidecar_oauth::consent::Wish;
use tsidecar_oauth::identity::Identity;
use tsidecar_oauth::provenance::Provenance;
use tsidecar_oauth::scope::Scope;
use tsidecar_oauth::uri::RedirectUri;

use super::stay::Stay;
use super::{Back, Outcome, Refused};
use crate::app::App;
use crate::clients;
use crate::identity::Sighting;
use crate::peer::Caller;
use crate::snapshot::Snapshot;
use crate::store::StoreError;
use crate::web::navigation::Navigation;

/// Keeps an error on our page while the person has allowed the client nothing: anybody can publish a document, or register, and
/// would else have a link to us that ends at a page of theirs. An answer of the person goes back; so does an error in a frame,
/// which leads nobody anywhere that the framing page could not.
pub(super) async fn release(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    navigation: Navigation,
    outcome: Result<Outcome, Refused>,
) -> Result<Outcome, Refused> {
    match outcome {
        Err(Refused::Back(back))
            if !navigation.is_framed() && !may_go(app, snapshot, caller, &back).await =>
        {
            Err(Stay::Withheld(back.reason, back.node).into())
        }
        outcome => outcome,
    }
}

async fn may_go(app: &App, snapshot: &Snapshot, caller: &Caller, back: &Back) -> bool {
    if matches!(back.reason, RedirectReason::Cancelled | RedirectReason::ConsentDenied) {
        return true;
    }
    let is_ours_to_judge = match back.client.provenance() {
        Provenance::Administrator => false,
        // A program on the person's own device is no page that anybody could show them, and waits for its error.
        Provenance::Registered(_) => !RedirectUri::is_loopback(back.target.redirect_uri()),
        Provenance::Document => true,
    };
    if !is_ours_to_judge {
        return true;
    }
    // Who it is was asked a moment ago, and is remembered as long.
    let Ok(sighting) = app.tailnet.identify_caller(caller).await else { return false };
    let Sighting::Person(identity) = snapshot.recognise(sighting) else { return false };
    let is_known = is_known(app, snapshot, &back.client, back.target.redirect_uri(), &identity);
    is_known.unwrap_or_else(|error| {
        tracing::error!(error.reason = %error, "it cannot be told whether a client is a stranger");
        false
    })
}

/// Tells whether the person knows the client: it is no stranger, or they have allowed it before to take them there.
fn is_known(
    app: &App,
    snapshot: &Snapshot,
    client: &Client,
    redirect_uri: &str,
    identity: &Identity,
) -> Result<bool, StoreError> {
    if clients::assurance(app, snapshot, client, redirect_uri, identity)? != Assurance::Stranger {
        return Ok(true);
    }
    let digest = MetadataDigest::of(client);
    let wish = Wish::of_redirect(digest, redirect_uri, &identity.device.id, &[], &Scope::default());
    let consent = app.store.consent(&identity.subject, client.id())?;
    Ok(consent.is_some_and(|consent| consent.knows(&wish)))
}
