//! Clients that are known by a document at their id (Client ID Metadata Document).

use std::sync::Arc;

use tsidecar_oauth::client::Client;
use tsidecar_oauth::id::ClientId;

use crate::app::App;
use crate::failure::Failure;
use crate::outbound::Requester;

/// The client that the document at this URL describes.
///
/// # Errors
/// [`Failure::Unavailable`] when it cannot be had at the moment.
#[expect(clippy::unused_async, reason = "it fetches")]
pub async fn client(
    _app: &App,
    _requester: Requester,
    _id: &ClientId,
) -> Result<Option<Arc<Client>>, Failure> {
    Ok(None)
}
