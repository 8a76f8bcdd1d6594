//! The authorization code grant (RFC 6749 §4.1.3): an opened code becomes the draft of a grant.

use std::net::IpAddr;

use super::{CodeRequest, TokenError, check_key, check_verifier};
use crate::client::{Client, GrantType};
use crate::client_auth::AuthenticatedClient;
use crate::excerpt::Excerpt;
use crate::grant::{Grant, GrantFacts, Holder, Place, Seen};
use crate::id::{Listener, Thumbprint};
use crate::resource::{Asking, Resources};
use crate::seal::{CodeResource, RedirectDigest, SealedCode};
use crate::secret::VerifierText;
use crate::time::{Lifetime, UnixTime};
use crate::uri::ResourceIndicator;

/// Why a code is refused, and whether that must be written.
#[derive(Debug)]
pub enum CodeRefusal {
    /// Refused; nothing is written and the code stays as it was.
    Refused(TokenError),
    /// Another client, which authenticated, showed the code: it leaked. The draft is for `burn`.
    Burn(Box<Grant>),
}

/// A code that fits its request and client; whois is asked next.
#[derive(Debug)]
pub struct Redemption {
    code: SealedCode,
    resources: Vec<ResourceIndicator>,
    proven: Option<Thumbprint>,
    session_life: Lifetime,
}

impl Redemption {
    /// Judges an opened code against the request and the client that shows it. `session_life` is how long sessions of browsers
    /// live: a client that wants to know when one ends is told for as long.
    ///
    /// # Errors
    /// [`CodeRefusal`].
    pub fn check(
        code: SealedCode,
        request: &CodeRequest,
        client: &AuthenticatedClient,
        resources: &Resources,
        session_life: Lifetime,
        now: UnixTime,
    ) -> Result<Self, CodeRefusal> {
        if code.expires_at.is_past(now) {
            return Err(CodeRefusal::Refused(TokenError::CodeExpired));
        }
        if code.client != *client.client().id() {
            return Err(CodeRefusal::Burn(Box::new(burnt(&code, now))));
        }
        let resources =
            Self::fits(&code, request, client.client(), resources).map_err(CodeRefusal::Refused)?;
        Ok(Self { code, resources, proven: None, session_life })
    }

    /// The resources of the code, of which those that the registry does not name wait for [`draft`](Self::draft).
    fn fits(
        code: &SealedCode,
        request: &CodeRequest,
        client: &Client,
        resources: &Resources,
    ) -> Result<Vec<ResourceIndicator>, TokenError> {
        if code.issued_at <= client.not_before() {
            return Err(TokenError::Withdrawn);
        }
        let presented =
            request.redirect_uri.as_deref().ok_or(TokenError::MissingParameter("redirect_uri"))?;
        if RedirectDigest::of(presented) != code.redirect_uri {
            return Err(TokenError::WrongRedirect);
        }
        check_verifier(code.challenge.as_ref(), request.verifier.as_ref().map(VerifierText::expose))?;
        let granted = code.resources.iter().map(|resource| match resource {
            CodeResource::Entry(digest) => {
                resources.find_digest(*digest, client).map(|known| known.uri().clone())
            }
            CodeResource::Named(uri) => Ok(uri.clone()),
        });
        let granted: Vec<_> = granted.collect::<Result<_, _>>().map_err(TokenError::Resource)?;
        chosen(request.resources.iter().map(String::as_str), granted.iter())?;
        Ok(granted)
    }

    /// Judges the key that proved itself, if one did: a code may be bound to one (RFC 9449 §10).
    ///
    /// # Errors
    /// [`TokenError::ProofMissing`], [`TokenError::WrongKey`].
    pub fn proven_by(self, proven: Option<Thumbprint>) -> Result<Self, TokenError> {
        check_key(self.code.key, proven)?;
        Ok(Self { proven, ..self })
    }

    /// The address for which whois must be asked now, and the listener whose destination counts.
    pub const fn sighting(&self) -> (IpAddr, &Listener) {
        (self.code.address, &self.code.listener)
    }

    /// The facts of the code.
    pub const fn code(&self) -> &SealedCode {
        &self.code
    }

