//! HTTP over tailscaled's unix socket: connections, one repetition, bounded bodies, refusals.

use std::{
    error::Error as _,
    io,
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
use tokio::{
    net::{UnixStream, unix::UCred},
    time::{Instant, sleep},
};

use crate::{
    client::Daemon,
    error::{Endpoint, Error, Stage, Unreadable},
};

/// The connections to one socket, and who was last seen behind it.
#[derive(Debug)]
pub(crate) struct Transport {
    socket: PathBuf,
    /// Scheme and authority under which hyperlocal finds the socket.
    base: String,
    pooled: HttpClient<UnixConnector, Empty<Bytes>>,
    unpooled: HttpClient<UnixConnector, Empty<Bytes>>,
    daemon: Mutex<Option<Daemon>>,
}

/// Whether a request may use a connection that others used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pool {
    With,
    Without,
}

/// An answer with status 200, or the 404 of an unknown peer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
    /// The capability number that came with this very answer.
    pub(crate) capability: Option<u32>,
}

impl Transport {
    pub(crate) fn new(socket: PathBuf) -> Self {
        // hyperlocal wants a name, and an empty path names nothing: the root folder fails the same way.
        let named = if socket.as_os_str().is_empty() { Path::new("/") } else { &socket };
        let mut base = hyper::Uri::from(hyperlocal::Uri::new(named, "/")).to_string();
        base.truncate(base.len().saturating_sub(1));
        let builder = || {
            let mut builder = HttpClient::builder(TokioExecutor::new());
            builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).set_host(false);
            builder
        };
        Self {
            pooled: builder().pool_max_idle_per_host(POOL).build(UnixConnector),
            unpooled: builder().pool_max_idle_per_host(0).build(UnixConnector),
            daemon: Mutex::new(None),
            socket,
            base,
        }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn daemon(&self) -> Option<Daemon> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks one question and reads the whole answer.
    pub(crate) async fn exchange(
        &self,
        endpoint: Endpoint,
        path: &str,
        connect: Duration,
        limit: usize,
    ) -> Result<Answer, Error> {
        let (response, capability) = self.request(endpoint, path, Pool::With, connect).await?;
        let status = response.status();
        let unknown_peer = endpoint == Endpoint::WhoIs && status == StatusCode::NOT_FOUND;
        if status != StatusCode::OK && !unknown_peer {
            return Err(refused(endpoint, response).await);
        }
        let body = collect(endpoint, response.into_body(), limit).await?;
        Ok(Answer { status, body, capability })
    }

