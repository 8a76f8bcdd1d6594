//! One request per call over tailscaled's unix socket, each with a deadline and a bound on its answer.

use std::{
    error::Error as _,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header::HOST,
};
use hyper_util::{
    client::legacy::{Client as HttpClient, Error as HttpError},
    rt::{TokioExecutor, TokioTimer},
};
use hyperlocal::UnixConnector;
use serde::de::DeserializeOwned;
use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    error::{Endpoint, Error, Stage, Unreadable},
    serve::{Prefs, ServeConfig},
    status::Status,
    watch::{Watch, WatchMask},
    whois::{Destination, WhoIs},
};

/// Asks tailscaled. Cheap to clone; clones share their connections.
///
/// Each new connection opens the path anew, so a restart of tailscaled, which replaces the folder of its socket, is
/// survived. A question whose pooled connection died under it is asked once more on a new one: all of them only read.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
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

#[derive(Debug)]
struct Shared {
    socket: PathBuf,
    /// Scheme and authority under which hyperlocal finds the socket.
    base: String,
    pooled: HttpClient<UnixConnector, Empty<Bytes>>,
    unpooled: HttpClient<UnixConnector, Empty<Bytes>>,
    daemon: Mutex<Option<Daemon>>,
}

/// An answer with status 200, or the 404 of an unknown peer.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
    capability: Option<u32>,
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
    ///
    /// # Panics
    /// Never; a path that leads nowhere shows as [`Error::NotRunning`].
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        let socket = socket.into();
        // hyperlocal wants a name, and an empty path names nothing: the root folder fails the same way.
        let named = if socket.as_os_str().is_empty() { Path::new("/") } else { &socket };
        let mut base = hyper::Uri::from(hyperlocal::Uri::new(named, "/")).to_string();
        base.truncate(base.len().saturating_sub(1));
        let builder = || {
            let mut builder = HttpClient::builder(TokioExecutor::new());
            builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).set_host(false);
            builder
        };
        let shared = Shared {
            pooled: builder().pool_max_idle_per_host(POOL).build(UnixConnector),
            unpooled: builder().pool_max_idle_per_host(0).build(UnixConnector),
            daemon: Mutex::new(None),
            socket,
            base,
        };
        Self { shared: Arc::new(shared), limits: Limits::default() }
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
        &self.shared.socket
    }

    /// The daemon that answered last; `None` before the first answer.
    pub fn daemon(&self) -> Option<Daemon> {
        self.shared.daemon.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
            let request = self.request(Endpoint::Watch, &path)?;
            let response = self.send(Endpoint::Watch, &self.shared.unpooled, &request).await?;
            self.remember(response.headers());
            if response.status() != StatusCode::OK {
                return Err(refused(Endpoint::Watch, response).await);
            }
            Ok(Watch::new(response.into_body(), self.limits.line_bytes))
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
            let deadline = Instant::now() + self.limits.connect;
            let stream = loop {
                match UnixStream::connect(&self.shared.socket).await {
                    Ok(stream) => break stream,
                    Err(error) if is_queue_full(&error) && Instant::now() < deadline => {
                        sleep(QUEUE_PAUSE).await;
                    }
                    Err(error) => return Err(self.unconnected(Endpoint::Socket, error)),
                }
            };
            let peer = stream.peer_cred().map_err(|source| Error::io(Endpoint::Socket, source))?;
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
        let request = self.request(endpoint, path)?;
        let response = self.send(endpoint, &self.shared.pooled, &request).await?;
        let capability = self.remember(response.headers());
        let status = response.status();
        let unknown_peer = endpoint == Endpoint::WhoIs && status == StatusCode::NOT_FOUND;
        if status != StatusCode::OK && !unknown_peer {
            return Err(refused(endpoint, response).await);
        }
        let body = collect(endpoint, response.into_body(), limit).await?;
        Ok(Answer { status, body, capability })
    }

    fn request(&self, endpoint: Endpoint, path: &str) -> Result<Request<Empty<Bytes>>, Error> {
        // tailscaled answers 403 to any other host, and to `Origin` and `Referer`.
        Request::get(format!("{}{path}", self.shared.base))
            .header(HOST, "local-tailscaled.sock")
            .body(Empty::new())
            .map_err(|error| Error::io(endpoint, io::Error::new(io::ErrorKind::InvalidInput, error)))
    }

    /// Sends a request and waits for the headers; waits for a full queue, and repeats once on a new connection.
    async fn send(
        &self,
        endpoint: Endpoint,
        http: &HttpClient<UnixConnector, Empty<Bytes>>,
        request: &Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, Error> {
        let deadline = Instant::now() + self.limits.connect;
        let (mut http, mut repeated) = (http, false);
        loop {
            let error = match http.request(request.clone()).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let inner = inner_http(&error);
            if error.is_connect() {
                let error = system_error(error);
                if !is_queue_full(&error) || Instant::now() >= deadline {
                    return Err(self.unconnected(endpoint, error));
                }
                sleep(QUEUE_PAUSE).await;
            } else if inner.is_some_and(hyper::Error::is_parse) {
                return Err(Error::Malformed {
                    endpoint,
                    source: Unreadable::Http(Arc::new(system_error(error))),
                });
            } else if repeated {
                return Err(Error::io(endpoint, system_error(error)));
            } else {
                (http, repeated) = (&self.shared.unpooled, true);
            }
        }
    }

    fn unconnected(&self, endpoint: Endpoint, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                Error::NotRunning { socket: self.shared.socket.clone(), source: Arc::new(error) }
            }
            io::ErrorKind::PermissionDenied => Error::Denied { endpoint, message: error.to_string() },
            io::ErrorKind::WouldBlock => {
                Error::Timeout { endpoint, stage: Stage::Connect, limit: self.limits.connect }
            }
            _ => Error::io(endpoint, error),
        }
    }

    /// Keeps who answered, and returns its capability number if it told one.
    fn remember(&self, headers: &HeaderMap) -> Option<u32> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let capability = text("tailscale-cap")?.parse().ok()?;
        let version = text("tailscale-version").unwrap_or_default();
        let version = version.get(..VERSION_LENGTH).unwrap_or(version);
        let mut daemon = self.shared.daemon.lock().unwrap_or_else(PoisonError::into_inner);
        if daemon.as_ref().is_none_or(|known| known.capability != capability || known.version != version) {
            *daemon = Some(Daemon { capability, version: version.to_owned() });
        }
        Some(capability)
    }
}

