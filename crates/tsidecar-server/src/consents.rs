//! The end of what a person has allowed a stranger, by their own hand or by command.

use tsidecar_oauth::id::{ClientId, Subject};
use tsidecar_oauth::time::UnixTime;

use crate::audit;
use crate::store::{Store, StoreError};
use crate::withdraw::end_of;

/// What a withdrawal came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    /// Whether anything was allowed until now.
    pub was_there: bool,
    /// How many live grants have ended.
    pub ended: usize,
}

/// Takes back what a person has allowed a client, and ends what the client got of them; on disk before this returns. The consent goes
/// first: what is redeemed or refreshed from then on finds it gone, so no grant slips through between the two.
///
/// # Errors
/// Those of the store; what was ended until then stays ended, and a second attempt does the rest.
pub async fn withdraw(
    store: &dyn Store,
    subject: &Subject,
    client: &ClientId,
    by: &str,
    now: UnixTime,
) -> Result<Withdrawn, StoreError> {
    let was_there = store.withdraw_consent(subject, client, now).await?;
    let ended = end_of(store, subject, now, |grant| grant.facts().client == *client).await?;
    audit::consent_withdrawn(subject, client, by, was_there, ended);
    Ok(Withdrawn { was_there, ended })
}
