//! The questions that can be put to tailscaled, each with a deadline and a bound on its answer.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper::StatusCode;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{
    error::{Endpoint, Error, Stage},
    serve::{Prefs, ServeConfig},
    status::Status,
    transport::{Answer, Transport},
    watch::{Watch, WatchMask},
    whois::{Destination, WhoIs},
};

/// Asks tailscaled. Cheap to clone; clones share their connections.
///
/// Each new connection opens the path anew, so a restart of tailscaled, which replaces the folder of its socket, is
/// survived. A question whose pooled connection died under it is asked once more on a new one: all of them only read.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Arc<Transport>,
    limits: Limits,
}

/// Bounds how long a question may take and how long its answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long to wait for a place in the queue of tailscaled's socket; part of `answer`.
    pub connect: Duration,
    /// How long a call may take as a whole; for a watch, until its headers are there.
    pub answer: Duration,
    /// The longest answer to whois, in bytes.
    pub whois_bytes: usize,
    /// The longest status, in bytes.
    pub status_bytes: usize,
    /// The longest serve config and the longest preferences, in bytes.
    pub config_bytes: usize,
    /// The longest line of the bus, in bytes. Before 1.98 a line may hold the whole network map.
    pub line_bytes: usize,
}

/// Names the daemon that answered last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// Its capability number (`Tailscale-Cap`): 1.94 has 131, 1.100 has 141, 1.102 has 142.
    pub capability: u32,
    /// Its version (`Tailscale-Version`); empty when it told none.
    pub version: String,
}

impl Default for Limits {
    /// 1 s to connect, 2 s in all, 256 KiB for whois, 1 MiB for the others, 4 MiB for a line of the bus.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            answer: Duration::from_secs(2),
            whois_bytes: 256 << 10,
            status_bytes: 1 << 20,
            config_bytes: 1 << 20,
            line_bytes: 4 << 20,
        }
    }
}

