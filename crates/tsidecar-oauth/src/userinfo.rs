//! The UserInfo endpoint (OpenID Connect Core §5.3, RFC 6750, RFC 9449 §7): an access token, and what it is still good for.
//!
//! Layer 2.

use std::net::IpAddr;

use crate::client::Client;
use crate::dpop::DpopError;
use crate::error::ErrorCode;
use crate::grant::{Grant, Holder, Seen};
use crate::id::{Listener, Thumbprint};
use crate::identity::Identity;
use crate::policy::{Denied, Policy};
use crate::requested::ClaimSet;
use crate::seal::{SealError, SealedAccess};
use crate::secret::TokenText;
use crate::time::UnixTime;

/// Why a bearer token gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BearerError {
    /// No token at all: the challenge carries no error code (RFC 6750 §3.1).
    #[error("an access token is needed")]
    Missing,
    /// Not a bearer header, or a token in two places.
    #[error("the request does not carry exactly one bearer token")]
    Malformed,
    /// Not an opaque access token of ours. Tokens for resources do not open here (attack A45).
    #[error("the access token is not valid here")]
    Seal(SealError),
    /// The token has expired.
    #[error("the access token has expired")]
    Expired,
    /// The grant of the token is gone or revoked.
    #[error("the grant of the access token was withdrawn")]
    GrantGone,
    /// The client of the token is gone or switched off, or everything it got was withdrawn.
    #[error("the client of the access token is gone")]
    ClientGone,
    /// The device is gone, or belongs to somebody else now.
    #[error("the device is gone, or belongs to somebody else now")]
    IdentityChanged,
    /// The policy says no (any more).
    #[error("{0}")]
    Denied(Denied),
    /// The token is bound to a key and came without a proof of it (RFC 9449 §7.2).
    #[error("the access token is bound to a key: send it as DPoP with a proof")]
    Bound,
    /// A token as `DPoP` that is bound to no key (RFC 9449 §7.1).
    #[error("the access token is bound to no key: send it as Bearer")]
    Unbound,
    /// A proof by another key than the token's.
    #[error("the access token is bound to another key")]
    WrongKey,
    /// A proof that is not believed.
    #[error("{0}")]
    Proof(DpopError),
    /// The token does not carry `openid`.
    #[error("the access token needs the scope openid")]
    Scope,
}

impl BearerError {
    /// The code of the challenge; a missing token has none (RFC 6750 §3.1).
    pub const fn code(self) -> Option<ErrorCode> {
        match self {
            Self::Missing => None,
            Self::Malformed => Some(ErrorCode::InvalidRequest),
            Self::Scope => Some(ErrorCode::InsufficientScope),
            Self::Proof(error) => Some(error.code()),
            Self::Seal(_)
            | Self::Expired
            | Self::GrantGone
            | Self::ClientGone
            | Self::IdentityChanged
            | Self::Bound
            | Self::Unbound
            | Self::WrongKey
            | Self::Denied(_) => Some(ErrorCode::InvalidToken),
        }
    }
}

/// How an access token was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// By itself (RFC 6750).
    Bearer,
    /// With a proof of possession (RFC 9449 §7.1).
    Dpop,
}

/// An access token as it was sent.
#[derive(Debug)]
pub struct PresentedToken {
    /// The token.
    pub token: TokenText,
    /// How it was sent.
    pub scheme: Scheme,
}

