//! The IPN bus: what changes in tailscaled, one JSON object a line.

use std::{collections::BTreeMap, ops::BitOr};

use bytes::{Buf as _, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::{Deserialize, Deserializer};

use crate::{
    error::{Endpoint, Error},
    id::{NodeId, UserId},
    json::{nullable, present},
    serve::Prefs,
    status::BackendState,
    transport::broken,
    whois::{Node, UserProfile},
};

/// Says which changes are asked for: bits of tailscaled's `ipn.NotifyWatchOpt`.
///
/// ```
/// use tsidecar_localapi::WatchMask;
///
/// assert_eq!(WatchMask::CHANGES.bits(), 1 << 1 | 1 << 2 | 1 << 12 | 1 << 15);
/// assert_eq!(WatchMask::CHANGES.fallback(), WatchMask::INITIAL_STATE | WatchMask::INITIAL_PREFS);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchMask(u64);

/// Reads the bus until the daemon closes it. Dropping it closes the connection.
#[derive(Debug)]
pub struct Watch {
    body: Incoming,
    unread: BytesMut,
    /// How much of `unread` is known to hold no line end.
    searched: usize,
    limit: usize,
}

/// Tells what changed. A field that is absent did not change.
///
/// Use it to drop what is cached ([`WhoisCache::apply`](crate::WhoisCache::apply)), never as the source of an identity.
/// A changed serve config is not announced (seen with 1.102), only changed preferences are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Notify {
    /// The daemon's version.
    #[serde(deserialize_with = "nullable")]
    pub version: String,
    /// The session of this watch, in its first message.
    #[serde(rename = "SessionID", deserialize_with = "nullable")]
    pub session_id: String,
    /// Something critical, in tailscaled's words; the connection ends after it when we read too slowly.
    pub err_message: Option<String>,
    /// What the daemon is doing now.
    #[serde(deserialize_with = "state")]
    pub state: Option<BackendState>,
    /// The preferences.
    pub prefs: Option<Prefs>,
    /// Whether the whole network map came (before 1.98 at every change of a peer).
    #[serde(deserialize_with = "present")]
    pub net_map: bool,
    /// This node itself (since 1.98).
    pub self_change: Option<Box<Node>>,
    /// Peers that are new or replaced (since 1.98).
    #[serde(deserialize_with = "nullable")]
    pub peers_changed: Vec<Node>,
    /// Peers that are gone (since 1.98).
    #[serde(deserialize_with = "nullable")]
    pub peers_removed: Vec<NodeId>,
    /// Peers of which single fields changed.
    #[serde(deserialize_with = "nullable")]
    pub peer_changed_patch: Vec<PeerChange>,
    /// Users who are new or changed.
    #[serde(deserialize_with = "nullable")]
    pub user_profiles: BTreeMap<UserId, UserProfile>,
    /// Whether the health of the daemon changed; its words are in the status.
    #[serde(deserialize_with = "present")]
    pub health: bool,
}

/// Names a peer of which single fields changed, such as whether it is online.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PeerChange {
    /// The peer.
    #[serde(rename = "NodeID", deserialize_with = "nullable")]
    pub node_id: NodeId,
    /// Whether it is online now; `None` when that did not change.
    pub online: Option<bool>,
}

impl WatchMask {
    /// The first message holds the state and the session.
    pub const INITIAL_STATE: Self = Self(1 << 1);
    /// The first message holds the preferences.
    pub const INITIAL_PREFS: Self = Self(1 << 2);
    /// Peers that are new, replaced or gone (since 1.98).
    pub const PEER_CHANGES: Self = Self(1 << 12);
    /// Changes of single fields as patches instead of whole nodes (since 1.98).
    pub const PEER_PATCHES: Self = Self(1 << 15);
    /// All of the above: what a cache of whois answers needs.
    pub const CHANGES: Self =
        Self(Self::INITIAL_STATE.0 | Self::INITIAL_PREFS.0 | Self::PEER_CHANGES.0 | Self::PEER_PATCHES.0);

    /// The number that is sent.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The same without the bits that daemons before 1.98 do not know. To be tried when a watch fails with
    /// [`Error::Status`] and code 400; such daemons send the whole network map at every change instead.
    #[must_use]
    pub const fn fallback(self) -> Self {
        Self(self.0 & !(Self::PEER_CHANGES.0 | Self::PEER_PATCHES.0))
    }
}

impl BitOr for WatchMask {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Watch {
    pub(crate) fn new(body: Incoming, limit: usize) -> Self {
        Self { body, unread: BytesMut::new(), searched: 0, limit }
    }

    /// Waits for the next change, as long as it takes; `None` when the daemon has closed the bus.
    ///
    /// Safe to cancel: a line that has come in part is kept for the next call. After an error or `None` the bus is over;
    /// connect again and drop what is cached.
    ///
    /// # Errors
    /// - [`Error::TooLarge`] for a line beyond the limit,
    /// - [`Error::Malformed`] for a line that is no change,
    /// - [`Error::Io`] when the connection breaks, in the middle of a line too.
    pub async fn next(&mut self) -> Result<Option<Notify>, Error> {
        loop {
            while let Some(line) = self.line()? {
                if !line.trim_ascii().is_empty() {
                    return serde_json::from_slice(&line)
                        .map(Some)
                        .map_err(|source| Error::json(Endpoint::Watch, source));
                }
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.unread.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(broken(Endpoint::Watch, error)),
                None if self.unread.is_empty() => return Ok(None),
                None => return Err(Error::io(Endpoint::Watch, std::io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }

    /// Takes a whole line off what was read, if one is there.
    fn line(&mut self) -> Result<Option<BytesMut>, Error> {
        let new = self.unread.get(self.searched..).unwrap_or_default();
        let end = new.iter().position(|byte| *byte == b'\n').map(|offset| self.searched + offset);
        if end.unwrap_or(self.unread.len()) > self.limit {
            return Err(Error::TooLarge { endpoint: Endpoint::Watch, limit: self.limit });
        }
        let Some(end) = end else {
            self.searched = self.unread.len();
            return Ok(None);
        };
        let line = self.unread.split_to(end);
        self.unread.advance(1);
        self.searched = 0;
        Ok(Some(line))
    }
}

fn state<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BackendState>, D::Error> {
    Ok(Option::<i64>::deserialize(deserializer)?.map(BackendState::from_number))
}
