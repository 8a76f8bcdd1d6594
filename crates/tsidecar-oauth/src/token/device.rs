//! The device code grant (RFC 8628 §3.4): what a person approved becomes the draft of a grant.

use std::net::IpAddr;

use super::code::{chosen, judge_resources};
use super::{DeviceCodeRequest, TokenError};
use crate::acr::Acr;
use crate::client::{Client, GrantType};
use crate::client_auth::AuthenticatedClient;
use crate::device::{Approval, DeviceRequest, Polled, Timing};
use crate::grant::{Grant, GrantFacts, Holder, Place, Seen};
use crate::id::{Listener, Thumbprint};
use crate::requested::RequestedClaims;
use crate::resource::Asking;
use crate::time::UnixTime;

/// What a poll is answered with, if not with tokens (RFC 8628 §3.5).
///
/// # Errors
/// [`TokenError`] for everything but an approval.
pub fn approved(polled: Polled, timing: Timing) -> Result<(DeviceRequest, Approval), TokenError> {
    match (polled, timing) {
        (Polled::Approved(approved), _) => Ok(*approved),
        (Polled::Pending, Timing::InTime) => Err(TokenError::AuthorizationPending),
        (Polled::Pending, Timing::TooEarly) => Err(TokenError::SlowDown),
        (Polled::Expired, _) => Err(TokenError::DeviceCodeExpired),
        (Polled::Denied, _) => Err(TokenError::DeviceDenied),
        (Polled::Unknown, _) => Err(TokenError::DeviceCodeUnknown),
        (Polled::WrongClient(_), _) => Err(TokenError::WrongClient),
    }
}

/// An approval that fits its poll and client; whois is asked about the person's device next.
#[derive(Debug)]
pub struct DeviceRedemption {
    request: DeviceRequest,
    approval: Approval,
    proven: Option<Thumbprint>,
}

impl DeviceRedemption {
    /// Judges an approval against the poll and the place that it comes from.
    ///
    /// # Errors
    /// [`TokenError::Withdrawn`], [`TokenError::WrongPlace`], [`TokenError::ResourceNotGranted`].
    pub fn check(
        (request, approval): (DeviceRequest, Approval),
        poll: &DeviceCodeRequest,
        client: &Client,
        place: &Place,
    ) -> Result<Self, TokenError> {
        if request.started_at <= client.not_before() || approval.at <= client.not_before() {
            return Err(TokenError::Withdrawn);
        }
        if request.place.as_ref().is_some_and(|begun| begun != place) {
            return Err(TokenError::WrongPlace);
        }
        chosen(poll.resources.iter().map(String::as_str), request.resources.iter())?;
        Ok(Self { request, approval, proven: None })
    }

    /// Takes note of the key that proved itself with the poll, if one did (RFC 9449 §5).
    #[must_use]
    pub fn proven_by(self, proven: Option<Thumbprint>) -> Self {
        Self { proven, ..self }
    }

    /// The address of the person's device for which whois must be asked now, and the listener whose destination counts.
    pub const fn sighting(&self) -> (IpAddr, &Listener) {
        (self.approval.address, &self.approval.listener)
    }