impl PresentedToken {
    /// Reads the token of a request from its Authorization header, or from the form body of a POST (RFC 6750 §2.1, §2.2); never
    /// from the query. Names of schemes are equal in all cases (RFC 9110 §11.1).
    ///
    /// # Errors
    /// [`BearerError::Missing`], [`BearerError::Malformed`].
    pub fn read(authorization: Option<&str>, body: Option<&str>) -> Result<Self, BearerError> {
        let (scheme, token) = match (authorization, body) {
            (None, None) => return Err(BearerError::Missing),
            (Some(_), Some(_)) => return Err(BearerError::Malformed),
            (None, Some(token)) => (Scheme::Bearer, token),
            (Some(header), None) => {
                let (scheme, token) = header.split_once(' ').ok_or(BearerError::Malformed)?;
                let scheme = match scheme {
                    _ if scheme.eq_ignore_ascii_case("bearer") => Scheme::Bearer,
                    _ if scheme.eq_ignore_ascii_case("dpop") => Scheme::Dpop,
                    _ => return Err(BearerError::Missing),
                };
                let token = Some(token.trim()).filter(|token| is_token68(token));
                (scheme, token.ok_or(BearerError::Malformed)?)
            }
        };
        Ok(Self { token: TokenText::new(token.to_owned()), scheme })
    }
}

impl Scheme {
    /// The key that must prove itself with a token that was sent so: a bound token never comes as Bearer, an unbound one never as
    /// `DPoP` (RFC 9449 §7.1, §7.2).
    ///
    /// # Errors
    /// [`BearerError::Bound`], [`BearerError::Unbound`].
    pub const fn key_of(self, access: &SealedAccess) -> Result<Option<Thumbprint>, BearerError> {
        match (self, access.key) {
            (Self::Bearer, None) => Ok(None),
            (Self::Dpop, Some(key)) => Ok(Some(key)),
            (Self::Bearer, Some(_)) => Err(BearerError::Bound),
            (Self::Dpop, None) => Err(BearerError::Unbound),
        }
    }
}

fn is_token68(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b))
}

/// An access token whose grant and client are alive; whois is asked next.
#[derive(Debug)]
pub struct LiveAccess<'a> {
    grant: &'a Grant,
    seen: &'a Seen,
}

impl<'a> LiveAccess<'a> {
    /// Judges an opened access token against its grant and client.
    ///
    /// # Errors
    /// [`BearerError`].
    pub fn check(
        access: &SealedAccess,
        grant: Option<&'a Grant>,
        client: Option<&Client>,
        now: UnixTime,
    ) -> Result<Self, BearerError> {
        if access.expires_at.is_past(now) {
            return Err(BearerError::Expired);
        }
        let grant = grant.filter(|grant| !grant.is_revoked()).ok_or(BearerError::GrantGone)?;
        let alive = |client: &&Client| !client.is_disabled() && grant.facts().issued_at > client.not_before();
        client.filter(alive).ok_or(BearerError::ClientGone)?;
        if !access.scope.contains("openid") {
            return Err(BearerError::Scope);
        }
        // What a client or workload got for itself tells of nobody.
        let Holder::Person(seen) = &grant.facts().holder else { return Err(BearerError::Scope) };
        Ok(Self { grant, seen })
    }

    /// The address for which whois must be asked now, and the listener whose destination counts.
    pub const fn sighting(&self) -> (IpAddr, &Listener) {
        (self.seen.address, &self.seen.listener)
    }

    /// Claims that the authorization request named for UserInfo (OpenID Connect Core §5.5).
    pub const fn requested(&self) -> ClaimSet {
        self.grant.facts().requested.userinfo
    }

