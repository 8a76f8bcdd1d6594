//! What is written down of sessions and grants that end, and of who is told.

use tsidecar_oauth::backchannel::Notice;
use tsidecar_oauth::client::Client;
use tsidecar_oauth::grant::Grant;
use tsidecar_oauth::id::SessionId;
use tsidecar_oauth::identity::Identity;
use tsidecar_oauth::logout::LogoutError;

use super::TARGET;
use crate::peer::Caller;

/// A person has signed out; `told` clients hear of it, and `revoked` grants have ended.
pub fn logged_out(
    caller: &Caller,
    identity: &Identity,
    asking: Option<&Client>,
    session: Option<SessionId>,
    [told, revoked]: [usize; 2],
) {
    tracing::info!(
        target: TARGET,
        event = "logged_out",
        client.id = asking.map(|client| tracing::field::display(client.id())),
        subject = %identity.subject,
        device = %identity.device.id,
        listener = %caller.listener(),
        session = session.map(tracing::field::display),
        told,
        revoked,
        "a person has signed out"
    );
}

/// A request to end a session does not add up.
pub fn logout_refused(caller: &Caller, identity: &Identity, error: LogoutError) {
    tracing::info!(
        target: TARGET,
        event = "logout_refused",
        subject = %identity.subject,
        device = %identity.device.id,
        peer.addr = %caller.origin(),
        error.reason = %error,
        "a request to end a session was refused"
    );
}

/// A client will not be told of the end of a session.
pub fn logout_not_queued(notice: &Notice, reason: &str) {
    tracing::warn!(
        target: TARGET,
        event = "logout_not_queued",
        client.id = %notice.client,
        subject = %notice.subject,
        session = notice.session.map(tracing::field::display),
        cause = notice.cause.as_str(),
        error.reason = reason,
        "a client will not be told that a session has ended"
    );
}

/// A client was told of the end of a session, or will be, or will not be.
pub fn logout_told(notice: &Notice, attempt: u32, told: &Told<'_>) {
    macro_rules! record {
        ($level:ident, $event:literal, $reason:expr, $message:literal) => {
            tracing::$level!(
                target: TARGET,
                event = $event,
                client.id = %notice.client,
                subject = %notice.subject,
                session = notice.session.map(tracing::field::display),
                cause = notice.cause.as_str(),
                attempt,
                error.reason = $reason,
                $message
            )
        };
    }
    match told {
        Told::Done => {
            record!(info, "logout_told", None::<&str>, "a client was told that a session has ended");
        }
        Told::Later(reason) => {
            record!(
                info,
                "logout_put_off",
                *reason,
                "a client could not be told that a session has ended; it is tried again"
            );
        }
        Told::Never(reason) => {
            record!(warn, "logout_given_up", *reason, "a client was not told that a session has ended");
        }
    }
}

/// What became of telling a client of the end of a session.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// It knows.
    Done,
    /// It is tried again, for this reason.
    Later(&'a str),
    /// It is given up, for this reason.
    Never(&'a str),
}

/// A grant was ended, because nobody may use it any more.
pub fn grant_withdrawn(grant: &Grant) {
    tracing::info!(
        target: TARGET,
        event = "grant_withdrawn",
        client.id = %grant.facts().client,
        subject = %grant.facts().subject,
        device = grant.facts().device().map(tracing::field::display),
        grant.id = %grant.id(),
        "a grant was ended: its client, person or device may no longer have it"
    );
}
