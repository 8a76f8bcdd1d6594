//! What is written down of clients that register themselves, and of what administrators say to them.

use std::fmt::Display;

use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::provenance::Registrar;

use super::TARGET;
use crate::peer::Caller;
use crate::store::RegisteredClient;

/// A client registered itself.
pub fn registered(caller: &Caller, client: &RegisteredClient) {
    told(caller, client, "registered", "a client registered itself");
}

/// A client changed what it had registered.
pub fn registration_replaced(caller: &Caller, client: &RegisteredClient) {
    told(caller, client, "registration_replaced", "a client changed its registration");
}

/// A client removed itself.
pub fn registration_removed(caller: &Caller, client: &RegisteredClient) {
    told(
        caller,
        client,
        "registration_removed",
        "a client removed its registration; what was issued to it is void",
    );
}

fn told(caller: &Caller, client: &RegisteredClient, event: &'static str, what: &'static str) {
    let (kind, subject, device) = match &client.registration.by {
        Registrar::Application(who) => ("application", Some(who.subject.as_str()), Some(who.device.as_str())),
        Registrar::Workload { node } => ("workload", None, Some(node.as_str())),
        Registrar::Page => ("page", None, None),
        Registrar::Outside => ("internet", None, None),
    };
    tracing::info!(
        target: TARGET,
        event,
        client.id = %client.id,
        client.name = %client.spec.name,
        registrar = kind,
        subject,
        device,
        peer.addr = %caller.origin(),
        listener = %caller.listener(),
        "{what}"
    );
}

/// A registration, or a change of one, was refused.
pub fn registration_refused(caller: &Caller, client: Option<&str>, reason: &dyn Display) {
    tracing::info!(
        target: TARGET,
        event = "registration_refused",
        client.id = client,
        peer.addr = %caller.origin(),
        listener = %caller.listener(),
        error.reason = %reason,
        "a registration was refused"
    );
}

/// An administrator approved a client as it is, or took that back.
pub fn approval(client: &ClientId, approved: bool) {
    let what =
        if approved { "a client was approved as it is" } else { "the approval of a client was taken back" };
    tracing::info!(target: TARGET, event = "client_changed", client.id = %client, approved, "{what}");
}