    /// Makes the draft of the grant, if the device is still the same person's and the policy still admits them, to every resource
    /// of the code, too.
    ///
    /// `place` is where the request came from; it binds the refresh tokens of public clients that proved no key (RFC 9449 §5), and
    /// some codes are good only where they were authorized ([`Terms`](crate::assurance::Terms)).
    ///
    /// # Errors
    /// [`TokenError::IdentityChanged`], [`TokenError::WrongPlace`], [`TokenError::Denied`], [`TokenError::Resource`].
    pub fn draft(
        &self,
        client: &AuthenticatedClient,
        asking: Asking<'_>,
        place: Option<Place>,
        now: UnixTime,
    ) -> Result<Grant, TokenError> {
        let (code, identity) = (&self.code, asking.identity);
        if identity.subject != code.subject || identity.device.id != code.device {
            return Err(TokenError::IdentityChanged);
        }
        if code.terms.only_here && place != Some(Place::Device(code.device.clone())) {
            return Err(TokenError::WrongPlace);
        }
        asking.policy.admit(client.client(), identity).map_err(TokenError::Denied)?;
        judge_resources(&self.resources, asking)?;
        let lives = client.client().lives();
        let refreshes = client.client().may_use(GrantType::RefreshToken);
        let is_told = client.client().backchannel().is_some() && code.session.is_some();
        // Without a refresh token nothing outlives the access token, but perhaps the sign-in of whose end the client is told:
        // the session, which no code outlives. What the access token can do ends with its own time.
        let longest = match (refreshes, is_told) {
            (true, _) => lives.refresh_absolute,
            (false, true) => lives.access_token.max(self.session_life),
            (false, false) => lives.access_token,
        };
        let key = self.proven.filter(|_| client.client().is_public());
        let facts = GrantFacts {
            resources: self.resources.clone(),
            method: client.method(),
            place: place.filter(|_| client.client().is_public() && key.is_none()),
            key,
            expires_at: now.after(longest),
            idle: refreshes.then_some(lives.refresh_idle),
            ..facts(code)
        };
        Ok(Grant::new(code.grant, facts, now))
    }
}

/// The facts that a code alone determines.
fn facts(code: &SealedCode) -> GrantFacts {
    GrantFacts {
        client: code.client.clone(),
        subject: code.subject.clone(),
        holder: Holder::Person(Seen {
            device: code.device.clone(),
            address: code.address,
            listener: code.listener.clone(),
        }),
        consented: code.terms.consented,
        exchange: None,
        scope: code.scope.clone(),
        resources: Vec::new(),
        auth_time: code.auth_time,
        acr: code.acr,
        session: code.session,
        requested: code.requested,
        key: None,
        issued_at: code.issued_at,
        method: crate::client::AuthMethod::None,
        place: None,
        expires_at: code.expires_at,
        idle: None,
    }
}

/// The mark of a code that leaked before it was used; `burn` writes it as revoked.
fn burnt(code: &SealedCode, now: UnixTime) -> Grant {
    Grant::new(code.grant, facts(code), now)
}

/// The resource that one token is for: the first one named, else the first granted (design section 11). Every one named
/// must be granted.
pub(super) fn chosen<'a, 'b>(
    named: impl Iterator<Item = &'b str>,
    mut granted: impl Iterator<Item = &'a ResourceIndicator> + Clone,
) -> Result<Option<&'a ResourceIndicator>, TokenError> {
    let mut first = None;
    for presented in named {
        let outside = TokenError::ResourceNotGranted(Excerpt::of(presented));
        let meant = granted.clone().find(|uri| uri.matches(presented)).ok_or(outside)?;
        first = first.or(Some(meant));
    }
    Ok(first.or_else(|| granted.next()))
}

