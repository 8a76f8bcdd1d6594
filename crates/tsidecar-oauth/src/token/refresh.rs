//! The refresh token grant (RFC 6749 §6): place, client, identity, policy; then the committer rotates.

use std::net::IpAddr;

use super::answer::resource_of;
use super::{RefreshRequest, TokenError, check_key};
use crate::claims::SCOPES;
use crate::client_auth::AuthenticatedClient;
use crate::grant::{Generation, Grant, Holder, Place, Seen};
use crate::id::{Listener, Thumbprint};
use crate::resource::{Asking, Resource, Resources};
use crate::scope::{Scope, ScopeToken};
use crate::settle::Rotated;
use crate::time::UnixTime;

/// A refresh that fits the immutable facts of its grant; whois is asked next, the mutable fields are the committer's.
#[derive(Debug)]
pub struct Refresh<'a> {
    grant: &'a Grant,
    seen: &'a Seen,
    request: &'a RefreshRequest,
    scope: Scope,
}

impl<'a> Refresh<'a> {
    /// Judges a refresh on the facts of its grant.
    ///
    /// # Errors
    /// [`TokenError`]; nothing is written and nothing was rotated.
    pub fn check(
        grant: &'a Grant,
        request: &'a RefreshRequest,
        client: &AuthenticatedClient,
        resources: &Resources,
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
        // Nobody else gets refresh tokens.
        let Holder::Person(seen) = &facts.holder else { return Err(TokenError::GrantExpired) };
        let scope = match &request.scope {
            Some(asked) => narrowed(asked, &facts.scope, resources)?,
            None => facts.scope.clone(),
        };
        super::code::chosen(request.resources.iter().map(String::as_str), facts.resources.iter())?;
        Ok(Self { grant, seen, request, scope })
    }

    /// Tells whether the place of the request must be known: only public clients are bound to one.
    pub const fn needs_place(&self) -> bool {
        self.grant.facts().place.is_some()
    }

    /// Judges the key that proved itself, if one did: a public client's token may be bound to one (RFC 9449 §5).
    ///
    /// # Errors
    /// [`TokenError::ProofMissing`], [`TokenError::WrongKey`].
    pub fn proven_by(self, proven: Option<Thumbprint>) -> Result<Self, TokenError> {
        check_key(self.grant.facts().key, proven)?;
        Ok(self)
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
        (self.seen.address, &self.seen.listener)
    }

    /// Judges the identity of now: the same person on the same device, still admitted by the policy, to the resource of the answer,
    /// too. Comes to the scope of the answer and to that resource.
    ///
    /// # Errors
    /// [`TokenError::IdentityChanged`], [`TokenError::Denied`], [`TokenError::Resource`]; [`TokenError::ScopeTooWide`] for a scope
    /// of a resource that only a rule knows.
    pub fn admit(self, asking: Asking<'_>) -> Result<(Scope, Option<Resource>), TokenError> {
        let facts = self.grant.facts();
        if !facts.is_of(asking.identity) {
            return Err(TokenError::IdentityChanged);
        }
        asking.policy.admit(asking.client, asking.identity).map_err(TokenError::Denied)?;
        let resource = resource_of(self.grant, &self.request.resources, asking)?;
        let widens = |resource: &Resource| {
            let asked = self.request.scope.iter().flat_map(Scope::iter);
            asked.into_iter().any(|token| resource.knows(token) && !facts.scope.contains(token.as_str()))
        };
        if resource.as_ref().is_some_and(widens) {
            return Err(TokenError::ScopeTooWide);
        }
        Ok((self.scope, resource))
    }
}

