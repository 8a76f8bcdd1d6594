//! Whether a grant still stands, with everything that it came out of: what an exchange gave (RFC 8693) dies with the grant of its
//! subject token, and what a stranger got dies with the consent.

use tsidecar_oauth::client::Client;
use tsidecar_oauth::grant::Grant;
use tsidecar_oauth::token::exchange::DEEPEST;

use crate::app::App;
use crate::clients;
use crate::failure::Failure;
use crate::outbound::Requester;
use crate::snapshot::Snapshot;
use crate::store::StoreError;

/// Why a grant stands no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fallen {
    /// It, or one that it came out of, was revoked or is unknown.
    #[error("the grant was withdrawn")]
    Revoked,
    /// A client is gone or switched off, or everything it got was withdrawn.
    #[error("the client is gone")]
    ClientGone,
    /// The person took the consent back, or an administrator the approval.
    #[error("the consent, or the approval, was taken back")]
    NoConsent,
    /// More exchanges lie behind it than are ever made.
    #[error("the grant has too many ancestors")]
    TooDeep,
}

/// Tells how many exchanges lie behind a grant that stands, or why it does not.
///
/// # Errors
/// Those of the store, and of a document that cannot be had at the moment.
pub async fn stands(app: &App, snapshot: &Snapshot, grant: &Grant) -> Result<Result<usize, Fallen>, Failure> {
    let (mut depth, mut ancestor) = (0, None::<Grant>);
    loop {
        let grant = ancestor.as_ref().unwrap_or(grant);
        let facts = grant.facts();
        let client = clients::find(app, snapshot, Requester::Daemon, facts.client.as_str()).await?;
        if let Err(fallen) = judge(app, grant, client.as_deref())? {
            return Ok(Err(fallen));
        }
        let Some(exchange) = &facts.exchange else { return Ok(Ok(depth)) };
        depth += 1;
        if depth > DEEPEST {
            return Ok(Err(Fallen::TooDeep));
        }
        let Some(parent) = app.store.grant(exchange.parent)? else { return Ok(Err(Fallen::Revoked)) };
        ancestor = Some(parent);
    }
}

fn judge(app: &App, grant: &Grant, client: Option<&Client>) -> Result<Result<(), Fallen>, StoreError> {
    if grant.is_revoked() {
        return Ok(Err(Fallen::Revoked));
    }
    let alive = |client: &Client| !client.is_disabled() && grant.facts().issued_at > client.not_before();
    if !client.is_some_and(alive) {
        return Ok(Err(Fallen::ClientGone));
    }
    Ok(if is_consented(app, grant)? { Ok(()) } else { Err(Fallen::NoConsent) })
}

/// Tells whether the consent that a grant rests on still holds; of one that rests on none, whether no approval of its client was
/// taken back since.
///
/// # Errors
/// Those of the store.
pub fn is_consented(app: &App, grant: &Grant) -> Result<bool, StoreError> {
    let facts = grant.facts();
    if facts.rests_on_no_consent() {
        return Ok(facts.survives_disapproval(app.store.disapproved_at(&facts.client)?));
    }
    if !facts.consented {
        return Ok(true);
    }
    Ok(facts.is_carried_by(app.store.consent(&facts.subject, &facts.client)?.as_ref()))
}