    /// Makes the draft of the grant, if the device of the approval is still the same person's and the policy still admits them.
    ///
    /// `place` is where the poll came from; it binds the refresh tokens of public clients that proved no key (RFC 9449 §5).
    ///
    /// # Errors
    /// [`TokenError::IdentityChanged`], [`TokenError::Denied`], [`TokenError::Resource`].
    pub fn draft(
        &self,
        client: &AuthenticatedClient,
        asking: Asking<'_>,
        place: Place,
        now: UnixTime,
    ) -> Result<Grant, TokenError> {
        let (request, approval, identity) = (&self.request, &self.approval, asking.identity);
        if identity.subject != approval.subject || identity.device.id != approval.device {
            return Err(TokenError::IdentityChanged);
        }
        asking.policy.admit(client.client(), identity).map_err(TokenError::Denied)?;
        judge_resources(&request.resources, asking)?;
        let lives = client.client().lives();
        let refreshes = client.client().may_use(GrantType::RefreshToken);
        // Without a refresh token nothing outlives the access token, so the grant need not either.
        let longest = if refreshes { lives.refresh_absolute } else { lives.access_token };
        let is_public = client.client().is_public();
        let key = self.proven.filter(|_| is_public);
        let facts = GrantFacts {
            client: request.client.clone(),
            subject: approval.subject.clone(),
            holder: Holder::Person(Seen {
                device: approval.device.clone(),
                address: approval.address,
                listener: approval.listener.clone(),
            }),
            consented: approval.consented,
            exchange: None,
            scope: request.scope.clone(),
            resources: request.resources.clone(),
            auth_time: approval.at,
            acr: Acr::Confirmed,
            session: None,
            requested: RequestedClaims::default(),
            key,
            issued_at: approval.at,
            method: client.method(),
            place: (is_public && key.is_none()).then_some(place),
            expires_at: now.after(longest),
            idle: refreshes.then_some(lives.refresh_idle),
        };
        Ok(Grant::new(approval.grant, facts, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorize::tests::resources;
    use crate::client::ClientSpec;
    use crate::client_auth::tests::authenticated;
    use crate::device::tests::{approval, authorization, device_client, device_code};
    use crate::error::ErrorCode;
    use crate::excerpt::Excerpt;
    use crate::id::{DeviceId, Subject};
    use crate::identity::Identity;
    use crate::policy::{Access, Denied, Policy, tests::alice};
    use crate::resource::tests::asking;
    use crate::settle::tests::at;
    use crate::settle::{OfConsent, OfSession, Redeemed, redeem};

    fn poll(resources: &[&str]) -> DeviceCodeRequest {
        let resources = resources.iter().map(|&uri| uri.to_owned()).collect();
        DeviceCodeRequest { code: device_code(1), resources }
    }

    fn laptop() -> Place {
        Place::Device(alice().device.id)
    }

    fn check(client: &Client, place: &Place, named: &[&str]) -> Result<DeviceRedemption, TokenError> {
        let approved = (authorization(1).request, approval());
        DeviceRedemption::check(approved, &poll(named), client, place)
    }

    /// RFC 8628 §3.5, each code.
    #[test]
    fn polls_have_their_codes() {
        let code = |polled, timing| approved(polled, timing).unwrap_err().code().as_str();
        assert_eq!(code(Polled::Pending, Timing::InTime), "authorization_pending");
        assert_eq!(code(Polled::Pending, Timing::TooEarly), "slow_down");
        assert_eq!(code(Polled::Expired, Timing::TooEarly), "expired_token");
        assert_eq!(code(Polled::Denied, Timing::TooEarly), "access_denied");
        assert_eq!(code(Polled::Unknown, Timing::InTime), "invalid_grant");
        assert_eq!(code(Polled::WrongClient(None), Timing::InTime), "invalid_grant");
        let given = Box::new((authorization(1).request, approval()));
        assert!(approved(Polled::Approved(given), Timing::TooEarly).is_ok());
    }

    #[test]
    fn an_approval_is_for_what_began_and_where() {
        let client = Client::new(device_client(), UnixTime::default()).unwrap();
        assert!(check(&client, &laptop(), &[]).is_ok());
        for elsewhere in
            [Place::Outside, Place::Page(alice().device.id), Place::Device(DeviceId::parse("nX").unwrap())]
        {
            assert_eq!(check(&client, &elsewhere, &[]).unwrap_err(), TokenError::WrongPlace);
        }
        assert_eq!(
            check(&client, &laptop(), &["https://mcp.test/mcp"]).unwrap_err(),
            TokenError::ResourceNotGranted(Excerpt::of("https://mcp.test/mcp"))
        );
        for withdrawn in [1_000, 1_020, 1_050] {
            let client = Client::new(device_client(), at(withdrawn)).unwrap();
            assert_eq!(check(&client, &laptop(), &[]).unwrap_err(), TokenError::Withdrawn);
        }
        assert!(check(&Client::new(device_client(), at(999)).unwrap(), &laptop(), &[]).is_ok());
    }

    #[test]
    fn the_draft_asks_who_it_is_now_and_works_once() {
        let client = authenticated(device_client());
        let redemption = check(client.client(), &laptop(), &[]).unwrap();
        let draft = |client: &AuthenticatedClient, identity: &Identity| {
            let (policy, resources) = (Policy::default(), resources());
            let asking = asking(client.client(), identity, &policy, &resources);
            redemption.draft(client, asking, laptop(), at(1_060))
        };
        let grant = draft(&client, &alice()).unwrap();
        let facts = grant.facts();
        assert_eq!((facts.acr, facts.auth_time, facts.issued_at), (Acr::Confirmed, at(1_050), at(1_050)));
        assert_eq!((&facts.place, facts.expires_at), (&Some(laptop()), at(1_060 + 180 * 86_400)));
        assert_eq!(facts.scope.to_string(), "openid offline_access");
        let key = Some(Thumbprint::from_bytes([7; 32]));
        let proven = check(client.client(), &laptop(), &[]).unwrap().proven_by(key);
        let (she, policy, resources) = (alice(), Policy::default(), resources());
        let asking = asking(client.client(), &she, &policy, &resources);
        let bound = proven.draft(&client, asking, laptop(), at(1_060)).unwrap();
        assert_eq!(
            (bound.facts().key, &bound.facts().place),
            (key, &None),
            "the key is the bond, not the place"
        );
        let first = redeem(None, grant.clone(), OfSession::Open, OfConsent::Holds, at(1_060));
        assert_eq!(first.outcome, Redeemed::New);
        let second = redeem(first.write.as_ref(), grant, OfSession::Open, OfConsent::Holds, at(1_065));
        assert_eq!(second.outcome, Redeemed::Replayed);
        assert!(second.write.unwrap().is_revoked());
        let other_person = Identity { subject: Subject::user(2), ..alice() };
        assert_eq!(draft(&client, &other_person).unwrap_err(), TokenError::IdentityChanged);
        let mut other_device = alice();
        other_device.device.id = DeviceId::parse("nOTHER").unwrap();
        assert_eq!(draft(&client, &other_device).unwrap_err(), TokenError::IdentityChanged);
        let closed = authenticated(ClientSpec { allow: Some(Access::default()), ..device_client() });
        assert_eq!(draft(&closed, &alice()).unwrap_err(), TokenError::Denied(Denied::NotAllowed));
        assert_eq!(TokenError::Denied(Denied::NotAllowed).code(), ErrorCode::InvalidGrant);
        let only = vec![GrantType::AuthorizationCode, GrantType::DeviceCode];
        let no_refresh = authenticated(ClientSpec { grant_types: only, ..device_client() });
        let facts = draft(&no_refresh, &alice()).unwrap().facts().clone();
        assert_eq!((facts.idle, facts.expires_at), (None, at(1_660)));
    }
}