/// A connection that broke after the headers, or one that speaks something else.
pub(crate) fn broken(endpoint: Endpoint, error: hyper::Error) -> Error {
    if error.is_parse() {
        let source = Unreadable::Http(Arc::new(io::Error::new(io::ErrorKind::InvalidData, error)));
        return Error::Malformed { endpoint, source };
    }
    Error::io(endpoint, io::Error::new(io::ErrorKind::ConnectionAborted, error))
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

async fn collect(endpoint: Endpoint, mut body: Incoming, limit: usize) -> Result<Vec<u8>, Error> {
    let too_large = Error::TooLarge { endpoint, limit };
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(too_large);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(endpoint, error))?;
        let data = frame.data_ref().map_or(&[][..], |data| data);
        if data.len() > limit.saturating_sub(bytes.len()) {
            return Err(too_large);
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

/// Turns an answer that is no success into an error, with the daemon's own words.
async fn refused(endpoint: Endpoint, response: Response<Incoming>) -> Error {
    let status = response.status();
    let body = collect(endpoint, response.into_body(), REFUSAL_BYTES).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let message: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(REFUSAL_CHARS).collect();
    match status {
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Error::Denied { endpoint, message },
        StatusCode::NOT_FOUND => Error::NotFound { endpoint },
        other => Error::Status { endpoint, code: other.as_u16(), message },
    }
}

fn inner_http(error: &HttpError) -> Option<&hyper::Error> {
    error.source().and_then(|source| source.downcast_ref())
}

/// The system's own error below a failed request, or the request's error as one.
fn system_error(error: HttpError) -> io::Error {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(code) = cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return io::Error::from_raw_os_error(code);
        }
        source = cause.source();
    }
    let closed = inner_http(&error).is_some_and(hyper::Error::is_incomplete_message);
    io::Error::new(if closed { io::ErrorKind::UnexpectedEof } else { io::ErrorKind::Other }, error)
}

/// A full queue shows at once on a unix socket, as `EAGAIN`; it does not make `connect` wait.
fn is_queue_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Without peers: the only form whose size does not grow with the tailnet.
const STATUS: &str = "/localapi/v0/status?peers=false";
/// The capability number of 1.100, the first that knows `svc_name` and `dst_ip` in whois.
const DESTINATIONS: u32 = 141;
/// How many idle connections are kept; as many as a [`WhoisCache`](crate::WhoisCache) asks at once.
const POOL: usize = 16;
/// How long an idle connection is kept. tailscaled never closes one.
const IDLE: Duration = Duration::from_secs(30);
/// The pause before a full queue is tried again.
const QUEUE_PAUSE: Duration = Duration::from_millis(10);
/// Refusals are one line of text.
const REFUSAL_BYTES: usize = 4 << 10;
/// How much of a refusal is shown.
const REFUSAL_CHARS: usize = 200;
/// Versions have some 30 characters.
const VERSION_LENGTH: usize = 128;
