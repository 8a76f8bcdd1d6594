//! The refresh token grant (RFC 6749 §6): place, client, identity, policy; then the committer rotates.

use std::net::IpAddr;

use super::{RefreshRequest, TokenError};
use crate::client::Client;
use crate::client_auth::AuthenticatedClient;
use crate::grant::{Generation, Grant, Place};
use crate::id::Listener;
use crate::identity::Identity;
use crate::policy::Policy;
use crate::scope::Scope;
use crate::settle::Rotated;
use crate::time::UnixTime;

/// A refresh that fits the immutable facts of its grant; whois is asked next, the mutable fields are the committer's.
#[derive(Debug)]
pub struct Refresh<'a> {
    grant: &'a Grant,
    scope: Scope,
}

impl<'a> Refresh<'a> {
    /// Judges a refresh on the facts of its grant.
    ///
    /// # Errors
    /// [`TokenError`]; nothing is written and nothing was rotated.
    pub fn check(
        grant: &'a Grant,
        request: &RefreshRequest,
        client: &AuthenticatedClient,
        now: UnixTime,
    ) -> Result<Self, TokenError> {
        let facts = grant.facts();
        if facts.client != *client.client().id() {
            return Err(TokenError::WrongClient);
        }
        if !client.method().at_least(facts.method) {
            return Err(TokenError::WeakerAuthentication);
        }
        if facts.issued_at <= client.client().not_before() {
            return Err(TokenError::Withdrawn);
        }
        if grant.is_revoked() {
            return Err(TokenError::GrantRevoked);
        }
        if facts.expires_at.is_past(now) {
            return Err(TokenError::GrantExpired);
        }
        let scope = match &request.scope {
            Some(narrower) if !narrower.is_subset_of(&facts.scope) => return Err(TokenError::ScopeTooWide),
            Some(narrower) if !narrower.is_empty() => narrower.clone(),
            Some(_) | None => facts.scope.clone(),
        };
        super::code::chosen(request.resources.iter().map(String::as_str), facts.resources.iter())?;
        Ok(Self { grant, scope })
    }

    /// Tells whether the place of the request must be known: only public clients are bound to one.
    pub const fn needs_place(&self) -> bool {
        self.grant.facts().place.is_some()
    }

    /// Judges the place of the request: a public client's token works where its code was redeemed.
    ///
    /// # Errors
    /// [`TokenError::WrongPlace`].
    pub fn at(self, place: Option<&Place>) -> Result<Self, TokenError> {
        match &self.grant.facts().place {
            Some(bound) if Some(bound) != place => Err(TokenError::WrongPlace),
            Some(_) | None => Ok(self),
        }
    }

    /// The address for which whois must be asked now, and the listener whose destination counts.
    pub const fn sighting(&self) -> (IpAddr, &Listener) {
        (self.grant.facts().address, &self.grant.facts().listener)
    }

    /// Judges the identity of now: the same person on the same device, still admitted by the policy.
    ///
    /// # Errors
    /// [`TokenError::IdentityChanged`], [`TokenError::Denied`].
    pub fn admit(self, client: &Client, identity: &Identity, policy: &Policy) -> Result<Scope, TokenError> {
        let facts = self.grant.facts();
        if identity.subject != facts.subject || identity.device.id != facts.device {
            return Err(TokenError::IdentityChanged);
        }
        policy.admit(client, identity).map_err(TokenError::Denied)?;
        Ok(self.scope)
    }
}

/// The generation of the refresh token to answer with, once the change is durable.
///
/// # Errors
/// [`TokenError`] for every outcome that gives no token.
pub const fn successor(rotated: Rotated) -> Result<Generation, TokenError> {
    match rotated {
        Rotated::Rotated(generation) | Rotated::Repeated(generation) => Ok(generation),
        Rotated::Reused => Err(TokenError::RefreshReused),
        Rotated::Revoked => Err(TokenError::GrantRevoked),
        Rotated::Expired => Err(TokenError::GrantExpired),
        Rotated::Unknown => Err(TokenError::GrantUnknown),
        Rotated::Ahead => Err(TokenError::RefreshAhead),
    }
}