/// Judges anew every resource that was granted: registry, rules and the client's right as they are now.
pub(super) fn judge_resources(granted: &[ResourceIndicator], asking: Asking<'_>) -> Result<(), TokenError> {
    granted.iter().try_for_each(|uri| asking.exact(uri).map(drop)).map_err(TokenError::Resource)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assurance::Terms;
    use crate::authorize::tests::resources;
    use crate::client::tests::{confidential, public};
    use crate::client::{AuthMethod, ClientSpec};
    use crate::client_auth::tests::authenticated;
    use crate::id::{ClientId, DeviceId};
    use crate::identity::Identity;
    use crate::policy::{Access, Denied, Policy, tests::alice};
    use crate::resource::tests::asking;
    use crate::seal::{ResourceDigest, tests::code};
    use crate::secret::AuthorizationCode;
    use crate::session::LIFETIME;
    use crate::settle::tests::at;
    use crate::settle::{Burned, burn};

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    fn request() -> CodeRequest {
        CodeRequest {
            code: AuthorizationCode::new("c".into()),
            redirect_uri: Some("https://grafana.test/cb".into()),
            verifier: Some(VerifierText::new(VERIFIER.into())),
            resources: Vec::new(),
        }
    }

    fn check(
        code: SealedCode,
        request: &CodeRequest,
        spec: ClientSpec,
        now: u64,
    ) -> Result<Redemption, CodeRefusal> {
        Redemption::check(code, request, &authenticated(spec), &resources(), LIFETIME, at(now))
    }

    fn refused(code: SealedCode, request: &CodeRequest, now: u64) -> TokenError {
        match check(code, request, confidential(), now) {
            Err(CodeRefusal::Refused(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_code_fits_its_request() {
        assert!(check(code(), &request(), confidential(), 1_059).is_ok());
        assert_eq!(refused(code(), &request(), 1_060), TokenError::CodeExpired);
        let wrong = |uri: Option<&str>| CodeRequest { redirect_uri: uri.map(str::to_owned), ..request() };
        assert_eq!(
            refused(code(), &wrong(Some("https://grafana.test/cb/")), 1_001),
            TokenError::WrongRedirect
        );
        assert_eq!(refused(code(), &wrong(None), 1_001), TokenError::MissingParameter("redirect_uri"));
        let bare = CodeRequest { verifier: None, ..request() };
        assert_eq!(refused(code(), &bare, 1_001), TokenError::VerifierMissing);
    }

    /// A client whose loopback address says nothing of who listens there: its code is good on this device alone, and in no page.
    #[test]
    fn some_codes_are_good_only_where_they_were_authorized() {
        let here = SealedCode { terms: Terms { only_here: true, consented: false }, ..code() };
        let draft = |code: &SealedCode, place: Option<Place>| {
            let redemption = check(code.clone(), &request(), confidential(), 1_001).unwrap();
            let client = authenticated(confidential());
            let (alice, policy, resources) = (alice(), Policy::default(), resources());
            let asking = asking(client.client(), &alice, &policy, &resources);
            redemption.draft(&client, asking, place, at(1_001)).map(|_| ())
        };
        let device = alice().device.id;
        let other = DeviceId::parse("nOTHER").unwrap();
        assert_eq!(draft(&here, Some(Place::Device(device.clone()))), Ok(()));
        for place in [None, Some(Place::Outside), Some(Place::Page(device)), Some(Place::Device(other))] {
            assert_eq!(draft(&here, place), Err(TokenError::WrongPlace));
        }
        assert_eq!(draft(&code(), Some(Place::Outside)), Ok(()));
    }

    /// A1: another client that authenticated kills the code.
    #[test]
    fn a_code_shown_by_another_client_burns() {
        let other = ClientSpec { id: "gitea".into(), ..confidential() };
        let Err(CodeRefusal::Burn(draft)) = check(code(), &request(), other.clone(), 1_001) else { panic!() };
        assert_eq!((draft.id(), draft.facts().client.as_str()), (code().grant, "grafana"));
        assert_eq!(burn(None, &draft, at(1_001)).outcome, Burned::Unused);
        assert!(matches!(
            check(code(), &request(), other, 1_060),
            Err(CodeRefusal::Refused(TokenError::CodeExpired))
        ));
    }

    /// A42: a code issued before its client was withdrawn.
    #[test]
    fn older_codes_of_a_withdrawn_client_are_refused() {
        let client = Client::new(confidential(), at(1_000)).unwrap();
        let fits = |code: &SealedCode| Redemption::fits(code, &request(), &client, &resources()).err();
        assert_eq!(fits(&code()), Some(TokenError::Withdrawn));
        assert_eq!(fits(&SealedCode { issued_at: at(1_001), ..code() }), None);
    }

    #[test]
    fn resources_only_narrow() {
        let mcp = ResourceIndicator::parse("https://mcp.test/mcp").unwrap();
        let granted = SealedCode { resources: vec![CodeResource::Entry(ResourceDigest::of(&mcp))], ..code() };
        let ask = |uri: &str| CodeRequest { resources: vec![uri.into()], ..request() };
        assert!(check(granted.clone(), &ask("https://mcp.test/mcp/"), confidential(), 1_001).is_ok());
        let outside = |uri: &str| TokenError::ResourceNotGranted(Excerpt::of(uri));
        let (other, mcp) = ("https://other.test", "https://mcp.test/mcp");
        assert_eq!(refused(granted, &ask(other), 1_001), outside(other));
        assert_eq!(refused(code(), &ask(mcp), 1_001), outside(mcp));
        let gone = ResourceIndicator::parse("https://gone.test").unwrap();
        let gone = SealedCode { resources: vec![CodeResource::Entry(ResourceDigest::of(&gone))], ..code() };
        assert!(matches!(refused(gone, &request(), 1_001), TokenError::Resource(_)));
    }

    #[test]
    fn the_draft_asks_who_it_is_now() {
        let redemption = check(code(), &request(), confidential(), 1_001).unwrap();
        let client = authenticated(confidential());
        let place = Some(Place::Outside);
        let draft = |identity: &Identity, client: &AuthenticatedClient| {
            let (policy, resources) = (Policy::default(), resources());
            let asking = asking(client.client(), identity, &policy, &resources);
            redemption.draft(client, asking, place.clone(), at(1_010))
        };
        let grant = draft(&alice(), &client).unwrap();
        assert_eq!((grant.facts().method, &grant.facts().place), (AuthMethod::ClientSecretBasic, &None));
        assert_eq!(grant.facts().expires_at, at(1_010 + 180 * 86_400));
        let mut other_device = alice();
        other_device.device.id = DeviceId::parse("nOTHER").unwrap();
        assert_eq!(draft(&other_device, &client).unwrap_err(), TokenError::IdentityChanged);
        let other_person = Identity { subject: crate::id::Subject::user(2), ..alice() };
        assert_eq!(draft(&other_person, &client).unwrap_err(), TokenError::IdentityChanged);
        let closed = authenticated(ClientSpec { allow: Some(Access::default()), ..confidential() });
        assert_eq!(draft(&alice(), &closed).unwrap_err(), TokenError::Denied(Denied::NotAllowed));
    }

    #[test]
    fn public_clients_are_bound_to_their_place() {
        let code = SealedCode { client: ClientId::parse("cli").unwrap(), ..code() };
        let redemption = check(code, &request(), public(), 1_001).unwrap();
        let (alice, policy, resources) = (alice(), Policy::default(), resources());
        let draft = |client: &AuthenticatedClient| {
            let asking = asking(client.client(), &alice, &policy, &resources);
            redemption.draft(client, asking, Some(Place::Outside), at(1_010))
        };
        let grant = draft(&authenticated(public()));
        assert_eq!(grant.unwrap().facts().place, Some(Place::Outside));
        let no_refresh = ClientSpec { grant_types: vec![GrantType::AuthorizationCode], ..public() };
        let grant = draft(&authenticated(no_refresh));
        let facts = grant.unwrap().facts().clone();
        assert_eq!((facts.idle, facts.expires_at), (None, at(1_610)));
    }

    /// A client that is told when a session ends is told for as long as one lives, though its tokens ended long before.
    #[test]
    fn a_client_that_is_told_is_remembered_for_as_long_as_a_session() {
        let session = Some(crate::id::SessionId::from_bytes([7; 16]));
        let expiry = |uri: Option<&str>, session, types: &[GrantType]| {
            let mut spec = ClientSpec { grant_types: types.to_vec(), ..confidential() };
            spec.logout.backchannel_uri = uri.map(str::to_owned);
            let redemption =
                check(SealedCode { session, ..code() }, &request(), spec.clone(), 1_001).unwrap();
            let (client, alice) = (authenticated(spec), alice());
            let (policy, resources) = (Policy::default(), resources());
            let asking = asking(client.client(), &alice, &policy, &resources);
            let draft = redemption.draft(&client, asking, None, at(1_010));
            let grant = draft.unwrap();
            assert!(grant.forget_at() > grant.ends_at());
            (grant.facts().expires_at, grant.facts().idle.is_some())
        };
        let (told, once) = (Some("https://grafana.test/out"), [GrantType::AuthorizationCode]);
        assert_eq!(expiry(told, session, &once), (at(1_010).after(LIFETIME), false));
        assert_eq!(expiry(None, session, &once), (at(1_610), false));
        assert_eq!(expiry(told, None, &once), (at(1_610), false));
        let both = [GrantType::AuthorizationCode, GrantType::RefreshToken];
        assert_eq!(expiry(told, session, &both), (at(1_010 + 180 * 86_400), true));
    }

    /// RFC 9449 §5, §10: a code bound to a key needs its proof; only refresh tokens of public clients are bound to the key, and
    /// those not to a place, too.
    #[test]
    fn a_proof_binds_by_kind_of_client() {
        let key = |byte| Some(Thumbprint::from_bytes([byte; 32]));
        let bound = || SealedCode { key: key(1), ..code() };
        let redemption = |code: SealedCode, proven| {
            check(code, &request(), confidential(), 1_001).unwrap().proven_by(proven)
        };
        assert_eq!(redemption(bound(), None).unwrap_err(), TokenError::ProofMissing);
        assert_eq!(redemption(bound(), key(2)).unwrap_err(), TokenError::WrongKey);
        assert!(redemption(bound(), key(1)).is_ok());
        let device = Some(Place::Device(DeviceId::parse("nALICE").unwrap()));
        let draft = |spec: ClientSpec, proven| {
            let code = SealedCode { client: ClientId::parse(&spec.id).unwrap(), ..code() };
            let client = authenticated(spec);
            let redemption =
                Redemption::check(code, &request(), &client, &resources(), LIFETIME, at(1_001)).unwrap();
            let redemption = redemption.proven_by(proven).unwrap();
            let (alice, policy, resources) = (alice(), Policy::default(), resources());
            let asking = asking(client.client(), &alice, &policy, &resources);
            let draft = redemption.draft(&client, asking, device.clone(), at(1_001)).unwrap();
            (draft.facts().key, draft.facts().place.clone())
        };
        assert_eq!(draft(confidential(), key(2)), (None, None));
        assert_eq!(draft(public(), key(2)), (key(2), None));
        assert_eq!(draft(public(), None), (None, device.clone()));
    }
}
