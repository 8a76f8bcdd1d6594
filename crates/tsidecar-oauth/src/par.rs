//! The pushed authorization request endpoint (RFC 9126): a client leaves its request here and sends the browser with a name for
//! it.
//!
//! Layer 2. The rules are those of [`authorize`](crate::authorize): what could not be authorized cannot be pushed. Nothing here
//! knows where requests are kept, but each client has a bounded number of places for them, so that they cannot pile up.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::authorize::{AuthorizationRequest, DirectError, RedirectReason, RedirectTarget};
use crate::client::Client;
use crate::dpop::DpopError;
use crate::error::ErrorCode;
use crate::fresh::FreshSecret;
use crate::id::{ClientId, Thumbprint};
use crate::mark::{Mark, MarkKind};
use crate::params::Params;
use crate::resource::Resources;
use crate::time::{Lifetime, UnixTime};
use crate::uri::Issuer;

/// How long a pushed request waits for its browser (FAPI 2.0 §5.3.2.2 allows less than ten minutes; RFC 9126 §2.2 recommends
/// between 5 and 600 seconds).
pub const LIFETIME: Lifetime = Lifetime::from_secs(60);

/// How long the name of a used request is remembered: a page that was shown for it may be answered after it has expired, but no
/// page is good for an hour.
pub const USED_FOR: Lifetime = Lifetime::from_minutes(60);

/// Places for the pushed requests of one client and one lane. A login every eighth of a second leaves half of them free.
pub const PLACES: u16 = 512;

/// So many places are looked at before a push is refused; with half of them taken one in 65,536 would be.
const LOOKS: u16 = 16;

/// What every `request_uri` of ours begins with (RFC 9126 §2.2).
const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";

/// What a client proves itself with at `/par`, which is no part of its request.
const CREDENTIALS: [&str; 3] = ["client_secret", "client_assertion", "client_assertion_type"];

/// From where a request is pushed. Each lane has places of its own: whoever fills those that the internet has for a public
/// client takes none from the tailnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// From the tailnet.
    Tailnet,
    /// Through Funnel.
    Funnel,
}

/// Names a pushed request: its place, and 240 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PushedId([u8; 32]);

impl PushedId {
    /// The names that a new request may take: one for each place that is looked at.
    pub fn candidates(fresh: FreshSecret, lane: Lane) -> impl Iterator<Item = Self> {
        let [first, second, rest @ ..] = fresh.into_bytes();
        let [third, fourth, ..] = rest;
        let start = u16::from_be_bytes([first, second]);
        // Odd, so that all places are different.
        let step = u16::from_be_bytes([third, fourth]) | 1;
        let base = match lane {
            Lane::Tailnet => 0,
            Lane::Funnel => PLACES,
        };
        (0..LOOKS).map(move |look| {
            let place = base + start.wrapping_add(step.wrapping_mul(look)) % PLACES;
            let mut bytes = [0; 32];
            let (head, tail) = bytes.split_at_mut(2);
            head.copy_from_slice(&place.to_be_bytes());
            tail.copy_from_slice(&rest);
            Self(bytes)
        })
    }

    /// Tells whether a `request_uri` looks like one that we gave out.
    pub fn is_ours(request_uri: &str) -> bool {
        request_uri.starts_with(PREFIX)
    }

    /// Reads a `request_uri`; `None` when it cannot be one of ours.
    pub fn parse(request_uri: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let text = request_uri.strip_prefix(PREFIX)?;
        let read = Base64UrlUnpadded::decode(text, &mut bytes).ok()?.len();
        (read == 32).then_some(Self(bytes))
    }

    /// The name as it travels.
    pub fn request_uri(&self) -> String {
        format!("{PREFIX}{}", Base64UrlUnpadded::encode_string(&self.0))
    }

    /// The name from its stored bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the name.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What remains of a request of this client when it is used.
    pub fn mark(&self, client: &ClientId, now: UnixTime) -> Mark {
        let name = Base64UrlUnpadded::encode_string(&self.0);
        Mark::new(MarkKind::Pushed, client.as_str(), &name, now.after(USED_FOR))
    }

    /// The key of the place that the name has among those of its client.
    pub fn place(&self, client: &ClientId) -> [u8; 10] {
        let digest = Sha256::digest(client.as_str().as_bytes());
        let mut key = [0; 10];
        let (head, tail) = key.split_at_mut(8);
        head.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        tail.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        key
    }
}

/// A request that waits for its browser.
pub struct PushedRequest {
    /// Who pushed it.
    pub client: ClientId,
    /// Its parameters with `client_id`, without what the client proved itself with; those of the request object if it was one.
    pub params: Params,
    /// The key of the proof of possession that came with it (RFC 9449 §10.1).
    pub key: Option<Thumbprint>,
}

