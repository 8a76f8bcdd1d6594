//! What is written down of what people allow strangers, and take back.

use tsidecar_oauth::client::Client;
use tsidecar_oauth::consent::Wish;
use tsidecar_oauth::id::{ClientId, Subject};
use tsidecar_oauth::identity::Identity;

use super::TARGET;

/// A person is asked whether they allow a stranger.
pub fn consent_asked(identity: &Identity, client: &Client, wish: &Wish) {
    tracing::info!(
        target: TARGET,
        event = "consent_asked",
        client.id = %client.id(),
        subject = %identity.subject,
        device = %identity.device.id,
        redirect.host = wish.redirect_host,
        scope = %wish.scope,
        resource = resources(wish),
        "a person is asked to allow a client"
    );
}

/// A person allowed a stranger something, and that is on disk.
pub fn consent_given(identity: &Identity, client: &Client, wish: &Wish) {
    tracing::info!(
        target: TARGET,
        event = "consent_given",
        client.id = %client.id(),
        subject = %identity.subject,
        device = %identity.device.id,
        redirect.host = wish.redirect_host,
        scope = %wish.scope,
        resource = resources(wish),
        "a person allowed a client"
    );
}

/// A person did not allow a stranger anything.
pub fn consent_denied(identity: &Identity, client: &Client) {
    tracing::info!(
        target: TARGET,
        event = "consent_denied",
        client.id = %client.id(),
        subject = %identity.subject,
        device = %identity.device.id,
        "a person did not allow a client"
    );
}

/// Somebody took back what a person had allowed a client; so many grants have ended with it.
pub fn consent_withdrawn(subject: &Subject, client: &ClientId, by: &str, was_there: bool, ended: usize) {
    tracing::info!(
        target: TARGET,
        event = "consent_withdrawn",
        client.id = %client,
        %subject,
        by,
        was_there,
        ended,
        "a consent was withdrawn"
    );
}

fn resources(wish: &Wish) -> String {
    wish.resources.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
