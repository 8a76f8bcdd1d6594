//! The poll of a device (RFC 8628 §3.4): what a person approved becomes a grant, once.

use tsidecar_oauth::device::{Polled, Timing};
use tsidecar_oauth::grant::Place;
use tsidecar_oauth::id::Thumbprint;
use tsidecar_oauth::token::answer::resource_of;
use tsidecar_oauth::token::device::{DeviceRedemption, approved};
use tsidecar_oauth::token::{DeviceCodeRequest, TokenError};

use super::{Asked, Granted};
use crate::client_auth::Shown;
use crate::failure::Failure;
use crate::store::Intent;

impl Asked<'_> {
    pub(super) async fn poll(
        &self,
        request: &DeviceCodeRequest,
        key: Option<Thumbprint>,
        shown: &mut Shown,
        intent: Intent,
    ) -> Result<Granted, Failure> {
        let place = self.place().await?;
        if place == Place::Outside {
            return Err(self.refuse(TokenError::DeviceOutside));
        }
        // A client that only repeats what it has seen ends nothing. Each poll shows an assertion of its own.
        shown.record(self.app, self.caller, self.now).await?;
        let polled = self.asked_of_the_store(request, intent).await?;
        let timing = match polled {
            Polled::Pending => self.app.devices.poll(request.code.digest(), self.now),
            _ => Timing::InTime,
        };
        let approved = approved(polled, timing).map_err(|error| match error {
            // The usual answers, every five seconds: nothing for the audit trail.
            TokenError::AuthorizationPending | TokenError::SlowDown => error.into(),
            _ => self.refuse(error),
        })?;
        let redemption = DeviceRedemption::check(approved, request, self.client.client(), &place);
        let redemption = redemption.map_err(|error| self.refuse(error))?.proven_by(key);
        let (address, listener) = redemption.sighting();
        let identity = self.identify(address, listener).await?;
        let grant = redemption.draft(&self.client, self.asking(&identity), place, self.now);
        let grant = grant.map_err(|error| self.refuse(error))?;
        let resource = resource_of(&grant, &request.resources, self.asking(&identity));
        let resource = resource.map_err(|error| self.refuse(error))?;
        self.write(&grant, shown, self.app.store.intent()).await?;
        Ok(Granted::new(grant, resource, Some(identity), key))
    }

    /// What became of the authorization. One whose code another client shows is over, and what it gave is revoked.
    async fn asked_of_the_store(
        &self,
        request: &DeviceCodeRequest,
        intent: Intent,
    ) -> Result<Polled, Failure> {
        let Some(user) = request.code.user_code() else { return Ok(Polled::Unknown) };
        let (store, client) = (&self.app.store, self.client.client().id());
        let polled = store.poll_device(user, request.code.digest(), client, self.now);
        let polled = self.queued(intent, polled).await?;
        if let Polled::WrongClient(Some(grant)) = polled {
            store.revoke_grant(grant, self.now).await?;
        }
        Ok(polled)
    }
}