impl std::fmt::Debug for PushedRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushedRequest").field("client", &self.client).finish_non_exhaustive()
    }
}

/// Why a request cannot be pushed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// `request_uri` (RFC 9126 §2.1).
    #[error("request_uri cannot be pushed")]
    RequestUri,
    /// `dpop_jkt` names another key than the one that proved itself (RFC 9449 §10.1).
    #[error("{0}")]
    Proof(#[from] DpopError),
    /// At the authorization endpoint it would end on a page.
    #[error("{0}")]
    Direct(#[from] DirectError),
    /// At the authorization endpoint it would be refused.
    #[error("{0}")]
    Refused(#[from] RedirectReason),
}

impl PushError {
    /// The code sent to the client (RFC 9126 §2.3).
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::RequestUri | Self::Direct(_) => ErrorCode::InvalidRequest,
            Self::Proof(error) => error.code(),
            Self::Refused(reason) => reason.code(),
        }
    }
}

/// Judges a request as the authorization endpoint would, for the client that pushes it; `key` has proved itself with it.
///
/// # Errors
/// [`PushError`].
pub fn validate(
    params: Params,
    client: &Client,
    resources: &Resources,
    issuer: &Issuer,
    key: Option<Thumbprint>,
) -> Result<PushedRequest, PushError> {
    let target = RedirectTarget::prove(&params, Some(client), issuer)?;
    let request = AuthorizationRequest::validate(&params, client, target, resources)?;
    key.map(|key| request.bind(key)).transpose()?;
    let params = params.without(&CREDENTIALS).with("client_id", client.id().as_str());
    Ok(PushedRequest { client: client.id().clone(), params, key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorize::tests::resources;
    use crate::client::tests::confidential;

    fn ids(byte: u8, lane: Lane) -> Vec<PushedId> {
        PushedId::candidates(FreshSecret::from_bytes([byte; 32]), lane).collect()
    }

    #[test]
    fn names_travel_and_come_back() {
        for id in ids(9, Lane::Tailnet).into_iter().chain(ids(250, Lane::Funnel)) {
            let uri = id.request_uri();
            assert!(uri.starts_with("urn:ietf:params:oauth:request_uri:") && uri.len() == 34 + 43, "{uri}");
            assert_eq!(PushedId::parse(&uri), Some(id));
        }
        for bad in
            ["", "urn:ietf:params:oauth:request_uri:", "urn:ietf:params:oauth:request_uri:AAAA", "https://x"]
        {
            assert_eq!(PushedId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn places_are_of_the_lane_and_all_different() {
        let (grafana, gitea) = (ClientId::parse("grafana").unwrap(), ClientId::parse("gitea").unwrap());
        for byte in 0..=255 {
            for (lane, range) in [(Lane::Tailnet, 0..PLACES), (Lane::Funnel, PLACES..2 * PLACES)] {
                let mut places: Vec<_> = ids(byte, lane).iter().map(|id| id.place(&grafana)).collect();
                assert!(places.iter().all(|key| range.contains(&u16::from_be_bytes([key[8], key[9]]))));
                places.sort_unstable();
                places.dedup();
                assert_eq!(places.len(), 16);
            }
        }
        let id = ids(1, Lane::Tailnet)[0];
        assert_ne!(id.place(&grafana), id.place(&gitea));
    }

    const GOOD: &str = "response_type=code&nonce=n&redirect_uri=https://grafana.test/cb";

    #[test]
    fn what_could_not_be_authorized_cannot_be_pushed() {
        let client = Client::new(confidential(), UnixTime::default()).unwrap();
        let issuer = Issuer::parse("https://idp.tail.test").unwrap();
        let push = |body: &str| {
            let params = Params::parse(body.as_bytes()).unwrap();
            validate(params, &client, &resources(), &issuer, None)
        };
        let pushed =
            push(&format!("{GOOD}&client_secret=s&client_assertion=a&client_assertion_type=t")).unwrap();
        assert_eq!(pushed.client, *client.id());
        assert!(!pushed.params.names_any(&CREDENTIALS) && pushed.params.get("nonce") == Some("n"));
        assert_eq!(pushed.params.get("client_id"), Some("grafana"));
        for (body, code) in [
            ("response_type=code&nonce=n".to_owned(), ErrorCode::InvalidRequest),
            (GOOD.replace("grafana.test", "evil.test"), ErrorCode::InvalidRequest),
            (GOOD.replace("code", "token"), ErrorCode::UnsupportedResponseType),
            (GOOD.replace("nonce=n", ""), ErrorCode::InvalidRequest),
            (format!("{GOOD}&resource=https://other.test"), ErrorCode::InvalidTarget),
        ] {
            assert_eq!(push(&body).unwrap_err().code(), code, "{body}");
        }
    }
}
