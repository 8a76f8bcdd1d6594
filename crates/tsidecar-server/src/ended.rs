//! The end of a grant by somebody's word. One place for all of them, because others must hear of it.

use tsidecar_oauth::grant::Grant;

use crate::app::App;
use crate::audit;
use crate::store::StoreError;

/// Who ends a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Its client, by revocation.
    Client,
    /// An administrator, by command.
    Administrator,
}

impl By {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Administrator => "administrator",
        }
    }
}

/// Revokes a grant: durable when this returns, also when it was revoked before. Tells whether it was live until now.
///
/// # Errors
/// [`StoreError`]; nothing was changed.
pub async fn revoke(app: &App, grant: &Grant, by: By) -> Result<bool, StoreError> {
    let was_live = app.store.revoke_grant(grant.id(), app.clock.now()).await?;
    audit::grant_revoked(grant, by.as_str(), was_live);
    Ok(was_live)
}