impl Client {
    /// Prepares to ask the daemon behind a socket; connects at the first question.
    /// A path that leads nowhere shows as [`Error::NotRunning`] then.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { transport: Arc::new(Transport::new(socket.into())), limits: Limits::default() }
    }

    /// Replaces the bounds of this handle; clones made before keep theirs.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The bounds.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Where the daemon is expected.
    pub fn socket(&self) -> &Path {
        self.transport.socket()
    }

    /// The daemon that answered last; `None` before the first answer.
    pub fn daemon(&self) -> Option<Daemon> {
        self.transport.daemon()
    }

    /// Asks who has an address; `None` when nobody in the tailnet has it.
    ///
    /// Only the bare address is asked: with a port tailscaled may hold its main lock for 360 ms. A destination other
    /// than [`Destination::Host`] needs capability number 141 (1.100); older daemons would ignore it and answer for
    /// the host, so they are not believed.
    ///
    /// # Errors
    /// - [`Error::TooOld`] when the daemon cannot answer for the destination,
    /// - every other variant but [`Error::NotFound`] and [`Error::Busy`], as they say.
    pub async fn whois(&self, address: IpAddr, destination: Destination<'_>) -> Result<Option<WhoIs>, Error> {
        Ok(self.whois_sized(address, destination).await?.map(|(whois, _)| whois))
    }

    /// As [`Self::whois`], with the length of the answer in bytes.
    pub(crate) async fn whois_sized(
        &self,
        address: IpAddr,
        destination: Destination<'_>,
    ) -> Result<Option<(WhoIs, usize)>, Error> {
        self.within(Endpoint::WhoIs, async {
            let mut path = format!("/localapi/v0/whois?addr={}", address.to_canonical());
            let parameter = match destination {
                Destination::Host => None,
                Destination::Service(name) => Some(format!("&svc_name={name}")),
                Destination::Address(target) => Some(format!("&dst_ip={}", target.to_canonical())),
            };
            if let Some(parameter) = &parameter {
                self.require_destinations().await?;
                path.push_str(parameter);
            }
            let answer = self.exchange(Endpoint::WhoIs, &path, self.limits.whois_bytes).await?;
            if parameter.is_some() {
                // It may have been replaced by an older one since we last heard of it.
                new_enough(answer.capability)?;
            }
            if answer.status == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            Ok(Some((parse(Endpoint::WhoIs, &answer.body)?, answer.body.len())))
        })
        .await
    }

    /// Asks how the daemon is, without its peers.
    ///
    /// # Errors
    /// Every variant of [`Error`] but [`Error::TooOld`] and [`Error::Busy`], as they say.
    pub async fn status(&self) -> Result<Status, Error> {
        self.read(Endpoint::Status, STATUS, self.limits.status_bytes).await
    }

    /// Asks for the preferences.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn prefs(&self) -> Result<Prefs, Error> {
        self.read(Endpoint::Prefs, "/localapi/v0/prefs", self.limits.config_bytes).await
    }

    /// Asks what `tailscale serve` serves; an empty config when nothing is.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn serve_config(&self) -> Result<ServeConfig, Error> {
        let config: Option<ServeConfig> =
            self.read(Endpoint::ServeConfig, "/localapi/v0/serve-config", self.limits.config_bytes).await?;
        Ok(config.unwrap_or_default())
    }

    /// Subscribes to the bus, on a connection of its own. The deadline holds until the headers are there; the bus has no
    /// heartbeat, so afterwards it may be silent for as long as nothing changes.
    ///
    /// # Errors
    /// As [`Self::status`]; [`Error::Status`] with code 400 when the daemon does not know a bit of the mask
    /// ([`WatchMask::fallback`]).
    pub async fn watch(&self, mask: WatchMask) -> Result<Watch, Error> {
        self.within(Endpoint::Watch, async {
            let path = format!("/localapi/v0/watch-ipn-bus?mask={}", mask.bits());
            let body = self.transport.stream(Endpoint::Watch, &path, self.limits.connect).await?;
            Ok(Watch::new(body, self.limits.line_bytes))
        })
        .await
    }

    /// The process that answers on the socket, by `SO_PEERCRED` of a new connection; `None` when it is invisible from
    /// here (another pid namespace).
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Denied`], [`Error::Timeout`], [`Error::Io`].
    pub async fn daemon_pid(&self) -> Result<Option<i32>, Error> {
        self.within(Endpoint::Socket, async {
            let peer = self.transport.peer(self.limits.connect).await?;
            Ok(peer.pid().filter(|pid| *pid != 0))
        })
        .await
    }

    async fn read<T: DeserializeOwned>(
        &self,
        endpoint: Endpoint,
        path: &str,
        limit: usize,
    ) -> Result<T, Error> {
        let answer = self.within(endpoint, self.exchange(endpoint, path, limit)).await?;
        parse(endpoint, &answer.body)
    }

    async fn within<T>(
        &self,
        endpoint: Endpoint,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let limit = self.limits.answer;
        timeout(limit, work).await.unwrap_or(Err(Error::Timeout { endpoint, stage: Stage::Answer, limit }))
    }

    /// Makes sure that the daemon knows destinations. One that was too old is asked again: it may have been upgraded.
    async fn require_destinations(&self) -> Result<(), Error> {
        let known = self.daemon().map(|daemon| daemon.capability);
        if new_enough(known).is_ok() {
            return Ok(());
        }
        let status = self.exchange(Endpoint::Status, STATUS, self.limits.status_bytes).await?;
        new_enough(status.capability)
    }

    async fn exchange(&self, endpoint: Endpoint, path: &str, limit: usize) -> Result<Answer, Error> {
        self.transport.exchange(endpoint, path, self.limits.connect, limit).await
    }
}

fn new_enough(capability: Option<u32>) -> Result<(), Error> {
    match capability {
        Some(number) if number >= DESTINATIONS => Ok(()),
        found => Err(Error::TooOld { needed: DESTINATIONS, found }),
    }
}

fn parse<T: DeserializeOwned>(endpoint: Endpoint, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|source| Error::json(endpoint, source))
}

/// Without peers: the only form whose size does not grow with the tailnet.
const STATUS: &str = "/localapi/v0/status?peers=false";
/// The capability number of 1.100, the first that knows `svc_name` and `dst_ip` in whois.
const DESTINATIONS: u32 = 141;
