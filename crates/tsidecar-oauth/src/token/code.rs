//! The authorization code grant (RFC 6749 §4.1.3): an opened code becomes the draft of a grant.

use std::net::IpAddr;

use super::{CodeRequest, TokenError, check_verifier};
use crate::client::{Client, GrantType};
use crate::client_auth::AuthenticatedClient;
use crate::grant::{Grant, GrantFacts, Place};
use crate::id::Listener;
use crate::identity::Identity;
use crate::policy::Policy;
use crate::resource::{Resource, Resources};
use crate::seal::{RedirectDigest, SealedCode};
use crate::time::UnixTime;
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
}

impl Redemption {
    /// Judges an opened code against the request and the client that shows it.
    ///
    /// # Errors
    /// [`CodeRefusal`].
    pub fn check(
        code: SealedCode,
        request: &CodeRequest,
        client: &AuthenticatedClient,
        resources: &Resources,
        now: UnixTime,
    ) -> Result<Self, CodeRefusal> {
        if code.expires_at.is_past(now) {
            return Err(CodeRefusal::Refused(TokenError::CodeExpired));
        }
        if code.client != *client.client().id() {
            return Err(CodeRefusal::Burn(Box::new(burnt(&code, now))));
        }
        Self::fits(&code, request, client.client(), resources).map_err(CodeRefusal::Refused).map(
            |resources| {
                let resources = resources.iter().map(|resource| resource.uri.clone()).collect();
                Self { code, resources }
            },
        )
    }

    fn fits<'a>(
        code: &SealedCode,
        request: &CodeRequest,
        client: &Client,
        resources: &'a Resources,
    ) -> Result<Vec<&'a Resource>, TokenError> {
        if code.issued_at <= client.not_before() {
            return Err(TokenError::Withdrawn);
        }
        let presented =
            request.redirect_uri.as_deref().ok_or(TokenError::MissingParameter("redirect_uri"))?;
        if RedirectDigest::of(presented) != code.redirect_uri {
            return Err(TokenError::WrongRedirect);
        }
        check_verifier(code.challenge.as_ref(), request.verifier.as_deref())?;
        let granted = code.resources.iter().map(|digest| resources.find_digest(*digest, client));
        let granted: Vec<_> = granted.collect::<Result<_, _>>().map_err(|_| TokenError::Resource)?;
        chosen(request.resources.iter().map(String::as_str), granted.iter().map(|resource| &resource.uri))?;
        Ok(granted)
    }

    /// The address for which whois must be asked now, and the listener whose destination counts.
    pub const fn sighting(&self) -> (IpAddr, &Listener) {
        (self.code.address, &self.code.listener)
    }

    /// The facts of the code.
    pub const fn code(&self) -> &SealedCode {
        &self.code
    }

    /// Makes the draft of the grant, if the device is still the same person's and the policy still admits them.
    ///
    /// `place` is where the request came from; it binds the refresh tokens of public clients only.
    ///
    /// # Errors
    /// [`TokenError::IdentityChanged`], [`TokenError::Denied`].
    pub fn draft(
        &self,
        client: &AuthenticatedClient,
        identity: &Identity,
        policy: &Policy,
        place: Option<Place>,
        now: UnixTime,
    ) -> Result<Grant, TokenError> {
        let code = &self.code;
        if identity.subject != code.subject || identity.device.id != code.device {
            return Err(TokenError::IdentityChanged);
        }
        policy.admit(client.client(), identity).map_err(TokenError::Denied)?;
        let lives = client.client().lives();
        let refreshes = client.client().may_use(GrantType::RefreshToken);
        let facts = GrantFacts {
            resources: self.resources.clone(),
            method: client.method(),
            place: place.filter(|_| client.client().is_public()),
            expires_at: now.after(lives.refresh_absolute),
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
        device: code.device.clone(),
        address: code.address,
        listener: code.listener.clone(),
        scope: code.scope.clone(),
        resources: Vec::new(),
        auth_time: code.auth_time,
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
        let meant = granted.clone().find(|uri| uri.matches(presented)).ok_or(TokenError::Resource)?;
        first = first.or(Some(meant));
    }
    Ok(first.or_else(|| granted.next()))
}
