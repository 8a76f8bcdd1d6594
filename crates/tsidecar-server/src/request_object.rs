//! Opens request objects by value (RFC 9101) with the keys of their client, wherever those are.

use std::sync::Arc;

use tsidecar_oauth::client::Client;
use tsidecar_oauth::jose::{JwsError, PublicKeys};
use tsidecar_oauth::params::Params;
use tsidecar_oauth::request_object::{RequestObject, RequestObjectError};
use tsidecar_oauth::time::UnixTime;

use crate::app::App;
use crate::client_auth::keys_of;
use crate::failure::Failure;
use crate::peer::Caller;
use crate::snapshot::Snapshot;

/// Why there are no parameters.
#[derive(Debug)]
pub enum OpenError {
    /// The object is not good.
    Refused(RequestObjectError),
    /// It cannot be judged, because the keys of the client cannot be had.
    Failed(Failure),
}

/// Verifies a request object of a client and gives its parameters. A key that is missed at a `jwks_uri` is looked for once more.
///
/// # Errors
/// [`OpenError`].
pub async fn open(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    client: &Client,
    object: &RequestObject,
    now: UnixTime,
) -> Result<Params, OpenError> {
    let verify = |keys: &PublicKeys| {
        object.open(keys, client.request_object_algs(), client.id(), &snapshot.issuer, now)
    };
    let load = async |missed: Option<&Arc<PublicKeys>>| {
        keys_of(app, client, caller, missed).await.map_err(OpenError::Failed)
    };
    let Some(keys) = load(None).await? else { return Err(OpenError::Refused(RequestObjectError::NoKeys)) };
    let mut opened = verify(&keys);
    if matches!(opened, Err(RequestObjectError::Jws(JwsError::UnknownKey)))
        && let Some(newer) = load(Some(&keys)).await?
    {
        opened = verify(&newer);
    }
    opened.map_err(OpenError::Refused)
}
