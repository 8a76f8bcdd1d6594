//! What is asked: the client of a request, and its parameters, wherever they are carried.

use std::sync::Arc;

use tsidecar_oauth::authorize::{Carrier, DirectError, RedirectReason, RedirectTarget, client_id};
use tsidecar_oauth::client::Client;
use tsidecar_oauth::id::Thumbprint;
use tsidecar_oauth::par::PushedId;
use tsidecar_oauth::params::Params;

use super::Refused;
use super::stay::Stay;
use crate::app::App;
use crate::audit;
use crate::clients;
use crate::documents::NoDocument;
use crate::failure::Failure;
use crate::outbound::Requester;
use crate::peer::Caller;
use crate::request_object::{OpenError, open};
use crate::snapshot::Snapshot;
use crate::store::StoreError;

/// A request whose client is known and whose target is proven.
///
/// A page that asks the person carries `params`, `pushed` and `key` in its sealed form, so that the answer may come after a pushed
/// request has expired; [`finish`](Self::finish) still lets one of all its pages go on.
pub(super) struct Asked {
    /// The client.
    pub(super) client: Arc<Client>,
    /// The parameters that count: those of the request, of its object, or those that were pushed. Nothing else does.
    pub(super) params: Params,
    /// Where the answer goes.
    pub(super) target: RedirectTarget,
    /// The pushed request that this is, which a code uses up.
    pub(super) pushed: Option<PushedId>,
    /// The key of the proof of possession that the request was pushed with.
    pub(super) key: Option<Thumbprint>,
}

/// Finds out what a request asks.
///
/// # Errors
/// [`Refused`]: while the parameters that count are not known yet, those of the request itself name the target of an error, if
/// they prove one; otherwise it ends on a page.
pub(super) async fn resolve(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    params: Params,
) -> Result<Asked, Refused> {
    let client = find_client(app, snapshot, caller, client_id(&params)?.as_str()).await?;
    let prove = |params: &Params| RedirectTarget::prove(params, Some(&client), &snapshot.issuer);
    let outer = prove(&params);
    let refuse = |reason: RedirectReason| {
        audit::authorization_refused(caller, &client, reason);
        match &outer {
            Ok(target) => Refused::back(&client, target, reason),
            Err(_) => Refused::Stay(Stay::Direct(DirectError::NoTarget(reason))),
        }
    };
    let carrier = Carrier::of(&params).map_err(refuse)?;
    carrier.admit(&client).map_err(refuse)?;
    let now = app.clock.now();
    let (params, pushed, key) = match &carrier {
        Carrier::Plain => {
            let target = outer?;
            return Ok(Asked { client, params, target, pushed: None, key: None });
        }
        Carrier::Object(object) => {
            let opened = open(app, snapshot, caller, &client, object, now).await;
            (opened.map_err(|error| refuse(unopened(error)))?, None, None)
        }
        Carrier::Pushed(id) => {
            let pushed = app.store.pushed(*id, client.id(), now).map_err(|error| refuse(unstored(&error)))?;
            let pushed = pushed.ok_or_else(|| refuse(RedirectReason::Pushed))?;
            (pushed.params, Some(*id), pushed.key)
        }
    };
    let target = prove(&params)?;
    Ok(Asked { client, params, target, pushed, key })
}

/// The client that a request names, if it may do anything.
///
/// # Errors
/// [`Refused`]: nobody is sent anywhere.
pub(super) async fn find_client(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    id: &str,
) -> Result<Arc<Client>, Refused> {
    match clients::look(app, snapshot, Requester::Caller(caller.origin()), id).await {
        Ok(client) if client.is_disabled() => Err(DirectError::UnknownClient.into()),
        Ok(client) => Ok(client),
        Err(missing) => Err(missed(missing)),
    }
}

fn missed(missing: NoDocument) -> Refused {
    let reason = match missing {
        NoDocument::Unknown => return DirectError::UnknownClient.into(),
        NoDocument::Url(error) => {
            return Stay::Document(format!("the application's client_id {error}")).into();
        }
        NoDocument::Unusable(why) => return Stay::Document(why).into(),
        NoDocument::Failed(Failure::Unavailable { why, .. }) => {
            tracing::warn!(error.reason = %why, "an authorization met a client that cannot be looked up");
            RedirectReason::Unavailable
        }
        NoDocument::Failed(failure) => {
            tracing::error!(error.reason = ?failure, "an authorization failed on our side");
            RedirectReason::Broken
        }
    };
    DirectError::NoTarget(reason).into()
}

impl Asked {
    /// Uses up the pushed request that this is, durably, before a code is given out for it: whoever is second gets none.
    ///
    /// # Errors
    /// [`RedirectReason`].
    pub(super) async fn finish(&self, app: &App) -> Result<(), RedirectReason> {
        let Some(id) = self.pushed else { return Ok(()) };
        match app.store.finish_pushed(id, self.client.id(), app.clock.now()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(RedirectReason::Pushed),
            Err(error) => Err(unstored(&error)),
        }
    }
}

fn unopened(error: OpenError) -> RedirectReason {
    match error {
        OpenError::Refused(error) => RedirectReason::RequestObject(error),
        OpenError::Failed(Failure::Unavailable { why, .. }) => {
            tracing::warn!(error.reason = %why, "an authorization could not be judged");
            RedirectReason::Unavailable
        }
        OpenError::Failed(failure) => {
            tracing::error!(error.reason = ?failure, "an authorization failed on our side");
            RedirectReason::Broken
        }
    }
}

pub(super) fn unstored(error: &StoreError) -> RedirectReason {
    match error {
        StoreError::Busy | StoreError::NoSpace { .. } | StoreError::Closed => {
            tracing::warn!(error.reason = %error, "an authorization met a store that does not take changes");
            RedirectReason::Unavailable
        }
        StoreError::TooLarge { .. }
        | StoreError::Corrupt { .. }
        | StoreError::Seen(_)
        | StoreError::Io(_) => {
            tracing::error!(error.reason = %error, "an authorization failed on our side");
            RedirectReason::Broken
        }
    }
}