    /// Asks for a body that goes on without end.
    pub(crate) async fn stream(
        &self,
        endpoint: Endpoint,
        path: &str,
        connect: Duration,
    ) -> Result<Incoming, Error> {
        let (response, _) = self.request(endpoint, path, Pool::Without, connect).await?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            _ => Err(refused(endpoint, response).await),
        }
    }

    /// Opens a connection only to see who answers it.
    pub(crate) async fn peer(&self, connect: Duration) -> Result<UCred, Error> {
        let endpoint = Endpoint::Socket;
        let deadline = Instant::now() + connect;
        let stream = loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => break stream,
                Err(error) => self.wait_for_queue(endpoint, error, deadline, connect).await?,
            }
        };
        stream.peer_cred().map_err(|source| Error::io(endpoint, source))
    }

    /// Sends a request and waits for the headers; waits for a full queue, and repeats once on a new connection.
    async fn request(
        &self,
        endpoint: Endpoint,
        path: &str,
        pool: Pool,
        connect: Duration,
    ) -> Result<(Response<Incoming>, Option<u32>), Error> {
        // tailscaled answers 403 to any other host, and to `Origin` and `Referer`.
        let request = Request::get(format!("{}{path}", self.base))
            .header(HOST, "local-tailscaled.sock")
            .body(Empty::new())
            .map_err(|error| Error::io(endpoint, io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let deadline = Instant::now() + connect;
        let mut http = if pool == Pool::With { &self.pooled } else { &self.unpooled };
        let mut repeated = false;
        loop {
            let error = match http.request(request.clone()).await {
                Ok(response) => {
                    let capability = self.remember(response.headers());
                    return Ok((response, capability));
                }
                Err(error) => error,
            };
            if error.is_connect() {
                self.wait_for_queue(endpoint, system_error(error), deadline, connect).await?;
            } else if inner_http(&error).is_some_and(hyper::Error::is_parse) {
                let source = Unreadable::Http(Arc::new(system_error(error)));
                return Err(Error::Malformed { endpoint, source });
            } else if repeated {
                return Err(Error::io(endpoint, system_error(error)));
            } else {
                (http, repeated) = (&self.unpooled, true);
            }
        }
    }

    /// Pauses after a connection that found the queue of the socket full; every other failure is final.
    ///
    /// On a unix socket a full queue shows at once, as `EAGAIN`; it does not make `connect` wait.
    async fn wait_for_queue(
        &self,
        endpoint: Endpoint,
        error: io::Error,
        deadline: Instant,
        limit: Duration,
    ) -> Result<(), Error> {
        match error.kind() {
            io::ErrorKind::WouldBlock if Instant::now() < deadline => {
                sleep(QUEUE_PAUSE).await;
                Ok(())
            }
            io::ErrorKind::WouldBlock => Err(Error::Timeout { endpoint, stage: Stage::Connect, limit }),
            // The last one is a path that is empty or too long for a socket.
            io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::InvalidInput => {
                Err(Error::NotRunning { socket: self.socket.clone(), source: Arc::new(error) })
            }
            io::ErrorKind::PermissionDenied => Err(Error::Denied { endpoint, message: error.to_string() }),
            _ => Err(Error::io(endpoint, error)),
        }
    }

    /// Keeps who answered, and returns its capability number if it told one.
    fn remember(&self, headers: &HeaderMap) -> Option<u32> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let capability = text("tailscale-cap")?.parse().ok()?;
        let version = text("tailscale-version").unwrap_or_default();
        let version = version.get(..VERSION_LENGTH).unwrap_or(version);
        let mut daemon = self.daemon.lock().unwrap_or_else(PoisonError::into_inner);
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

async fn collect(endpoint: Endpoint, mut body: Incoming, limit: usize) -> Result<Vec<u8>, Error> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(Error::TooLarge { endpoint, limit });
    }
    let mut bytes = Vec::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(endpoint, error))?;
        let data = frame.data_ref().map_or(&[][..], |data| data);
        if data.len() > limit.saturating_sub(bytes.len()) {
            return Err(Error::TooLarge { endpoint, limit });
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
    let printable = text.trim().chars().map(|char| if char.is_control() { ' ' } else { char });
    let message: String = printable.take(REFUSAL_CHARS).collect();
    match status {
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Error::Denied { endpoint, message },
        StatusCode::NOT_FOUND => Error::NotFound { endpoint },
        other => Error::Status { endpoint, code: other.as_u16(), message },
    }
}

fn inner_http(error: &HttpError) -> Option<&hyper::Error> {
    error.source().and_then(|source| source.downcast_ref())
}

/// The system's own error below a failed request, or the request's error with the kind of what caused it.
fn system_error(error: HttpError) -> io::Error {
    let mut kind = io::ErrorKind::Other;
    if inner_http(&error).is_some_and(hyper::Error::is_incomplete_message) {
        kind = io::ErrorKind::UnexpectedEof;
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(system) = cause.downcast_ref::<io::Error>() {
            if let Some(code) = system.raw_os_error() {
                return io::Error::from_raw_os_error(code);
            }
            kind = system.kind();
        }
        source = cause.source();
    }
    io::Error::new(kind, error)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_may_not_be_opened_is_denied() {
        // Not by a real file: tests often run as root, whom nothing denies.
        let transport = Transport::new("/nowhere".into());
        let refusal = io::Error::from_raw_os_error(13);
        let error = transport
            .wait_for_queue(Endpoint::Status, refusal, Instant::now(), Duration::ZERO)
            .await
            .unwrap_err();
        assert!(matches!(&error, Error::Denied { message, .. } if message.starts_with("Permission denied")));
        assert!(error.to_string().contains("check the permissions"), "{error}");
    }
}
