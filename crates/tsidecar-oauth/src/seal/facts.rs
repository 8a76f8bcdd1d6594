//! What is sealed: plain facts, of no use to anybody without the key.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::acr::Acr;
use crate::assurance::Terms;
use crate::consent::Wish;
use crate::id::{ClientId, DeviceId, GrantId, Listener, SessionId, Subject, Thumbprint};
use crate::pkce::CodeChallenge;
use crate::requested::RequestedClaims;
use crate::resource::{Resource, Source};
use crate::scope::Scope;
use crate::time::UnixTime;
use crate::uri::ResourceIndicator;

/// The facts in an authorization code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedCode {
    /// The grant that redemption makes.
    pub grant: GrantId,
    /// The client to which the code was issued.
    pub client: ClientId,
    /// SHA-256 of the redirect URI as presented (RFC 6749 §4.1.3).
    pub redirect_uri: RedirectDigest,
    /// The PKCE challenge.
    pub challenge: Option<CodeChallenge>,
    /// `nonce`, at most 512 bytes.
    pub nonce: Option<String>,
    /// The granted scope.
    pub scope: Scope,
    /// The granted resources, looked up again at redemption.
    pub resources: Vec<CodeResource>,
    /// Who authorized.
    pub subject: Subject,
    /// On which device.
    pub device: DeviceId,
    /// At which address of the device.
    pub address: IpAddr,
    /// By which listener.
    pub listener: Listener,
    /// When the person was authenticated.
    pub auth_time: UnixTime,
    /// How the person was authenticated.
    pub acr: Acr,
    /// The session of the browser, if the client has one (`sid`).
    pub session: Option<SessionId>,
    /// Claims that the request named.
    pub requested: RequestedClaims,
    /// The key that must prove itself at redemption (RFC 9449 §10, `dpop_jkt`).
    pub key: Option<Thumbprint>,
    /// On what terms the client was let in; they bind the redemption.
    pub terms: Terms,
    /// When the code was issued.
    pub issued_at: UnixTime,
    /// When the code dies.
    pub expires_at: UnixTime,
}

/// The facts in the token of a form: who was shown it, where, and the request that it goes on with. It cannot be made by
/// anybody else, and is of no use to anybody else (attacks A23 and A49).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedForm {
    /// Who was asked.
    pub subject: Subject,
    /// On which device.
    pub device: DeviceId,
    /// The client that asks.
    pub client: ClientId,
    /// The parameters of the request that count, wherever they were carried.
    pub request: Vec<(String, String)>,
    /// The name of the pushed request that it was, which the answer uses up (RFC 9126 §7.3).
    pub pushed: Option<[u8; 32]>,
    /// The key of the proof of possession that it was pushed with.
    pub key: Option<Thumbprint>,
    /// When the page has grown too old.
    pub expires_at: UnixTime,
}

/// Without the parameters, which may hold what logs must not have.
impl fmt::Debug for SealedForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedForm")
            .field("subject", &self.subject)
            .field("device", &self.device)
            .field("client", &self.client)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// The facts in the token of the form that asks for consent: never good where one asks to continue, nor the other way round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedConsent {
    /// Who was asked, where, and the request that it goes on with.
    pub form: SealedForm,
    /// What the page said that the client asks: the answer is to this and to nothing else.
    pub wish: Wish,
    /// When it was shown: what was withdrawn since is not given again by it.
    pub shown_at: UnixTime,
}

/// SHA-256 of a redirect URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RedirectDigest([u8; 32]);

impl RedirectDigest {
    /// The digest of a redirect URI as it was presented.
    pub fn of(uri: &str) -> Self {
        Self(Sha256::digest(uri.as_bytes()).into())
    }
}

/// The first 16 bytes of SHA-256 of a resource indicator: keeps codes short; never compared with strangers' values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceDigest([u8; 16]);

impl ResourceDigest {
    /// The digest of a registered resource indicator.
    pub fn of(resource: &ResourceIndicator) -> Self {
        let digest = Sha256::digest(resource.as_str().as_bytes());
        let mut half = [0; 16];
        half.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Self(half)
    }
}

/// A granted resource in a code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CodeResource {
    /// An entry of the registry has its URI: the digest is enough to find it again.
    Entry(ResourceDigest),
    /// Only a pattern or a rule knows it, and neither can be asked for its URI.
    Named(ResourceIndicator),
}

impl CodeResource {
    /// A resource as a code holds it.
    pub fn of(resource: &Resource) -> Self {
        match resource.source() {
            Source::Entry => Self::Entry(ResourceDigest::of(resource.uri())),
            Source::Pattern | Source::Rule => Self::Named(resource.uri().clone()),
        }
    }
}

/// The facts in an opaque access token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedAccess {
    /// The grant of the token.
    pub grant: GrantId,
    /// The scope of the token.
    pub scope: Scope,
    /// The key that must prove itself with the token (RFC 9449 §6.1, `cnf.jkt`).
    pub key: Option<Thumbprint>,
    /// When it was issued.
    pub issued_at: UnixTime,
    /// When it expires.
    pub expires_at: UnixTime,
}