    /// Judges the identity of now: the same person on the same device, still admitted by the policy.
    ///
    /// # Errors
    /// [`BearerError::IdentityChanged`], [`BearerError::Denied`].
    pub fn admit(&self, client: &Client, identity: &Identity, policy: &Policy) -> Result<(), BearerError> {
        if !self.grant.facts().is_of(identity) {
            return Err(BearerError::IdentityChanged);
        }
        policy.admit(client, identity).map_err(BearerError::Denied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientSpec;
    use crate::client::tests::public;
    use crate::policy::{Access, tests::alice};
    use crate::scope::Scope;
    use crate::settle::revoke;
    use crate::settle::tests::{at, grant};

    #[test]
    fn one_token_by_header_or_body() {
        use Scheme::{Bearer, Dpop};
        let read = |header, body| {
            PresentedToken::read(header, body).map(|read| (read.scheme, read.token.expose().to_owned()))
        };
        assert_eq!(read(Some("Bearer abc"), None), Ok((Bearer, "abc".into())));
        assert_eq!(read(Some("bearer abc"), None), Ok((Bearer, "abc".into())));
        for header in ["DPoP abc", "dpop abc", "DPOP abc"] {
            assert_eq!(read(Some(header), None), Ok((Dpop, "abc".into())));
        }
        assert_eq!(read(None, Some("abc")), Ok((Bearer, "abc".into())));
        assert_eq!(read(None, None), Err(BearerError::Missing));
        assert_eq!(read(Some("Basic abc"), None), Err(BearerError::Missing));
        for bad in ["Bearer", "Bearer ", "Bearer a b", "Bearer a\"b", "DPoP", "DPoP a b"] {
            assert_eq!(read(Some(bad), None), Err(BearerError::Malformed), "{bad}");
        }
        assert_eq!(read(Some("Bearer abc"), Some("abc")), Err(BearerError::Malformed));
        assert_eq!(BearerError::Missing.code(), None);
    }

    #[test]
    fn bound_tokens_need_a_proof_and_unbound_ones_have_none() {
        let access = |key| SealedAccess {
            key,
            grant: grant().id(),
            scope: Scope::parse("openid"),
            issued_at: at(1_000),
            expires_at: at(1_600),
        };
        let key = Some(Thumbprint::from_bytes([7; 32]));
        assert_eq!(Scheme::Bearer.key_of(&access(None)), Ok(None));
        assert_eq!(Scheme::Dpop.key_of(&access(key)), Ok(key));
        assert_eq!(Scheme::Bearer.key_of(&access(key)), Err(BearerError::Bound));
        assert_eq!(Scheme::Dpop.key_of(&access(None)), Err(BearerError::Unbound));
    }

    #[test]
    fn a_token_needs_a_live_grant_and_client() {
        let access = |scope: &str| SealedAccess {
            key: None,
            grant: grant().id(),
            scope: Scope::parse(scope),
            issued_at: at(1_000),
            expires_at: at(1_600),
        };
        let client = |spec, not_before| Client::new(spec, at(not_before)).unwrap();
        let cli = client(public(), 0);
        let check = |grant: Option<&Grant>, client: Option<&Client>, now| {
            LiveAccess::check(&access("openid"), grant, client, at(now)).err()
        };
        let live = grant();
        assert_eq!(check(Some(&live), Some(&cli), 1_599), None);
        assert_eq!(check(Some(&live), Some(&cli), 1_600), Some(BearerError::Expired));
        assert_eq!(check(None, Some(&cli), 1_100), Some(BearerError::GrantGone));
        let revoked = revoke(Some(&live), at(1_050)).write;
        assert_eq!(check(revoked.as_ref(), Some(&cli), 1_100), Some(BearerError::GrantGone));
        assert_eq!(check(Some(&live), None, 1_100), Some(BearerError::ClientGone));
        let disabled = client(ClientSpec { disabled: true, ..public() }, 0);
        assert_eq!(check(Some(&live), Some(&disabled), 1_100), Some(BearerError::ClientGone));
        assert_eq!(check(Some(&live), Some(&client(public(), 990)), 1_100), Some(BearerError::ClientGone));
        let other_scope = LiveAccess::check(&access("email"), Some(&live), Some(&cli), at(1_100));
        assert_eq!(other_scope.err(), Some(BearerError::Scope));
        let checked = LiveAccess::check(&access("openid"), Some(&live), Some(&cli), at(1_100)).unwrap();
        assert_eq!(checked.admit(&cli, &alice(), &Policy::default()), Ok(()));
        let other = Identity { subject: crate::id::Subject::user(7), ..alice() };
        assert_eq!(checked.admit(&cli, &other, &Policy::default()), Err(BearerError::IdentityChanged));
        let closed = client(ClientSpec { allow: Some(Access::default()), ..public() }, 0);
        assert!(matches!(checked.admit(&closed, &alice(), &Policy::default()), Err(BearerError::Denied(_))));
    }
}