/// The part of the granted scope that a refresh asks for. What nobody here knows was dropped at authorization, and clients
/// that repeat what they asked for then must not fail now; what is known but was not granted is (RFC 6749 §6).
fn narrowed(asked: &Scope, granted: &Scope, resources: &Resources) -> Result<Scope, TokenError> {
    let known = |token: &ScopeToken| {
        SCOPES.contains(&token.as_str())
            || token.as_str() == "offline_access"
            || granted.contains(token.as_str())
            || resources.know(token)
    };
    let narrower = asked.filter(known);
    let fits = !narrower.is_empty() && narrower.is_subset_of(granted);
    if fits { Ok(narrower) } else { Err(TokenError::ScopeTooWide) }
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
        Rotated::ConsentWithdrawn => Err(TokenError::ConsentWithdrawn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorize::tests::resources;
    use crate::client::tests::{confidential, public};
    use crate::client::{AuthMethod, ClientSpec};
    use crate::client_auth::tests::authenticated;
    use crate::excerpt::Excerpt;
    use crate::grant::GrantFacts;
    use crate::id::{ClientId, DeviceId, Subject};
    use crate::identity::Identity;
    use crate::policy::{Access, Policy, tests::alice};
    use crate::resource::tests::asking;
    use crate::secret::TokenText;
    use crate::settle::revoke;
    use crate::settle::tests::{at, grant};
    use crate::uri::ResourceIndicator;

    fn request() -> RefreshRequest {
        RefreshRequest { token: TokenText::new("t".into()), scope: None, resources: Vec::new() }
    }

    fn check(
        grant: &Grant,
        request: &RefreshRequest,
        spec: ClientSpec,
        now: u64,
    ) -> Result<Scope, TokenError> {
        Refresh::check(grant, request, &authenticated(spec), &resources(), at(now))
            .map(|refresh| refresh.scope)
    }

    fn with(change: impl FnOnce(&mut GrantFacts)) -> Grant {
        let mut facts = grant().facts().clone();
        change(&mut facts);
        Grant::new(grant().id(), facts, at(1_000))
    }

    #[test]
    fn a_refresh_fits_the_facts_of_its_grant() {
        assert_eq!(check(&grant(), &request(), public(), 1_100).unwrap().to_string(), "openid");
        let other = ClientSpec { id: "other".into(), ..public() };
        assert_eq!(check(&grant(), &request(), other, 1_100), Err(TokenError::WrongClient));
        assert_eq!(check(&grant(), &request(), public(), 10_000), Err(TokenError::GrantExpired));
        let revoked = revoke(Some(&grant()), at(1_050)).write.unwrap();
        assert_eq!(check(&revoked, &request(), public(), 1_100), Err(TokenError::GrantRevoked));
        // A52: a grant remembers its method; a client that became public in between is weaker.
        let stronger = with(|facts| facts.method = AuthMethod::ClientSecretPost);
        assert_eq!(check(&stronger, &request(), public(), 1_100), Err(TokenError::WeakerAuthentication));
        let by_secret = with(|facts| facts.client = ClientId::parse("grafana").unwrap());
        assert!(check(&by_secret, &request(), confidential(), 1_100).is_ok());
    }

    #[test]
    fn scope_and_resources_never_grow() {
        let mcp = || ResourceIndicator::parse("https://mcp.test/mcp").unwrap();
        let wide = with(|facts| {
            facts.scope = Scope::parse("openid email read");
            facts.resources = vec![mcp()];
        });
        let ask = |scope: &str| RefreshRequest { scope: Some(Scope::parse(scope)), ..request() };
        assert_eq!(check(&wide, &ask("email"), public(), 1_100).unwrap().to_string(), "email");
        assert_eq!(check(&wide, &ask("email write"), public(), 1_100), Err(TokenError::ScopeTooWide));
        let repeated = check(&wide, &ask("openid email roles read"), public(), 1_100);
        assert_eq!(
            repeated.unwrap().to_string(),
            "openid email read",
            "what nobody knows is dropped, as at authorization"
        );
        assert_eq!(
            check(&wide, &ask("\"admin\""), public(), 1_100),
            Err(TokenError::ScopeTooWide),
            "no scope at all"
        );
        let outside = |uri: &str| TokenError::ResourceNotGranted(Excerpt::of(uri));
        let of = |uri: &str| RefreshRequest { resources: vec![uri.into()], ..request() };
        assert!(check(&wide, &of("https://mcp.test/mcp"), public(), 1_100).is_ok());
        assert_eq!(
            check(&wide, &of("https://other.test"), public(), 1_100),
            Err(outside("https://other.test"))
        );
        let refused = check(&grant(), &of("https://mcp.test/mcp"), public(), 1_100);
        assert_eq!(refused, Err(outside("https://mcp.test/mcp")));
    }

    /// A39: a public client's token works where its code was redeemed, and nowhere else.
    #[test]
    fn a_token_is_bound_to_its_place() {
        let device = |name: &str| Place::Device(DeviceId::parse(name).unwrap());
        let at_place = |grant: &Grant, place: Option<Place>| {
            let (client, request) = (authenticated(public()), request());
            let refresh = Refresh::check(grant, &request, &client, &resources(), at(1_100)).unwrap();
            refresh.at(place.as_ref()).map(|_| ())
        };
        assert_eq!(at_place(&grant(), Some(device("nALICE"))), Ok(()));
        // A33: a page in alice's browser is not alice's application.
        let page = || Some(Place::Page(DeviceId::parse("nALICE").unwrap()));
        for elsewhere in [Some(device("nBOB")), page(), Some(Place::Outside), None] {
            assert_eq!(at_place(&grant(), elsewhere), Err(TokenError::WrongPlace));
        }
        let of_page = with(|facts| facts.place = page());
        assert_eq!(at_place(&of_page, page()), Ok(()));
        assert_eq!(at_place(&of_page, Some(device("nALICE"))), Err(TokenError::WrongPlace));
        let outside = with(|facts| facts.place = Some(Place::Outside));
        assert_eq!(at_place(&outside, Some(Place::Outside)), Ok(()));
        assert_eq!(at_place(&outside, Some(device("nALICE"))), Err(TokenError::WrongPlace));
    }

    /// A5: who it is, and what the policy says, now.
    #[test]
    fn identity_and_policy_are_those_of_now() {
        let admit = |identity: &Identity, spec: ClientSpec| {
            let client = authenticated(spec);
            let grant = grant();
            let request = request();
            let refresh = Refresh::check(&grant, &request, &client, &resources(), at(1_100)).unwrap();
            refresh.admit(asking(client.client(), identity, &Policy::default(), &resources())).err()
        };
        assert_eq!(admit(&alice(), public()), None);
        let other = Identity { subject: Subject::user(7), ..alice() };
        assert_eq!(admit(&other, public()), Some(TokenError::IdentityChanged));
        let closed = ClientSpec { allow: Some(Access::default()), ..public() };
        assert!(matches!(admit(&alice(), closed), Some(TokenError::Denied(_))));
    }

    #[test]
    fn outcomes_without_a_token_are_invalid_grant() {
        for outcome in [Rotated::Reused, Rotated::Revoked, Rotated::Expired, Rotated::Unknown, Rotated::Ahead]
        {
            assert_eq!(successor(outcome).unwrap_err().code().as_str(), "invalid_grant");
        }
        let next = Generation::from_number(3);
        assert_eq!(successor(Rotated::Repeated(next)), Ok(next));
        assert_eq!(successor(Rotated::Rotated(next)), Ok(next));
    }

    /// RFC 9449 §5: a bound token needs a proof by its key; one that is not bound may come with any.
    #[test]
    fn a_bound_token_needs_its_key() {
        let key = |byte| Some(Thumbprint::from_bytes([byte; 32]));
        let proven = |bound, proven| {
            let facts = GrantFacts { key: bound, ..grant().facts().clone() };
            let grant = Grant::from_stored(grant().id(), facts, grant().state());
            let (request, seen) = (request(), grant.facts().seen().unwrap());
            Refresh { grant: &grant, seen, request: &request, scope: Scope::parse("openid") }
                .proven_by(proven)
                .map(|_| ())
        };
        assert_eq!(proven(key(1), key(1)), Ok(()));
        assert_eq!(proven(key(1), key(2)), Err(TokenError::WrongKey));
        assert_eq!(proven(key(1), None), Err(TokenError::ProofMissing));
        assert_eq!(proven(None, key(2)), Ok(()));
        assert_eq!(proven(None, None), Ok(()));
    }
}
